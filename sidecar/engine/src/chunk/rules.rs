//! What the nodes of a syntax tree mean to the outline.

use tree_sitter::Node;

use super::SymbolKind::{self, *};
use super::find::{Definition, Finder, Site, define, named, values};

/// What a node of the grammar means to the outline.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// The node defines nothing.
    Plain,
    /// Belongs to what follows it: a comment, an attribute, a decorator.
    Lead,
    /// Wraps one definition and is not a level of its own.
    Wrapper,
    /// A [`Rule::Wrapper`] whose lines before the definition stay with it: `template <class T>`.
    HeadedWrapper,
    /// `const` or `let`, over several names.
    Names,
    /// A definition in the field `name`; the word goes before the name in a scope.
    Define(SymbolKind, &'static str),
    /// A value, counted outside of functions only. The name is in the given field; the word goes before it in a scope.
    Value(SymbolKind, &'static str, &'static str),
    /// Whatever the function finds.
    Find(Finder),
    /// Whatever the function finds, in a node that stays with what follows when it is outside of functions: a Haskell
    /// signature.
    Note(Finder),
}

/// One language's rules, by node kind.
pub(super) type Table = &'static [(&'static str, Rule)];

impl Rule {
    /// What the node defines, if anything.
    pub fn definition<'t>(self, site: &Site<'_>, node: Node<'t>) -> Option<Definition<'t>> {
        match self {
            Rule::Plain | Rule::Lead | Rule::Wrapper | Rule::HeadedWrapper | Rule::Names => None,
            Rule::Find(find) | Rule::Note(find) => find(site, node),
            Rule::Define(Function, word) => define(site, node, site.function_kind(), word),
            Rule::Define(kind, word) => define(site, node, kind, word),
            Rule::Value(kind, field, word) => {
                if site.in_function {
                    return None;
                }
                let mut cursor = node.walk();
                let found = node.children_by_field_name(field, &mut cursor).filter(Node::is_named);
                values(site, word, found.filter_map(|found| named(found, kind)).collect())
            }
        }
    }
}
