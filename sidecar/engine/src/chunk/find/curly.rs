//! Java, C#, PHP, Kotlin, Swift and Scala.

use super::*;

/// `static final` fields.
pub fn java_field<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let modifiers = child_of_kind(node, "modifiers").map(|modifiers| site.of(modifiers)).unwrap_or_default();
    let has = |word: &str| modifiers.split_whitespace().any(|modifier| modifier == word);
    let constant = node.kind() == "constant_declaration" || (has("static") && has("final"));
    let declared = children(node).filter(|child| child.kind() == "variable_declarator");
    let names = declared.filter_map(|declared| Some(name(declared.child_by_field_name("name")?, Constant)));
    if constant { values(site, "const", names.collect()) } else { None }
}

/// `const` and `static readonly` fields, and events.
pub fn csharp_field<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
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

/// Properties, constructors and operators: code that belongs to a type.
pub fn csharp_member<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let found = node.child_by_field_name("name");
    let body = ["body", "accessors", "value"].into_iter().find_map(|field| node.child_by_field_name(field));
    let (kind, word) = match node.kind() {
        "property_declaration" => (Variable, "property"),
        "event_declaration" => (Variable, "event"),
        "constructor_declaration" => (Method, "constructor"),
        "destructor_declaration" => return a_function("destructor".into(), Vec::new(), body),
        "indexer_declaration" => return a_function("indexer".into(), Vec::new(), body),
        _ => return a_function("operator".into(), Vec::new(), body),
    };
    a_function(format!("{word} {}", site.short(found?)), vec![name(found?, kind)], body)
}

/// A namespace with a body; one for the whole file is in every file and tells nothing.
pub fn namespace<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let body = node.child_by_field_name("body")?;
    let label =
        node.child_by_field_name("name").map_or("namespace".into(), |found| format!("namespace {}", site.short(found)));
    Some(Definition { label: Some(label), body: Some(body), ..Definition::default() })
}

/// `const A = 1, B = 2`.
pub fn php_constants<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let elements = children(node).filter(|child| child.kind() == "const_element");
    let names = elements.filter_map(|element| Some(name(child_of_kind(element, "name")?, Constant)));
    values(site, "const", names.collect())
}

/// `define('NAME', …)`.
pub fn php_define<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let function = node.child_by_field_name("function")?;
    if site.in_function || !site.of(function).eq_ignore_ascii_case("define") {
        return None;
    }
    let first = children(node.child_by_field_name("arguments")?).next()?;
    let content =
        children(child_of_kind(first, "string").or_else(|| child_of_kind(first, "encapsed_string"))?).next()?;
    values(site, "const", vec![name(content, Constant)])
}

/// `class`, `interface`, `enum class`, …: one kind of node for all.
pub fn kotlin_class<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let found = node.child_by_field_name("name")?;
    let modifiers = child_of_kind(node, "modifiers").map(|modifiers| site.of(modifiers)).unwrap_or_default();
    let has = |word: &str| modifiers.split_whitespace().any(|modifier| modifier == word);
    let between = site.text.get(node.start_byte()..found.start_byte()).unwrap_or_default();
    let (kind, word) = match between.split_whitespace().last() {
        Some("interface") => (Interface, "interface"),
        _ if has("enum") => (Enum, "enum class"),
        _ => (Class, "class"),
    };
    let body = child_of_kind(node, "class_body").or_else(|| child_of_kind(node, "enum_class_body"));
    a_type(format!("{word} {}", site.short(found)), vec![name(found, kind)], body)
}

/// `object`, also as a companion.
pub fn kotlin_object<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let found = node.child_by_field_name("name");
    let word = if node.kind() == "companion_object" { "companion object" } else { "object" };
    let label = found.map_or(word.into(), |found| format!("{word} {}", site.short(found)));
    let names = found.map(|found| name(found, Class)).into_iter().collect();
    Some(Definition { is_object: true, ..a_type(label, names, child_of_kind(node, "class_body"))? })
}

/// A function, a constructor or an initializer; an extension is labelled with what it extends.
pub fn kotlin_function<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let body = child_of_kind(node, "function_body").or_else(|| child_of_kind(node, "block"));
    match node.kind() {
        "secondary_constructor" => return a_function("constructor".into(), Vec::new(), body),
        "anonymous_initializer" => return a_function("init".into(), Vec::new(), body),
        _ => {}
    }
    let found = node.child_by_field_name("name")?;
    let receiver = receiver(node, found).map(|of| format!("{}.", site.short(of))).unwrap_or_default();
    let kind = site.function_kind();
    a_function(format!("fun {receiver}{}", site.short(found)), vec![name(found, kind)], body)
}

