//! The languages: what a path says, and per grammar which nodes define something.

use std::sync::OnceLock;

use super::SymbolKind::{self, *};

/// The language of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Language {
    /// Rust.
    Rust,
    /// JavaScript, with or without JSX.
    JavaScript,
    /// TypeScript.
    TypeScript,
    /// TypeScript with JSX.
    Tsx,
    /// Python.
    Python,
    /// Go.
    Go,
    /// A language without a grammar here, by name; `text` when the path says nothing.
    Other(&'static str),
}

/// What a node of the grammar means to the outline.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// Nothing of its own.
    Plain,
    /// Stays with what follows: a comment, an attribute, a decorator.
    Lead,
    /// Wraps one definition and is not a level of its own.
    Wrapper,
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
}

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

    fn new(language: tree_sitter::Language, tables: &[&[(&str, Rule)]]) -> Self {
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

impl Language {
    /// The language of a path, by its name and extension.
    pub fn of(rel_path: &str) -> Language {
        let name = rel_path.rsplit('/').next().unwrap_or(rel_path).to_ascii_lowercase();
        if let Some((_, language)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Language::Other(language);
        }
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
        match extension {
            "rs" => Language::Rust,
            "js" | "mjs" | "cjs" | "jsx" => Language::JavaScript,
            "ts" | "mts" | "cts" => Language::TypeScript,
            "tsx" => Language::Tsx,
            "py" | "pyi" | "pyw" => Language::Python,
            "go" => Language::Go,
            _ => {
                let known = EXTENSIONS.iter().find(|(extensions, _)| extensions.contains(&extension));
                Language::Other(known.map_or("text", |(_, language)| language))
            }
        }
    }

    /// The name that filters use.
    pub fn name(self) -> &'static str {
        match self {
            Language::Rust => "rust",
            Language::JavaScript => "javascript",
            Language::TypeScript => "typescript",
            Language::Tsx => "tsx",
            Language::Python => "python",
            Language::Go => "go",
            Language::Other(name) => name,
        }
    }

    /// The grammar, prepared on first use.
    pub(super) fn grammar(self) -> Option<&'static Grammar> {
        static RUST_GRAMMAR: OnceLock<Grammar> = OnceLock::new();
        static JAVASCRIPT_GRAMMAR: OnceLock<Grammar> = OnceLock::new();
        static TYPESCRIPT_GRAMMAR: OnceLock<Grammar> = OnceLock::new();
        static TSX_GRAMMAR: OnceLock<Grammar> = OnceLock::new();
        static PYTHON_GRAMMAR: OnceLock<Grammar> = OnceLock::new();
        static GO_GRAMMAR: OnceLock<Grammar> = OnceLock::new();
        let script: &[&[(&str, Rule)]] = &[JAVASCRIPT, TYPESCRIPT];
        Some(match self {
            Language::Rust => RUST_GRAMMAR.get_or_init(|| Grammar::new(tree_sitter_rust::LANGUAGE.into(), &[RUST])),
            Language::JavaScript => {
                JAVASCRIPT_GRAMMAR.get_or_init(|| Grammar::new(tree_sitter_javascript::LANGUAGE.into(), &[JAVASCRIPT]))
            }
            Language::TypeScript => TYPESCRIPT_GRAMMAR
                .get_or_init(|| Grammar::new(tree_sitter_typescript::LANGUAGE_TYPESCRIPT.into(), script)),
            Language::Tsx => {
                TSX_GRAMMAR.get_or_init(|| Grammar::new(tree_sitter_typescript::LANGUAGE_TSX.into(), script))
            }
            Language::Python => {
                PYTHON_GRAMMAR.get_or_init(|| Grammar::new(tree_sitter_python::LANGUAGE.into(), &[PYTHON]))
            }
            Language::Go => GO_GRAMMAR.get_or_init(|| Grammar::new(tree_sitter_go::LANGUAGE.into(), &[GO])),
            Language::Other(_) => return None,
        })
    }
}

const RUST: &[(&str, Rule)] = &[
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

const JAVASCRIPT: &[(&str, Rule)] = &[
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

const TYPESCRIPT: &[(&str, Rule)] = &[
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

const PYTHON: &[(&str, Rule)] = &[
    ("comment", Rule::Lead),
    ("decorator", Rule::Lead),
    ("decorated_definition", Rule::Wrapper),
    ("function_definition", Rule::Define(Function, "def")),
    ("class_definition", Rule::Define(Class, "class")),
    ("type_alias_statement", Rule::Value(Type, "left", "type")),
    ("assignment", Rule::Value(Constant, "left", "")),
];

const GO: &[(&str, Rule)] = &[
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

/// Files known by their whole name, in lower case.
const NAMES: &[(&str, &str)] = &[
    ("dockerfile", "dockerfile"),
    ("containerfile", "dockerfile"),
    ("makefile", "make"),
    ("gnumakefile", "make"),
    ("cmakelists.txt", "cmake"),
    ("gemfile", "ruby"),
    ("rakefile", "ruby"),
    ("justfile", "just"),
    ("jenkinsfile", "groovy"),
];

/// Languages that are named for filters and cut without a grammar.
const EXTENSIONS: &[(&[&str], &str)] = &[
    (&["md", "markdown", "mdx"], "markdown"),
    (&["json", "jsonc", "json5"], "json"),
    (&["yaml", "yml"], "yaml"),
    (&["toml"], "toml"),
    (&["html", "htm", "xhtml"], "html"),
    (&["css", "scss", "sass", "less"], "css"),
    (&["xml", "xsd", "xsl", "svg"], "xml"),
    (&["vue"], "vue"),
    (&["svelte"], "svelte"),
    (&["c", "h"], "c"),
    (&["cc", "cpp", "cxx", "hh", "hpp", "hxx", "inl", "ipp"], "cpp"),
    (&["m", "mm"], "objective-c"),
    (&["cs"], "csharp"),
    (&["java"], "java"),
    (&["kt", "kts"], "kotlin"),
    (&["scala", "sc"], "scala"),
    (&["groovy", "gradle"], "groovy"),
    (&["swift"], "swift"),
    (&["dart"], "dart"),
    (&["rb", "rake", "gemspec"], "ruby"),
    (&["php"], "php"),
    (&["pl", "pm"], "perl"),
    (&["lua"], "lua"),
    (&["r"], "r"),
    (&["jl"], "julia"),
    (&["ex", "exs"], "elixir"),
    (&["erl", "hrl"], "erlang"),
    (&["hs"], "haskell"),
    (&["ml", "mli"], "ocaml"),
    (&["fs", "fsi", "fsx"], "fsharp"),
    (&["clj", "cljs", "cljc", "edn"], "clojure"),
    (&["el", "lisp", "scm"], "lisp"),
    (&["zig"], "zig"),
    (&["nim"], "nim"),
    (&["sol"], "solidity"),
    (&["sh", "bash", "zsh", "fish"], "shell"),
    (&["ps1", "psm1"], "powershell"),
    (&["bat", "cmd"], "batch"),
    (&["sql"], "sql"),
    (&["graphql", "gql"], "graphql"),
    (&["proto"], "protobuf"),
    (&["tf", "hcl"], "hcl"),
    (&["nix"], "nix"),
    (&["cmake"], "cmake"),
    (&["mk"], "make"),
    (&["ini", "cfg", "conf", "properties"], "ini"),
    (&["rst"], "restructuredtext"),
    (&["tex"], "latex"),
];
