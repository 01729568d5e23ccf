//! Vectors for texts.

use serde::{Deserialize, Serialize};

/// What a text is to the model: some models prefix queries and documents differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TextKind {
    /// Text that is searched.
    Document,
    /// Text to search with.
    Query,
}

/// The order in which the model takes texts. Interactive texts overtake bulk texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Priority {
    /// A caller waits for this one answer.
    Interactive,
    /// Throughput matters more than the latency of this answer. While both kinds wait, at least one text in 32 is bulk.
    Bulk,
}

/// The answer to an `Embed` request. The vectors themselves are the frame's body: `texts * dim` `f32`, row after row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Vectors {
    /// Values in a row. Every row has the Euclidean length 1, except a hashed row of a text without words: all zeros.
    pub dim: u32,
    /// For each text, the number of tokens that its vector was computed from, special tokens included; 0 where hashed.
    pub tokens: Vec<u32>,
    /// For each text, whether it has more tokens than the model reads; the rest was ignored.
    pub truncated: Vec<bool>,
    /// The vector space: the model's name, `:` and the first 16 hexadecimal digits of its fingerprint; "hash-v1" where
    /// hashed. Vectors of two spaces must never be compared.
    pub space: String,
    /// Where the time went.
    pub timing: EmbedTiming,
    /// Why these are not the vectors of a model; `None` where they are.
    pub degraded: Option<String>,
}

/// Time that the texts of one request took, microseconds. Each value is the largest over the texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmbedTiming {
    /// Waiting for the model.
    pub queue_us: u64,
    /// Tokenising the micro-batch that the text was in.
    pub tokenise_us: u64,
    /// Computing the micro-batch that the text was in.
    pub model_us: u64,
}
