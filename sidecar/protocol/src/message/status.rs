//! What the daemon reports about itself.

use serde::{Deserialize, Serialize};

use super::SkipCount;

/// The answer to a `Status` request. Counters begin at 0 with the daemon, except `starts` and `crashes`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Version of the daemon's package.
    pub version: String,
    /// The daemon's process id.
    pub pid: u32,
    /// Milliseconds since the daemon was ready.
    pub uptime_ms: u64,
    /// The project's root, an absolute path; `None` for the daemon that has no project.
    pub project: Option<String>,
    /// The model; `None` while none is loaded.
    pub model: Option<ModelStatus>,
    /// The index; `None` where there is none.
    pub index: Option<IndexStatus>,
    /// Whether an `Index` request is in progress. Background runs are in [`WatchStatus::busy`].
    pub indexing: bool,
    /// Connections that are open now, this one included.
    pub connections: u32,
    /// Requests answered, with a response or a fault.
    pub requests: u64,
    /// Requests answered with a fault.
    pub faults: u64,
    /// Distinct texts that wait for the model.
    pub queued: u32,
    /// Anonymous resident memory, bytes; `None` where the system does not tell (other than Linux).
    pub anon_bytes: Option<u64>,
    /// File-backed resident memory, bytes, the mapped model and index included; `None` where the system does not tell.
    pub file_bytes: Option<u64>,
    /// How changes of the project are noticed; `None` for the daemon that has no project.
    pub watch: Option<WatchStatus>,
    /// How clients reach the daemon: "local", "tcp" or "standalone".
    pub transport: String,
    /// Daemons that have been started at this endpoint, this one included.
    pub starts: u64,
    /// Earlier daemons at this endpoint that crashed or were killed.
    pub crashes: u64,
    /// Whether another process owns the index. This daemon reads what that process has committed.
    pub read_only: bool,
    /// Work done since the daemon was ready, and work in progress.
    pub load: LoadStatus,
    /// When the daemon was used last, and what it does when nobody uses it.
    pub idle: IdleStatus,
    /// How often index runs found a chunk's vector in the embedding cache.
    pub embedding_cache: CacheStatus,
    /// Open connections by the name that their clients gave themselves in [`Request::Hello`], most connections first;
    /// at most [`MAX_CLIENT_NAMES`] names. [`StatusReport::connections`] counts all.
    ///
    /// [`Request::Hello`]: super::Request::Hello
    pub clients: Vec<ClientStatus>,
}

/// Most names in [`StatusReport::clients`].
pub const MAX_CLIENT_NAMES: usize = 32;
/// Longest name in [`StatusReport::clients`], characters; longer names are cut.
pub const MAX_CLIENT_NAME_CHARS: usize = 96;

/// When the daemon was used last, and what it does when nobody uses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdleStatus {
    /// Milliseconds since the last request began or ended that was no `Hello`, `Status` or `Ping`; `None` before the
    /// first one.
    pub last_use_ms: Option<u64>,
    /// Milliseconds until the daemon drops the model and the index from memory if no request comes; `None` while
    /// requests are worked on, and after they were dropped.
    pub unload_in_ms: Option<u64>,
    /// Milliseconds until the daemon exits if no request comes; `None` while requests are worked on, and for a private
    /// daemon, which ends with its client.
    pub leave_in_ms: Option<u64>,
}

/// The embedding cache, which is part of the index on disk: vectors by content. Counted since the daemon was ready, over
/// all index runs, background runs included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheStatus {
    /// Chunks whose vector was found there.
    pub hits: u64,
    /// Chunks whose vector had to be computed.
    pub misses: u64,
}

/// The connections of clients that have the same name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientStatus {
    /// The name, without characters that a terminal may act on, at most [`MAX_CLIENT_NAME_CHARS`] long.
    pub name: String,
    /// How many of them are open.
    pub connections: u32,
}

