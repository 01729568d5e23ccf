//! Requests, responses, progress and faults.
//!
//! Plain data, no sockets. The encoding carries no names: **position is identity. Append, never reorder, never
//! insert.** A new variant or a new trailing field raises [`PROTO_MAX`]. Everything here belongs to protocol 1 unless its
//! documentation names a later version.
//!
//! Names that are strings (`mode`, `reason`, `kind` and others) may get new values without a new protocol version: a
//! reader shows a value that it does not know as it is.

mod request;
mod embed;
mod index;
mod search;
mod status;
mod fault;
mod printable;

pub use embed::{EmbedTiming, Priority, TextKind, Vectors};
pub use fault::{Code, Fault};
pub use index::{IndexReport, Phase, Progress, SkipCount, SkippedFile};
pub use printable::{is_obeyed, printable};
pub use request::{Request, Response};
pub use search::{
    Case, Contribution, Coverage, Fresh, Hit, SearchMode, SearchReport, SearchRequest, Span, SymbolMatch,
};
pub use status::{
    CacheStatus, ClientStatus, CutOff, IdleStatus, IndexStatus, Latency, LoadStatus, MAX_CLIENT_NAME_CHARS,
    MAX_CLIENT_NAMES, ModelStatus, RequestCounts, StatusReport, WatchStatus,
};

/// Oldest protocol version that this build speaks.
pub const PROTO_MIN: u16 = 1;
/// Newest protocol version that this build speaks.
pub const PROTO_MAX: u16 = 1;
