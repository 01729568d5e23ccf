//! Haskell and Zig.

use super::*;

/// An equation of a function, or a binding.
pub fn haskell_function<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
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
pub fn haskell_signature<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    if site.in_function {
        return None;
    }
    let kind = site.function_kind();
    let found: Vec<_> = match node.child_by_field_name("names") {
        Some(list) => children(list).collect(),
        None => node.child_by_field_name("name").into_iter().collect(),
    };
    let names: Vec<_> = found.iter().map(|found| name(bare_operator(*found), kind)).collect();
    let group = names.iter().map(|(range, ..)| range.clone()).collect();
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
pub fn haskell_type<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let found = node.child_by_field_name("name").map(bare_operator)?;
    let (kind, word) = match node.kind() {
        "class" => (Class, "class"),
        "newtype" => (Type, "newtype"),
        "data_type" | "data_family" => (Type, "data"),
        _ => (Type, "type"),
    };
    let body = node.child_by_field_name("declarations");
    a_type(format!("{word} {}", site.short(found)), vec![name(found, kind)], body)
}

/// `instance Class Type where`.
pub fn haskell_instance<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let class = site.short(node.child_by_field_name("name")?);
    let of = node.child_by_field_name("patterns").map(|of| site.short(of)).unwrap_or_default();
    a_type(format!("instance {class} {of}"), Vec::new(), node.child_by_field_name("declarations"))
}

/// `module Data.Tree where`.
pub fn haskell_module<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let names = dotted(site, node.child_by_field_name("module")?, Module);
    Some(Definition { names, only_names: true, ..Definition::default() })
}

/// `const Name = struct {`, and other values outside of functions.
pub fn zig_variable<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let found = child_of_kind(node, "identifier")?;
    let value = children(node).last()?;
    let head = site.text.get(node.start_byte()..found.start_byte()).unwrap_or_default();
    let is_const = head.split_whitespace().last() == Some("const");
    let (kind, word) = match value.kind() {
        "struct_declaration" | "union_declaration" | "opaque_declaration" => (Struct, "const"),
        "enum_declaration" | "error_set_declaration" => (Enum, "const"),
        _ if site.in_function && !site.in_type => return None,
        // Imports and shorter names for what is defined elsewhere.
        "builtin_function" | "field_expression" if is_const => return None,
        _ if is_const => (Constant, "const"),
        _ => (Variable, "var"),
    };
    values(site, word, vec![name(found, kind)])
}

/// A container, named or not: functions inside are methods.
pub fn zig_container<'t>(_: &Site<'_>, _: Node<'t>) -> Option<Definition<'t>> {
    Some(Definition { is_type: true, ..Definition::default() })
}

/// `test "what holds" {`.
pub fn zig_test<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let of = children(node).find(|child| child.kind() != "block").map(|of| site.short(of)).unwrap_or_default();
    a_function(format!("test {of}"), Vec::new(), child_of_kind(node, "block"))
}
