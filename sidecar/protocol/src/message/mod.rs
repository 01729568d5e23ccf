//! Requests, responses, progress and faults.
//!
//! Plain data, no sockets. The encoding carries no names: **position is identity. Append, never reorder, never
//! insert.** A new variant or a new trailing field raises [`PROTO_MAX`].

mod request;
mod embed;
mod index;
mod search;
mod status;
mod fault;
mod printable;

pub use embed::{EmbedTiming, Priority, TextKind, Vectors};
pub use fault::{Code, Fault};
pub use index::{IndexReport, Phase, Progress, SkippedFile};
pub use printable::{is_obeyed, printable};
pub use request::{Request, Response};
pub use search::{
    Case, Contribution, Coverage, Fresh, Hit, SearchMode, SearchReport, SearchRequest, Span, SymbolMatch,
};
pub use status::{CutOff, IndexStatus, Latency, LoadStatus, ModelStatus, RequestCounts, StatusReport, WatchStatus};

/// Oldest protocol version this build still speaks.
pub const PROTO_MIN: u16 = 1;
/// Newest protocol version this build speaks.
pub const PROTO_MAX: u16 = 1;
