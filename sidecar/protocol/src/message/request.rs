//! What a client can ask, and what the daemon answers.

use serde::{Deserialize, Serialize};

use super::embed::{Priority, TextKind, Vectors};
use super::fault::{Code, Fault};
use super::index::IndexReport;
use super::search::{SearchReport, SearchRequest};
use super::status::StatusReport;

/// What a client can ask.
///
/// Every request can fail with [`Code::Cancelled`], [`Code::Timeout`], [`Code::Leaving`] and [`Code::Internal`]; a
/// variant lists what else is likely.
///
/// Exhaustive on purpose: a new variant must break the daemon's `match` until it is handled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Must be the first request of every connection. Answer: [`Response::Hello`]. Since protocol 1.
    Hello {
        /// Name and version of the client, e.g. "offheap-node 0.1.0", as `status` shows it ([`StatusReport::clients`]).
        client: String,
    },
    /// Checks that the daemon is alive; answered beside all other work. Answer: [`Response::Pong`]. Since protocol 1.
    Ping,
    /// Computes a vector for each text. Answer: [`Response::Vectors`], in the order of the texts. Since protocol 1.
    ///
    /// Body: the UTF-8 of all texts, one after another without separators.
    ///
    /// Faults: [`Code::InvalidArgument`] without texts, [`Code::TooLarge`] above 16,384 texts, [`Code::Protocol`] where
    /// lengths and body disagree or a text is not UTF-8, [`Code::Overloaded`], [`Code::ModelNotFound`],
    /// [`Code::ModelDamaged`], [`Code::ModelUnsupported`], [`Code::ModelFailed`].
    Embed {
        /// Length of each text, bytes; their sum is the length of the body.
        lengths: Vec<u32>,
        /// What the texts are to the model.
        kind: TextKind,
        /// Whether other work may be done first.
        priority: Priority,
        /// `true` reads `[SEP]` and the like in a text as the model's special tokens, `false` as ordinary characters.
        parse_specials: bool,
        /// `true` answers with hashed vectors where no model can be loaded (not found, damaged or unsupported) instead of
        /// failing. Hashed vectors have a vector space of their own, and [`Vectors::degraded`] says why they were used.
        or_hash: bool,
    },
    /// Brings the project's index up to date; sends progress. Answer: [`Response::Indexed`]. Since protocol 1.
    ///
    /// Faults: [`Code::NoProject`], [`Code::IndexBusy`], [`Code::IndexLocked`], [`Code::IndexFormat`],
    /// [`Code::ConfigInvalid`], [`Code::DiskFull`], [`Code::Io`], [`Code::UnsafePath`], [`Code::NeedsForce`] and the
    /// model's.
    Index {
        /// Builds the index from nothing. Stored embeddings are used again.
        rebuild: bool,
        /// Indexes a home directory, a root or a very large tree, too; otherwise [`Code::NeedsForce`].
        force: bool,
    },
    /// Searches the project. Answer: [`Response::Found`]. Since protocol 1.
    ///
    /// Faults: [`Code::NoProject`], [`Code::NoIndex`] (not with [`SearchMode::Regex`]), [`Code::InvalidArgument`],
    /// [`Code::TooLarge`], [`Code::IndexDamaged`], [`Code::IndexFormat`], [`Code::IndexForeign`], and the model's with
    /// [`SearchMode::Semantic`]; [`SearchMode::Hybrid`] does without vectors where there are none.
    ///
    /// [`SearchMode::Regex`]: super::SearchMode::Regex
    /// [`SearchMode::Semantic`]: super::SearchMode::Semantic
    /// [`SearchMode::Hybrid`]: super::SearchMode::Hybrid
    Search(SearchRequest),
    /// Reports the state of the daemon; answered beside all other work. Answer: [`Response::Status`]. Since protocol 1.
    Status,
    /// Drops the loaded model and the open index from memory; the next use loads them again. Answer:
    /// [`Response::Cleared`]. Since protocol 1.
    ///
    /// Faults: [`Code::IndexBusy`] during an index run that a client requested.
    ClearCache {
        /// Also deletes the embeddings that are stored on disk for re-use.
        stored: bool,
    },
    /// Makes the daemon finish what is in flight and exit. Answer: [`Response::Leaving`], at once; the end of the
    /// connection is the end of the daemon. Since protocol 1.
    Shutdown,
}

/// The final answer to one request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// To [`Request::Hello`]. Since protocol 1.
    Hello {
        /// Version of the daemon's package.
        version: String,
        /// Largest body that the daemon takes in one frame, bytes.
        max_body: u32,
    },
    /// To [`Request::Ping`]. Since protocol 1.
    Pong,
    /// To [`Request::Embed`]. Body: `texts * dim` `f32`, little-endian, one row a text, without gaps. Since protocol 1.
    Vectors(Vectors),
    /// To [`Request::Index`]. Since protocol 1.
    Indexed(IndexReport),
    /// To [`Request::Search`]. Since protocol 1.
    Found(SearchReport),
    /// To [`Request::Status`]. Since protocol 1.
    Status(Box<StatusReport>),
    /// To [`Request::ClearCache`]. Since protocol 1.
    Cleared {
        /// Stored embeddings that were deleted.
        embeddings: u64,
    },
    /// To [`Request::Shutdown`]. Since protocol 1.
    Leaving,
}

impl Response {
    /// The variant's name, for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Response::Hello { .. } => "Hello",
            Response::Pong => "Pong",
            Response::Vectors(_) => "Vectors",
            Response::Indexed(_) => "Indexed",
            Response::Found(_) => "Found",
            Response::Status(_) => "Status",
            Response::Cleared { .. } => "Cleared",
            Response::Leaving => "Leaving",
        }
    }

    /// The fault for a response that does not fit its request: [`Code::Protocol`].
    pub fn unexpected(&self) -> Fault {
        let name = self.name();
        Fault::new(Code::Protocol, format!("the daemon answered with `{name}`, which does not answer this request"))
    }
}
