//! Lua, where many definitions are assignments.

use tree_sitter::Node;

use super::LanguageSpec;
use crate::chunk::SymbolKind::{self, *};
use crate::chunk::find::{Definition, Site, a_function, child_of_kind, children, name, values};
use crate::chunk::grammar::LazyGrammar;
use crate::chunk::packed;
use crate::chunk::rules::{Rule, Table};

pub(super) static LANGUAGE: LanguageSpec = LanguageSpec {
    name: "lua",
    title: "Lua",
    extensions: &["lua", "rockspec"],
    file_names: &[],
    interpreters: &["lua", "luajit"],
    angles_nest: false,
    grammar: Some(LazyGrammar::new(&packed::LUA, &[RULES])),
};

const RULES: Table = &[
    ("comment", Rule::Lead),
    ("variable_declaration", Rule::Wrapper),
    ("function_declaration", Rule::Find(function)),
    ("assignment_statement", Rule::Find(assignment)),
    ("field", Rule::Find(field)),
];

/// `function`, `local function`, `function M.f`, `function M:f`.
fn function<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let found = node.child_by_field_name("name")?;
    let (last, kind) = last_part(found);
    a_function(format!("function {}", site.short(found)), vec![name(last, kind)], node.child_by_field_name("body"))
}

/// `M.f = function`, `NAME = 1`, `local M = {}`.
fn assignment<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let (targets, values_) = (child_of_kind(node, "variable_list")?, child_of_kind(node, "expression_list"));
    let targets: Vec<_> = children(targets).filter(|target| target.kind() != "attribute").collect();
    let bound: Vec<_> = values_.into_iter().flat_map(children).collect();
    if let ([target], [value]) = (targets.as_slice(), bound.as_slice())
        && value.kind() == "function_definition"
    {
        let (last, kind) = last_part(*target);
        let label = format!("function {}", site.short(*target));
        return a_function(label, vec![name(last, kind)], value.child_by_field_name("body"));
    }
    if site.in_function {
        return None;
    }
    let pairs = targets.iter().enumerate();
    let names = pairs.filter_map(|(idx, target)| {
        let (last, _) = last_part(*target);
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
fn field<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let value = node.child_by_field_name("value").filter(|value| value.kind() == "function_definition")?;
    let found = node.child_by_field_name("name").filter(|found| matches!(found.kind(), "identifier" | "string"))?;
    let label = format!("function {}", site.short(found).trim_matches(['"', '\'']));
    a_function(label, vec![name(found, Method)], value.child_by_field_name("body"))
}

fn last_part(node: Node<'_>) -> (Node<'_>, SymbolKind) {
    let last = node.child_by_field_name("field").or_else(|| node.child_by_field_name("method"));
    last.map_or((node, Function), |last| (last, Method))
}
