//! Dart.

use tree_sitter::Node;

use super::LanguageSpec;
use crate::chunk::SymbolKind::*;
use crate::chunk::find::{Definition, Site, a_function, a_type, child_of_kind, children, name, values};
use crate::chunk::grammar::LazyGrammar;
use crate::chunk::packed;
use crate::chunk::rules::{Rule, Table};

pub(super) static LANGUAGE: LanguageSpec = LanguageSpec {
    name: "dart",
    title: "Dart",
    extensions: &["dart"],
    file_names: &[],
    interpreters: &["dart"],
    angles_nest: false,
    grammar: Some(LazyGrammar::new(&packed::DART, &[RULES])),
};

const RULES: Table = &[
    ("comment", Rule::Lead),
    ("documentation_comment", Rule::Lead),
    ("member_declaration", Rule::HeadedWrapper),
    ("class_declaration", Rule::Find(class)),
    ("mixin_declaration", Rule::Define(Class, "mixin")),
    ("enum_declaration", Rule::Define(Enum, "enum")),
    ("extension_declaration", Rule::Find(extension)),
    ("extension_type_declaration", Rule::Find(extension_type)),
    ("type_alias", Rule::Find(type_alias)),
    ("function_declaration", Rule::Find(function)),
    ("getter_declaration", Rule::Find(function)),
    ("setter_declaration", Rule::Find(function)),
    ("external_function_declaration", Rule::Find(function)),
    ("external_getter_declaration", Rule::Find(function)),
    ("external_setter_declaration", Rule::Find(function)),
    ("local_function_declaration", Rule::Find(function)),
    ("method_declaration", Rule::Find(function)),
    ("declaration", Rule::Find(member)),
    ("top_level_variable_declaration", Rule::Find(variables)),
];

/// `class Name {`, and `class Name = Other with Mixin;`.
fn class<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let application = || child_of_kind(child_of_kind(node, "mixin_application_class")?, "identifier");
    let found = node.child_by_field_name("name").or_else(application)?;
    a_type(format!("class {}", site.short(found)), vec![name(found, Class)], node.child_by_field_name("body"))
}

/// `extension Name on Type {`; what it adds to is defined elsewhere.
fn extension<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let found = node.child_by_field_name("name");
    let of = node.child_by_field_name("class").map(|of| site.short(of)).unwrap_or_default();
    let label = found.map_or(format!("extension on {of}"), |found| format!("extension {}", site.short(found)));
    let names = found.map(|found| name(found, Class)).into_iter().collect();
    a_type(label, names, node.child_by_field_name("body"))
}

/// `extension type Name(int id) {`.
fn extension_type<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let found = node.child_by_field_name("name")?;
    let found = child_of_kind(found, "identifier").unwrap_or(found); // of `Name<T>`
    let label = format!("extension type {}", site.short(found));
    a_type(label, vec![name(found, Type)], node.child_by_field_name("body"))
}

/// `typedef Name = …`.
fn type_alias<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    values(site, "typedef", vec![name(child_of_kind(node, "type_identifier")?, Type)])
}

/// A function, getter, setter, operator or constructor with a body.
fn function<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let found = signature(node)?;
    let body = node.child_by_field_name("body").or_else(|| child_of_kind(node, "function_body"));
    signed(site, found, body)
}

/// A member without a body: an abstract method, a constructor, or fields, of which constants count.
fn member<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    if let Some(found) = signature(node) {
        return signed(site, found, None);
    }
    let head = site.of(node);
    let is_constant = head.split_whitespace().take(2).any(|word| word == "const")
        || (head.starts_with("static") && head.split_whitespace().take(3).any(|word| word == "final"));
    if is_constant { variables(site, node) } else { None }
}

/// The signature inside a declaration: `int get size`, `operator ==`, `Client.local()`.
fn signature(node: Node<'_>) -> Option<Node<'_>> {
    let outer = node.child_by_field_name("signature").unwrap_or(node);
    match outer.kind() {
        "method_signature" | "declaration" | "local_function_declaration" => {
            children(outer).find(|child| child.kind().ends_with("_signature"))
        }
        _ => Some(outer),
    }
}

/// A function by its signature. Of `Client.local` the name is `local`.
fn signed<'t>(site: &Site<'_>, found: Node<'t>, body: Option<Node<'t>>) -> Option<Definition<'t>> {
    let mut cursor = found.walk();
    let parts: Vec<_> = found.children_by_field_name("name", &mut cursor).collect();
    let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
        let operator = found.child_by_field_name("operator");
        let label = format!("operator {}", operator.map(|operator| site.short(operator)).unwrap_or_default());
        let label = label.trim_end().to_owned();
        let names = operator.map(|operator| name(operator, Method).spelled(label.clone()));
        return a_function(label, names.into_iter().collect(), body);
    };
    let whole = site.text.get(first.start_byte()..last.end_byte()).unwrap_or_default();
    let word = match found.kind() {
        "getter_signature" => "get ",
        "setter_signature" => "set ",
        "function_signature" => "function ",
        _ => "constructor ",
    };
    a_function(format!("{word}{whole}"), vec![name(*last, site.function_kind())], body)
}

/// Global variables, and the constants of a type.
fn variables<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let lists = ["static_final_declaration_list", "initialized_identifier_list", "identifier_list"];
    let list = lists.into_iter().find_map(|kind| child_of_kind(node, kind))?;
    let (kind, word) =
        if list.kind() == "static_final_declaration_list" { (Constant, "const") } else { (Variable, "var") };
    let names = children(list).map(|each| name(each.child_by_field_name("name").unwrap_or(each), kind));
    values(site, word, names.collect())
}
