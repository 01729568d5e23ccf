//! Types of the protocol as JavaScript objects, and back. One file for each kind of message, as in the protocol.

mod embed;
mod index;
mod search;
mod status;

pub use embed::{EmbedCall, VectorsResult};
pub use index::{IndexResult, ProgressEvent};
pub use search::{SearchOptions, SearchResult};
pub use status::StatusResult;

/// Microseconds as milliseconds.
fn milliseconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e3
}
