//! An index run: how far it is and what it did.

use serde::{Deserialize, Serialize};

/// The answer to an `Index` request: what the run did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IndexReport {
    /// The committed generation that searches see now.
    pub generation: u64,
    /// Files in the index.
    pub files: u64,
    /// Files that were new or had changed.
    pub files_changed: u64,
    /// Files that no longer exist or no longer belong to the project.
    pub files_removed: u64,
    /// Files that were not indexed: at most 5,000, and no more than 1 MiB of paths.
    pub skipped: Vec<SkippedFile>,
    /// Chunks in the index.
    pub chunks: u64,
    /// Chunks that have a vector.
    pub vectors: u64,
    /// Vectors that the model computed in this run.
    pub embedded: u64,
    /// Vectors of files of this run that were there already: of unchanged chunks, or in the embedding cache.
    pub reused: u64,
    /// Tokens that the model read in this run.
    pub tokens: u64,
    /// Milliseconds until all text could be searched. In a large tree, the first files can be searched earlier.
    pub text_ms: u64,
    /// Milliseconds that the whole run took.
    pub total_ms: u64,
    /// All files that were not indexed, including those that `skipped` has no room for.
    pub skipped_total: u64,
    /// Whether an index was found that this user did not make on this machine. It was discarded and built anew.
    pub foreign: bool,
    /// All files that were not indexed, by reason.
    pub skipped_by_reason: Vec<SkipCount>,
    /// Chunks of long texts, which are found by their words and never get a vector.
    pub text_only: u64,
}

/// One file that was not indexed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedFile {
    /// Path relative to the project, `/` between parts.
    pub path: String,
    /// One of "too_large", "binary", "generated", "unknown_encoding", "non_utf8_path", "symlink", "not_a_file",
    /// "too_many_rules", "hidden", "secret", "worktree", "path_too_long", "unreadable", "vanished", "file_system".
    pub reason: String,
}

/// How many files are not indexed for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkipCount {
    /// As in [`SkippedFile::reason`].
    pub reason: String,
    /// How many files, and folders that were not entered.
    pub files: u64,
}

/// How far an index run is. Frames may be lost: each replaces the one before.
///
/// The default value is a keep-alive: the request still waits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The present step.
    pub phase: Phase,
    /// Units done: chunks in [`Phase::Embed`], files before.
    pub done: u64,
    /// Units in all; 0 while unknown.
    pub total: u64,
    /// Milliseconds since the run began.
    pub elapsed_ms: u64,
    /// The present file, relative to the project, `/` between parts; may be empty.
    pub path: String,
}

/// Steps of an index run, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Looking for files.
    #[default]
    Scan,
    /// Reading and chunking files and storing their text.
    Text,
    /// Computing vectors; searches find the text already.
    Embed,
    /// The run has ended. No daemon sends it so far: the answer says the same.
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