/// Global and `const` values, and properties that are computed.
pub fn kotlin_property<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    if site.in_function {
        return None;
    }
    let declared = child_of_kind(node, "variable_declaration")?;
    let found = child_of_kind(declared, "identifier")?;
    let modifiers = child_of_kind(node, "modifiers").map(|modifiers| site.of(modifiers)).unwrap_or_default();
    let constant = modifiers.split_whitespace().any(|modifier| modifier == "const");
    let computed = children(node).find(|child| matches!(child.kind(), "getter" | "property_delegate"));
    if site.in_type && !site.in_object && !constant && computed.is_none() {
        return None;
    }
    let receiver = receiver(node, declared).map(|of| format!("{}.", site.short(of))).unwrap_or_default();
    let names = vec![name(found, if constant { Constant } else { Variable })];
    let label = Some(format!("val {receiver}{}", site.short(found)));
    Some(Definition { label, names, body: computed, is_function: computed.is_some(), ..Definition::default() })
}

/// The type before the name of an extension.
fn receiver<'t>(node: Node<'t>, name: Node<'t>) -> Option<Node<'t>> {
    let before = children(node).take_while(|child| child.start_byte() < name.start_byte());
    before.filter(|child| matches!(child.kind(), "user_type" | "nullable_type" | "parenthesized_type")).last()
}

/// `typealias`.
pub fn kotlin_alias<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    values(site, "typealias", vec![name(node.child_by_field_name("type")?, Type)])
}

/// `class`, `struct`, `enum`, `actor`, `extension`: one kind of node for all.
pub fn swift_class<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let found = node.child_by_field_name("name")?;
    let word = node.child_by_field_name("declaration_kind").map(|word| site.of(word)).unwrap_or("class");
    let kind = match word {
        "struct" => Struct,
        "enum" => Enum,
        _ => Class,
    };
    // An extension adds to a type that is defined elsewhere.
    let names = if word == "extension" { Vec::new() } else { vec![name(found, kind)] };
    a_type(format!("{word} {}", site.short(found)), names, node.child_by_field_name("body"))
}

/// `func`, `init`, `deinit`, `subscript`.
pub fn swift_function<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let body = node.child_by_field_name("body");
    match node.kind() {
        "init_declaration" => return a_function("init".into(), Vec::new(), body),
        "deinit_declaration" => return a_function("deinit".into(), Vec::new(), body),
        "subscript_declaration" => return a_function("subscript".into(), Vec::new(), body),
        _ => {}
    }
    let found = node.child_by_field_name("name")?;
    a_function(format!("func {}", site.short(found)), vec![name(found, site.function_kind())], body)
}

/// Global and static values, requirements, and properties that are computed.
pub fn swift_property<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let pattern = node.child_by_field_name("name")?;
    let found = pattern.child_by_field_name("bound_identifier")?;
    let modifiers = child_of_kind(node, "modifiers").map(|modifiers| site.of(modifiers)).unwrap_or_default();
    let shared = modifiers.split_whitespace().any(|modifier| matches!(modifier, "static" | "class"));
    let computed = node.child_by_field_name("computed_value");
    let required = node.kind() == "protocol_property_declaration";
    if site.in_function || (site.in_type && !shared && !required && computed.is_none()) {
        return None;
    }
    let binding = child_of_kind(node, "value_binding_pattern").map(|binding| site.of(binding));
    let kind = if binding == Some("let") { Constant } else { Variable };
    let label = Some(format!("{} {}", binding.unwrap_or("var"), site.short(found)));
    let is_function = computed.is_some();
    Some(Definition { label, names: vec![name(found, kind)], body: computed, is_function, ..Definition::default() })
}

/// `object`, `package object`.
pub fn scala_object<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let found = node.child_by_field_name("name")?;
    let body = node.child_by_field_name("body");
    let object = a_type(format!("object {}", site.short(found)), vec![name(found, Class)], body)?;
    Some(Definition { is_object: true, ..object })
}

/// `val` and `var` outside of classes; a `given` with a name.
pub fn scala_value<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
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
pub fn scala_extension<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let of = node.child_by_field_name("parameters").map(|of| site.short(of)).unwrap_or_default();
    a_type(format!("extension {of}"), Vec::new(), node.child_by_field_name("body"))
}
