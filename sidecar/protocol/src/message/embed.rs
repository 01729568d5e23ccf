//! Vectors for texts.

use serde::{Deserialize, Serialize};

/// Some models prefix queries and documents differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TextKind {
    /// Text that is searched.
    Document,
    /// Text that searches.
    Query,
}

/// Interactive work passes bulk work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Priority {
    /// Somebody waits for this one answer.
    Interactive,
    /// Throughput matters, not this answer's latency.
    Bulk,
}

/// About the rows in the body.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Vectors {
    /// Length of a row.
    pub dim: u32,
    /// Tokens each text was computed from, special tokens included.
    pub tokens: Vec<u32>,
    /// Whether the text was longer than the model reads.
    pub truncated: Vec<bool>,
    /// The vector space: model name and fingerprint. Vectors of two spaces must never be compared.
    pub space: String,
    /// Where the time went.
    pub timing: EmbedTiming,
    /// Why these are not what the model would give, if so.
    pub degraded: Option<String>,
}

/// Microseconds, the largest over the request's texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmbedTiming {
    /// Waiting for the model's turn.
    pub queue_us: u64,
    /// Making tokens.
    pub tokenise_us: u64,
    /// In the model.
    pub model_us: u64,
}
