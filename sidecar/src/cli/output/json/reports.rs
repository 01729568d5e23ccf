//! The documents of every command except `search` and `status`, and of failures.

use std::path::Path;

use offheap_protocol::Fault;
use offheap_protocol::message;
use serde::Serialize;

use super::values::{SkipCount, ms, path_text, skip_counts};

/// What `offheap init` did.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct InitReport {
    /// Root of the project.
    pub project: String,
    /// Whether `.offheap/config.json` is new.
    pub created: bool,
}

/// What `offheap index` did.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct IndexReport<'a> {
    /// Root of the project.
    project: String,
    /// The committed generation that searches now see.
    generation: u64,
    /// Files in the index.
    files: u64,
    /// Files that were new or changed.
    files_changed: u64,
    /// Files that were removed from the index.
    files_removed: u64,
    /// Files that were not indexed; the first 5,000.
    skipped: Vec<SkippedFile<'a>>,
    /// Number of files that were not indexed.
    skipped_total: u64,
    /// Skipped files by reason.
    skipped_by_reason: Vec<SkipCount>,
    /// Chunks in the index.
    chunks: u64,
    /// Chunks that have a vector.
    vectors: u64,
    /// Chunks of long texts, which are found by their words and never get a vector.
    text_only: u64,
    /// Vectors computed in this run.
    embedded: u64,
    /// Vectors that were there already: of unchanged chunks, or in the embedding cache.
    reused: u64,
    /// Tokens read by the model in this run.
    tokens: u64,
    /// Milliseconds until the full text of all files could be searched.
    text_ms: u64,
    /// Milliseconds of the whole run.
    total_ms: u64,
    /// Whether an index that this user did not make on this machine was there and was replaced.
    foreign: bool,
}

/// A file that was not indexed.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct SkippedFile<'a> {
    /// Relative to the project, `/` between parts.
    path: &'a str,
    /// `binary`, `too_large`, `unknown_encoding`, `generated`, `unreadable`, `symlink` ...
    reason: &'a str,
}

impl<'a> IndexReport<'a> {
    /// The document for a report about the project at `root`.
    pub fn new(root: &Path, report: &'a message::IndexReport) -> Self {
        let skipped = report.skipped.iter().map(|file| SkippedFile { path: &file.path, reason: &file.reason });
        IndexReport {
            project: path_text(root),
            generation: report.generation,
            files: report.files,
            files_changed: report.files_changed,
            files_removed: report.files_removed,
            skipped: skipped.collect(),
            skipped_total: report.skipped_total,
            skipped_by_reason: skip_counts(&report.skipped_by_reason),
            chunks: report.chunks,
            vectors: report.vectors,
            text_only: report.text_only,
            embedded: report.embedded,
            reused: report.reused,
            tokens: report.tokens,
            text_ms: report.text_ms,
            total_ms: report.total_ms,
            foreign: report.foreign,
        }
    }
}

/// Vectors for the texts of `offheap embed`, in order.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct EmbedReport<'a> {
    /// The vector space. Vectors of two spaces must never be compared.
    space: &'a str,
    /// Length of a vector.
    dim: u32,
    /// Tokens of each text, special tokens included.
    tokens: &'a [u32],
    /// Whether each text was longer than the model reads.
    truncated: &'a [bool],
    timing: EmbedTiming,
    /// One unit vector for each text.
    vectors: &'a [&'a [f32]],
}

/// Where the time of an embedding went.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct EmbedTiming {
    /// Milliseconds of waiting for the model, the longest over the texts.
    queue_ms: f64,
    /// Milliseconds of making tokens.
    tokenise_ms: f64,
    /// Milliseconds in the model.
    model_ms: f64,
}

impl<'a> EmbedReport<'a> {
    /// The document for the answer `vectors` whose values are `rows`.
    pub fn new(vectors: &'a message::Vectors, rows: &'a [&'a [f32]]) -> Self {
        let message::EmbedTiming { queue_us, tokenise_us, model_us } = vectors.timing;
        EmbedReport {
            space: &vectors.space,
            dim: vectors.dim,
            tokens: &vectors.tokens,
            truncated: &vectors.truncated,
            timing: EmbedTiming { queue_ms: ms(queue_us), tokenise_ms: ms(tokenise_us), model_ms: ms(model_us) },
            vectors: rows,
        }
    }
}

/// What `offheap start` found or did.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StartReport<'a> {
    /// Always true: a daemon that could not be started is an error.
    pub running: bool,
    /// Whether this command started it.
    pub started: bool,
    /// Version of the daemon.
    pub version: &'a str,
    /// Root of the daemon's project; absent for the user's daemon without a project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

/// What `offheap stop` did.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct StopReport {
    /// Whether a daemon was running and has ended.
    pub stopped: bool,
    /// Root of the daemon's project; absent for the user's daemon without a project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

/// What `offheap restart` did.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RestartReport<'a> {
    /// Always true: a daemon that could not be restarted is an error.
    pub restarted: bool,
    /// Process id of a daemon that did not respond and was killed (`--force`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub killed: Option<u32>,
    /// Version of the new daemon.
    pub version: &'a str,
    /// Root of the daemon's project; absent for the user's daemon without a project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

/// What `offheap doctor` found.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct DoctorReport<'a> {
    /// Number of checks whose state is `problem`.
    pub problems: usize,
    /// Root of the project; absent outside of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Every check, in the order in which a first call would meet it.
    pub checks: &'a [Check],
    /// The file that was written for a bug report; absent without `--bundle`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
}

/// The outcome of one check.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What was checked.
    pub check: &'static str,
    pub state: CheckState,
    /// What was found.
    pub detail: String,
    /// What to do about it; may be empty.
    pub remedy: String,
}

/// How a check ended.
#[derive(Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum CheckState {
    Ok,
    /// Works, but may stop working soon, or works less well than it could.
    Warning,
    Problem,
}

/// What `offheap pull` fetched.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PullReport {
    /// The model's name for `.offheap/config.json`: `hf:owner/repo/file.gguf`.
    pub model: String,
    /// The model file in the Hugging Face cache.
    pub path: String,
}

/// What every command prints when it fails.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ErrorReport<'a> {
    error: ErrorBody<'a>,
}

/// A failure.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct ErrorBody<'a> {
    /// Stable: branch on this, never on the text.
    code: &'static str,
    /// What happened.
    message: &'a str,
    /// What to do about it; may be empty.
    hint: &'a str,
}

impl<'a> ErrorReport<'a> {
    /// The document for a failure.
    pub fn new(fault: &'a Fault) -> Self {
        ErrorReport { error: ErrorBody { code: fault.code.as_str(), message: &fault.message, hint: &fault.hint } }
    }
}
