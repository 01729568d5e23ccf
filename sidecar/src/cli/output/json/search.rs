//! The document of `offheap search`.

use offheap_protocol::message::{self, SearchReport};
use serde::Serialize;

use super::values::{SkipCount, ms, skip_counts, total};

/// Hits with what they were found by.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SearchResult<'a> {
    /// Best first.
    hits: Vec<Hit<'a>>,
    /// The mode that was used: `text` where `hybrid` had no vectors.
    mode: &'a str,
    /// Why the answer is less than what was asked for: vectors missing, no model.
    #[serde(skip_serializing_if = "Option::is_none")]
    degraded: Option<&'a str>,
    /// The vector space, where vectors were used.
    #[serde(skip_serializing_if = "Option::is_none")]
    space: Option<&'a str>,
    /// The committed generation that answered; 0 with `--mode regex`, which reads the files.
    generation: u64,
    coverage: Coverage,
    /// Those of `--glob` that no file fits, as they were given; of very many, the first.
    unmatched: &'a [String],
    /// Whether there are more hits than the limit; only `regex` and `symbol` tell.
    truncated: bool,
    /// Whether another process owns the index; the answer is from what that process has committed.
    read_only: bool,
    /// Milliseconds of waiting for changes to be indexed.
    wait_ms: f64,
    /// Milliseconds of embedding the query.
    embed_ms: f64,
    /// Milliseconds of searching and ranking.
    search_ms: f64,
}

/// What an answer was made from.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct Coverage {
    /// Files in the index; with `--mode regex`, files that were read.
    files: u64,
    /// Chunks in the index.
    chunks: u64,
    /// Chunks that have a vector.
    vectors: u64,
    /// Chunks of long texts, which are found by their words and never get a vector.
    text_only: u64,
    /// Number of files of the project that are not in the index; with `--mode regex`, that were left out of this search.
    skipped_total: u64,
    /// Skipped files by reason.
    skipped_by_reason: Vec<SkipCount>,
    /// Whether the project is watched and the answer lacks no known change.
    fresh: bool,
    /// Changed files and folders that wait to be indexed; absent where their number is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_files: Option<u64>,
}

/// One ranked chunk; with `--mode regex` a line that matches, with `--mode symbol` a definition.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct Hit<'a> {
    /// Relative to the project, `/` between parts.
    path: &'a str,
    /// First line, from 1.
    start_line: u32,
    /// Last line, inclusive.
    end_line: u32,
    /// Higher is better; comparable within one answer only.
    score: f32,
    /// Name of the language.
    language: &'a str,
    /// Enclosing definitions, outermost first, joined with ` > `.
    scope: &'a str,
    /// Names that the chunk defines.
    symbols: &'a [String],
    /// The chunk; empty where the file no longer holds what was indexed. Absent with `--no-text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    /// Whether the file changed since it was indexed: lines may be off.
    stale: bool,
    /// What the score is made of, with `--explain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<Vec<Contribution<'a>>>,
    /// The definition that was found, with `--mode symbol`.
    #[serde(skip_serializing_if = "Option::is_none")]
    symbol: Option<SymbolMatch<'a>>,
    /// What matched, with `--mode regex`; the first ones of a line with very many.
    #[serde(skip_serializing_if = "Option::is_none")]
    matches: Option<Vec<Span>>,
}

/// One part of a score.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct Contribution<'a> {
    /// In the ranked modes, terms that are added: `text`, `vectors`, `coherence`, `definition`, `file_name`; then factors that
    /// multiply the sum: `factor:secondary_folder`, `factor:test_file`, `factor:test_scope`, `factor:package_file`,
    /// `factor:declaration`, `factor:older_version`, `factor:repeat`. With `--mode symbol`, the value of `symbol.fit`.
    name: &'a str,
    /// The term, the factor, or with `--mode symbol` the whole score.
    value: f32,
}

/// A definition that was found by its name.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct SymbolMatch<'a> {
    /// The name as it is written in the file.
    name: &'a str,
    /// `function`, `method`, `class` ...
    kind: &'a str,
    /// Line of the name, from 1.
    line: u32,
    /// How the name fits the query: `exact`, `case`, `prefix`, `humps` or `fuzzy`.
    fit: &'a str,
}

/// A match within one line.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct Span {
    /// From 1.
    line: u32,
    /// First column, from 1, in UTF-16 units.
    start: u32,
    /// Column after the last.
    end: u32,
}

impl<'a> SearchResult<'a> {
    /// The document for a report; `text` says whether hits carry their code.
    pub fn new(report: &'a SearchReport, text: bool) -> Self {
        let coverage = &report.coverage;
        SearchResult {
            hits: report.hits.iter().map(|hit| Hit::new(hit, text)).collect(),
            mode: &report.mode,
            degraded: report.degraded.as_deref(),
            space: report.space.as_deref(),
            generation: report.generation,
            coverage: Coverage {
                files: coverage.files,
                chunks: coverage.chunks,
                vectors: coverage.vectors,
                text_only: coverage.text_only,
                skipped_total: total(&coverage.skipped_by_reason),
                skipped_by_reason: skip_counts(&coverage.skipped_by_reason),
                fresh: coverage.fresh,
                pending_files: coverage.pending_files,
            },
            unmatched: &report.unmatched,
            truncated: report.truncated,
            read_only: report.read_only,
            wait_ms: ms(report.wait_us),
            embed_ms: ms(report.embed_us),
            search_ms: ms(report.search_us),
        }
    }
}

impl<'a> Hit<'a> {
    fn new(hit: &'a message::Hit, text: bool) -> Self {
        let why = hit.why.iter().map(|part| Contribution { name: &part.name, value: part.value });
        let spans = hit.matches.iter().map(|span| Span { line: span.line, start: span.start, end: span.end });
        Hit {
            path: &hit.path,
            start_line: hit.first_line,
            end_line: hit.last_line,
            score: hit.score,
            language: &hit.language,
            scope: &hit.scope,
            symbols: &hit.symbols,
            text: text.then_some(&hit.text),
            stale: hit.stale,
            why: (!hit.why.is_empty()).then(|| why.collect()),
            symbol: hit.symbol.as_ref().map(|found| SymbolMatch {
                name: &found.name,
                kind: &found.kind,
                line: found.line,
                fit: &found.fit,
            }),
            matches: (!hit.matches.is_empty()).then(|| spans.collect()),
        }
    }
}
