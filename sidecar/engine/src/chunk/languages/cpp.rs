//! C++; `chunk/detect.rs` says which headers are.

use tree_sitter::Node;

use super::{LanguageSpec, c};
use crate::chunk::SymbolKind::*;
use crate::chunk::find::{Definition, Site, children, name};
use crate::chunk::grammar::LazyGrammar;
use crate::chunk::packed;
use crate::chunk::rules::{Rule, Table};

pub(super) static LANGUAGE: LanguageSpec = LanguageSpec {
    name: "cpp",
    title: "C++",
    extensions: &[
        "cc", "cpp", "cxx", "c++", "hh", "hpp", "hxx", "h++", "inl", "ipp", "tpp", "ixx", "cppm", "cu", "cuh", "ino",
    ],
    file_names: &[],
    interpreters: &[],
    angles_nest: false,
    grammar: Some(LazyGrammar::new(&packed::CPP, &[c::RULES, RULES])),
};

/// In addition to the rules of C.
const RULES: Table = &[
    ("access_specifier", Rule::Lead),
    ("template_declaration", Rule::HeadedWrapper),
    ("class_specifier", Rule::Find(c::type_definition)),
    ("field_declaration", Rule::Find(c::declaration)),
    ("namespace_definition", Rule::Find(namespace)),
    ("alias_declaration", Rule::Define(Type, "using")),
    ("concept_definition", Rule::Define(Type, "concept")),
];

/// `namespace a::b {`, with or without a name.
fn namespace<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let body = node.child_by_field_name("body");
    let found = node.child_by_field_name("name");
    let label = found.map_or("namespace".into(), |found| format!("namespace {}", site.short(found)));
    let last = found.map(|found| if found.kind() == "nested_namespace_specifier" { last_named(found) } else { found });
    let names = last.map(|last| name(last, Module)).into_iter().collect();
    Some(Definition { label: Some(label), names, body, ..Definition::default() })
}

fn last_named(node: Node<'_>) -> Node<'_> {
    children(node).last().map_or(node, |last| if last.kind() == node.kind() { last_named(last) } else { last })
}
