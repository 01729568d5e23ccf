//! Kotlin.

use tree_sitter::Node;

use super::LanguageSpec;
use crate::chunk::SymbolKind::*;
use crate::chunk::find::{Definition, Site, a_function, a_type, child_of_kind, children, name, values};
use crate::chunk::grammar::LazyGrammar;
use crate::chunk::packed;
use crate::chunk::rules::{Rule, Table};

pub(super) static LANGUAGE: LanguageSpec = LanguageSpec {
    name: "kotlin",
    title: "Kotlin",
    extensions: &["kt", "kts"],
    file_names: &[],
    interpreters: &["kotlin"],
    angles_nest: false,
    grammar: Some(LazyGrammar::new(&packed::KOTLIN, &[RULES])),
};

const RULES: Table = &[
    ("line_comment", Rule::Lead),
    ("block_comment", Rule::Lead),
    ("class_declaration", Rule::Find(class)),
    ("object_declaration", Rule::Find(object)),
    ("companion_object", Rule::Find(object)),
    ("function_declaration", Rule::Find(function)),
    ("secondary_constructor", Rule::Find(function)),
    ("anonymous_initializer", Rule::Find(function)),
    ("property_declaration", Rule::Find(property)),
    ("type_alias", Rule::Find(type_alias)),
];

/// `class`, `interface`, `enum class`, …: one kind of node for all.
fn class<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let found = node.child_by_field_name("name")?;
    let modifiers = child_of_kind(node, "modifiers").map(|modifiers| site.of(modifiers)).unwrap_or_default();
    let has = |word: &str| modifiers.split_whitespace().any(|modifier| modifier == word);
    let between = site.text.get(node.start_byte()..found.start_byte()).unwrap_or_default();
    let (kind, word) = match between.split_whitespace().last() {
        Some("interface") => (Interface, "interface"),
        _ if has("enum") => (Enum, "enum class"),
        _ => (Class, "class"),
    };
    let body = child_of_kind(node, "class_body").or_else(|| child_of_kind(node, "enum_class_body"));
    a_type(format!("{word} {}", site.short(found)), vec![name(found, kind)], body)
}

/// `object`, also as a companion.
fn object<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let found = node.child_by_field_name("name");
    let word = if node.kind() == "companion_object" { "companion object" } else { "object" };
    let label = found.map_or(word.into(), |found| format!("{word} {}", site.short(found)));
    let names = found.map(|found| name(found, Class)).into_iter().collect();
    Some(Definition { is_object: true, ..a_type(label, names, child_of_kind(node, "class_body"))? })
}

/// A function, a constructor or an initializer; an extension is labelled with what it extends.
fn function<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let body = child_of_kind(node, "function_body").or_else(|| child_of_kind(node, "block"));
    match node.kind() {
        "secondary_constructor" => return a_function("constructor".into(), Vec::new(), body),
        "anonymous_initializer" => return a_function("init".into(), Vec::new(), body),
        _ => {}
    }
    let found = node.child_by_field_name("name")?;
    let receiver = receiver(node, found).map(|of| format!("{}.", site.short(of))).unwrap_or_default();
    let kind = site.function_kind();
    a_function(format!("fun {receiver}{}", site.short(found)), vec![name(found, kind)], body)
}

/// Global and `const` values, and properties that are computed.
fn property<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    if site.in_function {
        return None;
    }
    let declared = child_of_kind(node, "variable_declaration")?;
    let found = child_of_kind(declared, "identifier")?;
    let modifiers = child_of_kind(node, "modifiers").map(|modifiers| site.of(modifiers)).unwrap_or_default();
    let constant = modifiers.split_whitespace().any(|modifier| modifier == "const");
    let computed = children(node).find(|child| matches!(child.kind(), "getter" | "property_delegate"));
    if site.in_type && !site.in_object && !constant && computed.is_none() {
        return None;
    }
    let receiver = receiver(node, declared).map(|of| format!("{}.", site.short(of))).unwrap_or_default();
    let names = vec![name(found, if constant { Constant } else { Variable })];
    let label = Some(format!("val {receiver}{}", site.short(found)));
    Some(Definition { label, names, body: computed, is_function: computed.is_some(), ..Definition::default() })
}

/// The type before the name of an extension.
fn receiver<'t>(node: Node<'t>, name: Node<'t>) -> Option<Node<'t>> {
    let before = children(node).take_while(|child| child.start_byte() < name.start_byte());
    before.filter(|child| matches!(child.kind(), "user_type" | "nullable_type" | "parenthesized_type")).last()
}

/// `typealias`.
fn type_alias<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    values(site, "typealias", vec![name(node.child_by_field_name("type")?, Type)])
}
