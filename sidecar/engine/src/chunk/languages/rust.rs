//! Rust.

use tree_sitter::Node;

use super::LanguageSpec;
use crate::chunk::SymbolKind::*;
use crate::chunk::find::{Definition, Site, a_type};
use crate::chunk::grammar::LazyGrammar;
use crate::chunk::packed;
use crate::chunk::rules::{Rule, Table};

pub(super) static LANGUAGE: LanguageSpec = LanguageSpec {
    name: "rust",
    title: "Rust",
    extensions: &["rs"],
    file_names: &[],
    interpreters: &[],
    angles_nest: false,
    grammar: Some(LazyGrammar::new(&packed::RUST, &[RULES])),
};

const RULES: Table = &[
    ("line_comment", Rule::Lead),
    ("block_comment", Rule::Lead),
    ("attribute_item", Rule::Lead),
    ("impl_item", Rule::Find(implementation)),
    ("function_item", Rule::Define(Function, "fn")),
    ("function_signature_item", Rule::Define(Function, "fn")),
    ("struct_item", Rule::Define(Struct, "struct")),
    ("union_item", Rule::Define(Struct, "union")),
    ("enum_item", Rule::Define(Enum, "enum")),
    ("trait_item", Rule::Define(Trait, "trait")),
    ("type_item", Rule::Define(Type, "type")),
    ("mod_item", Rule::Define(Module, "mod")),
    ("macro_definition", Rule::Define(Macro, "macro")),
    ("const_item", Rule::Value(Constant, "name", "const")),
    ("static_item", Rule::Value(Variable, "name", "static")),
];

/// `impl Type` and `impl Trait for Type`, which have no name of their own.
fn implementation<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let part = |field| node.child_by_field_name(field).map(|node| site.short(node));
    let subject = part("type").unwrap_or_default();
    let label = match part("trait") {
        Some(of) => format!("impl {of} for {subject}"),
        None => format!("impl {subject}"),
    };
    a_type(label, Vec::new(), node.child_by_field_name("body"))
}
