//! Architectures: named tensors in, one vector per sequence out.

mod layers;
pub mod bert;
pub mod nomic_bert;
pub mod qwen2;

use std::ops::Range;

use crate::error::{Error, Result};
use crate::gguf::{Gguf, TensorRef};
use crate::kernel::{Heads, Kernel, Pool};
use layers::{Dense, LayerNorm, Sizes};

/// A ragged micro-batch: sequences one after another, no padding.
pub struct Batch<'a> {
    /// Token ids of all sequences.
    pub ids: &'a [u32],
    /// Where each sequence ends in `ids`; ascending, the last is `ids.len()`.
    pub ends: &'a [usize],
}

impl Batch<'_> {
    /// Token ranges of the sequences.
    pub fn sequences(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(self.ends.iter().copied()).map(|(start, end)| start..end)
    }

    /// Every token's place in its sequence.
    fn positions(&self) -> Vec<usize> {
        self.sequences().flat_map(|s| 0..s.len()).collect()
    }
}

/// A network that is ready to run. Its weights stay in the mapped file.
pub trait Model: Send {
    /// Length of a vector.
    fn dim(&self) -> usize;
    /// Longest sequence, special tokens included: the model's own context, or less where memory ends first.
    fn context_length(&self) -> usize;
    /// Tokens that one batch takes at most.
    fn max_tokens(&self) -> usize;
    /// One vector per sequence, pooled but not normalised, into `out` `(sequences, dim)`.
    ///
    /// The batch holds at most [`Model::max_tokens`], each sequence at most [`Model::context_length`].
    fn forward(&mut self, batch: &Batch<'_>, pool: &mut Pool, out: &mut [f32]);
}

/// Opens the architecture that the file names, for one kernel, with room for micro-batches of `wanted_tokens` if memory
/// allows.
pub fn open(gguf: &Gguf, wanted_tokens: usize, kernel: &'static Kernel, threads: usize) -> Result<Box<dyn Model>> {
    match gguf.require_str("general.architecture")? {
        "bert" => Ok(Box::new(bert::Bert::open(gguf, wanted_tokens, kernel, threads)?)),
        "nomic-bert" => Ok(Box::new(nomic_bert::NomicBert::open(gguf, wanted_tokens, kernel, threads)?)),
        "qwen2" => Ok(Box::new(qwen2::Qwen2::open(gguf, wanted_tokens, kernel, threads)?)),
        other => Err(unsupported(gguf, "architecture", other, "bert, nomic-bert, qwen2")),
    }
}

/// How a sequence's token vectors become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pooling {
    Mean,
    Cls,
    Last,
}

impl Pooling {
    fn read(gguf: &Gguf, key: &str, absent: Option<Pooling>) -> Result<Pooling> {
        match (gguf.u32(key)?, absent) {
            (Some(1), _) => Ok(Pooling::Mean),
            (Some(2), _) => Ok(Pooling::Cls),
            (Some(3), _) => Ok(Pooling::Last),
            (None, Some(pooling)) => Ok(pooling),
            (None, None) => Err(bad_value(gguf, key, "missing".to_owned())),
            (Some(other), _) => {
                Err(unsupported(gguf, "pooling type", &other.to_string(), "1 (mean), 2 (cls), 3 (last)"))
            }
        }
    }

    /// One row per sequence of `x` `(tokens, width)`.
    fn pool(self, x: &[f32], batch: &Batch<'_>, out: &mut [f32], width: usize) {
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

/// Reads the keys of one architecture, all of which begin with its name.
struct Keys<'a> {
    gguf: &'a Gguf,
    architecture: &'static str,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn bad(&self, name: &str, problem: String) -> Error {
        bad_value(self.gguf, &self.key(name), problem)
    }

    /// A count of something that there is at least one of. Buffers are made as wide as some of them say, for every thread.
    fn size(&self, name: &str) -> Result<usize> {
        let most = if name == "context_length" { 1 << 20 } else { 1 << 17 };
        let value = self.gguf.require_u32(&self.key(name))? as usize;
        if value == 0 || value > most {
            return Err(self.bad(name, format!("{value} is out of range")));
        }
        Ok(value)
    }

    fn layers(&self) -> Result<usize> {
        let layers = self.size("block_count")?;
        if layers > 512 {
            return Err(self.bad("block_count", format!("{layers} is out of range")));
        }
        Ok(layers)
    }

    /// The constant under a norm's root.
    fn eps(&self, name: &str) -> Result<f32> {
        let eps = self.gguf.require_f32(&self.key(name))?;
        if !eps.is_finite() || eps < 0.0 {
            return Err(self.bad(name, format!("{eps} is out of range")));
        }
        Ok(eps)
    }

    /// The base of the rotation's angles.
    fn rope_base(&self, absent: f32) -> Result<f32> {
        const NAME: &str = "rope.freq_base";
        let base = self.gguf.f32(&self.key(NAME))?.unwrap_or(absent);
        if !base.is_finite() || base < 1.0 {
            return Err(self.bad(NAME, format!("{base} is out of range")));
        }
        // Whoever writes no type means the positions divided by the factor, if there is one.
        let scaling = self.gguf.str(&self.key("rope.scaling.type"))?.unwrap_or("linear");
        let mut scaled = !["none", "linear"].contains(&scaling);
        for name in ["rope.scaling.factor", "rope.scale_linear"] {
            let factor = self.gguf.f32(&self.key(name))?.unwrap_or(1.0);
            scaled |= scaling == "linear" && factor != 0.0 && factor != 1.0;
        }
        if scaled || self.gguf.maybe_tensor("rope_freqs.weight")?.is_some() {
            return Err(unsupported(self.gguf, "rope scaling", scaling, "none"));
        }
        Ok(base)
    }

