//! Ruby, Lua, Bash and Elixir, where definitions are calls and assignments, and the JavaScript that is like them.

use super::*;

/// `class`, `module`, `class << self`.
pub fn ruby_type<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let body = node.child_by_field_name("body");
    let Some(found) = node.child_by_field_name("name") else {
        let of = node.child_by_field_name("value").map(|of| site.short(of)).unwrap_or_default();
        return a_type(format!("class << {of}"), Vec::new(), body);
    };
    let (kind, word) = if node.kind() == "module" { (Module, "module") } else { (Class, "class") };
    let last = found.child_by_field_name("name").unwrap_or(found); // of `Jobs::Worker`
    a_type(format!("{word} {}", site.short(found)), vec![name(last, kind)], body)
}

/// `def` and `def self.`.
pub fn ruby_method<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let found = node.child_by_field_name("name")?;
    let of = node.child_by_field_name("object").map(|of| format!("{}.", site.short(of))).unwrap_or_default();
    let kind = if of.is_empty() { site.function_kind() } else { Method };
    let found = found.child_by_field_name("name").unwrap_or(found); // `size` of `size=`
    let label = format!("def {of}{}", site.short(found));
    a_function(label, vec![name(found, kind)], node.child_by_field_name("body"))
}

/// `alias new old`.
pub fn ruby_alias<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    values(site, "alias", vec![name(node.child_by_field_name("name")?, Method)])
}

/// `NAME = …`; a `Struct.new` or `Class.new` makes a class.
pub fn ruby_constant<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let left = node.child_by_field_name("left").filter(|left| left.kind() == "constant" && !site.in_function)?;
    let right = node.child_by_field_name("right").map(|right| site.of(right)).unwrap_or_default();
    let makes = ["Struct.new", "Class.new", "Data.define", "Module.new"].iter().any(|made| right.starts_with(made));
    if makes {
        return a_type(format!("class {}", site.short(left)), vec![name(left, Class)], None);
    }
    values(site, "const", vec![name(left, Constant)])
}

/// Calls that define: `attr_reader :name`, `define_method(:name) do`; and blocks that readers see as sections.
pub fn ruby_call<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let method = node.child_by_field_name("method")?;
    if site.in_function || method.kind() != "identifier" {
        return None;
    }
    let word = site.of(method);
    let arguments = || node.child_by_field_name("arguments");
    let block = node.child_by_field_name("block");
    let symbols = |limit: usize| -> Vec<Name> {
        let symbols = arguments().into_iter().flat_map(children).filter(|child| child.kind() == "simple_symbol");
        symbols.take(limit).map(|symbol| (symbol.start_byte() + 1..symbol.end_byte(), Method, row(symbol))).collect()
    };
    match word {
        "attr_reader"
        | "attr_writer"
        | "attr_accessor"
        | "cattr_accessor"
        | "cattr_reader"
        | "mattr_accessor"
        | "mattr_reader"
        | "class_attribute"
        | "thread_mattr_accessor" => values(site, word, symbols(usize::MAX)),
        "define_method" | "define_singleton_method" | "helper_method" | "alias_method" | "scope" | "task" => {
            let names = symbols(1);
            let label = values(site, word, names.clone())?.label?;
            let body = block.and_then(|block| block.child_by_field_name("body"));
            Some(Definition { is_function: block.is_some(), ..a_function(label, names, body)? })
        }
        "describe" | "context" | "it" | "specify" | "namespace" | "shared_examples" | "test" => {
            block?;
            let first = arguments().and_then(|arguments| children(arguments).next());
            let of = first.map(|first| site.short(first)).unwrap_or_default();
            let is_function = matches!(word, "it" | "specify" | "test");
            let label = Some(format!("{word} {of}"));
            Some(Definition { label, is_function, ..Definition::default() })
        }
        _ => None,
    }
}

/// `function`, `local function`, `function M.f`, `function M:f`.
pub fn lua_function<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let found = node.child_by_field_name("name")?;
    let (last, kind) = lua_last(found);
    a_function(format!("function {}", site.short(found)), vec![name(last, kind)], node.child_by_field_name("body"))
}

/// `M.f = function`, `NAME = 1`, `local M = {}`.
pub fn lua_assignment<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let (targets, values_) = (child_of_kind(node, "variable_list")?, child_of_kind(node, "expression_list"));
    let targets: Vec<_> = children(targets).collect();
    let bound: Vec<_> = values_.into_iter().flat_map(children).collect();
    if let ([target], [value]) = (targets.as_slice(), bound.as_slice())
        && value.kind() == "function_definition"
    {
        let (last, kind) = lua_last(*target);
        let label = format!("function {}", site.short(*target));
        return a_function(label, vec![name(last, kind)], value.child_by_field_name("body"));
    }
    if site.in_function {
        return None;
    }
    let pairs = targets.iter().enumerate();
    let names = pairs.filter_map(|(idx, target)| {
        let (last, _) = lua_last(*target);
        if !last.kind().ends_with("identifier") || site.of(last).starts_with("__") {
            return None;
        }
        let value = bound.get(idx).copied();
        let capital = site.of(last).starts_with(char::is_uppercase);
        let plain = target.kind() == "identifier";
        match value.map(|value| value.kind()) {
            _ if site.is_capital(last) && 1 < site.of(last).len() => Some(name(last, Constant)),
            Some("table_constructor") if plain => Some(name(last, if capital { Class } else { Variable })),
            Some("function_call") if plain && capital && !site.of(value?).starts_with("require") => {
                Some(name(last, Class))
            }
            _ => None,
        }
    });
    values(site, "local", names.collect())
}

