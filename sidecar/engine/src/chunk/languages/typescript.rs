//! TypeScript, with and without JSX: one set of rules over two grammars.

use tree_sitter::Node;

use super::LanguageSpec;
use super::javascript;
use crate::chunk::SymbolKind::*;
use crate::chunk::find::{Definition, Site};
use crate::chunk::grammar::LazyGrammar;
use crate::chunk::packed;
use crate::chunk::rules::{Rule, Table};

pub(super) static LANGUAGE: LanguageSpec = LanguageSpec {
    name: "typescript",
    title: "TypeScript",
    extensions: &["ts", "mts", "cts"],
    file_names: &[],
    interpreters: &["deno", "ts-node", "tsx"],
    angles_nest: false,
    grammar: Some(LazyGrammar::new(&packed::TYPESCRIPT, &[javascript::RULES, RULES])),
};

pub(super) static TSX: LanguageSpec = LanguageSpec {
    name: "tsx",
    title: "TypeScript",
    extensions: &["tsx"],
    file_names: &[],
    interpreters: &[],
    angles_nest: false,
    grammar: Some(LazyGrammar::new(&packed::TSX, &[javascript::RULES, RULES])),
};

/// In addition to the rules of JavaScript.
const RULES: Table = &[
    ("ambient_declaration", Rule::Wrapper),
    ("abstract_class_declaration", Rule::Define(Class, "class")),
    ("interface_declaration", Rule::Define(Interface, "interface")),
    ("enum_declaration", Rule::Define(Enum, "enum")),
    ("type_alias_declaration", Rule::Define(Type, "type")),
    ("internal_module", Rule::Define(Module, "namespace")),
    ("module", Rule::Define(Module, "module")),
    ("function_signature", Rule::Define(Function, "function")),
    ("method_signature", Rule::Define(Method, "method")),
    ("abstract_method_signature", Rule::Define(Method, "method")),
    ("public_field_definition", Rule::Find(public_field)),
];

/// A field of a class that holds a function, or is private.
fn public_field<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    javascript::bound(site, node, "name", "value").or_else(|| javascript::private(node, "name"))
}
