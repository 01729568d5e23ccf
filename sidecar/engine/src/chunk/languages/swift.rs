//! Swift.

use tree_sitter::Node;

use super::LanguageSpec;
use crate::chunk::SymbolKind::*;
use crate::chunk::find::{Definition, Site, a_function, a_type, child_of_kind, name};
use crate::chunk::grammar::LazyGrammar;
use crate::chunk::packed;
use crate::chunk::rules::{Rule, Table};

pub(super) static LANGUAGE: LanguageSpec = LanguageSpec {
    name: "swift",
    title: "Swift",
    extensions: &["swift"],
    file_names: &[],
    interpreters: &["swift"],
    angles_nest: false,
    grammar: Some(LazyGrammar::new(&packed::SWIFT, &[RULES])),
};

const RULES: Table = &[
    ("comment", Rule::Lead),
    ("multiline_comment", Rule::Lead),
    ("class_declaration", Rule::Find(class)),
    ("protocol_declaration", Rule::Define(Interface, "protocol")),
    ("typealias_declaration", Rule::Define(Type, "typealias")),
    ("associatedtype_declaration", Rule::Define(Type, "associatedtype")),
    ("macro_declaration", Rule::Define(Macro, "macro")),
    ("function_declaration", Rule::Find(function)),
    ("protocol_function_declaration", Rule::Find(function)),
    ("init_declaration", Rule::Find(function)),
    ("deinit_declaration", Rule::Find(function)),
    ("subscript_declaration", Rule::Find(function)),
    ("property_declaration", Rule::Find(property)),
    ("protocol_property_declaration", Rule::Find(property)),
];

/// `class`, `struct`, `enum`, `actor`, `extension`: one kind of node for all.
fn class<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let found = node.child_by_field_name("name")?;
    let word = node.child_by_field_name("declaration_kind").map(|word| site.of(word)).unwrap_or("class");
    let kind = match word {
        "struct" => Struct,
        "enum" => Enum,
        _ => Class,
    };
    // An extension adds to a type that is defined elsewhere.
    let names = if word == "extension" { Vec::new() } else { vec![name(found, kind)] };
    a_type(format!("{word} {}", site.short(found)), names, node.child_by_field_name("body"))
}

/// `func`, `init`, `deinit`, `subscript`.
fn function<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let body = node.child_by_field_name("body");
    match node.kind() {
        "init_declaration" => return a_function("init".into(), Vec::new(), body),
        "deinit_declaration" => return a_function("deinit".into(), Vec::new(), body),
        "subscript_declaration" => return a_function("subscript".into(), Vec::new(), body),
        _ => {}
    }
    let found = node.child_by_field_name("name")?;
    a_function(format!("func {}", site.short(found)), vec![name(found, site.function_kind())], body)
}

/// Global and static values, requirements, and properties that are computed.
fn property<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let pattern = node.child_by_field_name("name")?;
    let found = pattern.child_by_field_name("bound_identifier")?;
    let modifiers = child_of_kind(node, "modifiers").map(|modifiers| site.of(modifiers)).unwrap_or_default();
    let shared = modifiers.split_whitespace().any(|modifier| matches!(modifier, "static" | "class"));
    let computed = node.child_by_field_name("computed_value");
    let required = node.kind() == "protocol_property_declaration";
    if site.in_function || (site.in_type && !shared && !required && computed.is_none()) {
        return None;
    }
    let binding = child_of_kind(node, "value_binding_pattern").map(|binding| site.of(binding));
    let kind = if binding == Some("let") { Constant } else { Variable };
    let label = Some(format!("{} {}", binding.unwrap_or("var"), site.short(found)));
    let is_function = computed.is_some();
    Some(Definition { label, names: vec![name(found, kind)], body: computed, is_function, ..Definition::default() })
}
