//! C. A name lies inside nested declarators, and headers declare again what sources define.
//!
//! The functions also read C++, whose grammar extends that of C: `cpp.rs` uses them.

use tree_sitter::Node;

use super::LanguageSpec;
use crate::chunk::SymbolKind::{self, *};
use crate::chunk::find::{Definition, Name, Site, a_function, a_type, child_of_kind, children, name, part_of, values};
use crate::chunk::grammar::LazyGrammar;
use crate::chunk::one_line;
use crate::chunk::packed;
use crate::chunk::rules::{Rule, Table};

pub(super) static LANGUAGE: LanguageSpec = LanguageSpec {
    name: "c",
    title: "C",
    extensions: &["c", "h"],
    file_names: &[],
    interpreters: &[],
    angles_nest: false,
    grammar: Some(LazyGrammar::new(&packed::C, &[RULES])),
};

pub(super) const RULES: Table = &[
    ("comment", Rule::Lead),
    ("preproc_if", Rule::Wrapper),
    ("preproc_ifdef", Rule::Wrapper),
    ("preproc_else", Rule::Wrapper),
    ("preproc_elif", Rule::Wrapper),
    ("linkage_specification", Rule::Wrapper),
    ("declaration_list", Rule::Wrapper),
    ("function_definition", Rule::Find(function)),
    ("struct_specifier", Rule::Find(type_definition)),
    ("union_specifier", Rule::Find(type_definition)),
    ("enum_specifier", Rule::Find(type_definition)),
    ("type_definition", Rule::Find(typedef)),
    ("declaration", Rule::Find(declaration)),
    ("preproc_def", Rule::Find(macro_definition)),
    ("preproc_function_def", Rule::Find(macro_definition)),
];

/// A function with a body, also `Shape::area`, `~Shape`, `operator==`.
fn function<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let body = node.child_by_field_name("body");
    let declarator = node.child_by_field_name("declarator")?;
    let found = innermost(declarator)?;
    let of = node.child_by_field_name("type");
    if !found.is_function {
        // `class EXPORT Name : Base {`, read as a function because the parser does not know the macro EXPORT.
        let of = of.filter(|of| matches!(of.kind(), "class_specifier" | "struct_specifier"))?;
        let (kind, word) = if of.kind() == "class_specifier" { (Class, "class") } else { (Struct, "struct") };
        return a_type(format!("{word} {}", site.short(found.name)), vec![name(found.name, kind)], body);
    }
    let label = format!("function {}", site.short(found.qualified));
    let is_plain = found.name == found.qualified && found.name.kind() == "identifier";
    let names = match is_plain && site.is_capital(found.name) && of.is_none() && !site.in_type {
        true => macro_function(site, declarator), // `TEST(Suite, Name) {`: the macro is no name
        false => {
            let kind = if found.qualified.kind() == "qualified_identifier" { Method } else { site.function_kind() };
            vec![function_name(site, found.name, kind)]
        }
    };
    a_function(label, names, body)
}

/// `struct`, `union`, `enum` or `class` with a body.
pub(super) fn type_definition<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let body = node.child_by_field_name("body")?;
    let (kind, word) = match node.kind() {
        "class_specifier" => (Class, "class"),
        "enum_specifier" => (Enum, "enum"),
        "union_specifier" => (Struct, "union"),
        _ => (Struct, "struct"),
    };
    let Some(found) = node.child_by_field_name("name") else {
        return Some(Definition { body: Some(body), is_type: true, ..Definition::default() });
    };
    a_type(format!("{word} {}", site.short(found)), vec![name(last_part(found), kind)], Some(body))
}

/// `typedef`, over one or several names.
fn typedef<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let of = node.child_by_field_name("type")?;
    let body = of.child_by_field_name("body");
    let kind = match of.kind() {
        "struct_specifier" | "union_specifier" if body.is_some() => Struct,
        "enum_specifier" if body.is_some() => Enum,
        _ => Type,
    };
    let names: Vec<_> = declarators(node).filter_map(|node| Some(name(innermost(node)?.name, kind))).collect();
    // A struct with a name of its own opens the scope itself.
    let label = match body.is_some() && of.child_by_field_name("name").is_some() {
        true => None,
        false => values(site, "typedef", names.clone())?.label,
    };
    Some(Definition { label, names, body, ..Definition::default() })
}

/// A global, a static member, a pure virtual method; not a prototype and not `extern`.
pub(super) fn declaration<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    if site.in_function {
        return None;
    }
    let words = |kind| children(node).filter(move |child| child.kind() == kind).map(|child| site.of(child));
    let constant = words("type_qualifier").any(|word| word.starts_with("const"));
    let is_static = words("storage_class_specifier").any(|word| word == "static");
    if words("storage_class_specifier").any(|word| word == "extern") && child_of_kind(node, "init_declarator").is_none()
    {
        return None;
    }
    let member = node.kind() == "field_declaration";
    let mut names = Vec::new();
    for declarator in declarators(node) {
        let Some(found) = innermost(declarator) else { continue };
        if member && found.is_function && node.child_by_field_name("default_value").is_some() {
            names.push(function_name(site, found.name, Method)); // pure virtual: it may be defined nowhere else
        } else if !found.is_function && (!member || (is_static && constant)) {
            names.push(name(last_part(found.name), if constant { Constant } else { Variable }));
        }
    }
    values(site, if constant { "const" } else { "var" }, names)
}

