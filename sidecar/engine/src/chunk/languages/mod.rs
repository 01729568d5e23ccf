//! The languages. Everything about a language with a grammar is in one file.
//!
//! CONTRIBUTING.md says how to add one.

mod bash;
mod c;
mod cpp;
mod csharp;
mod dart;
mod elixir;
mod go;
mod haskell;
mod java;
mod javascript;
mod kotlin;
mod lua;
mod no_grammar;
mod php;
mod python;
mod ruby;
mod rust;
mod scala;
mod swift;
mod typescript;
mod zig;

use std::fmt;

use super::grammar::{Grammar, LazyGrammar};

static WITH_GRAMMAR: &[&LanguageSpec] = &[
    &bash::LANGUAGE,
    &c::LANGUAGE,
    &cpp::LANGUAGE,
    &csharp::LANGUAGE,
    &dart::LANGUAGE,
    &elixir::LANGUAGE,
    &go::LANGUAGE,
    &haskell::LANGUAGE,
    &java::LANGUAGE,
    &javascript::LANGUAGE,
    &kotlin::LANGUAGE,
    &lua::LANGUAGE,
    &php::LANGUAGE,
    &python::LANGUAGE,
    &ruby::LANGUAGE,
    &rust::LANGUAGE,
    &scala::LANGUAGE,
    &swift::LANGUAGE,
    &typescript::LANGUAGE,
    &typescript::TSX,
    &zig::LANGUAGE,
];

/// Everything about a language.
struct LanguageSpec {
    /// The name that filters and reports use.
    name: &'static str,
    /// The name that people use; two grammars of one language share it.
    title: &'static str,
    /// Extensions of its files, in lower case.
    extensions: &'static [&'static str],
    /// Whole names of its files, in lower case.
    file_names: &'static [&'static str],
    /// Programs that run its scripts, as a `#!` line names them, without a version.
    interpreters: &'static [&'static str],
    /// Files that look like another language's.
    claims: Option<Claim>,
    /// A `<` may open type arguments or be a comparison, and the parser keeps both readings of each.
    angles_nest: bool,
    /// `None` where files are cut without a grammar.
    grammar: Option<LazyGrammar>,
}

/// Files that have another language's extension and may be of this one.
struct Claim {
    /// The extension, in lower case.
    extension: &'static str,
    /// Whether the text of such a file is of this language.
    is_ours: fn(&str) -> bool,
}

/// The language of a file.
#[derive(Clone, Copy)]
pub struct Language(&'static LanguageSpec);

/// The languages that are cut along their syntax, TypeScript with and without JSX apart.
pub fn languages() -> impl Iterator<Item = Language> {
    WITH_GRAMMAR.iter().map(|spec| Language(spec))
}

impl Language {
    /// The language of a path, by its name and extension.
    pub fn of(rel_path: &str) -> Language {
        let name = rel_path.rsplit('/').next().unwrap_or(rel_path).to_ascii_lowercase();
        if let Some(spec) = find(|spec| spec.file_names.contains(&name.as_str())) {
            return Language(spec);
        }
        if name.starts_with("dockerfile.") || name.starts_with("makefile.") {
            return Language::of(name.split('.').next().unwrap_or_default());
        }
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
        Language(find(|spec| spec.extensions.contains(&extension)).unwrap_or(&no_grammar::TEXT))
    }

    /// The language of a file: where the path leaves a choice, the text decides. A `.h` with `class`, `namespace` or
    /// `template` is C++, and a script without an extension is what its first line asks for.
    pub fn detect(rel_path: &str, text: &str) -> Language {
        let by_path = Language::of(rel_path);
        if by_path.0.name == no_grammar::TEXT.name {
            return interpreter(text).map_or(by_path, Language);
        }
        let extension = rel_path.rsplit_once('.').map_or("", |(_, extension)| extension);
        let claims = |spec: &LanguageSpec| {
            let claim = spec.claims.as_ref().filter(|claim| extension.eq_ignore_ascii_case(claim.extension));
            claim.is_some_and(|claim| (claim.is_ours)(text))
        };
        find(claims).map_or(by_path, Language)
    }

    /// The name that filters use.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// The name that people use: `C++` for `cpp`.
    pub fn title(self) -> &'static str {
        self.0.title
    }

    /// Its grammar, if there is one.
    pub(super) fn grammar(self) -> Option<&'static Grammar> {
        self.0.grammar.as_ref().map(LazyGrammar::get)
    }

    /// Whether a `<` may open type arguments or be a comparison, and the parser keeps both readings of each.
    pub(super) fn angles_nest(self) -> bool {
        self.0.angles_nest
    }

    /// The language of this name; the one with a grammar where there are two.
    #[cfg(test)]
    pub(super) fn named(name: &str) -> Language {
        Language(find(|spec| spec.name == name).unwrap_or(&no_grammar::TEXT))
    }
}

impl fmt::Debug for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

/// The first language for which `is_so` holds.
fn find(is_so: impl Fn(&LanguageSpec) -> bool) -> Option<&'static LanguageSpec> {
    WITH_GRAMMAR.iter().copied().chain(&no_grammar::LANGUAGES).find(|spec| is_so(spec))
}

/// The language of a script by its `#!` line.
fn interpreter(text: &str) -> Option<&'static LanguageSpec> {
    let mut words = text.lines().next()?.strip_prefix("#!")?.split_whitespace();
    let mut program = words.next()?.rsplit('/').next()?;
    if program == "env" {
        program = words.find(|word| !word.starts_with('-') && !word.contains('='))?;
    }
    let program = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    find(|spec| spec.interpreters.contains(&program))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::rules::Table;

    #[test]
    fn nothing_belongs_to_two_languages() {
        let all = || WITH_GRAMMAR.iter().copied().chain(&no_grammar::LANGUAGES);
        let extensions = all().flat_map(|spec| spec.extensions);
        let file_names = all().flat_map(|spec| spec.file_names);
        let interpreters = all().flat_map(|spec| spec.interpreters);
        for mut list in [extensions.collect::<Vec<_>>(), file_names.collect(), interpreters.collect()] {
            list.sort_unstable();
            assert_eq!(list.windows(2).find(|pair| pair[0] == pair[1]), None);
        }
    }

    /// A misspelt kind would have no effect, and no other test would miss its definitions.
    #[test]
    fn every_rule_is_about_a_kind_of_node_that_exists() {
        let grammars = || WITH_GRAMMAR.iter().filter_map(|spec| spec.grammar.as_ref());
        for spec in WITH_GRAMMAR {
            for table in spec.grammar.iter().flat_map(|grammar| grammar.tables()) {
                // Several grammars may share a table, and not each of them has every kind.
                let is_same = |other: &Table| other.iter().map(|(kind, _)| kind).eq(table.iter().map(|(kind, _)| kind));
                let users = || grammars().filter(|grammar| grammar.tables().iter().any(is_same));
                let unknown = table.iter().filter(|(kind, _)| !users().any(|grammar| grammar.has_kind(kind)));
                let unknown: Vec<&str> = unknown.map(|(kind, _)| *kind).collect();
                assert!(unknown.is_empty(), "{}: no nodes of these kinds: {unknown:?}", spec.name);
            }
        }
    }
}
