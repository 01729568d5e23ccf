//! The languages. Everything about a language with a grammar is in one file.
//!
//! CONTRIBUTING.md says how to add one.

mod aliases;
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

pub use self::aliases::named;
use super::detect;
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

/// Words for languages that are neither their name nor an extension, in lower case.
const USUAL_WORDS: &[(&str, &str)] = &[
    ("console", "shell"),
    ("shell-session", "shell"),
    ("shellscript", "shell"),
    ("golang", "go"),
    ("objc", "objective-c"),
    ("objectivec", "objective-c"),
    ("typescriptreact", "tsx"),
    ("javascriptreact", "javascript"),
    ("python2", "python"),
    ("python3", "python"),
    ("py3", "python"),
    ("ipython", "python"),
    ("ipython3", "python"),
    ("pyodide", "python"),
    ("tslab", "typescript"),
    ("ijavascript", "javascript"),
    ("irkernel", "r"),
    ("ir", "r"),
    ("viml", "vim"),
    ("docker", "dockerfile"),
    ("emacs-lisp", "lisp"),
    ("cperl", "perl"),
    ("makefile", "make"),
    ("dosini", "ini"),
    ("mathematica", "wolfram"),
    ("rocq", "coq"),
    ("vlang", "v"),
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
    /// A `<` may open type arguments or be a comparison, and the parser keeps both readings of each.
    angles_nest: bool,
    /// `None` where files are cut without a grammar.
    grammar: Option<LazyGrammar>,
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
        let name = base_name(rel_path);
        if let Some(spec) = find(|spec| spec.file_names.contains(&name.as_str())) {
            return Language(spec);
        }
        if name.starts_with("dockerfile.") || name.starts_with("makefile.") {
            return Language::of(name.split('.').next().unwrap_or_default());
        }
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
        Language(find(|spec| spec.extensions.contains(&extension)).unwrap_or(&no_grammar::TEXT))
    }

    /// The language of texts that are cut by their lines alone.
    pub fn plain() -> Language {
        Language(&no_grammar::TEXT)
    }

    /// The language of a file: where the path leaves a choice, the text decides (`chunk/detect.rs`). A line for an editor
    /// counts first (`-*- mode: c++ -*-`, `vim: ft=ruby`), then what only one of the languages with the extension has; a
    /// script without an extension is what its first line asks for.
    pub fn detect(rel_path: &str, text: &str) -> Language {
        let by_path = Language::of(rel_path);
        if Language::is_certain(rel_path) {
            return by_path;
        }
        let told = detect::modeline(text).and_then(Language::by_word);
        if let Some(told) = told.filter(|told| told.0.name != no_grammar::TEXT.name) {
            return told;
        }
        if let Some(word) = detect::by_content(&extension(rel_path), text) {
            return Language::by_word(word).unwrap_or(Language(&no_grammar::TEXT));
        }
        let runs = |program: &str| find(|spec| spec.interpreters.contains(&program));
        let is_open = by_path.0.name == no_grammar::TEXT.name;
        detect::interpreter(text).filter(|_| is_open).and_then(runs).map_or(by_path, Language)
    }

    /// Whether the path alone decides: no text of the file makes [`Language::detect`] give another than
    /// [`Language::of`].
    pub fn is_certain(rel_path: &str) -> bool {
        Language::of(rel_path).0.name != no_grammar::TEXT.name && !detect::is_shared(&extension(rel_path))
    }

    /// The language that people mean by a word: its name, an extension of its files, or another usual word for it.
    /// Where TypeScript is meant, that without JSX.
    pub fn by_word(word: &str) -> Option<Language> {
        let word = word.trim().to_lowercase();
        let usual = USUAL_WORDS.iter().find(|(usual, _)| *usual == word).map_or(word.as_str(), |(_, name)| name);
        if usual.is_empty() {
            return None;
        }
        let by_name = || find(|spec| spec.name == usual || spec.title.eq_ignore_ascii_case(usual));
        if usual == no_grammar::TEXT.name {
            return Some(Language(&no_grammar::TEXT));
        }
        let by_file = || find(|spec| spec.extensions.contains(&usual) || spec.interpreters.contains(&usual));
        by_name().or_else(by_file).map(Language)
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

impl PartialEq for Language {
    fn eq(&self, other: &Language) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Language {}

impl fmt::Debug for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

/// Every language.
fn all() -> impl Iterator<Item = &'static LanguageSpec> {
    WITH_GRAMMAR.iter().copied().chain(&no_grammar::LANGUAGES).chain([&no_grammar::TEXT])
}

/// The first language for which `is_so` holds.
fn find(is_so: impl Fn(&LanguageSpec) -> bool) -> Option<&'static LanguageSpec> {
    WITH_GRAMMAR.iter().copied().chain(&no_grammar::LANGUAGES).find(|spec| is_so(spec))
}

/// The extension of a file's name, in lower case.
fn extension(rel_path: &str) -> String {
    base_name(rel_path).rsplit_once('.').map_or(String::new(), |(_, extension)| extension.to_owned())
}

/// The name of a file in lower case, without the `.in` of a template that makes it.
fn base_name(rel_path: &str) -> String {
    let name = rel_path.rsplit('/').next().unwrap_or(rel_path).to_ascii_lowercase();
    match name.strip_suffix(".in") {
        Some(made) if !made.is_empty() => made.to_owned(),
        _ => name,
    }
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
