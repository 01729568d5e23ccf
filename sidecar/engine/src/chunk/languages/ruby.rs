//! Ruby.

use tree_sitter::Node;

use super::LanguageSpec;
use crate::chunk::SymbolKind::*;
use crate::chunk::find::{Definition, Name, Site, a_function, a_type, children, name, part_of, values};
use crate::chunk::grammar::LazyGrammar;
use crate::chunk::packed;
use crate::chunk::rules::{Rule, Table};

pub(super) static LANGUAGE: LanguageSpec = LanguageSpec {
    name: "ruby",
    title: "Ruby",
    extensions: &["rb", "rake", "gemspec", "ru", "podspec", "rbi"],
    file_names: &["gemfile", "rakefile", "guardfile", "podfile", "fastfile", "vagrantfile", "brewfile"],
    interpreters: &["ruby", "jruby"],
    angles_nest: false,
    grammar: Some(LazyGrammar::new(&packed::RUBY, &[RULES])),
};

const RULES: Table = &[
    ("comment", Rule::Lead),
    ("module", Rule::Find(type_definition)),
    ("class", Rule::Find(type_definition)),
    ("singleton_class", Rule::Find(type_definition)),
    ("method", Rule::Find(method)),
    ("singleton_method", Rule::Find(method)),
    ("alias", Rule::Find(alias)),
    ("assignment", Rule::Find(constant)),
    ("call", Rule::Find(call)),
];

/// `class`, `module`, `class << self`.
fn type_definition<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
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
fn method<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let found = node.child_by_field_name("name")?;
    let of = node.child_by_field_name("object").map(|of| format!("{}.", site.short(of))).unwrap_or_default();
    let kind = if of.is_empty() { site.function_kind() } else { Method };
    let bare = found.child_by_field_name("name").unwrap_or(found); // `size` of `size=`
    let label = format!("def {of}{}", site.short(bare));
    a_function(label, vec![name(found, kind)], node.child_by_field_name("body"))
}

/// `alias new old`, `alias :new :old`.
fn alias<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let found = node.child_by_field_name("name")?;
    values(site, "alias", vec![literal(found).unwrap_or_else(|| name(found, Method))])
}

/// The name that a symbol or a string stands for: `:name`, `:"a name"`, `"name"`.
fn literal(node: Node<'_>) -> Option<Name> {
    match node.kind() {
        "simple_symbol" => Some(part_of(node, node.start_byte() + 1..node.end_byte(), Method)),
        "delimited_symbol" | "string" => {
            let content = children(node).next().filter(|content| content.kind() == "string_content")?;
            (node.named_child_count() == 1).then(|| name(content, Method))
        }
        _ => None,
    }
}

/// `NAME = …`; a `Struct.new` or `Class.new` makes a class.
fn constant<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let left = node.child_by_field_name("left").filter(|left| left.kind() == "constant" && !site.in_function)?;
    let right = node.child_by_field_name("right").map(|right| site.of(right)).unwrap_or_default();
    let makes = ["Struct.new", "Class.new", "Data.define", "Module.new"].iter().any(|made| right.starts_with(made));
    if makes {
        return a_type(format!("class {}", site.short(left)), vec![name(left, Class)], None);
    }
    values(site, "const", vec![name(left, Constant)])
}

/// Calls that define: `attr_reader :name`, `define_method(:name) do`; and blocks that readers see as sections.
fn call<'t>(site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
    let method = node.child_by_field_name("method")?;
    if site.in_function || method.kind() != "identifier" {
        return None;
    }
    let word = site.of(method);
    let arguments = || node.child_by_field_name("arguments");
    let block = node.child_by_field_name("block");
    let symbols = |limit: usize| -> Vec<Name> {
        arguments().into_iter().flat_map(children).filter_map(literal).take(limit).collect()
    };
    let setter = |name: &Name| {
        let bare = site.text.get(name.range.clone()).unwrap_or_default();
        name.clone().spelled(format!("{bare}="))
    };
    match word {
        "attr_reader" | "cattr_reader" | "mattr_reader" => values(site, word, symbols(usize::MAX)),
        "attr_writer" | "cattr_writer" | "mattr_writer" => {
            values(site, word, symbols(usize::MAX).iter().map(setter).collect())
        }
        "attr_accessor" | "cattr_accessor" | "mattr_accessor" | "class_attribute" | "thread_mattr_accessor" => {
            let both = symbols(usize::MAX).into_iter().flat_map(|name| [name.clone(), setter(&name)]);
            values(site, word, both.collect())
        }
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
