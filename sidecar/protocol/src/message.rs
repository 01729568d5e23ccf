//! Requests, responses, progress and faults.
//!
//! Plain data, no sockets. The encoding carries no names: **position is identity. Append, never reorder, never
//! insert.** A new variant or a new trailing field raises [`PROTO_MAX`].

use serde::{Deserialize, Serialize};

/// Oldest protocol version this build still speaks.
pub const PROTO_MIN: u16 = 1;
/// Newest protocol version this build speaks.
pub const PROTO_MAX: u16 = 1;

/// What a client can ask.
///
/// Exhaustive on purpose: a new variant must break the daemon's `match` until it is handled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// First on every connection. Since version 1.
    Hello {
        /// Who is asking, for `status` and logs, e.g. "offheap-node 0.1.0".
        client: String,
    },
    /// Answered at once by the socket's own task. Since version 1.
    Ping,
    /// Vectors for texts, in order. Body: the texts' UTF-8, end to end. Since version 1.
    Embed {
        /// Bytes of each text in the body.
        lengths: Vec<u32>,
        /// What the texts are to the model.
        kind: TextKind,
        /// Who waits for the answer.
        priority: Priority,
        /// `[SEP]` and the like in a text are the model's special tokens, not characters.
        parse_specials: bool,
        /// Where no model can be loaded: hashed vectors of a space of their own instead of a fault.
        or_hash: bool,
    },
    /// Bring the project's index up to date. Since version 1.
    Index {
        /// Forget the stored index (not the embedding cache) first.
        rebuild: bool,
    },
    /// Hits for a query. Since version 1.
    Search(SearchRequest),
    /// What the daemon is doing. Since version 1.
    Status,
    /// Drop the model, the open index and, if asked, the stored embedding cache. Since version 1.
    ClearCache {
        /// Also delete the embeddings stored for re-use.
        stored: bool,
    },
    /// Finish what is in flight, then leave. Since version 1.
    Shutdown,
}

/// Some models prefix queries and documents differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TextKind {
    /// Text that is searched.
    Document,
    /// Text that searches.
    Query,
}

/// Interactive work passes bulk work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Priority {
    /// Somebody waits for this one answer.
    Interactive,
    /// Throughput matters, not this answer's latency.
    Bulk,
}

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

/// The final answer to one request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// To `Hello`.
    Hello {
        /// Version of the daemon's package.
        version: String,
        /// Largest body the daemon takes, bytes.
        max_body: u32,
    },
    /// To `Ping`.
    Pong,
    /// To `Embed`. Body: `rows * dim` little-endian `f32`, row after row.
    Vectors(Vectors),
    /// To `Index`.
    Indexed(IndexReport),
    /// To `Search`.
    Found(SearchReport),
    /// To `Status`.
    Status(Box<StatusReport>),
    /// To `ClearCache`.
    Cleared {
        /// Stored embeddings that were deleted.
        embeddings: u64,
    },
    /// To `Shutdown`.
    Leaving,
}

/// About the rows in the body.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Vectors {
    /// Length of a row.
    pub dim: u32,
    /// Tokens each text was computed from, special tokens included.
    pub tokens: Vec<u32>,
    /// Whether the text was longer than the model reads.
    pub truncated: Vec<bool>,
    /// The vector space: model name and fingerprint. Vectors of two spaces must never be compared.
    pub space: String,
    /// Where the time went.
    pub timing: EmbedTiming,
    /// Why these are not what the model would give, if so.
    pub degraded: Option<String>,
}

/// Microseconds, the largest over the request's texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmbedTiming {
    /// Waiting for the model's turn.
    pub queue_us: u64,
    /// Making tokens.
    pub tokenise_us: u64,
    /// In the model.
    pub model_us: u64,
}

/// What an `Index` request did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IndexReport {
    /// The committed generation that searches now see.
    pub generation: u64,
    /// Files in the index.
    pub files: u64,
    /// Files that were new or changed.
    pub files_changed: u64,
    /// Files that were gone.
    pub files_removed: u64,
    /// Files that were not indexed, by reason; the first few thousand.
    pub skipped: Vec<SkippedFile>,
    /// Chunks in the index.
    pub chunks: u64,
    /// Chunks that have a vector.
    pub vectors: u64,
    /// Vectors that the model computed in this run.
    pub embedded: u64,
    /// Vectors that came from the embedding cache.
    pub reused: u64,
    /// Tokens the model read in this run.
    pub tokens: u64,
    /// Milliseconds until all of the text could be searched; the first part of a large tree answers after half a second.
    pub text_ms: u64,
    /// Milliseconds in all.
    pub total_ms: u64,
    /// Files that were not indexed, those beyond the list included.
    pub skipped_total: u64,
    /// There was an index that this user did not make on this machine: it was begun anew.
    pub foreign: bool,
}

/// One file that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedFile {
    /// Relative to the project.
    pub path: String,
    /// "binary", "too_large", "not_utf8", "unreadable", "vanished" ...
    pub reason: String,
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

/// How far a long request is. Lossy: the newest wins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Units done: files while scanning, chunks while embedding.
    pub done: u64,
    /// Units in all, 0 while unknown.
    pub total: u64,
    /// Milliseconds since the request began.
    pub elapsed_ms: u64,
    /// The file at hand, relative to the project.
    pub path: String,
}

