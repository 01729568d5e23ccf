//! Shell scripts for bash and the shells like it.

use tree_sitter::Node;

use super::LanguageSpec;
use crate::chunk::SymbolKind::*;
use crate::chunk::find::{Definition, Site, name, values};
use crate::chunk::grammar::LazyGrammar;
use crate::chunk::packed;
use crate::chunk::rules::{Rule, Table};

pub(super) static LANGUAGE: LanguageSpec = LanguageSpec {
    name: "shell",
    title: "Shell",
    extensions: &["sh", "bash", "zsh", "ksh", "bats", "ebuild"],
    file_names: &[".bashrc", ".bash_profile", ".profile", ".zshrc"],
    interpreters: &["sh", "bash", "dash", "ksh", "zsh", "ash"],
    angles_nest: false,
    grammar: Some(LazyGrammar::new(&packed::BASH, &[RULES])),
};

const RULES: Table = &[
    ("comment", Rule::Lead),
    ("function_definition", Rule::Define(Function, "function")),
    ("variable_assignment", Rule::Find(variable)),
];

/// A variable in capitals, outside of functions.
fn variable<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let found = node.child_by_field_name("name")?;
    if site.in_function || found.kind() != "variable_name" || !site.is_capital(found) {
        return None;
    }
    values(site, "var", vec![name(found, Variable)])
}
