//! What a path says: how a file is called, and whether files of its kind tend to hold the answer.

use super::Weights;
use super::question::{Question, split_words};
use crate::text::tokens::is_unspaced;

/// Names of files that stand for their folder: such a file is ranked by its folder's name.
const FOLDER_FILES: [&str; 6] = ["mod", "index", "__init__", "init", "lib", "main"];
/// Folders that every project has and that say nothing about what is in them.
const LAYOUT_FOLDERS: [&str; 10] =
    ["src", "lib", "source", "include", "main", "java", "kotlin", "scala", "python", "packages"];
/// Folders whose files use what others define.
const SECONDARY_FOLDERS: [&str; 14] = [
    "test",
    "tests",
    "__tests__",
    "__test__",
    "testing",
    "spec",
    "specs",
    "fixtures",
    "examples",
    "example",
    "legacy",
    "compat",
    "benches",
    "vendor",
];

/// The words of a file's name and of the folder it is in.
pub(super) fn name_words(path: &str) -> Vec<String> {
    let mut folders: Vec<&str> = path.split('/').collect();
    let file = folders.pop().unwrap_or_default();
    let mut own = stem(file);
    let mut parent = folders.last().copied().unwrap_or_default();
    if FOLDER_FILES.contains(&own.to_lowercase().as_str()) {
        folders.retain(|folder| !LAYOUT_FOLDERS.contains(folder));
        if let Some(folder) = folders.pop() {
            own = folder;
            parent = folders.last().copied().unwrap_or_default();
        }
    }
    let mut words = split_words(own);
    words.extend(split_words(parent));
    words
}

/// Share of the question's words that the file's name or folder says, by their weight.
pub(super) fn name_share(question: &Question, path: &str) -> f32 {
    let evidence = name_words(path);
    let begins = |a: &str, b: &str| a.starts_with(b) || (a.contains(b) && b.starts_with(is_unspaced));
    let related = |a: &str, b: &str| a == b || (a.len().min(b.len()) >= 3 && (begins(a, b) || begins(b, a)));
    let (mut met, mut all) = (0.0, 0.0);
    for (word, weight) in &question.words {
        all += weight;
        if evidence.iter().any(|part| related(part, word)) {
            met += weight;
        }
    }
    if all > 0.0 { met / all } else { 0.0 }
}

/// Calls `each` with every reason for which the file or the chunk's scope counts less, and the factor. A reason that
/// the query itself mentions is left out.
pub(super) fn demotions(
    question: &Question,
    weights: &Weights,
    path: &str,
    scope: &str,
    is_declaration: bool,
    mut each: impl FnMut(&'static str, f32),
) {
    let lower = path.to_lowercase();
    let (folders, file) = lower.rsplit_once('/').unwrap_or(("", &lower));
    let secondary = folders.split('/').find(|folder| SECONDARY_FOLDERS.contains(folder));
    if secondary.is_some_and(|folder| !question.mentions(folder)) {
        each("factor:secondary_folder", weights.secondary_path);
    } else if !question.mentions("test") {
        if is_test_file(path, file) {
            each("factor:test_file", weights.secondary_path);
        } else if is_test_scope(scope) {
            each("factor:test_scope", weights.test_scope);
        }
    }
    if file == "__init__.py" || file == "package-info.java" {
        each("factor:package_file", weights.package_file);
    }
    if is_declaration || file.ends_with(".d.ts") {
        each("factor:declaration", weights.declaration);
    }
}

/// The files that would hold the code which `path` only declares: a header's source, a stub's module. Empty where
/// `path` is no declaration.
pub(crate) fn implementations(path: &str) -> Vec<String> {
    const BESIDE: [(&str, &[&str]); 5] = [
        ("h", &["c", "cc", "cpp", "cxx", "m", "mm"]),
        ("hpp", &["cpp", "cc", "cxx"]),
        ("hh", &["cc", "cpp"]),
        ("hxx", &["cxx", "cpp"]),
        ("pyi", &["py"]),
    ];
    let Some((base, extension)) = path.rsplit_once('.') else { return Vec::new() };
    let others = BESIDE.iter().find(|(declaring, _)| *declaring == extension).map_or(&[][..], |(_, others)| others);
    others.iter().map(|other| format!("{base}.{other}")).collect()
}

/// The first folder that is a version (`v3`): the path up to it, and its number.
pub(super) fn version_folder(path: &str) -> Option<(&str, u32)> {
    let mut start = 0;
    for (i, _) in path.match_indices('/') {
        let number = path[start..i].strip_prefix('v').filter(|n| n.len() <= 3).and_then(|n| n.parse().ok());
        if let Some(number) = number {
            return Some((&path[..start], number));
        }
        start = i + 1;
    }
    None
}

fn stem(file: &str) -> &str {
    match file.split('.').next() {
        Some(stem) if !stem.is_empty() => stem,
        _ => file,
    }
}

/// Whether a file is a test by its name: `test_x.py`, `x_test.go`, `x.spec.ts`, `FooTest.java`.
fn is_test_file(path: &str, lower_file: &str) -> bool {
    let own = stem(path.rsplit('/').next().unwrap_or(path));
    let lower = stem(lower_file);
    lower.starts_with("test_")
        || ["_test", "_tests", "_spec"].iter().any(|end| lower.ends_with(end))
        || ["Test", "Tests", "Spec"].iter().any(|end| own.ends_with(end))
        || lower_file.contains(".test.")
        || lower_file.contains(".spec.")
}

/// Whether a scope is one of tests within a source file: `mod tests`, `class TestParser`, `fn test_x`.
fn is_test_scope(scope: &str) -> bool {
    scope.split(" > ").any(|part| {
        let name = part.rsplit(' ').next().unwrap_or_default();
        matches!(name, "test" | "tests" | "testing")
            || name.starts_with("test_")
            || name.strip_prefix("Test").is_some_and(|rest| rest.starts_with(char::is_uppercase))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_file_is_called_like_its_folder() {
        for (path, expected) in [
            ("src/net/httpClient.rs", "http client net"),
            ("src/net/mod.rs", "net"),
            ("crates/parser/src/lib.rs", "parser crates"),
            ("src/main.rs", "main src"),
            ("lib/defaults/index.js", "defaults"),
            ("pkg/json/__init__.py", "json pkg"),
            (".gitignore", "gitignore"),
            ("", ""),
        ] {
            assert_eq!(name_words(path).join(" "), expected, "{path}");
        }
    }

    #[test]
    fn tests_are_known_by_their_names() {
        for (path, expected) in [
            ("src/parser_test.go", true),
            ("src/ParserTest.java", true),
            ("src/a.spec.ts", true),
            ("test_x.py", true),
            ("src/latest.py", false),
            ("src/contest.rs", false),
        ] {
            assert_eq!(is_test_file(path, path.to_lowercase().rsplit('/').next().unwrap()), expected, "{path}");
        }
        assert!(is_test_scope("mod tests > fn reads") && is_test_scope("class TestParser > method a"));
        assert!(!is_test_scope("impl Testable > fn run") && !is_test_scope(""));
    }

    #[test]
    fn versions_and_implementations() {
        assert_eq!(version_folder("packages/v3/types.ts"), Some(("packages/", 3)));
        assert_eq!(version_folder("v10/a.ts"), Some(("", 10)));
        assert_eq!(version_folder("src/vendor/v.ts"), None);
        assert_eq!(implementations("lib/url.h").first().map(String::as_str), Some("lib/url.c"));
        assert!(implementations("lib/url.c").is_empty());
    }
}
