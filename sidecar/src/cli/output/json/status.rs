//! The document of `offheap status`.

use offheap_protocol::message::{self, StatusReport};
use serde::Serialize;

use super::values::{SkipCount, ms, skip_counts, total};

/// What `offheap status` prints.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum StatusDocument<'a> {
    Running(Box<Status<'a>>),
    NotRunning(NotRunning),
}

impl StatusDocument<'_> {
    /// The document where no daemon runs for `project`.
    pub fn not_running(project: Option<String>) -> Self {
        StatusDocument::NotRunning(NotRunning { running: false, project })
    }
}

/// No daemon runs.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct NotRunning {
    /// Always false.
    #[cfg_attr(test, schemars(extend("const" = false)))]
    running: bool,
    /// Root of the project; absent outside of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<String>,
}

/// What the daemon is doing.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Status<'a> {
    /// Always true.
    #[cfg_attr(test, schemars(extend("const" = true)))]
    running: bool,
    /// Version of the daemon.
    version: &'a str,
    /// Process id.
    pid: u32,
    /// Milliseconds since the daemon was ready.
    uptime_ms: u64,
    /// Root of the daemon's project; absent for the user's daemon without a project.
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<&'a str>,
    /// The loaded model; absent until a request needed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<ModelStatus<'a>>,
    /// The stored index; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<IndexStatus>,
    /// Whether an index run is in progress.
    indexing: bool,
    /// Open connections.
    connections: u32,
    /// Requests answered.
    requests: u64,
    /// Requests answered with an error.
    faults: u64,
    /// Texts that wait for the model.
    queued: u32,
    /// Bytes of anonymous resident memory, where the system tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    anon_bytes: Option<u64>,
    /// Bytes of file-backed resident memory, the mapped model included, where the system tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    file_bytes: Option<u64>,
    /// How changes of the project are noticed; absent without a project.
    #[serde(skip_serializing_if = "Option::is_none")]
    watch: Option<WatchStatus<'a>>,
    /// How clients reach the daemon: `local`, `tcp` or `standalone`.
    transport: &'a str,
    /// Daemons that started at this endpoint, this one included.
    starts: u64,
    /// Earlier daemons of this endpoint that crashed.
    crashes: u64,
    /// Whether another process owns the index; this daemon reads what that process commits.
    read_only: bool,
    load: LoadStatus<'a>,
    idle: IdleStatus,
    embedding_cache: CacheStatus,
    /// Open connections by the name of their client, most connections first; at most 32 names.
    clients: Vec<ClientStatus<'a>>,
}

/// The loaded model.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct ModelStatus<'a> {
    /// The name that the file gives itself.
    name: &'a str,
    /// `bert` ...
    architecture: &'a str,
    /// `Q8_0` ...
    quantisation: &'a str,
    /// Length of a vector.
    dim: u32,
    /// Longest input in tokens.
    context_length: u32,
    /// SHA-256 of the file.
    fingerprint: &'a str,
    /// The model file.
    path: &'a str,
    /// Instruction set in use.
    kernel: &'a str,
    /// Compute threads in use.
    threads: u32,
}

/// The stored index.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct IndexStatus {
    /// Last committed generation.
    generation: u64,
    /// Files in the index.
    files: u64,
    /// Chunks in the index.
    chunks: u64,
    /// Chunks that have a vector.
    vectors: u64,
    /// Chunks of long texts, which are found by their words and never get a vector.
    text_only: u64,
    /// Number of files of the project that are not in the index.
    skipped_total: u64,
    /// Skipped files by reason.
    skipped_by_reason: Vec<SkipCount>,
    /// Bytes on disk, the embedding cache included.
    bytes: u64,
    /// Whether searches by text and by symbol find something: there are chunks.
    text_search: bool,
    /// Whether searches compare vectors: there are some, and they are of the loaded model's space, if a model is loaded.
    vector_search: bool,
}

/// When the daemon was used last, and what it does when nobody uses it.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct IdleStatus {
    /// Milliseconds since the last request, not counting pings and questions for the status; absent before the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_use_ms: Option<u64>,
    /// Milliseconds until the model and the index are dropped from memory if no request comes; absent while requests are
    /// worked on, and after they were dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    unload_in_ms: Option<u64>,
    /// Milliseconds until the daemon leaves if no request comes; absent while requests are worked on, and for a private daemon.
    #[serde(skip_serializing_if = "Option::is_none")]
    leave_in_ms: Option<u64>,
}

/// The embedding cache of the index, which keeps vectors by content. Counted since the daemon was ready, over all index runs.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct CacheStatus {
    /// Chunks whose vector was found there.
    hits: u64,
    /// Chunks whose vector had to be computed.
    misses: u64,
}

/// The connections of clients that have the same name.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct ClientStatus<'a> {
    /// The name that the clients gave themselves.
    name: &'a str,
    /// How many connections they have open.
    connections: u32,
}

/// How changes of the project are noticed.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct WatchStatus<'a> {
    /// `watching` (the system reports changes), `polling` (it cannot) or `off`.
    state: &'a str,
    /// Folders that are watched.
    folders: u64,
    /// Changed files and folders that wait to be indexed; absent where their number is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pending: Option<u64>,
    /// Whether changes are being indexed now.
    busy: bool,
    /// Why the project is polled, or why the last changes could not be indexed.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
}

