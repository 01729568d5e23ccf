//! What a client can ask, and what the daemon answers.

use serde::{Deserialize, Serialize};

use super::embed::{Priority, TextKind, Vectors};
use super::index::IndexReport;
use super::search::{SearchReport, SearchRequest};
use super::status::StatusReport;

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
