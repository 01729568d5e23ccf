//! From the vectors of a sequence's tokens to one vector.

use super::batch::Batch;
use crate::error::Result;
use crate::gguf::Gguf;

/// How the vectors of a sequence's tokens become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooling {
    /// The mean of all tokens.
    Mean,
    /// The first token, which is `[CLS]`.
    Cls,
    /// The last token.
    Last,
}

impl Pooling {
    /// Reads the metadata value `key`; a missing one is `default`, or an error if that is `None`.
    pub(super) fn read(gguf: &Gguf, key: &str, default: Option<Pooling>) -> Result<Pooling> {
        match (gguf.u32(key)?, default) {
            (Some(1), _) => Ok(Pooling::Mean),
            (Some(2), _) => Ok(Pooling::Cls),
            (Some(3), _) => Ok(Pooling::Last),
            (None, Some(pooling)) => Ok(pooling),
            (None, None) => Err(gguf.damaged(key, "missing")),
            (Some(other), _) => Err(gguf.unsupported("pooling type", other.to_string(), "1 (mean), 2 (cls), 3 (last)")),
        }
    }

    /// Pools the rows of `x` `(tokens, width)` into `out` `(sequences, width)`.
    pub(super) fn pool(self, x: &[f32], batch: &Batch<'_>, out: &mut [f32], width: usize) {
        for (range, out) in batch.sequences().zip(out.chunks_exact_mut(width)) {
            match self {
                Pooling::Cls => out.copy_from_slice(&x[range.start * width..][..width]),
                Pooling::Last => out.copy_from_slice(&x[(range.end - 1) * width..][..width]),
                Pooling::Mean => {
                    out.fill(0.0);
                    for token in x[range.start * width..range.end * width].chunks_exact(width) {
                        out.iter_mut().zip(token).for_each(|(sum, x)| *sum += x);
                    }
                    let n = range.len() as f32;
                    out.iter_mut().for_each(|sum| *sum /= n);
                }
            }
        }
    }
}
