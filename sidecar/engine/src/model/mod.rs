//! The networks: named tensors in, one vector for each sequence out.
//!
//! One file for each architecture, on top of the parts that all have in common: [`batch`], metadata ([`keys`]), weights,
//! buffers (`arena`), and the steps of a layer, spread over threads (`layers`).

pub mod batch;
mod sizes;
mod keys;
mod weights;
mod pooling;
mod rope;
mod arena;
mod layers;
pub mod bert;
pub mod nomic_bert;
pub mod qwen2;

use crate::error::Result;
use crate::gguf::Gguf;
use crate::kernel::{Kernel, Pool};
pub use batch::Batch;

/// A network that is ready to run. Its weights stay in the mapped file.
pub trait Model: Send {
    /// Length of a vector.
    fn dim(&self) -> usize;
    /// Most tokens in one sequence, special tokens included: the model's context length, or less if memory is short.
    fn context_length(&self) -> usize;
    /// Most tokens in one batch.
    fn max_tokens(&self) -> usize;
    /// Computes one vector for each sequence, pooled but not normalised, into `out` `(sequences, dim)`.
    ///
    /// The batch has at most [`Model::max_tokens`] tokens, each sequence at most [`Model::context_length`].
    fn forward(&mut self, batch: &Batch<'_>, pool: &mut Pool, out: &mut [f32]);
}

/// Opens a model of the architecture that the file names, to run on one kernel and `threads` threads.
///
/// Batches of `target_tokens` tokens will fit, or fewer if they would take too much memory.
pub fn open(gguf: &Gguf, target_tokens: usize, kernel: &'static Kernel, threads: usize) -> Result<Box<dyn Model>> {
    match gguf.require_str("general.architecture")? {
        "bert" => Ok(Box::new(bert::Bert::open(gguf, target_tokens, kernel, threads)?)),
        "nomic-bert" => Ok(Box::new(nomic_bert::NomicBert::open(gguf, target_tokens, kernel, threads)?)),
        "qwen2" => Ok(Box::new(qwen2::Qwen2::open(gguf, target_tokens, kernel, threads)?)),
        other => Err(gguf.unsupported("architecture", other, "bert, nomic-bert, qwen2")),
    }
}
