//! Haskell.

use tree_sitter::Node;

use super::LanguageSpec;
use crate::chunk::SymbolKind::*;
use crate::chunk::find::{Definition, Site, a_function, a_type, child_of_kind, children, dotted, name};
use crate::chunk::grammar::LazyGrammar;
use crate::chunk::packed;
use crate::chunk::rules::{Rule, Table};

pub(super) static LANGUAGE: LanguageSpec = LanguageSpec {
    name: "haskell",
    title: "Haskell",
    extensions: &["hs"],
    file_names: &[],
    interpreters: &["runghc", "runhaskell", "stack"],
    angles_nest: false,
    grammar: Some(LazyGrammar::new(&packed::HASKELL, &[RULES])),
};

const RULES: Table = &[
    ("comment", Rule::Lead),
    ("haddock", Rule::Lead),
    ("pragma", Rule::Lead),
    ("declarations", Rule::Wrapper),
    ("header", Rule::Find(module)),
    ("signature", Rule::Note(signature)),
    ("function", Rule::Find(function)),
    ("bind", Rule::Find(function)),
    ("data_type", Rule::Find(type_definition)),
    ("newtype", Rule::Find(type_definition)),
    ("type_synonym", Rule::Find(type_definition)),
    ("type_family", Rule::Find(type_definition)),
    ("pattern_synonym", Rule::Find(pattern_synonym)),
    ("data_family", Rule::Find(type_definition)),
    ("class", Rule::Find(type_definition)),
    ("instance", Rule::Find(instance)),
];

/// An equation of a function, or a binding.
fn function<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let found = node.child_by_field_name("name").or_else(|| {
        let operator = child_of_kind(node, "infix")?.child_by_field_name("operator")?;
        Some(bare_operator(operator))
    })?;
    if site.in_function || !is_word(found) {
        return None;
    }
    let found = bare_operator(found);
    let names = vec![name(found, site.function_kind())];
    let definition = a_function(site.short(found), names, node.child_by_field_name("match"))?;
    Some(Definition { group: vec![found.byte_range()], ..definition })
}

/// `name :: type`, which stays with the equations below.
fn signature<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    if site.in_function {
        return None;
    }
    let kind = site.function_kind();
    let found: Vec<_> = match node.child_by_field_name("names") {
        Some(list) => children(list).collect(),
        None => node.child_by_field_name("name").into_iter().collect(),
    };
    let names: Vec<_> = found.iter().map(|found| name(bare_operator(*found), kind)).collect();
    let group = names.iter().map(|name| name.range.clone()).collect();
    Some(Definition { names, group, ..Definition::default() })
}

/// `(|>)` without the parentheses, `` `div` `` without the quotes.
fn bare_operator(node: Node<'_>) -> Node<'_> {
    if matches!(node.kind(), "prefix_id" | "infix_id") { children(node).next().unwrap_or(node) } else { node }
}

fn is_word(node: Node<'_>) -> bool {
    matches!(node.kind(), "variable" | "prefix_id" | "operator" | "infix_id" | "constructor" | "name")
}

/// `data`, `newtype`, `type`, `class` and families.
fn type_definition<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let found = node.child_by_field_name("name").map(bare_operator).or_else(|| infix_operator(node))?;
    let (kind, word) = match node.kind() {
        "class" => (Class, "class"),
        "newtype" => (Type, "newtype"),
        "data_type" | "data_family" => (Type, "data"),
        _ => (Type, "type"),
    };
    let body = node.child_by_field_name("declarations");
    a_type(format!("{word} {}", site.short(found)), vec![name(found, kind)], body)
}

/// The operator in `data a :+: b`, `newtype (f :. g) a`.
fn infix_operator(node: Node<'_>) -> Option<Node<'_>> {
    let infix = child_of_kind(node, "infix").or_else(|| child_of_kind(child_of_kind(node, "parens")?, "infix"))?;
    infix.child_by_field_name("operator").map(bare_operator)
}

/// `pattern Name x = …`, whose lines stay where they are.
fn pattern_synonym<'t>(_: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let synonym = child_of_kind(node, "equation")?.child_by_field_name("synonym")?;
    let mut found = synonym;
    while let Some(function) = found.child_by_field_name("function").filter(|_| found.kind() == "apply") {
        found = function;
    }
    let names = if found.kind() == "constructor" { vec![name(found, Function)] } else { Vec::new() };
    Some(Definition { names, only_names: true, ..Definition::default() })
}

/// `instance Class Type where`.
fn instance<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let class = site.short(node.child_by_field_name("name")?);
    let of = node.child_by_field_name("patterns").map(|of| site.short(of)).unwrap_or_default();
    a_type(format!("instance {class} {of}"), Vec::new(), node.child_by_field_name("declarations"))
}

/// `module Data.Tree where`.
fn module<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let names = dotted(site, node.child_by_field_name("module")?, Module);
    Some(Definition { names, only_names: true, ..Definition::default() })
}
