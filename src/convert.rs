//! Protocol types to JavaScript objects, and back.

use napi::bindgen_prelude::*;
use napi_derive::napi;
use offheap_protocol::message::{
    Case, Fresh, Hit, IndexReport, Latency, LoadStatus, Progress, Request, SearchMode, SearchReport, SearchRequest,
    StatusReport, Vectors,
};
use offheap_protocol::{Code, Fault};

/// How to embed.
#[napi(object)]
pub struct EmbedCall {
    pub query: bool,
    pub bulk: bool,
    pub parse_specials: bool,
    pub or_hash: bool,
}

/// Vectors of one call.
#[napi(object, object_from_js = false)]
pub struct VectorsResult {
    /// Length of a row.
    pub dim: u32,
    /// Row after row, one copy away from the socket.
    pub values: Float32Array,
    /// Tokens per text.
    pub tokens: Uint32Array,
    /// Whether each text was longer than the model reads.
    pub truncated: Vec<bool>,
    /// The vector space.
    pub space: String,
    /// Milliseconds of waiting, tokenising and computing.
    pub timing: TimingResult,
    /// Why these are not what the model would give.
    pub degraded: Option<String>,
}

/// Milliseconds.
#[napi(object)]
pub struct TimingResult {
    pub queue_ms: f64,
    pub tokenise_ms: f64,
    pub model_ms: f64,
}

impl From<(Vectors, Vec<f32>)> for VectorsResult {
    fn from((vectors, rows): (Vectors, Vec<f32>)) -> Self {
        VectorsResult {
            dim: vectors.dim,
            values: Float32Array::new(rows),
            tokens: Uint32Array::new(vectors.tokens),
            truncated: vectors.truncated,
            space: vectors.space,
            timing: TimingResult {
                queue_ms: ms(vectors.timing.queue_us),
                tokenise_ms: ms(vectors.timing.tokenise_us),
                model_ms: ms(vectors.timing.model_us),
            },
            degraded: vectors.degraded,
        }
    }
}

/// How far an index run is.
#[napi(object)]
pub struct ProgressEvent {
    pub phase: String,
    pub done: f64,
    pub total: f64,
    pub elapsed_ms: f64,
    pub path: String,
}

impl From<Progress> for ProgressEvent {
    fn from(progress: Progress) -> Self {
        ProgressEvent {
            phase: progress.phase.as_str().to_owned(),
            done: progress.done as f64,
            total: progress.total as f64,
            elapsed_ms: progress.elapsed_ms as f64,
            path: progress.path,
        }
    }
}

/// What an index run did.
#[napi(object)]
pub struct IndexResult {
    pub generation: f64,
    pub files: f64,
    pub files_changed: f64,
    pub files_removed: f64,
    pub skipped: Vec<SkippedResult>,
    pub skipped_total: f64,
    pub chunks: f64,
    pub vectors: f64,
    pub embedded: f64,
    pub reused: f64,
    pub tokens: f64,
    pub text_ms: f64,
    pub total_ms: f64,
    pub foreign: bool,
}

/// A file that was left out.
#[napi(object)]
pub struct SkippedResult {
    pub path: String,
    pub reason: String,
}

impl From<IndexReport> for IndexResult {
    fn from(report: IndexReport) -> Self {
        let skipped = report.skipped.into_iter().map(|file| SkippedResult { path: file.path, reason: file.reason });
        IndexResult {
            generation: report.generation as f64,
            files: report.files as f64,
            files_changed: report.files_changed as f64,
            files_removed: report.files_removed as f64,
            skipped: skipped.collect(),
            skipped_total: report.skipped_total as f64,
            chunks: report.chunks as f64,
            vectors: report.vectors as f64,
            embedded: report.embedded as f64,
            reused: report.reused as f64,
            tokens: report.tokens as f64,
            text_ms: report.text_ms as f64,
            total_ms: report.total_ms as f64,
            foreign: report.foreign,
        }
    }
}

/// How to search.
#[napi(object)]
#[derive(Default)]
pub struct SearchOptions {
    pub mode: Option<String>,
    pub limit: Option<u32>,
    pub globs: Option<Vec<String>>,
    pub languages: Option<Vec<String>>,
    /// Milliseconds to wait for changes; absent takes what is there.
    pub wait_ms: Option<u32>,
    pub explain: Option<bool>,
    pub case: Option<String>,
    pub context: Option<u32>,
}

impl SearchOptions {
    /// The request for a query.
    pub fn request(self, query: String) -> std::result::Result<Request, Fault> {
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
        }))
    }
}

/// Hits with what they were found by.
#[napi(object)]
pub struct SearchResult {
    pub hits: Vec<HitResult>,
    pub mode: String,
    pub degraded: Option<String>,
    pub space: Option<String>,
    pub generation: f64,
    pub coverage: CoverageResult,
    pub truncated: bool,
    pub wait_ms: f64,
    pub embed_ms: f64,
    pub search_ms: f64,
    pub read_only: bool,
}

/// What an answer was made from.
#[napi(object)]
pub struct CoverageResult {
    pub files: f64,
    pub chunks: f64,
    pub vectors: f64,
    pub fresh: bool,
    pub pending_files: Option<f64>,
}

/// One ranked chunk.
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

/// One part of a score.
#[napi(object)]
pub struct ContributionResult {
    pub name: String,
    pub value: f64,
}

/// A definition whose name was asked for.
#[napi(object)]
pub struct SymbolResult {
    pub name: String,
    pub kind: String,
    pub line: u32,
    pub fit: String,
}