/// `name = function` in a table.
pub fn lua_field<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let value = node.child_by_field_name("value").filter(|value| value.kind() == "function_definition")?;
    let found = node.child_by_field_name("name").filter(|found| matches!(found.kind(), "identifier" | "string"))?;
    let label = format!("function {}", site.short(found).trim_matches(['"', '\'']));
    a_function(label, vec![name(found, Method)], value.child_by_field_name("body"))
}

fn lua_last(node: Node<'_>) -> (Node<'_>, SymbolKind) {
    let last = node.child_by_field_name("field").or_else(|| node.child_by_field_name("method"));
    last.map_or((node, Function), |last| (last, Method))
}

/// A variable in capitals, outside of functions.
pub fn bash_variable<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let found = node.child_by_field_name("name")?;
    if site.in_function || found.kind() != "variable_name" || !site.is_capital(found) {
        return None;
    }
    values(site, "var", vec![name(found, Variable)])
}

/// `def`, `defmodule` and their kin.
pub fn elixir_call<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let target = node.child_by_field_name("target").filter(|target| target.kind() == "identifier")?;
    let word = site.of(target);
    let body = child_of_kind(node, "do_block");
    let first = || children(child_of_kind(node, "arguments")?).next();
    match word {
        "defmodule" | "defprotocol" => {
            let found = first()?;
            let kind = if word == "defmodule" { Module } else { Interface };
            let names = if found.kind() == "alias" { dotted(site, found, kind) } else { Vec::new() };
            a_type(format!("{word} {}", site.short(found)), names, body)
        }
        "defimpl" => a_type(format!("{word} {}", site.short(child_of_kind(node, "arguments")?)), Vec::new(), body),
        "def" | "defp" | "defmacro" | "defmacrop" | "defguard" | "defguardp" | "defdelegate" | "defn" | "defnp" => {
            let kind = if word.starts_with("defmacro") { Macro } else { Function };
            let found = elixir_head(site, first()?)?;
            let definition = a_function(format!("{word} {}", site.short(found)), vec![name(found, kind)], body)?;
            Some(Definition { group: vec![found.byte_range()], ..definition })
        }
        "test" | "describe" | "property" | "setup" | "setup_all" => {
            body?;
            let of = first().map(|first| site.short(first)).unwrap_or_default();
            let label = Some(format!("{word} {of}").trim_end().to_string());
            Some(Definition { label, body, is_function: word != "describe", ..Definition::default() })
        }
        _ => None,
    }
}

/// The name in `f(x) when y`, `f`, `a <~> b`.
fn elixir_head<'t>(site: &Site<'_>, mut node: Node<'t>) -> Option<Node<'t>> {
    for _ in 0..8 {
        node = match node.kind() {
            "call" => node.child_by_field_name("target")?,
            "identifier" => return Some(node),
            "binary_operator" => {
                let operator = node.child_by_field_name("operator")?;
                if site.of(operator) != "when" {
                    return Some(operator);
                }
                node.child_by_field_name("left")?
            }
            _ => return None,
        };
    }
    None
}

/// `@name value`, `@type name :: …`, `@callback name(…) :: …`.
pub fn elixir_attribute<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let call = node.child_by_field_name("operand").filter(|operand| operand.kind() == "call" && !site.in_function)?;
    let target = call.child_by_field_name("target")?;
    let word = site.of(target);
    let argument = children(child_of_kind(call, "arguments")?).next()?;
    let (found, kind) = match word {
        "type" | "typep" | "opaque" | "callback" | "macrocallback" => {
            let left = argument.child_by_field_name("left").unwrap_or(argument);
            let kind = if word.ends_with("callback") { Function } else { Type };
            (elixir_head(site, left)?, kind)
        }
        "spec" | "doc" | "moduledoc" | "typedoc" | "impl" | "behaviour" | "deprecated" | "since" | "derive" | "tag"
        | "moduletag" | "describetag" | "dialyzer" | "compile" | "external_resource" | "enforce_keys" => return None,
        _ => (target, Constant),
    };
    values(site, &format!("@{word}"), vec![name(found, kind)]).map(|found| Definition { label: None, ..found })
}
