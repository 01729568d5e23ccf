//! Searches: options from JavaScript, reports for it. The fields are documented in `offheap_protocol::message`.

use napi_derive::napi;
use offheap_protocol::message::{Case, Fresh, Hit, Request, SearchMode, SearchReport, SearchRequest};
use offheap_protocol::{Code, Fault};

use super::{SkipCountResult, milliseconds, skip_counts};

/// How to search: the fields of a `SearchRequest` that JavaScript gave. Absent ones have their defaults.
#[napi(object)]
#[derive(Default)]
pub struct SearchOptions {
    pub mode: Option<String>,
    pub limit: Option<u32>,
    pub globs: Option<Vec<String>>,
    pub languages: Option<Vec<String>>,
    /// Longest wait for changes to be indexed, milliseconds; absent searches the index as it is.
    pub wait_ms: Option<u32>,
    pub explain: Option<bool>,
    pub case: Option<String>,
    pub context: Option<u32>,
}

impl SearchOptions {
    /// The request for a query. Fails with INVALID_ARGUMENT for an unknown mode or case.
    pub fn request(self, query: String) -> Result<Request, Fault> {
        let unknown = |what: &str, name: &str, known: &str| {
            Fault::new(Code::InvalidArgument, format!("{what} `{name}` is unknown: use one of {known}"))
        };
        let mode = self.mode.as_deref().unwrap_or(SearchMode::Hybrid.as_str());
        let modes = || SearchMode::TABLE.map(|(_, name)| name).join(", ");
        let case = self.case.as_deref().unwrap_or("smart");
        Ok(Request::Search(SearchRequest {
            query,
            mode: SearchMode::named(mode).ok_or_else(|| unknown("mode", mode, &modes()))?,
            limit: self.limit.unwrap_or(10),
            globs: self.globs.unwrap_or_default(),
            languages: self.languages.unwrap_or_default(),
            fresh: self.wait_ms.map_or(Fresh::StaleOk, |ms| Fresh::Wait { ms }),
            explain: self.explain.unwrap_or(false),
            case: Case::named(case).ok_or_else(|| unknown("case", case, "smart, sensitive, insensitive"))?,
            context: self.context.unwrap_or(0),
            folder: String::new(),
        }))
    }
}

/// A `SearchReport`; times in milliseconds.
#[napi(object)]
pub struct SearchResult {
    pub hits: Vec<HitResult>,
    pub mode: String,
    pub degraded: Option<String>,
    pub space: Option<String>,
    pub generation: f64,
    pub coverage: CoverageResult,
    pub unmatched: Vec<String>,
    pub truncated: bool,
    pub wait_ms: f64,
    pub embed_ms: f64,
    pub search_ms: f64,
    pub read_only: bool,
}

/// A `Coverage`.
#[napi(object)]
pub struct CoverageResult {
    pub files: f64,
    pub chunks: f64,
    pub vectors: f64,
    pub text_only: f64,
    pub skipped_total: f64,
    pub skipped_by_reason: Vec<SkipCountResult>,
    pub fresh: bool,
    pub pending_files: Option<f64>,
}

/// A `Hit`. `why` and `matches` are absent where they are empty.
#[napi(object)]
pub struct HitResult {
    pub path: String,
    pub start_line: u32,
    pub end_line: u32,
    pub score: f64,
    pub language: String,
    pub scope: String,
    pub symbols: Vec<String>,
    pub text: String,
    pub stale: bool,
    pub why: Option<Vec<ContributionResult>>,
    pub symbol: Option<SymbolResult>,
    pub matches: Option<Vec<SpanResult>>,
}

/// A `Contribution`.
#[napi(object)]
pub struct ContributionResult {
    pub name: String,
    pub value: f64,
}

/// A `SymbolMatch`.
#[napi(object)]
pub struct SymbolResult {
    pub name: String,
    pub kind: String,
    pub line: u32,
    pub fit: String,
}

/// A `Span`.
#[napi(object)]
pub struct SpanResult {
    pub line: u32,
    pub start: u32,
    pub end: u32,
}

impl From<Hit> for HitResult {
    fn from(hit: Hit) -> Self {
        let why = hit.why.into_iter().map(|part| ContributionResult { name: part.name, value: f64::from(part.value) });
        let spans =
            hit.matches.into_iter().map(|span| SpanResult { line: span.line, start: span.start, end: span.end });
        HitResult {
            path: hit.path,
            start_line: hit.first_line,
            end_line: hit.last_line,
            score: f64::from(hit.score),
            language: hit.language,
            scope: hit.scope,
            symbols: hit.symbols,
            text: hit.text,
            stale: hit.stale,
            why: Some(why.collect()).filter(|why: &Vec<_>| !why.is_empty()),
            symbol: hit.symbol.map(|found| SymbolResult {
                name: found.name,
                kind: found.kind,
                line: found.line,
                fit: found.fit,
            }),
            matches: Some(spans.collect()).filter(|spans: &Vec<_>| !spans.is_empty()),
        }
    }
}

impl From<SearchReport> for SearchResult {
    fn from(report: SearchReport) -> Self {
        let (skipped_by_reason, skipped_total) = skip_counts(report.coverage.skipped_by_reason);
        SearchResult {
            hits: report.hits.into_iter().map(Into::into).collect(),
            mode: report.mode,
            degraded: report.degraded,
            space: report.space,
            generation: report.generation as f64,
            coverage: CoverageResult {
                files: report.coverage.files as f64,
                chunks: report.coverage.chunks as f64,
                vectors: report.coverage.vectors as f64,
                text_only: report.coverage.text_only as f64,
                skipped_total,
                skipped_by_reason,
                fresh: report.coverage.fresh,
                pending_files: report.coverage.pending_files.map(|n| n as f64),
            },
            unmatched: report.unmatched,
            truncated: report.truncated,
            wait_ms: milliseconds(report.wait_us),
            embed_ms: milliseconds(report.embed_us),
            search_ms: milliseconds(report.search_us),
            read_only: report.read_only,
        }
    }
}