/// Counters since the daemon was ready, and work in progress.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct LoadStatus<'a> {
    /// Bytes of texts whose requests are not answered.
    waiting_bytes: u64,
    /// Searches and index runs that occupy a thread now.
    working: u32,
    requests: RequestCounts,
    /// Requests answered with `CANCELLED`.
    cancelled: u64,
    /// Requests answered with `TIMEOUT`.
    timed_out: u64,
    /// Requests answered with `OVERLOADED`.
    overloaded: u64,
    /// How long successful embeddings took in the daemon, waiting included.
    embed: Latency<'a>,
    /// How long successful searches took in the daemon, waiting included.
    search: Latency<'a>,
    cut_off: CutOff,
    /// How often the model and the index were dropped from memory because they were idle.
    evictions: u64,
}

/// Requests answered, by kind.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct RequestCounts {
    /// Embeddings; a large call is several.
    embed: u64,
    /// Searches, in any mode.
    search: u64,
    /// Index runs.
    index: u64,
    /// All other requests.
    other: u64,
}

/// A distribution of durations. Quantiles are the upper ends of their buckets: at most twice the true value.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct Latency<'a> {
    /// Milliseconds within which half of the requests ended.
    p50_ms: f64,
    /// Milliseconds within which 90 % of the requests ended.
    p90_ms: f64,
    /// Milliseconds within which 99 % of the requests ended.
    p99_ms: f64,
    /// Milliseconds of the longest request.
    max_ms: f64,
    /// Bucket `i` counts durations below `2^i` microseconds that fit no smaller bucket; the last one takes the rest.
    buckets: &'a [u64],
}

/// Connections that the daemon dropped, by reason.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct CutOff {
    /// The client sent bytes that are not the protocol.
    malformed: u64,
    /// The client did not read its answers.
    slow_reader: u64,
    /// The client stopped in the middle of a message.
    slow_sender: u64,
}

impl<'a> Status<'a> {
    /// The document for a report.
    pub fn new(status: &'a StatusReport) -> Self {
        Status {
            running: true,
            version: &status.version,
            pid: status.pid,
            uptime_ms: status.uptime_ms,
            project: status.project.as_deref(),
            model: status.model.as_ref().map(ModelStatus::new),
            index: status.index.as_ref().map(|index| IndexStatus {
                generation: index.generation,
                files: index.files,
                chunks: index.chunks,
                vectors: index.vectors,
                text_only: index.text_only,
                skipped_total: total(&index.skipped_by_reason),
                skipped_by_reason: skip_counts(&index.skipped_by_reason),
                bytes: index.bytes,
                text_search: index.text_search,
                vector_search: index.vector_search,
            }),
            indexing: status.indexing,
            connections: status.connections,
            requests: status.requests,
            faults: status.faults,
            queued: status.queued,
            anon_bytes: status.anon_bytes,
            file_bytes: status.file_bytes,
            watch: status.watch.as_ref().map(|watch| WatchStatus {
                state: &watch.state,
                folders: watch.folders,
                pending: watch.pending,
                busy: watch.busy,
                problem: watch.problem.as_deref(),
            }),
            transport: &status.transport,
            starts: status.starts,
            crashes: status.crashes,
            read_only: status.read_only,
            load: LoadStatus::new(&status.load),
            idle: IdleStatus {
                last_use_ms: status.idle.last_use_ms,
                unload_in_ms: status.idle.unload_in_ms,
                leave_in_ms: status.idle.leave_in_ms,
            },
            embedding_cache: CacheStatus { hits: status.embedding_cache.hits, misses: status.embedding_cache.misses },
            clients: status
                .clients
                .iter()
                .map(|client| ClientStatus { name: &client.name, connections: client.connections })
                .collect(),
        }
    }
}

impl<'a> ModelStatus<'a> {
    fn new(model: &'a message::ModelStatus) -> Self {
        ModelStatus {
            name: &model.name,
            architecture: &model.architecture,
            quantisation: &model.quantisation,
            dim: model.dim,
            context_length: model.context_length,
            fingerprint: &model.fingerprint,
            path: &model.path,
            kernel: &model.kernel,
            threads: model.threads,
        }
    }
}

impl<'a> LoadStatus<'a> {
    fn new(load: &'a message::LoadStatus) -> Self {
        let (requests, cut_off) = (&load.requests, &load.cut_off);
        LoadStatus {
            waiting_bytes: load.waiting_bytes,
            working: load.working,
            requests: RequestCounts {
                embed: requests.embed,
                search: requests.search,
                index: requests.index,
                other: requests.other,
            },
            cancelled: load.cancelled,
            timed_out: load.timed_out,
            overloaded: load.overloaded,
            embed: Latency::new(&load.embed),
            search: Latency::new(&load.search),
            cut_off: CutOff {
                malformed: cut_off.malformed,
                slow_reader: cut_off.slow_reader,
                slow_sender: cut_off.slow_sender,
            },
            evictions: load.evictions,
        }
    }
}

impl<'a> Latency<'a> {
    fn new(latency: &'a message::Latency) -> Self {
        Latency {
            p50_ms: ms(latency.p50_us),
            p90_ms: ms(latency.p90_us),
            p99_ms: ms(latency.p99_us),
            max_ms: ms(latency.max_us),
            buckets: &latency.buckets,
        }
    }
}