    fn causal(&self, wanted: bool) -> Result<()> {
        let causal = self.gguf.bool(&self.key("attention.causal"))?;
        match causal.unwrap_or(wanted) == wanted {
            true => Ok(()),
            false if wanted => Err(unsupported(self.gguf, "attention", "bidirectional", "causal")),
            false => Err(unsupported(self.gguf, "attention", "causal", "bidirectional")),
        }
    }

    /// Width, heads and context, checked to be what the kernels work on: whole registers, so multiples of 32.
    fn sizes(&self, causal: bool) -> Result<Sizes> {
        let sizes = |n_kv: usize| -> Result<Sizes> {
            let (hidden, n) = (self.size("embedding_length")?, self.size("attention.head_count")?);
            if !hidden.is_multiple_of(n) {
                return Err(self.bad("attention.head_count", format!("{n} heads cannot share a width of {hidden}")));
            }
            let heads = Heads { n, n_kv: if n_kv == 0 { n } else { n_kv }, dim: hidden / n, causal };
            Ok(Sizes { hidden, heads, ffn: self.size("feed_forward_length")?, context: self.size("context_length")? })
        };
        let kv = "attention.head_count_kv";
        let sizes = sizes(self.gguf.u32(&self.key(kv))?.unwrap_or(0) as usize)?;
        if !sizes.heads.n.is_multiple_of(sizes.heads.n_kv) {
            let problem = format!("{} key heads cannot serve {} query heads", sizes.heads.n_kv, sizes.heads.n);
            return Err(self.bad(kv, problem));
        }
        for (name, width) in [
            ("embedding_length", sizes.hidden),
            ("feed_forward_length", sizes.ffn),
            ("attention.head_count", sizes.heads.dim),
        ] {
            if !width.is_multiple_of(32) {
                return Err(self.bad(name, format!("width {width} is not a multiple of 32")));
            }
        }
        // The last is how much of a head is turned.
        for name in ["attention.key_length", "attention.value_length", "rope.dimension_count"] {
            if let Some(found) = self.gguf.u32(&self.key(name))?
                && found as usize != sizes.heads.dim
            {
                return Err(self.bad(name, format!("{found}, not the {} that a head's share is", sizes.heads.dim)));
            }
        }
        if sizes.context < 2 {
            return Err(self.bad("context_length", "no room for the two special tokens".to_owned()));
        }
        Ok(sizes)
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

/// The token table `(vocabulary, hidden)`, as long as it is.
fn token_table(gguf: &Gguf, hidden: usize) -> Result<TensorRef> {
    const NAME: &str = "token_embd.weight";
    matrix(gguf, NAME, gguf.tensor(NAME)?.shape[0], hidden)
}

/// A weight `name.weight` and, if `biased`, its `name.bias`.
fn dense(gguf: &Gguf, name: &str, rows: usize, cols: usize, biased: bool) -> Result<Dense> {
    let weight = matrix(gguf, &format!("{name}.weight"), rows, cols)?;
    let bias = biased.then(|| vector(gguf, &format!("{name}.bias"), rows)).transpose()?;
    if !biased {
        no_bias(gguf, name)?;
    }
    Ok(Dense { weight, bias })
}

/// A bias that the architecture does not have would be left out unnoticed.
fn no_bias(gguf: &Gguf, name: &str) -> Result<()> {
    let name = format!("{name}.bias");
    match gguf.maybe_tensor(&name)? {
        Some(_) => Err(unsupported(gguf, "tensor", &name, "matrices without a bias in this place")),
        None => Ok(()),
    }
}

fn layer_norm(gguf: &Gguf, name: &str, width: usize) -> Result<LayerNorm> {
    let part = |part: &str| vector(gguf, &format!("{name}.{part}"), width);
    Ok(LayerNorm { weight: part("weight")?, bias: part("bias")? })
}

/// A bias or norm of `n` numbers, copied: these are used as they are in every step and are small.
fn vector(gguf: &Gguf, name: &str, n: usize) -> Result<Vec<f32>> {
    let tensor = gguf.tensor(name)?;
    if tensor.shape[..] != [n] {
        return Err(Error::Shape { name: name.to_owned(), expected: vec![n], found: tensor.shape });
    }
    let mut out = vec![0.0; n];
    tensor.dtype.unpacker()(tensor.data, &mut out);
    Ok(out)
}

/// One row of a matrix.
fn unpack_row(tensor: &TensorRef, idx: usize, out: &mut [f32]) {
    let row_bytes = tensor.data().len() / tensor.shape()[0];
    tensor.dtype().unpacker()(&tensor.data()[idx * row_bytes..][..row_bytes], out);
}

/// The rows of `tokens` tokens, in blocks of at most `block`.
fn blocks(tokens: usize, block: usize) -> impl Iterator<Item = Range<usize>> {
    (0..tokens).step_by(block).map(move |start| start..tokens.min(start + block))
}
