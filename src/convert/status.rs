//! The daemon's status for JavaScript. The fields are documented in `offheap_protocol::message`.

use napi_derive::napi;
use offheap_protocol::message::{IndexStatus, Latency, LoadStatus, StatusReport};

use super::{SkipCountResult, milliseconds, skip_counts};

/// A `StatusReport`.
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
    pub idle: IdleResult,
    pub embedding_cache: CacheResult,
    pub clients: Vec<ClientResult>,
}

/// A `LoadStatus`.
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

/// A `RequestCounts`.
#[napi(object)]
pub struct RequestCountsResult {
    pub embed: f64,
    pub search: f64,
    pub index: f64,
    pub other: f64,
}

/// A `Latency`: quantiles in milliseconds; the buckets still end at powers of two of microseconds.
#[napi(object)]
pub struct LatencyResult {
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    pub buckets: Vec<f64>,
}

/// A `CutOff`.
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
            p50_ms: milliseconds(latency.p50_us),
            p90_ms: milliseconds(latency.p90_us),
            p99_ms: milliseconds(latency.p99_us),
            max_ms: milliseconds(latency.max_us),
            buckets: latency.buckets.into_iter().map(|n| n as f64).collect(),
        }
    }
}

/// A `WatchStatus`.
#[napi(object)]
pub struct WatchResult {
    pub state: String,
    pub folders: f64,
    pub pending: Option<f64>,
    pub busy: bool,
    pub problem: Option<String>,
}

/// A `ModelStatus`.
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

/// An `IndexStatus`.
#[napi(object)]
pub struct IndexStatusResult {
    pub generation: f64,
    pub files: f64,
    pub chunks: f64,
    pub vectors: f64,
    pub text_only: f64,
    pub skipped_total: f64,
    pub skipped_by_reason: Vec<SkipCountResult>,
    pub bytes: f64,
    pub text_search: bool,
    pub vector_search: bool,
}

/// An `IdleStatus`.
#[napi(object)]
pub struct IdleResult {
    pub last_use_ms: Option<f64>,
    pub unload_in_ms: Option<f64>,
    pub leave_in_ms: Option<f64>,
}

/// A `CacheStatus`.
#[napi(object)]
pub struct CacheResult {
    pub hits: f64,
    pub misses: f64,
}

/// A `ClientStatus`.
#[napi(object)]
pub struct ClientResult {
    pub name: String,
    pub connections: u32,
}

impl From<IndexStatus> for IndexStatusResult {
    fn from(index: IndexStatus) -> Self {
        let (skipped_by_reason, skipped_total) = skip_counts(index.skipped_by_reason);
        IndexStatusResult {
            generation: index.generation as f64,
            files: index.files as f64,
            chunks: index.chunks as f64,
            vectors: index.vectors as f64,
            text_only: index.text_only as f64,
            skipped_total,
            skipped_by_reason,
            bytes: index.bytes as f64,
            text_search: index.text_search,
            vector_search: index.vector_search,
        }
    }
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
            index: status.index.map(Into::into),
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
            idle: IdleResult {
                last_use_ms: status.idle.last_use_ms.map(|ms| ms as f64),
                unload_in_ms: status.idle.unload_in_ms.map(|ms| ms as f64),
                leave_in_ms: status.idle.leave_in_ms.map(|ms| ms as f64),
            },
            embedding_cache: CacheResult {
                hits: status.embedding_cache.hits as f64,
                misses: status.embedding_cache.misses as f64,
            },
            clients: status
                .clients
                .into_iter()
                .map(|client| ClientResult { name: client.name, connections: client.connections })
                .collect(),
        }
    }
}
