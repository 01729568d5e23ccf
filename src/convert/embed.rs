//! Vectors for JavaScript. Further fields are documented in `offheap_protocol::message`.

use napi::bindgen_prelude::*;
use napi_derive::napi;
use offheap_protocol::message::Vectors;

use super::milliseconds;

/// How to embed: `EmbedOptions` without the deadline.
#[napi(object)]
pub struct EmbedCall {
    pub query: bool,
    pub bulk: bool,
    pub parse_specials: bool,
    pub or_hash: bool,
}

/// `Vectors` with their rows.
#[napi(object, object_from_js = false)]
pub struct VectorsResult {
    /// Values in a row.
    pub dim: u32,
    /// All values, row after row.
    pub values: Float32Array,
    /// Tokens of each text.
    pub tokens: Uint32Array,
    /// For each text, whether it has more tokens than the model reads.
    pub truncated: Vec<bool>,
    /// The vector space.
    pub space: String,
    /// Where the time went.
    pub timing: TimingResult,
    /// Why these are not the vectors of a model; absent where they are.
    pub degraded: Option<String>,
}

/// An `EmbedTiming` in milliseconds.
#[napi(object)]
pub struct TimingResult {
    pub queue_ms: f64,
    pub tokenise_ms: f64,
    pub model_ms: f64,
}

impl From<(Vectors, Vec<f32>)> for VectorsResult {
    fn from((vectors, rows): (Vectors, Vec<f32>)) -> Self {
        VectorsResult {
            dim: vectors.dim,
            values: Float32Array::new(rows),
            tokens: Uint32Array::new(vectors.tokens),
            truncated: vectors.truncated,
            space: vectors.space,
            timing: TimingResult {
                queue_ms: milliseconds(vectors.timing.queue_us),
                tokenise_ms: milliseconds(vectors.timing.tokenise_us),
                model_ms: milliseconds(vectors.timing.model_us),
            },
            degraded: vectors.degraded,
        }
    }
}
