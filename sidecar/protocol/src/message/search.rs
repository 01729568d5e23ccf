//! A search and its hits.

use serde::{Deserialize, Serialize};

/// What a `Search` request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchRequest {
    /// The question, an identifier, a path, an error text; a pattern with [`SearchMode::Regex`].
    pub query: String,
    /// Which evidence to use.
    pub mode: SearchMode,
    /// Hits to return.
    pub limit: u32,
    /// Path globs, `!` negates; empty allows all.
    pub globs: Vec<String>,
    /// Language names; empty allows all.
    pub languages: Vec<String>,
    /// What is done about changes that are not indexed yet.
    pub fresh: Fresh,
    /// Each hit says what its score is made of.
    pub explain: bool,
    /// [`SearchMode::Regex`]: whether case counts.
    pub case: Case,
    /// [`SearchMode::Regex`]: lines shown before and after the one that matches.
    pub context: u32,
}

/// Which evidence a search uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SearchMode {
    /// Vectors and text, fused.
    #[default]
    Hybrid,
    /// Vectors only.
    Semantic,
    /// Full text only.
    Text,
    /// A regular expression over the files as they are now; needs neither an index nor a model.
    Regex,
    /// Names of definitions: exact, any case, beginnings, near misses.
    Symbol,
}

impl SearchMode {
    /// Every mode with its name in JSON and JavaScript.
    pub const TABLE: [(SearchMode, &str); 5] = [
        (SearchMode::Hybrid, "hybrid"),
        (SearchMode::Semantic, "semantic"),
        (SearchMode::Text, "text"),
        (SearchMode::Regex, "regex"),
        (SearchMode::Symbol, "symbol"),
    ];

    /// The mode of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::TABLE.iter().find(|(_, known)| *known == name).map(|(mode, _)| *mode)
    }

    /// The name in JSON and JavaScript.
    pub fn as_str(self) -> &'static str {
        Self::TABLE.iter().find(|(mode, _)| *mode == self).expect("every mode is in the table").1
    }
}

/// What a search does about changes that are not indexed yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fresh {
    /// Answers at once from what is there.
    #[default]
    StaleOk,
    /// Brings changes in first, then answers with what is there.
    Wait {
        /// For no longer than this, milliseconds.
        ms: u32,
    },
}

/// Whether upper and lower case are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Case {
    /// Only where the pattern has an upper-case letter.
    #[default]
    Smart,
    /// Always.
    Sensitive,
    /// Never.
    Insensitive,
}

impl Case {
    /// The case rule of that name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "smart" => Some(Case::Smart),
            "sensitive" => Some(Case::Sensitive),
            "insensitive" => Some(Case::Insensitive),
            _ => None,
        }
    }
}

/// What a `Search` request found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SearchReport {
    /// Best first.
    pub hits: Vec<Hit>,
    /// The mode that was really used; "text" where "hybrid" had no vectors.
    pub mode: String,
    /// Why that is less than what was asked for, if it is.
    pub degraded: Option<String>,
    /// The vector space, where vectors were used.
    pub space: Option<String>,
    /// The committed generation that answered; 0 with "regex", which asks the files.
    pub generation: u64,
    /// What the answer was made from.
    pub coverage: Coverage,
    /// There are more hits than were asked for. Only "regex" and "symbol" tell: ranked lists have no natural end.
    pub truncated: bool,
    /// Microseconds spent waiting for changes to be indexed.
    pub wait_us: u64,
    /// Microseconds to embed the query.
    pub embed_us: u64,
    /// Microseconds to search and rank.
    pub search_us: u64,
    /// Another process owns the index; the answer is from what that one has committed.
    pub read_only: bool,
}

/// What an answer was made from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Files in the index; with "regex", files that were read.
    pub files: u64,
    /// Chunks in the index.
    pub chunks: u64,
    /// Of them, chunks that have a vector.
    pub vectors: u64,
    /// The project is watched and no change of it is known that the answer lacks.
    pub fresh: bool,
    /// Changed files and folders that wait to be indexed, where their number is known.
    pub pending_files: Option<u64>,
}

/// One ranked chunk; with "regex" a line that matches, with "symbol" a definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// Relative to the project, `/` between parts.
    pub path: String,
    /// First line, from 1.
    pub first_line: u32,
    /// Last line, inclusive.
    pub last_line: u32,
    /// Fused score; 1 is the best that the evidence of this query can give, only order has a meaning across queries.
    pub score: f32,
    /// Language name.
    pub language: String,
    /// Enclosing definitions, outermost first, joined with ` > `.
    pub scope: String,
    /// Names defined in the chunk.
    pub symbols: Vec<String>,
    /// The chunk as it is on disk now, or empty where it cannot be read.
    pub text: String,
    /// The file changed since it was indexed: `text` and lines may be off.
    pub stale: bool,
    /// What the score is made of, where the request said `explain`.
    pub why: Vec<Contribution>,
    /// The definition that was found, with "symbol".
    pub symbol: Option<SymbolMatch>,
    /// What matched, with "regex".
    pub matches: Vec<Span>,
}

/// One part of a score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contribution {
    /// "bm25", "cosine", "definition" ...
    pub name: String,
    /// What it adds, or multiplies with, as the name says.
    pub value: f32,
}

/// A definition whose name was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SymbolMatch {
    /// As it is written.
    pub name: String,
    /// "function", "class" ...
    pub kind: String,
    /// Line of the name, from 1.
    pub line: u32,
    /// How the name fits: "exact", "case", "prefix", "humps", "fuzzy".
    pub fit: String,
}

/// A match within one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// From 1.
    pub line: u32,
    /// First column, from 1, in UTF-16 units: what editors and JavaScript count.
    pub start: u32,
    /// Column after the last.
    pub end: u32,
}
