//! Elixir, where a definition is a call: `def name do`.

use tree_sitter::Node;

use super::LanguageSpec;
use crate::chunk::SymbolKind::*;
use crate::chunk::find::{Definition, Site, a_function, a_type, child_of_kind, children, dotted, name, values};
use crate::chunk::grammar::LazyGrammar;
use crate::chunk::packed;
use crate::chunk::rules::{Rule, Table};

pub(super) static LANGUAGE: LanguageSpec = LanguageSpec {
    name: "elixir",
    title: "Elixir",
    extensions: &["ex", "exs"],
    file_names: &["mix.lock"],
    interpreters: &["elixir"],
    angles_nest: false,
    grammar: Some(LazyGrammar::new(&packed::ELIXIR, &[RULES])),
};

const RULES: Table = &[("comment", Rule::Lead), ("call", Rule::Find(call)), ("unary_operator", Rule::Note(attribute))];

/// `def`, `defmodule` and their kin.
fn call<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
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
            let found = head(site, first()?)?;
            // `def unquote(name)(x)`: the name is known when it runs.
            let names = if site.of(found) == "unquote" { Vec::new() } else { vec![name(found, kind)] };
            let definition = a_function(format!("{word} {}", site.short(found)), names, body)?;
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

/// The name in `f(x) when y`, `f`, `a <~> b`, `+a`.
fn head<'t>(site: &Site<'_>, mut node: Node<'t>) -> Option<Node<'t>> {
    for _ in 0..8 {
        node = match node.kind() {
            "call" => node.child_by_field_name("target")?,
            "identifier" => return Some(node),
            "unary_operator" => return node.child_by_field_name("operator"),
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
fn attribute<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let call = node.child_by_field_name("operand").filter(|operand| operand.kind() == "call" && !site.in_function)?;
    let target = call.child_by_field_name("target")?;
    let word = site.of(target);
    let argument = children(child_of_kind(call, "arguments")?).next()?;
    let (found, kind) = match word {
        "type" | "typep" | "opaque" | "callback" | "macrocallback" => {
            let left = argument.child_by_field_name("left").unwrap_or(argument);
            let kind = if word.ends_with("callback") { Function } else { Type };
            (head(site, left)?, kind)
        }
        "spec" | "doc" | "moduledoc" | "typedoc" | "impl" | "behaviour" | "deprecated" | "since" | "derive" | "tag"
        | "moduletag" | "describetag" | "dialyzer" | "compile" | "external_resource" | "enforce_keys" => return None,
        _ => (target, Constant),
    };
    values(site, &format!("@{word}"), vec![name(found, kind)]).map(|found| Definition { label: None, ..found })
}
