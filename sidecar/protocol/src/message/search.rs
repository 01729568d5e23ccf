//! A search and its hits.

use serde::{Deserialize, Serialize};

use super::SkipCount;

/// What a `Search` request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchRequest {
    /// A question, an identifier, a path or an error message; a pattern with [`SearchMode::Regex`], a name with
    /// [`SearchMode::Symbol`]. At most 64 KiB.
    pub query: String,
    /// How the project is searched.
    pub mode: SearchMode,
    /// Most hits to return, 1 to 1000.
    pub limit: u32,
    /// Paths and globs of paths, in the syntax of .gitignore with braces; `!` excludes, and the last that matches decides. One
    /// that some file or folder is called like means it; an absolute one may lead below the project. Empty allows every path.
    pub globs: Vec<String>,
    /// Names of languages: names, aliases and extensions of GitHub's Linguist, in any case. Empty allows every language.
    pub languages: Vec<String>,
    /// What is done about changes that are not indexed yet. Without effect with [`SearchMode::Regex`].
    pub fresh: Fresh,
    /// Whether each hit says in [`Hit::why`] what its score is made of.
    pub explain: bool,
    /// Whether case counts. Only with [`SearchMode::Regex`].
    pub case: Case,
    /// Lines shown before and after a line that matches, 0 to 20. Only with [`SearchMode::Regex`].
    pub context: u32,
    /// The folder below the project that the caller is in, `/` between parts: what `./` and `../` in a glob mean, and any other
    /// path that fits no file from the project's root. Empty for the root.
    pub folder: String,
}

/// How a project is searched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SearchMode {
    /// Vectors and full text, fused.
    #[default]
    Hybrid,
    /// Vectors only.
    Semantic,
    /// Full text only.
    Text,
    /// A regular expression over the files as they are on disk. Needs neither an index nor a model.
    Regex,
    /// Names of definitions: exact, in another case, by their beginning, by the humps of CamelCase, or misspelt.
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

    /// The mode of that name in JSON and JavaScript.
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
    /// Searches the index as it is, at once.
    #[default]
    StaleOk,
    /// Waits until every change made before the request is indexed, then searches.
    Wait {
        /// Longest wait, milliseconds; after it, the index is searched as it is. The daemon waits a day at most.
        ms: u32,
    },
}

/// Whether a regular expression tells upper and lower case apart.
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
    /// The rule of that name in JSON and JavaScript: "smart", "sensitive" or "insensitive".
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "smart" => Some(Case::Smart),
            "sensitive" => Some(Case::Sensitive),
            "insensitive" => Some(Case::Insensitive),
            _ => None,
        }
    }
}

/// The answer to a `Search` request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SearchReport {
    /// Best first; with "regex" by path and line.
    pub hits: Vec<Hit>,
    /// Name of the mode that was used: the one asked for, or "text" where "hybrid" had no vectors.
    pub mode: String,
    /// Why the answer is less than what was asked for; `None` where it is not.
    pub degraded: Option<String>,
    /// The vector space of query and index; `None` where no vectors were used.
    pub space: Option<String>,
    /// The committed generation that was searched; 0 with "regex", which reads the files.
    pub generation: u64,
    /// What was searched.
    pub coverage: Coverage,
    /// Whether there are more hits than were asked for. Only known with "regex" and "symbol": a ranked list has no end.
    pub truncated: bool,
    /// Microseconds that the search waited for changes to be indexed.
    pub wait_us: u64,
    /// Microseconds to embed the query, waiting for the model included.
    pub embed_us: u64,
    /// Microseconds to search, rank and read the hits.
    pub search_us: u64,
    /// Whether another process owns the index. The answer is from what that process has committed.
    pub read_only: bool,
    /// Those of [`SearchRequest::globs`] that no file fits, as they were given; of very many, the first.
    pub unmatched: Vec<String>,
}

/// What a search covered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Files in the index; with "regex", files that were read.
    pub files: u64,
    /// Chunks in the index; 0 with "regex".
    pub chunks: u64,
    /// Chunks in the index that have a vector; 0 with "regex".
    pub vectors: u64,
    /// True if no change is missing from the answer: the project is watched and nothing is pending, or the search waited for
    /// all earlier changes. Always true with "regex".
    pub fresh: bool,
    /// Changed files and folders that wait to be indexed; `None` where their number is not known.
    pub pending_files: Option<u64>,
    /// Chunks of long texts, which never get a vector; 0 with "regex".
    pub text_only: u64,
    /// Files of the project that are not in the index, by reason; with "regex", files that were left out of this search.
    pub skipped_by_reason: Vec<SkipCount>,
}

/// One hit: a ranked chunk; with "regex" a line that matches, with "symbol" a definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// Path relative to the project, `/` between parts.
    pub path: String,
    /// First line of `text`, from 1.
    pub first_line: u32,
    /// Last line of `text`, inclusive.
    pub last_line: u32,
    /// Higher is better; comparable within one answer only.
    ///
    /// In the ranked modes, text and vectors together give at most 1; other evidence is added, so that a score can be above
    /// 1, and factors lower it. With "symbol", 1 is an exact name and other fits are below. With "regex", always 1.
    pub score: f32,
    /// Name of the code's language, which inside of pages and notebooks is not that of the file.
    pub language: String,
    /// Enclosing definitions, outermost first, joined with ` > `; empty at the top level and with "regex".
    pub scope: String,
    /// Names that the chunk defines; empty with "regex".
    pub symbols: Vec<String>,
    /// The chunk as it was indexed; empty where the file no longer contains it or cannot be read. With "regex", the line
    /// with its context as they are on disk; a very long line ends with `…`.
    pub text: String,
    /// Whether the file changed since it was indexed, so that lines may be off. Always false with "regex".
    pub stale: bool,
    /// What the score is made of, in order. Empty without [`SearchRequest::explain`], and with "regex".
    pub why: Vec<Contribution>,
    /// The definition that was found; only with "symbol".
    pub symbol: Option<SymbolMatch>,
    /// Where the line matches; only with "regex". Of a line with very many matches, the first.
    pub matches: Vec<Span>,
}

/// One part of a score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contribution {
    /// In the ranked modes, terms that are added: "text", "vectors", "coherence", "definition", "file_name"; then factors
    /// that multiply the sum: "factor:secondary_folder", "factor:test_file", "factor:test_scope", "factor:package_file",
    /// "factor:declaration", "factor:older_version", "factor:repeat". With "symbol", the value of [`SymbolMatch::fit`].
    pub name: String,
    /// The term, the factor, or with "symbol" the whole score.
    pub value: f32,
}

/// A definition whose name fits the query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SymbolMatch {
    /// The name as it is written in the file.
    pub name: String,
    /// Kind of the definition, e.g. "function", "method", "class".
    pub kind: String,
    /// Line of the name, from 1.
    pub line: u32,
    /// How the name fits the query, best first: "exact", "case" (other upper and lower case), "prefix", "humps" (letters that
    /// begin the words of the name), "fuzzy" (one or two letters differ).
    pub fit: String,
}

/// A match within one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The line, from 1.
    pub line: u32,
    /// First column, from 1, in UTF-16 units, as editors and JavaScript count.
    pub start: u32,
    /// Column after the last, in UTF-16 units.
    pub end: u32,
}
