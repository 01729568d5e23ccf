//! The grammars: per language, what the nodes of its tree mean to the outline.

use std::sync::OnceLock;

use super::SymbolKind::{self, *};
use super::find::Finder;
use super::packed::{self, Packed};
use super::{Language, rules};

/// What a node of the grammar means to the outline.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// Nothing of its own.
    Plain,
    /// Stays with what follows: a comment, an attribute, a decorator.
    Lead,
    /// Wraps one definition and is not a level of its own.
    Wrapper,
    /// The same, and the lines before what it wraps stay with it: `template <class T>`.
    HeadedWrapper,
    /// `const` or `let`, over several names.
    Names,
    /// A block of definitions that has no name: `impl`.
    Scope(&'static str),
    /// A definition in the field `name`; `label` goes before the name in a scope.
    Define(SymbolKind, &'static str),
    /// A value, counted outside of functions only; the name is in the given field. Empty label: capitals only.
    Value(SymbolKind, &'static str, &'static str),
    /// A name in the first field bound to the second: a function when that is one. Otherwise, given a kind,
    /// what [`Rule::Value`] is.
    Bind(&'static str, &'static str, Option<SymbolKind>),
    /// Whatever the function finds.
    Find(Finder),
    /// The same for a node that also stays with what follows, outside of functions: a Haskell signature.
    Note(Finder),
}

/// One language's rules, by node kind.
pub(super) type Table = &'static [(&'static str, Rule)];

/// A grammar and its table.
pub(super) struct Grammar {
    /// The parser's tables.
    pub language: tree_sitter::Language,
    rules: Vec<Rule>,
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

/// A language with a grammar.
struct Spec {
    language: Language,
    parser: &'static Packed,
    tables: &'static [Table],
}

/// In the order of [`Language`].
static SPECS: [Spec; N_GRAMMARS] = [
    Spec { language: Language::Rust, parser: &packed::RUST, tables: &[RUST] },
    Spec { language: Language::JavaScript, parser: &packed::JAVASCRIPT, tables: &[JAVASCRIPT] },
    Spec { language: Language::TypeScript, parser: &packed::TYPESCRIPT, tables: &[JAVASCRIPT, TYPESCRIPT] },
    Spec { language: Language::Tsx, parser: &packed::TSX, tables: &[JAVASCRIPT, TYPESCRIPT] },
    Spec { language: Language::Python, parser: &packed::PYTHON, tables: &[PYTHON] },
    Spec { language: Language::Go, parser: &packed::GO, tables: &[GO] },
    Spec { language: Language::Java, parser: &packed::JAVA, tables: &[rules::JAVA] },
    Spec { language: Language::C, parser: &packed::C, tables: &[rules::C] },
    Spec { language: Language::Cpp, parser: &packed::CPP, tables: &[rules::C, rules::CPP] },
    Spec { language: Language::CSharp, parser: &packed::C_SHARP, tables: &[rules::CSHARP] },
    Spec { language: Language::Ruby, parser: &packed::RUBY, tables: &[rules::RUBY] },
    Spec { language: Language::Php, parser: &packed::PHP, tables: &[rules::PHP] },
    Spec { language: Language::Kotlin, parser: &packed::KOTLIN, tables: &[rules::KOTLIN] },
    Spec { language: Language::Swift, parser: &packed::SWIFT, tables: &[rules::SWIFT] },
    Spec { language: Language::Scala, parser: &packed::SCALA, tables: &[rules::SCALA] },
    Spec { language: Language::Bash, parser: &packed::BASH, tables: &[rules::BASH] },
    Spec { language: Language::Lua, parser: &packed::LUA, tables: &[rules::LUA] },
    Spec { language: Language::Haskell, parser: &packed::HASKELL, tables: &[rules::HASKELL] },
    Spec { language: Language::Elixir, parser: &packed::ELIXIR, tables: &[rules::ELIXIR] },
    Spec { language: Language::Zig, parser: &packed::ZIG, tables: &[rules::ZIG] },
];

/// How many languages have a grammar.
pub(super) const N_GRAMMARS: usize = 20;

/// The grammar, prepared on first use.
pub(super) fn of(language: Language) -> Option<&'static Grammar> {
    static GRAMMARS: [OnceLock<Grammar>; N_GRAMMARS] = [const { OnceLock::new() }; N_GRAMMARS];
    let (spec, grammar) = SPECS.iter().zip(&GRAMMARS).find(|(spec, _)| spec.language == language)?;
    Some(grammar.get_or_init(|| Grammar::new(spec.parser.language(), spec.tables)))
}

