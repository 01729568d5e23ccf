//! Python.

use tree_sitter::Node;

use super::LanguageSpec;
use crate::chunk::SymbolKind::*;
use crate::chunk::find::{Definition, Site, children, name, values};
use crate::chunk::grammar::LazyGrammar;
use crate::chunk::packed;
use crate::chunk::rules::{Rule, Table};

pub(super) static LANGUAGE: LanguageSpec = LanguageSpec {
    name: "python",
    title: "Python",
    extensions: &["py", "pyi", "pyw"],
    file_names: &[],
    interpreters: &["python", "pypy"],
    angles_nest: false,
    grammar: Some(LazyGrammar::new(&packed::PYTHON, &[RULES])),
};

const RULES: Table = &[
    ("comment", Rule::Lead),
    ("decorator", Rule::Lead),
    ("decorated_definition", Rule::Wrapper),
    ("function_definition", Rule::Define(Function, "def")),
    ("class_definition", Rule::Define(Class, "class")),
    ("type_alias_statement", Rule::Find(type_alias)),
    ("assignment", Rule::Find(constant)),
];

/// `type Alias = …`, `type Alias[T] = …`.
fn type_alias<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    if site.in_function {
        return None;
    }
    let mut found = node.child_by_field_name("left")?;
    while matches!(found.kind(), "type" | "generic_type") {
        let Some(inner) = children(found).next() else { break };
        found = inner;
    }
    values(site, "type", vec![name(found, Type)])
}

/// `NAME = …` in capitals, outside of functions.
fn constant<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let left = node.child_by_field_name("left")?;
    if site.in_function || left.kind() != "identifier" || !site.is_capital(left) {
        return None;
    }
    values(site, "", vec![name(left, Constant)])
}
