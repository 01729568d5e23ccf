//! C#.

use tree_sitter::Node;

use super::LanguageSpec;
use crate::chunk::SymbolKind::*;
use crate::chunk::find::{
    Definition, Name, Site, a_function, child_of_kind, children, keyword, name, namespace_with_body, part_of, values,
};
use crate::chunk::grammar::LazyGrammar;
use crate::chunk::one_line;
use crate::chunk::packed;
use crate::chunk::rules::{Rule, Table};

pub(super) static LANGUAGE: LanguageSpec = LanguageSpec {
    name: "csharp",
    title: "C#",
    extensions: &["cs", "csx"],
    file_names: &[],
    interpreters: &[],
    angles_nest: true,
    grammar: Some(LazyGrammar::new(&packed::C_SHARP, &[RULES])),
};

const RULES: Table = &[
    ("comment", Rule::Lead),
    ("preproc_if", Rule::Wrapper),
    ("namespace_declaration", Rule::Find(namespace_with_body)),
    ("class_declaration", Rule::Define(Class, "class")),
    ("record_declaration", Rule::Define(Class, "record")),
    ("struct_declaration", Rule::Define(Struct, "struct")),
    ("interface_declaration", Rule::Define(Interface, "interface")),
    ("enum_declaration", Rule::Define(Enum, "enum")),
    ("delegate_declaration", Rule::Define(Type, "delegate")),
    ("method_declaration", Rule::Define(Method, "method")),
    ("local_function_statement", Rule::Define(Function, "function")),
    ("constructor_declaration", Rule::Find(member)),
    ("destructor_declaration", Rule::Find(member)),
    ("property_declaration", Rule::Find(member)),
    ("event_declaration", Rule::Find(member)),
    ("indexer_declaration", Rule::Find(member)),
    ("operator_declaration", Rule::Find(member)),
    ("conversion_operator_declaration", Rule::Find(member)),
    ("field_declaration", Rule::Find(field)),
    ("event_field_declaration", Rule::Find(field)),
];

/// `const` and `static readonly` fields, and events.
fn field<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let has = |word: &str| children(node).any(|child| child.kind() == "modifier" && site.of(child) == word);
    let (kind, word) = match node.kind() {
        "event_field_declaration" => (Variable, "event"),
        _ if has("const") || (has("static") && has("readonly")) => (Constant, "const"),
        _ => return None,
    };
    let declared = child_of_kind(node, "variable_declaration")?;
    let declared = children(declared).filter(|child| child.kind() == "variable_declarator");
    let names = declared.filter_map(|declared| Some(name(declared.child_by_field_name("name")?, kind)));
    values(site, word, names.collect())
}

/// Properties, constructors and operators: code that belongs to a type. Its indexer is `this[]`, as the documentation
/// of .NET has it, its finalizer `~Name`.
fn member<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let found = node.child_by_field_name("name");
    let body = ["body", "accessors", "value"].into_iter().find_map(|field| node.child_by_field_name(field));
    let (kind, word) = match node.kind() {
        "property_declaration" => (Variable, "property"),
        "event_declaration" => (Variable, "event"),
        "constructor_declaration" => (Method, "constructor"),
        "destructor_declaration" => {
            let tilde = keyword(node, "~")?;
            let names = vec![part_of(tilde, tilde.start_byte()..found?.end_byte(), Method)];
            return a_function("destructor".into(), names, body);
        }
        "indexer_declaration" => {
            let names = keyword(node, "this").map(|this| name(this, Method).spelled("this[]".into()));
            return a_function("indexer".into(), names.into_iter().collect(), body);
        }
        _ => return a_function("operator".into(), operator(site, node).into_iter().collect(), body),
    };
    a_function(format!("{word} {}", site.short(found?)), vec![name(found?, kind)], body)
}

/// `operator +`, `operator true`, `operator List<string>`: from the word to the parameters, with one space.
fn operator(site: &Site<'_>, node: Node<'_>) -> Option<Name> {
    let word = keyword(node, "operator")?;
    let end = node.child_by_field_name("parameters")?.start_byte();
    let of = one_line(site.text.get(word.end_byte()..end)?, 200);
    Some(part_of(word, word.start_byte()..end, Method).spelled(format!("operator {of}")))
}
