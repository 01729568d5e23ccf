//! An index run: how far it is and what it did.

use serde::{Deserialize, Serialize};

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
