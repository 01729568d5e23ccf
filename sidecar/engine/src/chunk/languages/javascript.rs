//! JavaScript, with or without JSX. Many functions are values that are bound to a name.
//!
//! The rules and functions also read TypeScript, whose grammar extends that of JavaScript: `typescript.rs` uses them.

use tree_sitter::Node;

use super::LanguageSpec;
use crate::chunk::SymbolKind::*;
use crate::chunk::find::{Definition, Site, a_function, name, named};
use crate::chunk::grammar::LazyGrammar;
use crate::chunk::packed;
use crate::chunk::rules::{Rule, Table};

pub(super) static LANGUAGE: LanguageSpec = LanguageSpec {
    name: "javascript",
    title: "JavaScript",
    extensions: &["js", "mjs", "cjs", "jsx"],
    file_names: &[],
    interpreters: &["node", "nodejs", "bun"],
    angles_nest: false,
    grammar: Some(LazyGrammar::new(&packed::JAVASCRIPT, &[RULES])),
};

pub(super) const RULES: Table = &[
    ("comment", Rule::Lead),
    ("decorator", Rule::Lead),
    ("export_statement", Rule::Wrapper),
    ("function_declaration", Rule::Define(Function, "function")),
    ("generator_function_declaration", Rule::Define(Function, "function")),
    ("class_declaration", Rule::Define(Class, "class")),
    ("class", Rule::Define(Class, "class")),
    ("method_definition", Rule::Define(Method, "method")),
    ("lexical_declaration", Rule::Names),
    ("field_definition", Rule::Find(field)),
    ("pair", Rule::Find(pair)),
    ("assignment_expression", Rule::Find(assignment)),
    ("variable_declarator", Rule::Find(variable)),
];

/// A field of a class that holds a function, or is private.
fn field<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    bound(site, node, "property", "value").or_else(|| private(node, "property"))
}

/// `#count = 0`. A private name is nothing that is not declared in a class, so that its declaration is looked for; a
/// public field is often only an assignment.
pub(super) fn private<'t>(node: Node<'t>, name_field: &str) -> Option<Definition<'t>> {
    let found = node.child_by_field_name(name_field).filter(|found| found.kind() == "private_property_identifier")?;
    Some(Definition { names: vec![name(found, Variable)], only_names: true, ..Definition::default() })
}

/// A property of an object that holds a function.
fn pair<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    bound(site, node, "key", "value")
}

/// `Client.prototype.close = function () {}`, `exports.name = …`, `exports['a name'] = …`.
fn assignment<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    bound(site, node, "left", "right")
}

/// A name after `const`, `let` or `var`: a function when it holds one, else a value, counted outside of functions only.
fn variable<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    if let Some(function) = bound(site, node, "name", "value") {
        return Some(function);
    }
    if site.in_function {
        return None;
    }
    let found = node.child_by_field_name("name")?;
    let (kind, word) = if site.constant { (Constant, "const") } else { (Variable, "var") };
    let names = vec![named(found, kind)?];
    Some(Definition { label: Some(format!("{word} {}", site.short(found))), names, ..Definition::default() })
}

/// The definition when the field `name_field` is bound to a function in `value_field`, or is exported.
pub(super) fn bound<'t>(
    site: &Site<'_>,
    node: Node<'t>,
    name_field: &str,
    value_field: &str,
) -> Option<Definition<'t>> {
    let mut found = node.child_by_field_name(name_field)?;
    let value = node.child_by_field_name(value_field);
    let member = match found.kind() {
        "member_expression" => Some("property"),
        "subscript_expression" => Some("index"),
        _ => None,
    };
    let owner = member.and(found.child_by_field_name("object"));
    if let Some(member) = member {
        found = found.child_by_field_name(member)?;
        if member == "index" && !matches!(found.kind(), "string" | "member_expression") {
            return None; // `table[key]` is another name each time
        }
    }
    let is_function =
        |value: &Node<'_>| matches!(value.kind(), "arrow_function" | "function_expression" | "generator_function");
    if let Some(function) = value.filter(is_function) {
        let (kind, word) =
            if site.in_type || node.kind() == "pair" { (Method, "method") } else { (Function, "function") };
        let first = match found.kind() {
            "member_expression" => name(found, kind).spelled(format!("[{}]", site.short(found))), // `[Symbol.iterator]`
            _ => named(found, kind)?,
        };
        let mut names = vec![first];
        // `module.exports = function connect() {`: the second name is the better one.
        let own = function.child_by_field_name("name").filter(|own| owner.is_some() && site.of(*own) != site.of(found));
        names.extend(own.and_then(|own| named(own, kind)));
        let label = format!("{word} {}", site.short(found).trim_matches(['"', '\'']));
        return a_function(label, names, function.child_by_field_name("body"));
    }
    let exported = owner.is_some_and(|owner| matches!(site.of(owner), "exports" | "module.exports"));
    if !exported || site.in_function {
        return None;
    }
    let kind = if value?.kind() == "class" { Class } else { Variable };
    Some(Definition { names: vec![named(found, kind)?], only_names: true, ..Definition::default() })
}
