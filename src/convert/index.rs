//! Progress and report of an index run for JavaScript. The fields are documented in `offheap_protocol::message`.

use napi_derive::napi;
use offheap_protocol::message::{IndexReport, Progress};

use super::{SkipCountResult, skip_counts};

/// A `Progress`.
#[napi(object)]
pub struct ProgressEvent {
    pub phase: String,
    pub done: f64,
    pub total: f64,
    pub elapsed_ms: f64,
    pub path: String,
}

impl From<Progress> for ProgressEvent {
    fn from(progress: Progress) -> Self {
        ProgressEvent {
            phase: progress.phase.as_str().to_owned(),
            done: progress.done as f64,
            total: progress.total as f64,
            elapsed_ms: progress.elapsed_ms as f64,
            path: progress.path,
        }
    }
}

/// An `IndexReport`.
#[napi(object)]
pub struct IndexResult {
    pub generation: f64,
    pub files: f64,
    pub files_changed: f64,
    pub files_removed: f64,
    pub skipped: Vec<SkippedResult>,
    pub skipped_total: f64,
    pub skipped_by_reason: Vec<SkipCountResult>,
    pub chunks: f64,
    pub vectors: f64,
    pub text_only: f64,
    pub embedded: f64,
    pub reused: f64,
    pub tokens: f64,
    pub text_ms: f64,
    pub total_ms: f64,
    pub foreign: bool,
}

/// A `SkippedFile`.
#[napi(object)]
pub struct SkippedResult {
    pub path: String,
    pub reason: String,
}

impl From<IndexReport> for IndexResult {
    fn from(report: IndexReport) -> Self {
        let skipped = report.skipped.into_iter().map(|file| SkippedResult { path: file.path, reason: file.reason });
        IndexResult {
            generation: report.generation as f64,
            files: report.files as f64,
            files_changed: report.files_changed as f64,
            files_removed: report.files_removed as f64,
            skipped: skipped.collect(),
            skipped_total: report.skipped_total as f64,
            skipped_by_reason: skip_counts(report.skipped_by_reason).0,
            chunks: report.chunks as f64,
            vectors: report.vectors as f64,
            text_only: report.text_only as f64,
            embedded: report.embedded as f64,
            reused: report.reused as f64,
            tokens: report.tokens as f64,
            text_ms: report.text_ms as f64,
            total_ms: report.total_ms as f64,
            foreign: report.foreign,
        }
    }
}