/// All languages with a grammar.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = Language> {
    SPECS.iter().map(|spec| spec.language)
}

const RUST: Table = &[
    ("line_comment", Rule::Lead),
    ("block_comment", Rule::Lead),
    ("attribute_item", Rule::Lead),
    ("impl_item", Rule::Scope("impl")),
    ("function_item", Rule::Define(Function, "fn")),
    ("function_signature_item", Rule::Define(Function, "fn")),
    ("struct_item", Rule::Define(Struct, "struct")),
    ("union_item", Rule::Define(Struct, "union")),
    ("enum_item", Rule::Define(Enum, "enum")),
    ("trait_item", Rule::Define(Trait, "trait")),
    ("type_item", Rule::Define(Type, "type")),
    ("mod_item", Rule::Define(Module, "mod")),
    ("macro_definition", Rule::Define(Macro, "macro")),
    ("const_item", Rule::Value(Constant, "name", "const")),
    ("static_item", Rule::Value(Variable, "name", "static")),
];

const JAVASCRIPT: Table = &[
    ("comment", Rule::Lead),
    ("decorator", Rule::Lead),
    ("export_statement", Rule::Wrapper),
    ("function_declaration", Rule::Define(Function, "function")),
    ("generator_function_declaration", Rule::Define(Function, "function")),
    ("class_declaration", Rule::Define(Class, "class")),
    ("class", Rule::Define(Class, "class")),
    ("method_definition", Rule::Define(Method, "method")),
    ("lexical_declaration", Rule::Names),
    ("field_definition", Rule::Bind("property", "value", None)),
    ("pair", Rule::Bind("key", "value", None)),
    ("assignment_expression", Rule::Bind("left", "right", None)),
    ("variable_declarator", Rule::Bind("name", "value", Some(Variable))),
];

const TYPESCRIPT: Table = &[
    ("ambient_declaration", Rule::Wrapper),
    ("abstract_class_declaration", Rule::Define(Class, "class")),
    ("interface_declaration", Rule::Define(Interface, "interface")),
    ("enum_declaration", Rule::Define(Enum, "enum")),
    ("type_alias_declaration", Rule::Define(Type, "type")),
    ("internal_module", Rule::Define(Module, "namespace")),
    ("module", Rule::Define(Module, "module")),
    ("function_signature", Rule::Define(Function, "function")),
    ("method_signature", Rule::Define(Method, "method")),
    ("abstract_method_signature", Rule::Define(Method, "method")),
    ("public_field_definition", Rule::Bind("name", "value", None)),
];

const PYTHON: Table = &[
    ("comment", Rule::Lead),
    ("decorator", Rule::Lead),
    ("decorated_definition", Rule::Wrapper),
    ("function_definition", Rule::Define(Function, "def")),
    ("class_definition", Rule::Define(Class, "class")),
    ("type_alias_statement", Rule::Value(Type, "left", "type")),
    ("assignment", Rule::Value(Constant, "left", "")),
];

const GO: Table = &[
    ("comment", Rule::Lead),
    ("function_declaration", Rule::Define(Function, "func")),
    ("method_declaration", Rule::Define(Method, "func")),
    ("method_elem", Rule::Define(Method, "method")),
    ("type_declaration", Rule::Wrapper),
    ("const_declaration", Rule::Wrapper),
    ("var_declaration", Rule::Wrapper),
    ("type_spec", Rule::Define(Type, "type")),
    ("type_alias", Rule::Define(Type, "type")),
    ("const_spec", Rule::Value(Constant, "name", "const")),
    ("var_spec", Rule::Value(Variable, "name", "var")),
];
