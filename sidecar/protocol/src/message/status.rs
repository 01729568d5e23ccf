//! What the daemon says of itself.

use serde::{Deserialize, Serialize};

/// What the daemon is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Version of the daemon's package.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Milliseconds since it was ready.
    pub uptime_ms: u64,
    /// The project's root; none for the per-user daemon.
    pub project: Option<String>,
    /// The model, once one is loaded.
    pub model: Option<ModelStatus>,
    /// The index, where there is one.
    pub index: Option<IndexStatus>,
    /// An `Index` request is running.
    pub indexing: bool,
    /// Connections now open.
    pub connections: u32,
    /// Requests answered.
    pub requests: u64,
    /// Requests answered with a fault.
    pub faults: u64,
    /// Texts waiting for the model.
    pub queued: u32,
    /// Anonymous resident memory, bytes, where the system tells.
    pub anon_bytes: Option<u64>,
    /// File-backed resident memory, bytes: the mapped model is here.
    pub file_bytes: Option<u64>,
    /// How changes of the project are noticed; none for the per-user daemon.
    pub watch: Option<WatchStatus>,
    /// "local", "tcp" or "standalone": how clients reach it.
    pub transport: String,
    /// Daemons that began at this endpoint, this one included.
    pub starts: u64,
    /// Of its predecessors, those that died without a word.
    pub crashes: u64,
    /// Another process owns the index: this one reads what that one commits.
    pub read_only: bool,
    /// What was done since the daemon was ready, and what is going on.
    pub load: LoadStatus,
}

/// What was done since the daemon was ready, and what is going on: numbers only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadStatus {
    /// Bytes of texts whose requests are not answered.
    pub waiting_bytes: u64,
    /// Searches, greps and index runs that occupy a thread now.
    pub working: u32,
    /// Requests answered, by what they ask for.
    pub requests: RequestCounts,
    /// Requests answered with `CANCELLED`.
    pub cancelled: u64,
    /// Requests answered with `TIMEOUT`.
    pub timed_out: u64,
    /// Requests answered with `OVERLOADED`.
    pub overloaded: u64,
    /// How long successful `Embed` requests took, waiting included.
    pub embed: Latency,
    /// How long successful `Search` requests took, waiting included.
    pub search: Latency,
    /// Connections that the daemon ended.
    pub cut_off: CutOff,
    /// How often the model and the index were let go because nobody used them.
    pub evictions: u64,
}

/// Requests answered.
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

/// Microseconds. Quantiles are the ends of their buckets: no more than twice the truth.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of them took less.
    pub p50_us: u64,
    /// Nine of ten took less.
    pub p90_us: u64,
    /// All but one of a hundred took less.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
    /// Bucket `i` counts what took less than `2^i` and fits no smaller one; the last one takes the rest.
    pub buckets: Vec<u64>,
}

/// Connections that the daemon ended, by why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutOff {
    /// What they sent is not the protocol.
    pub malformed: u64,
    /// They did not take their answers.
    pub slow_reader: u64,
    /// They began a preamble or a frame and did not go on.
    pub slow_sender: u64,
}

/// How changes of the project are noticed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchStatus {
    /// "off", "watching", or "polling" where the system cannot tell.
    pub state: String,
    /// Folders that are watched.
    pub folders: u64,
    /// Changed files and folders that wait to be indexed, where their number is known.
    pub pending: Option<u64>,
    /// Changes are being indexed now.
    pub busy: bool,
    /// Why it polls, or why the last changes could not be indexed.
    pub problem: Option<String>,
}

/// The loaded model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelStatus {
    /// The file's own name for itself.
    pub name: String,
    /// "bert" ...
    pub architecture: String,
    /// "Q8_0" ...
    pub quantisation: String,
    /// Length of a vector.
    pub dim: u32,
    /// Longest input in tokens.
    pub context_length: u32,
    /// SHA-256 of the file.
    pub fingerprint: String,
    /// Where it is mapped from.
    pub path: String,
    /// The instruction set in use.
    pub kernel: String,
    /// Threads in use.
    pub threads: u32,
}

/// The stored index.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IndexStatus {
    /// Last committed generation.
    pub generation: u64,
    /// Files in it.
    pub files: u64,
    /// Chunks in it.
    pub chunks: u64,
    /// Chunks that have a vector.
    pub vectors: u64,
    /// Bytes on disk, the embedding cache included.
    pub bytes: u64,
}
