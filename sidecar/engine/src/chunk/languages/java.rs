//! Java.

use tree_sitter::Node;

use super::LanguageSpec;
use crate::chunk::SymbolKind::*;
use crate::chunk::find::{Definition, Site, child_of_kind, children, name, values};
use crate::chunk::grammar::LazyGrammar;
use crate::chunk::packed;
use crate::chunk::rules::{Rule, Table};

pub(super) static LANGUAGE: LanguageSpec = LanguageSpec {
    name: "java",
    title: "Java",
    extensions: &["java"],
    file_names: &[],
    interpreters: &[],
    angles_nest: true,
    grammar: Some(LazyGrammar::new(&packed::JAVA, &[RULES])),
};

const RULES: Table = &[
    ("line_comment", Rule::Lead),
    ("block_comment", Rule::Lead),
    ("class_declaration", Rule::Define(Class, "class")),
    ("record_declaration", Rule::Define(Class, "record")),
    ("interface_declaration", Rule::Define(Interface, "interface")),
    ("annotation_type_declaration", Rule::Define(Interface, "@interface")),
    ("enum_declaration", Rule::Define(Enum, "enum")),
    ("module_declaration", Rule::Define(Module, "module")),
    ("method_declaration", Rule::Define(Method, "method")),
    ("annotation_type_element_declaration", Rule::Define(Method, "method")),
    ("constructor_declaration", Rule::Define(Method, "constructor")),
    ("compact_constructor_declaration", Rule::Define(Method, "constructor")),
    ("constant_declaration", Rule::Find(field)),
    ("field_declaration", Rule::Find(field)),
];

/// `static final` fields.
fn field<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let modifiers = child_of_kind(node, "modifiers").map(|modifiers| site.of(modifiers)).unwrap_or_default();
    let has = |word: &str| modifiers.split_whitespace().any(|modifier| modifier == word);
    let constant = node.kind() == "constant_declaration" || (has("static") && has("final"));
    let declared = children(node).filter(|child| child.kind() == "variable_declarator");
    let names = declared.filter_map(|declared| Some(name(declared.child_by_field_name("name")?, Constant)));
    if constant { values(site, "const", names.collect()) } else { None }
}