/// A match within one line.
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
                fresh: report.coverage.fresh,
                pending_files: report.coverage.pending_files.map(|n| n as f64),
            },
            truncated: report.truncated,
            wait_ms: ms(report.wait_us),
            embed_ms: ms(report.embed_us),
            search_ms: ms(report.search_us),
            read_only: report.read_only,
        }
    }
}

/// What the daemon is doing.
#[napi(object)]
pub struct StatusResult {
    pub version: String,
    pub pid: u32,
    pub uptime_ms: f64,
    pub project: Option<String>,
    pub model: Option<ModelResult>,
    pub index: Option<IndexStatusResult>,
    pub indexing: bool,
    pub connections: u32,
    pub requests: f64,
    pub faults: f64,
    pub queued: u32,
    pub anon_bytes: Option<f64>,
    pub file_bytes: Option<f64>,
    pub watch: Option<WatchResult>,
    pub transport: String,
    pub starts: f64,
    pub crashes: f64,
    pub read_only: bool,
    pub load: LoadResult,
}

/// What was done since the daemon was ready, and what is going on.
#[napi(object)]
pub struct LoadResult {
    pub waiting_bytes: f64,
    pub working: u32,
    pub requests: RequestCountsResult,
    pub cancelled: f64,
    pub timed_out: f64,
    pub overloaded: f64,
    pub embed: LatencyResult,
    pub search: LatencyResult,
    pub cut_off: CutOffResult,
    pub evictions: f64,
}

/// Requests answered.
#[napi(object)]
pub struct RequestCountsResult {
    pub embed: f64,
    pub search: f64,
    pub index: f64,
    pub other: f64,
}

/// Milliseconds, and how many took how long.
#[napi(object)]
pub struct LatencyResult {
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    pub buckets: Vec<f64>,
}

/// Connections that the daemon ended.
#[napi(object)]
pub struct CutOffResult {
    pub malformed: f64,
    pub slow_reader: f64,
    pub slow_sender: f64,
}

impl From<LoadStatus> for LoadResult {
    fn from(load: LoadStatus) -> Self {
        LoadResult {
            waiting_bytes: load.waiting_bytes as f64,
            working: load.working,
            requests: RequestCountsResult {
                embed: load.requests.embed as f64,
                search: load.requests.search as f64,
                index: load.requests.index as f64,
                other: load.requests.other as f64,
            },
            cancelled: load.cancelled as f64,
            timed_out: load.timed_out as f64,
            overloaded: load.overloaded as f64,
            embed: load.embed.into(),
            search: load.search.into(),
            cut_off: CutOffResult {
                malformed: load.cut_off.malformed as f64,
                slow_reader: load.cut_off.slow_reader as f64,
                slow_sender: load.cut_off.slow_sender as f64,
            },
            evictions: load.evictions as f64,
        }
    }
}

impl From<Latency> for LatencyResult {
    fn from(latency: Latency) -> Self {
        LatencyResult {
            p50_ms: ms(latency.p50_us),
            p90_ms: ms(latency.p90_us),
            p99_ms: ms(latency.p99_us),
            max_ms: ms(latency.max_us),
            buckets: latency.buckets.into_iter().map(|n| n as f64).collect(),
        }
    }
}

/// How changes of the project are noticed.
#[napi(object)]
pub struct WatchResult {
    pub state: String,
    pub folders: f64,
    pub pending: Option<f64>,
    pub busy: bool,
    pub problem: Option<String>,
}

/// The loaded model.
#[napi(object)]
pub struct ModelResult {
    pub name: String,
    pub architecture: String,
    pub quantisation: String,
    pub dim: u32,
    pub context_length: u32,
    pub fingerprint: String,
    pub path: String,
    pub kernel: String,
    pub threads: u32,
}

/// The stored index.
#[napi(object)]
pub struct IndexStatusResult {
    pub generation: f64,
    pub files: f64,
    pub chunks: f64,
    pub vectors: f64,
    pub bytes: f64,
}

impl From<StatusReport> for StatusResult {
    fn from(status: StatusReport) -> Self {
        StatusResult {
            version: status.version,
            pid: status.pid,
            uptime_ms: status.uptime_ms as f64,
            project: status.project,
            model: status.model.map(|model| ModelResult {
                name: model.name,
                architecture: model.architecture,
                quantisation: model.quantisation,
                dim: model.dim,
                context_length: model.context_length,
                fingerprint: model.fingerprint,
                path: model.path,
                kernel: model.kernel,
                threads: model.threads,
            }),
            index: status.index.map(|index| IndexStatusResult {
                generation: index.generation as f64,
                files: index.files as f64,
                chunks: index.chunks as f64,
                vectors: index.vectors as f64,
                bytes: index.bytes as f64,
            }),
            indexing: status.indexing,
            connections: status.connections,
            requests: status.requests as f64,
            faults: status.faults as f64,
            queued: status.queued,
            anon_bytes: status.anon_bytes.map(|bytes| bytes as f64),
            file_bytes: status.file_bytes.map(|bytes| bytes as f64),
            watch: status.watch.map(|watch| WatchResult {
                state: watch.state,
                folders: watch.folders as f64,
                pending: watch.pending.map(|n| n as f64),
                busy: watch.busy,
                problem: watch.problem,
            }),
            transport: status.transport,
            starts: status.starts as f64,
            crashes: status.crashes as f64,
            read_only: status.read_only,
            load: status.load.into(),
        }
    }
}

fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}
