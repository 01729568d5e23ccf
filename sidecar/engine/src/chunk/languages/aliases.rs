//! Names of languages as people write them: those of GitHub's Linguist, beside a language's own name and title and the
//! extensions, file names and interpreters in its table.

use super::{Language, LanguageSpec, all};

/// Name of the language here, and other names of it, in lower case.
#[rustfmt::skip] // a table
const ALIASES: &[(&str, &[&str])] = &[
    ("assembly", &["nasm", "masm", "gas", "unix assembly"]),
    ("batch", &["batchfile", "dosbatch", "winbatch", "batch file"]),
    ("cpp", &["c plus plus", "cplusplus"]),
    ("crystal", &["crystal-lang"]),
    ("csharp", &["c sharp", "cake"]),
    ("css", &["postcss"]),
    ("dart", &["flutter"]),
    ("dockerfile", &["docker"]),
    ("fsharp", &["f#", "f sharp"]),
    ("go", &["golang"]),
    ("go-module", &["go module", "gomod", "go mod"]),
    ("groovy", &["jenkins"]),
    ("hcl", &["terraform", "opentofu", "hashicorp configuration language"]),
    ("html", &["html5"]),
    ("ini", &["dosini", "editorconfig", "editor-config", "git config", "java-properties", "java properties"]),
    ("javascript", &["node", "ecmascript", "javascriptreact"]),
    ("json", &["json with comments"]),
    ("latex", &["tex"]),
    ("lisp", &["emacs-lisp", "emacs lisp", "elisp", "common-lisp", "common lisp", "scheme"]),
    ("make", &["makefile", "mf", "gnumake", "bsdmake"]),
    ("markdown", &["pandoc"]),
    ("objective-c", &["objc", "objectivec", "obj-c", "objective-c++", "objc++", "obj-c++", "objectivec++"]),
    ("php", &["inc", "hack"]),
    ("powershell", &["posh", "pwsh"]),
    ("protobuf", &["protocol buffer", "protocol buffers", "protobuffer", "proto3"]),
    ("python", &["python3", "rusthon", "cpython"]),
    ("r", &["rscript", "splus", "r-lang"]),
    ("restructuredtext", &["rest"]),
    ("ruby", &["jruby", "macruby", "rake", "rails"]),
    ("rust", &["rust-lang"]),
    ("shell", &["shellscript", "shell-script", "shell script", "bash-script"]),
    ("starlark", &["bzl", "build"]),
    ("text", &["plain text", "plaintext", "fundamental", "txt"]),
    ("tsx", &["typescriptreact"]),
    ("visual-basic", &["vb.net", "vbnet", "visual basic", "visual basic .net", "vb .net"]),
    ("xml", &["rss", "wsdl"]),
    ("yaml", &["yaml document"]),
];

/// Languages that another one's name includes.
const INCLUDED: &[(&str, &str)] = &[("typescript", "tsx")];

/// Languages whose files may end in `.h`.
const HEADERS: &[&str] = &["c", "cpp", "objective-c"];

/// Most names that are proposed for one that is unknown.
const PROPOSED: usize = 3;
/// Longest name that is compared with the known ones.
const COMPARED_BYTES: usize = 40;

/// The languages that a name means, by the names that files have: `c++` is `cpp`, `typescript` is TypeScript with and
/// without JSX, an extension is every language whose files may have it.
///
/// Errors: the nearest names that are known.
pub fn named(written: &str) -> Result<Vec<&'static str>, Vec<&'static str>> {
    let wanted = written.trim().to_lowercase();
    let wanted = wanted.as_str();
    let bare = wanted.strip_prefix('.').unwrap_or(wanted);
    let by_name = |spec: &&LanguageSpec| spec.name == wanted || aliases(spec.name).contains(&wanted);
    let by_title = |spec: &&LanguageSpec| spec.title.to_lowercase() == wanted || spaced(spec.name) == spaced(wanted);
    let shares = |spec: &LanguageSpec| bare == "h" && HEADERS.contains(&spec.name);
    let by_file = |spec: &&LanguageSpec| {
        spec.extensions.contains(&bare)
            || shares(spec)
            || spec.file_names.contains(&wanted)
            || spec.interpreters.contains(&wanted)
    };
    let tests: [&dyn Fn(&&LanguageSpec) -> bool; 3] = [&by_name, &by_title, &by_file];
    for is_meant in tests {
        let mut found: Vec<&'static str> = all().filter(|spec| is_meant(spec)).map(|spec| spec.name).collect();
        if !found.is_empty() {
            let included = INCLUDED.iter().filter(|(by, _)| found.contains(by)).map(|(_, name)| *name);
            found.extend(included.collect::<Vec<_>>());
            found.sort_unstable();
            found.dedup();
            return Ok(found);
        }
    }
    Language::by_word(wanted).map(|language| vec![language.name()]).ok_or_else(|| nearest(wanted))
}

