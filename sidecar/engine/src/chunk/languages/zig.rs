//! Zig.

use tree_sitter::Node;

use super::LanguageSpec;
use crate::chunk::SymbolKind::*;
use crate::chunk::find::{Definition, Site, a_function, child_of_kind, children, name, values};
use crate::chunk::grammar::LazyGrammar;
use crate::chunk::packed;
use crate::chunk::rules::{Rule, Table};

pub(super) static LANGUAGE: LanguageSpec = LanguageSpec {
    name: "zig",
    title: "Zig",
    extensions: &["zig", "zon"],
    file_names: &[],
    interpreters: &[],
    angles_nest: false,
    grammar: Some(LazyGrammar::new(&packed::ZIG, &[RULES])),
};

const RULES: Table = &[
    ("comment", Rule::Lead),
    ("function_declaration", Rule::Define(Function, "fn")),
    ("variable_declaration", Rule::Find(variable)),
    ("struct_declaration", Rule::Find(container)),
    ("union_declaration", Rule::Find(container)),
    ("enum_declaration", Rule::Find(container)),
    ("opaque_declaration", Rule::Find(container)),
    ("test_declaration", Rule::Find(test_block)),
];

/// `const Name = struct {`, and other values outside of functions.
fn variable<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let found = child_of_kind(node, "identifier")?;
    let value = children(node).last()?;
    let head = site.text.get(node.start_byte()..found.start_byte()).unwrap_or_default();
    let is_const = head.split_whitespace().last() == Some("const");
    let (kind, word) = match value.kind() {
        "struct_declaration" | "union_declaration" | "opaque_declaration" => (Struct, "const"),
        "enum_declaration" | "error_set_declaration" => (Enum, "const"),
        _ if site.in_function && !site.in_type => return None,
        // Imports and shorter names for what is defined elsewhere.
        "builtin_function" | "field_expression" if is_const => return None,
        _ if is_const => (Constant, "const"),
        _ => (Variable, "var"),
    };
    values(site, word, vec![name(found, kind)])
}

/// A container, named or not: functions inside are methods.
fn container<'t>(_: &Site<'_>, _: Node<'t>) -> Option<Definition<'t>> {
    Some(Definition { is_type: true, ..Definition::default() })
}

/// `test "what holds" {`.
fn test_block<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let of = children(node).find(|child| child.kind() != "block").map(|of| site.short(of)).unwrap_or_default();
    a_function(format!("test {of}"), Vec::new(), child_of_kind(node, "block"))
}
