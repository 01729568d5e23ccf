//! Architectures: named tensors in, one vector per sequence out.

pub mod bert;

use crate::error::{Error, Result};
use crate::gguf::{Gguf, TensorRef};
use crate::kernel::{Kernel, Pool};

/// A ragged micro-batch: sequences one after another, no padding.
pub struct Batch<'a> {
    /// Token ids of all sequences.
    pub ids: &'a [u32],
    /// Where each sequence ends in `ids`; ascending, the last is `ids.len()`.
    pub ends: &'a [usize],
}

impl Batch<'_> {
    /// Token ranges of the sequences.
    pub fn sequences(&self) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(self.ends.iter().copied()).map(|(start, end)| start..end)
    }
}

/// A network that is ready to run. Its weights stay in the mapped file.
pub trait Model: Send {
    /// Length of a vector.
    fn dim(&self) -> usize;
    /// Longest sequence, special tokens included.
    fn context_length(&self) -> usize;
    /// One vector per sequence, pooled but not normalised, into `out` `(sequences, dim)`.
    ///
    /// The batch holds at most the `max_tokens` that the model was opened with.
    fn forward(&mut self, batch: &Batch<'_>, kernel: &'static Kernel, pool: &mut Pool, out: &mut [f32]);
}

/// Opens the architecture that the file names, with room for micro-batches of `max_tokens`.
pub fn open(gguf: &Gguf, max_tokens: usize, threads: usize) -> Result<Box<dyn Model>> {
    match gguf.require_str("general.architecture")? {
        "bert" => Ok(Box::new(bert::Bert::open(gguf, max_tokens, threads)?)),
        other => Err(unsupported(gguf, "architecture", other, "bert")),
    }
}

fn unsupported(gguf: &Gguf, what: &'static str, found: &str, supported: &'static str) -> Error {
    Error::Unsupported { path: gguf.path().to_path_buf(), what, found: found.to_owned(), supported }
}

/// A metadata value that breaks the architecture's own rules.
fn bad_value(gguf: &Gguf, key: &str, problem: String) -> Error {
    Error::Gguf { path: gguf.path().to_path_buf(), field: key.to_owned(), problem }
}

/// A weight matrix `(rows, cols)`, left where it is.
fn matrix(gguf: &Gguf, name: &str, rows: usize, cols: usize) -> Result<TensorRef> {
    let tensor = gguf.tensor_ref(name)?;
    if tensor.shape()[..] != [rows, cols] {
        return Err(Error::Shape { name: name.to_owned(), expected: vec![rows, cols], found: tensor.shape().to_vec() });
    }
    Ok(tensor)
}

/// A bias or norm of `n` numbers, copied: these are used as they are in every step and are small.
fn vector(gguf: &Gguf, name: &str, n: usize) -> Result<Vec<f32>> {
    let tensor = gguf.tensor(name)?;
    if tensor.shape[..] != [n] {
        return Err(Error::Shape { name: name.to_owned(), expected: vec![n], found: tensor.shape });
    }
    let mut out = vec![0.0; n];
    crate::quant::unpacker(tensor.dtype)(tensor.data, &mut out);
    Ok(out)
}
