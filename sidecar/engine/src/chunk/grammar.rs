//! A parser together with the meaning of the nodes that it makes.

use std::sync::OnceLock;

use super::packed::Packed;
use super::rules::{Rule, Table};

/// A grammar that is prepared on first use.
pub(super) struct LazyGrammar {
    parser: &'static Packed,
    tables: &'static [Table],
    prepared: OnceLock<Grammar>,
}

/// A parser, and a rule for each kind of node.
pub(super) struct Grammar {
    /// The parser's tables.
    pub language: tree_sitter::Language,
    rules: Vec<Rule>,
}

impl LazyGrammar {
    /// The grammar of `parser`; of two rules for one kind of node, the later holds.
    pub const fn new(parser: &'static Packed, tables: &'static [Table]) -> Self {
        LazyGrammar { parser, tables, prepared: OnceLock::new() }
    }

    /// The grammar. The first call unpacks the parser's tables.
    pub fn get(&self) -> &Grammar {
        self.prepared.get_or_init(|| Grammar::new(self.parser.language(), self.tables))
    }
}

#[cfg(test)]
impl LazyGrammar {
    /// The tables of rules.
    pub fn tables(&self) -> &'static [Table] {
        self.tables
    }

    /// Whether the grammar has nodes of this kind.
    pub fn has_kind(&self, kind: &str) -> bool {
        self.get().language.id_for_node_kind(kind, true) != 0
    }
}

impl Grammar {
    /// What nodes of this kind mean.
    pub fn rule(&self, kind_id: u16) -> Rule {
        self.rules.get(usize::from(kind_id)).copied().unwrap_or(Rule::Plain)
    }

    fn new(language: tree_sitter::Language, tables: &[Table]) -> Self {
        let mut rules = vec![Rule::Plain; language.node_kind_count()];
        for (kind, rule) in tables.iter().copied().flatten() {
            let kind_id = language.id_for_node_kind(kind, true);
            if kind_id != 0
                && let Some(slot) = rules.get_mut(usize::from(kind_id))
            {
                *slot = *rule;
            }
        }
        Grammar { language, rules }
    }
}
