//! PHP, with the HTML around it.

use tree_sitter::Node;

use super::LanguageSpec;
use crate::chunk::SymbolKind::*;
use crate::chunk::find::{Definition, Site, child_of_kind, children, name, namespace_with_body, values};
use crate::chunk::grammar::LazyGrammar;
use crate::chunk::packed;
use crate::chunk::rules::{Rule, Table};

pub(super) static LANGUAGE: LanguageSpec = LanguageSpec {
    name: "php",
    title: "PHP",
    extensions: &["php", "phtml", "php5", "inc"],
    file_names: &[],
    interpreters: &["php"],
    angles_nest: false,
    grammar: Some(LazyGrammar::new(&packed::PHP, &[RULES])),
};

const RULES: Table = &[
    ("comment", Rule::Lead),
    ("namespace_definition", Rule::Find(namespace_with_body)),
    ("class_declaration", Rule::Define(Class, "class")),
    ("interface_declaration", Rule::Define(Interface, "interface")),
    ("trait_declaration", Rule::Define(Trait, "trait")),
    ("enum_declaration", Rule::Define(Enum, "enum")),
    ("function_definition", Rule::Define(Function, "function")),
    ("method_declaration", Rule::Define(Method, "method")),
    ("const_declaration", Rule::Find(constants)),
    ("function_call_expression", Rule::Find(call_of_define)),
];

/// `const A = 1, B = 2`.
fn constants<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let elements = children(node).filter(|child| child.kind() == "const_element");
    let names = elements.filter_map(|element| Some(name(child_of_kind(element, "name")?, Constant)));
    values(site, "const", names.collect())
}

/// `define('NAME', …)`.
fn call_of_define<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let function = node.child_by_field_name("function")?;
    if site.in_function || !site.of(function).eq_ignore_ascii_case("define") {
        return None;
    }
    let first = children(node.child_by_field_name("arguments")?).next()?;
    let content =
        children(child_of_kind(first, "string").or_else(|| child_of_kind(first, "encapsed_string"))?).next()?;
    values(site, "const", vec![name(content, Constant)])
}