fn aliases(name: &str) -> &'static [&'static str] {
    ALIASES.iter().find(|(of, _)| *of == name).map_or(&[], |(_, aliases)| aliases)
}

fn spaced(name: &str) -> String {
    name.replace(['-', '_'], " ")
}

/// The known names that differ least from one that is unknown.
fn nearest(wanted: &str) -> Vec<&'static str> {
    let end = (0..=wanted.len().min(COMPARED_BYTES)).rev().find(|at| wanted.is_char_boundary(*at)).unwrap_or(0);
    let wanted: Vec<char> = wanted[..end].chars().collect();
    let names_of = |spec: &'static LanguageSpec| std::iter::once(spec.name).chain(aliases(spec.name).iter().copied());
    let mut near: Vec<(usize, &'static str)> = all()
        .map(|spec| (names_of(spec).map(|name| distance(&wanted, name)).min().unwrap_or(usize::MAX), spec.name))
        .collect();
    near.sort_unstable();
    near.dedup_by_key(|(_, name)| *name);
    near.into_iter().take(PROPOSED).map(|(_, name)| name).collect()
}

/// How many letters have to be added, taken away or exchanged.
fn distance(a: &[char], b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let exchanged = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = exchanged.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn people_call_languages_like_this() {
        for (written, expected) in [
            ("ts", vec!["tsx", "typescript"]),
            ("TypeScript", vec!["tsx", "typescript"]),
            ("tsx", vec!["tsx"]),
            ("js", vec!["javascript"]),
            ("jsx", vec!["javascript"]),
            ("JavaScript", vec!["javascript"]),
            ("node", vec!["javascript"]),
            ("py", vec!["python"]),
            (".py", vec!["python"]),
            ("Python3", vec!["python"]),
            ("c++", vec!["cpp"]),
            ("C++", vec!["cpp"]),
            ("cpp", vec!["cpp"]),
            ("hpp", vec!["cpp"]),
            ("c", vec!["c"]),
            ("golang", vec!["go"]),
            ("C#", vec!["csharp"]),
            ("csharp", vec!["csharp"]),
            ("cs", vec!["csharp"]),
            ("F#", vec!["fsharp"]),
            ("sh", vec!["shell"]),
            ("bash", vec!["shell"]),
            ("zsh", vec!["shell"]),
            ("shell-script", vec!["shell"]),
            ("objc", vec!["objective-c"]),
            ("Objective-C", vec!["objective-c"]),
            ("objective c", vec!["objective-c"]),
            ("yml", vec!["yaml"]),
            ("md", vec!["markdown"]),
            ("Dockerfile", vec!["dockerfile"]),
            ("docker", vec!["dockerfile"]),
            ("Makefile", vec!["make"]),
            ("terraform", vec!["hcl"]),
            ("rb", vec!["ruby"]),
            ("rs", vec!["rust"]),
            ("kt", vec!["kotlin"]),
            ("hs", vec!["haskell"]),
            ("ex", vec!["elixir"]),
            ("pwsh", vec!["powershell"]),
            ("rst", vec!["restructuredtext"]),
            ("protocol buffers", vec!["protobuf"]),
            ("plaintext", vec!["text"]),
            (" rust ", vec!["rust"]),
        ] {
            assert_eq!(named(written), Ok(expected), "{written}");
        }
        let header = named("h").expect("an extension");
        assert!(header.contains(&"c") && header.contains(&"cpp"), "{header:?}");
    }

    #[test]
    fn a_language_has_all_its_own_names() {
        for spec in all() {
            let names = [spec.name, spec.title].into_iter().chain(aliases(spec.name).iter().copied());
            let files = spec.extensions.iter().chain(spec.file_names).chain(spec.interpreters).copied();
            for name in names.chain(files) {
                assert!(named(name).is_ok_and(|found| found.contains(&spec.name) || !found.is_empty()), "{name}");
            }
            assert!(named(spec.name).is_ok_and(|found| found.contains(&spec.name)), "{}", spec.name);
        }
        let mut owner: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, aliases) in ALIASES {
            assert!(all().any(|spec| spec.name == *name), "{name} is a language");
            for alias in *aliases {
                assert_eq!(alias.to_lowercase(), *alias);
                assert_eq!(owner.insert(alias, name), None, "{alias} is one language's");
                assert!(all().all(|spec| spec.name != *alias), "{alias} is a language of its own");
            }
        }
    }

    #[test]
    fn the_nearest_names_are_proposed() {
        for (written, first) in [("pyhton", "python"), ("typscript", "typescript"), ("golnag", "go"), ("rusty", "rust")]
        {
            assert_eq!(named(written).unwrap_err()[0], first, "{written}");
        }
        assert_eq!(named("klingon").unwrap_err().len(), PROPOSED);
        assert_eq!(named("").unwrap_err().len(), PROPOSED);
        assert_eq!(named(&"ü".repeat(1 << 20)).unwrap_err().len(), PROPOSED);
    }
}