/// `#define` with something after the name; include guards are none.
fn macro_definition<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    if node.kind() == "preproc_def" {
        node.child_by_field_name("value")?;
    }
    values(site, "macro", vec![name(node.child_by_field_name("name")?, Macro)])
}

/// The name of a function. An operator is spelled as the standard does, whatever the source puts between its tokens:
/// `operator==`, `operator new[]`, `operator""_km`, `operator std::string const&`.
fn function_name(site: &Site<'_>, node: Node<'_>, kind: SymbolKind) -> Name {
    let end = match node.kind() {
        "operator_cast" => parameters_of(node).map_or(node.end_byte(), |parameters| parameters.start_byte()),
        "operator_name" => node.end_byte(),
        _ => return name(node, kind),
    };
    let range = node.start_byte()..end;
    let written = one_line(site.text.get(range.clone()).unwrap_or_default(), 400);
    let Some(of) = written.strip_prefix("operator") else { return name(node, kind) };
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut spelling = String::from("operator ");
    for word in of.split(' ').filter(|word| !word.is_empty()) {
        let (before, after) = (spelling.trim_end().chars().last(), word.chars().next());
        let apart = before.is_some_and(|c| is_word(c) || c == ',') && after.is_some_and(is_word);
        spelling.truncate(spelling.trim_end().len());
        spelling.extend(apart.then_some(' '));
        spelling.push_str(word);
    }
    part_of(node, range, kind).spelled(spelling)
}

/// The parameters of a conversion operator, behind what is left of its type: `operator T*()`.
fn parameters_of(cast: Node<'_>) -> Option<Node<'_>> {
    let mut declarator = cast.child_by_field_name("declarator")?;
    while declarator.kind() != "abstract_function_declarator" {
        let inner = declarator.child_by_field_name("declarator");
        declarator = inner.or_else(|| children(declarator).find(|child| child.kind().ends_with("declarator")))?;
    }
    declarator.child_by_field_name("parameters")
}

/// What a chain of declarators declares.
struct Declared<'t> {
    /// The bare name.
    name: Node<'t>,
    /// The name with its owners before it: `Shape::area`.
    qualified: Node<'t>,
    /// A function, not a variable that points at one.
    is_function: bool,
}

fn innermost(mut node: Node<'_>) -> Option<Declared<'_>> {
    let mut is_function = false;
    let mut qualified = None;
    for _ in 0..32 {
        match node.kind() {
            "function_declarator" => is_function = true,
            // `(*f)(int)` is a pointer; `*f(int)` and `(*f(int))(int)` are functions.
            "parenthesized_declarator" => is_function = false,
            "operator_cast" => is_function = true,
            _ => {}
        }
        let next = match node.kind() {
            "qualified_identifier" => {
                qualified = qualified.or(Some(node));
                node.child_by_field_name("name")
            }
            "template_function" | "template_method" | "template_type" => node.child_by_field_name("name"),
            kind if kind.ends_with("declarator") => node.child_by_field_name("declarator").or_else(|| {
                children(node)
                    .find(|child| child.kind().ends_with("declarator") || child.kind().ends_with("identifier"))
            }),
            kind if kind.ends_with("identifier")
                || matches!(kind, "destructor_name" | "operator_name" | "operator_cast") =>
            {
                return Some(Declared { name: node, qualified: qualified.unwrap_or(node), is_function });
            }
            _ => None,
        };
        node = next?;
    }
    None
}

fn declarators<'t>(node: Node<'t>) -> impl Iterator<Item = Node<'t>> {
    let mut cursor = node.walk();
    let found: Vec<_> = node.children_by_field_name("declarator", &mut cursor).collect();
    found.into_iter()
}

/// `Name` of `ns::Name<T>`.
fn last_part(mut node: Node<'_>) -> Node<'_> {
    while matches!(node.kind(), "qualified_identifier" | "template_type") {
        let Some(inner) = node.child_by_field_name("name") else { break };
        node = inner;
    }
    node
}

/// The last argument of a macro that makes a function.
fn macro_function(site: &Site<'_>, declarator: Node<'_>) -> Vec<Name> {
    let parameters = declarator.child_by_field_name("parameters");
    let last = parameters.and_then(|parameters| children(parameters).last());
    let word = last.filter(|last| site.of(*last).chars().all(|c| c.is_alphanumeric() || c == '_'));
    word.map(|word| name(word, Function)).into_iter().collect()
}