/// Work done since the daemon was ready, and work in progress. Numbers only: nothing of what was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadStatus {
    /// Bytes of the texts in requests that are not answered yet.
    pub waiting_bytes: u64,
    /// Searches and index runs that occupy a thread now.
    pub working: u32,
    /// Requests answered, by kind.
    pub requests: RequestCounts,
    /// Requests answered with `CANCELLED`.
    pub cancelled: u64,
    /// Requests answered with `TIMEOUT`.
    pub timed_out: u64,
    /// Requests answered with `OVERLOADED`.
    pub overloaded: u64,
    /// Duration of successful `Embed` requests, from reading the request to its answer.
    pub embed: Latency,
    /// Duration of successful `Search` requests, from reading the request to its answer.
    pub search: Latency,
    /// Connections that the daemon closed.
    pub cut_off: CutOff,
    /// How often the model and the index were released because they had not been used for a while.
    pub evictions: u64,
}

/// Requests answered, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCounts {
    /// `Embed`.
    pub embed: u64,
    /// `Search`, in any mode.
    pub search: u64,
    /// `Index`.
    pub index: u64,
    /// Everything else, `Hello` included.
    pub other: u64,
}

/// A distribution of durations, microseconds. All zeros where nothing was measured.
///
/// A quantile is the upper end of its bucket: at most twice the exact value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Median.
    pub p50_us: u64,
    /// 90th percentile.
    pub p90_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// Longest duration, exact.
    pub max_us: u64,
    /// Histogram: entry `i` counts durations below `2^i` microseconds that are in no earlier entry; the last entry also
    /// counts all longer ones.
    pub buckets: Vec<u64>,
}

/// Connections that the daemon closed, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutOff {
    /// The peer sent bytes that break the protocol.
    pub malformed: u64,
    /// The peer did not read its answers in time.
    pub slow_reader: u64,
    /// The peer did not complete a preamble or a frame in time.
    pub slow_sender: u64,
}

/// How changes of the project are noticed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchStatus {
    /// "off"; "watching", with events of the system; or "polling", where those cannot be had: every 30 s.
    pub state: String,
    /// Folders that are watched.
    pub folders: u64,
    /// Changed files and folders that wait to be indexed; `None` where their number is not known.
    pub pending: Option<u64>,
    /// Whether changes are being indexed now.
    pub busy: bool,
    /// Why the daemon polls, or why the last changes could not be indexed; `None` where all is well.
    pub problem: Option<String>,
}

/// The loaded model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelStatus {
    /// Name, as the model file states it.
    pub name: String,
    /// Architecture, e.g. "bert".
    pub architecture: String,
    /// Format of the weights, e.g. "Q8_0".
    pub quantisation: String,
    /// Values in a vector.
    pub dim: u32,
    /// Longest input, tokens.
    pub context_length: u32,
    /// SHA-256 of the model file, 64 lower-case hexadecimal digits.
    pub fingerprint: String,
    /// Path of the model file.
    pub path: String,
    /// Set of compute kernels in use, by instruction set, e.g. "avx2".
    pub kernel: String,
    /// Threads that compute.
    pub threads: u32,
}

/// The stored index.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IndexStatus {
    /// Last committed generation.
    pub generation: u64,
    /// Files in the index.
    pub files: u64,
    /// Chunks in the index.
    pub chunks: u64,
    /// Chunks that have a vector.
    pub vectors: u64,
    /// Size on disk, bytes, the embedding cache included.
    pub bytes: u64,
    /// Chunks of long texts, which never get a vector.
    pub text_only: u64,
    /// Files of the project that are not in the index, by reason.
    pub skipped_by_reason: Vec<SkipCount>,
    /// Whether searches by text and by symbol find something: there are chunks.
    pub text_search: bool,
    /// Whether searches compare vectors: there are some, and they are of the loaded model's vector space, if a model is
    /// loaded.
    pub vector_search: bool,
}
