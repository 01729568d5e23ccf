//! How values are written in every document.

use std::path::Path;

use offheap_protocol::message;
use serde::Serialize;

/// How many files are not indexed for one reason.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SkipCount {
    /// `binary`, `too_large`, `hidden` ...
    reason: String,
    /// How many files, and folders that were not entered.
    files: u64,
}

/// Counts by reason, for a document.
pub fn skip_counts(counts: &[message::SkipCount]) -> Vec<SkipCount> {
    counts.iter().map(|count| SkipCount { reason: count.reason.clone(), files: count.files }).collect()
}

/// Their sum.
pub fn total(counts: &[message::SkipCount]) -> u64 {
    counts.iter().map(|count| count.files).sum()
}

/// A path as text. Bytes that are no UTF-8 become U+FFFD.
pub fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Milliseconds from microseconds.
pub fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}
