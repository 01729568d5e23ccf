//! Scala.

use tree_sitter::Node;

use super::LanguageSpec;
use crate::chunk::SymbolKind::*;
use crate::chunk::find::{Definition, Site, a_type, children, name, values};
use crate::chunk::grammar::LazyGrammar;
use crate::chunk::packed;
use crate::chunk::rules::{Rule, Table};

pub(super) static LANGUAGE: LanguageSpec = LanguageSpec {
    name: "scala",
    title: "Scala",
    extensions: &["scala", "sc", "sbt"],
    file_names: &[],
    interpreters: &["scala", "scala-cli"],
    angles_nest: false,
    grammar: Some(LazyGrammar::new(&packed::SCALA, &[RULES])),
};

const RULES: Table = &[
    ("comment", Rule::Lead),
    ("block_comment", Rule::Lead),
    ("package_clause", Rule::Wrapper),
    ("trait_definition", Rule::Define(Trait, "trait")),
    ("class_definition", Rule::Define(Class, "class")),
    ("enum_definition", Rule::Define(Enum, "enum")),
    ("full_enum_case", Rule::Define(Class, "case")),
    ("type_definition", Rule::Define(Type, "type")),
    ("function_definition", Rule::Define(Function, "def")),
    ("function_declaration", Rule::Define(Function, "def")),
    ("object_definition", Rule::Find(object)),
    ("package_object", Rule::Find(object)),
    ("val_definition", Rule::Find(value)),
    ("var_definition", Rule::Find(value)),
    ("given_definition", Rule::Find(value)),
    ("extension_definition", Rule::Find(extension)),
];

/// `object`, `package object`.
fn object<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let found = node.child_by_field_name("name")?;
    let body = node.child_by_field_name("body");
    let object = a_type(format!("object {}", site.short(found)), vec![name(found, Class)], body)?;
    Some(Definition { is_object: true, ..object })
}

/// `val` and `var` outside of classes; a `given` with a name.
fn value<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    if site.in_function || (site.in_type && !site.in_object) {
        return None;
    }
    let pattern = node.child_by_field_name("pattern").or_else(|| node.child_by_field_name("name"))?;
    let (kind, word) = if node.kind() == "var_definition" { (Variable, "var") } else { (Constant, "val") };
    let names = match pattern.kind() {
        "identifier" => vec![name(pattern, kind)],
        "identifiers" => children(pattern).map(|found| name(found, kind)).collect(),
        _ => Vec::new(),
    };
    values(site, word, names)
}

/// `extension (text: String)`.
fn extension<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let of = node.child_by_field_name("parameters").map(|of| site.short(of)).unwrap_or_default();
    a_type(format!("extension {of}"), Vec::new(), node.child_by_field_name("body"))
}
