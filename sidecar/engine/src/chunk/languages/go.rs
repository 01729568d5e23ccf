//! Go.

use tree_sitter::Node;

use super::LanguageSpec;
use crate::chunk::SymbolKind::*;
use crate::chunk::find::{Definition, Site, a_function, define, named};
use crate::chunk::grammar::LazyGrammar;
use crate::chunk::one_line;
use crate::chunk::packed;
use crate::chunk::rules::{Rule, Table};

pub(super) static LANGUAGE: LanguageSpec = LanguageSpec {
    name: "go",
    title: "Go",
    extensions: &["go"],
    file_names: &[],
    interpreters: &[],
    angles_nest: false,
    grammar: Some(LazyGrammar::new(&packed::GO, &[RULES])),
};

const RULES: Table = &[
    ("comment", Rule::Lead),
    ("function_declaration", Rule::Define(Function, "func")),
    ("method_declaration", Rule::Find(method)),
    ("method_elem", Rule::Define(Method, "method")),
    ("type_declaration", Rule::Wrapper),
    ("const_declaration", Rule::Wrapper),
    ("var_declaration", Rule::Wrapper),
    ("type_spec", Rule::Find(type_definition)),
    ("type_alias", Rule::Find(type_definition)),
    ("const_spec", Rule::Value(Constant, "name", "const")),
    ("var_spec", Rule::Value(Variable, "name", "var")),
];

/// A method; its scope is labelled with the type that it belongs to.
fn method<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let found = node.child_by_field_name("name")?;
    let owner = node.child_by_field_name("receiver").map(|receiver| owner(site, receiver)).unwrap_or_default();
    let names = named(found, Method).into_iter().collect();
    a_function(format!("func {owner}{}", site.short(found)), names, node.child_by_field_name("body"))
}

/// `Client.` for the receiver `(c *Client[T])`.
fn owner(site: &Site<'_>, receiver: Node<'_>) -> String {
    let inside = site.of(receiver).trim_matches(['(', ')', ' ']);
    let of = inside.split('[').next().unwrap_or_default();
    let of = of.rsplit([' ', '*', '\t']).next().unwrap_or_default();
    if of.is_empty() { String::new() } else { format!("{}.", one_line(of, 80)) }
}

/// `type Name struct`, `type Name interface`, or another type.
fn type_definition<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let kind = match node.child_by_field_name("type").map(|of| of.kind()) {
        Some("struct_type") => Struct,
        Some("interface_type") => Interface,
        _ => Type,
    };
    define(site, node, kind, "type")
}