/// Steps of an `Index` request, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Looking for files.
    #[default]
    Scan,
    /// Reading, chunking and storing text.
    Text,
    /// Text search answers; vectors are being computed.
    Embed,
    /// All done.
    Done,
}

impl Phase {
    /// The name in JSON and JavaScript.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Scan => "scan",
            Phase::Text => "text",
            Phase::Embed => "embed",
            Phase::Done => "done",
        }
    }
}

/// Why a request failed, and what the caller can do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// `err.code` in JavaScript.
    pub code: Code,
    /// What happened.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
}

impl Fault {
    /// A fault without a hint. What a message quotes may come from a repository: see [`printable`].
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Fault { code, message: printable(&message.into()), hint: String::new() }
    }

    /// The same with a remedy.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = printable(&hint.into());
        self
    }
}

/// Whether a terminal may obey a character instead of showing it.
pub fn is_obeyed(c: char) -> bool {
    (c.is_control() && !matches!(c, '\t' | '\n'))
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text that a terminal shows and does not obey: control characters, escape sequences with them, and marks that turn
/// the direction of writing become U+FFFD. Tabs and line ends stay.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if is_obeyed(c) { '\u{fffd}' } else { c }).collect()
}

/// Defines [`Code`], its names and its table in one place, so that docs and tests cannot drift.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Stable error codes. Position is identity on the wire: append only.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Code {
            /// Every code with its meaning, in wire order.
            pub const TABLE: &[(Code, &str, &str)] = &[$((Code::$variant, $name, concat!($($doc),+)),)+];

            /// The name that JavaScript and `--json` show.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Code::$variant => $name,)+
                }
            }
        }
    };
}

codes! {
    /// A bug in offheap: the request failed inside, others are unharmed.
    Internal = "INTERNAL",
    /// An argument is missing, malformed or out of range.
    InvalidArgument = "INVALID_ARGUMENT",
    /// A text or a request is larger than the limits allow.
    TooLarge = "TOO_LARGE",
    /// The caller cancelled the request.
    Cancelled = "CANCELLED",
    /// The request's deadline passed.
    Timeout = "TIMEOUT",
    /// The daemon is busy beyond its queue limits; try again later.
    Overloaded = "OVERLOADED",
    /// The daemon is shutting down; clients retry this by themselves.
    Leaving = "LEAVING",
    /// The call needs a project and none was given.
    NoProject = "NO_PROJECT",
    /// The project has no index yet.
    NoIndex = "NO_INDEX",
    /// Another index run is in progress in this project.
    IndexBusy = "INDEX_BUSY",
    /// Another process holds the index for writing.
    IndexLocked = "INDEX_LOCKED",
    /// An index file fails its checks.
    IndexDamaged = "INDEX_DAMAGED",
    /// The index was written by an incompatible version.
    IndexFormat = "INDEX_FORMAT",
    /// The model file does not exist.
    ModelNotFound = "MODEL_NOT_FOUND",
    /// The model file breaks its format or fails its checksum.
    ModelDamaged = "MODEL_DAMAGED",
    /// The model's architecture, tokenizer or quantisation is not supported.
    ModelUnsupported = "MODEL_UNSUPPORTED",
    /// The model gave a vector that is not finite or has no length.
    ModelFailed = "MODEL_FAILED",
    /// The configuration file cannot be used.
    ConfigInvalid = "CONFIG_INVALID",
    /// The disk is full.
    DiskFull = "DISK_FULL",
    /// The operating system refused a file operation.
    Io = "IO",
    /// Nobody answers at the endpoint.
    DaemonNotRunning = "DAEMON_NOT_RUNNING",
    /// The daemon could not be started.
    DaemonStartFailed = "DAEMON_START_FAILED",
    /// The connection broke while the request was in flight.
    DaemonLost = "DAEMON_LOST",
    /// The daemon accepted the connection but does not answer.
    DaemonUnresponsive = "DAEMON_UNRESPONSIVE",
    /// The peer does not speak this protocol, or not this version of it.
    Protocol = "PROTOCOL",
    /// The runtime directory or the peer belongs to somebody else or is open to others.
    Forbidden = "FORBIDDEN",
    /// The sidecar binary is not installed beside the addon.
    SidecarNotFound = "SIDECAR_NOT_FOUND",
    /// The client was closed.
    Closed = "CLOSED",
    /// The daemon is a newer offheap that no longer speaks this one's protocol.
    ClientTooOld = "CLIENT_TOO_OLD",
    /// The daemon is an older offheap that does not speak this one's protocol yet.
    DaemonTooOld = "DAEMON_TOO_OLD",
    /// The system allows neither local sockets nor loopback TCP here, as some sandboxes do.
    SocketsRefused = "SOCKETS_REFUSED",
    /// The daemon crashed twice while it worked on this request; it is not sent again.
    Poisoned = "POISONED",
    /// A file or directory that offheap would use is a link, another user's, or not of the kind it should be.
    UnsafePath = "UNSAFE_PATH",
    /// The index was not made by this user on this machine; the next index run begins it anew.
    IndexForeign = "INDEX_FOREIGN",
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
