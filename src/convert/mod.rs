//! Types of the protocol as JavaScript objects, and back. One file for each kind of message, as in the protocol.

mod embed;
mod index;
mod search;
mod status;

use napi_derive::napi;
use offheap_protocol::message::SkipCount;

pub use embed::{EmbedCall, VectorsResult};
pub use index::{IndexResult, ProgressEvent};
pub use search::{SearchOptions, SearchResult};
pub use status::StatusResult;

/// A `SkipCount`.
#[napi(object)]
pub struct SkipCountResult {
    pub reason: String,
    pub files: f64,
}

/// Counts by reason, and their sum.
fn skip_counts(counts: Vec<SkipCount>) -> (Vec<SkipCountResult>, f64) {
    let total: u64 = counts.iter().map(|count| count.files).sum();
    let result = |count: SkipCount| SkipCountResult { reason: count.reason, files: count.files as f64 };
    (counts.into_iter().map(result).collect(), total as f64)
}

/// Microseconds as milliseconds.
fn milliseconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e3
}
