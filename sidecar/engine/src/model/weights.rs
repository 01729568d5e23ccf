//! Reading weights: matrices stay in the mapped file, biases and norms are copied.

use crate::error::{Error, Result};
use crate::gguf::{Gguf, TensorRef};

/// A weight matrix `(rows, cols)` with its bias `(rows)`.
pub(super) struct Dense {
    pub weight: TensorRef,
    pub bias: Option<Vec<f32>>,
}

/// Scale and offset of a layer norm.
pub(super) struct LayerNorm {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

/// The matrix `name` `(rows, cols)`, left in the mapped file.
pub(super) fn matrix(gguf: &Gguf, name: &str, rows: usize, cols: usize) -> Result<TensorRef> {
    let tensor = gguf.tensor_ref(name)?;
    if tensor.shape()[..] != [rows, cols] {
        return Err(Error::Shape { name: name.to_owned(), expected: vec![rows, cols], found: tensor.shape().to_vec() });
    }
    Ok(tensor)
}

/// The token embeddings `(vocabulary, hidden)`, with any number of rows.
pub(super) fn token_table(gguf: &Gguf, hidden: usize) -> Result<TensorRef> {
    const NAME: &str = "token_embd.weight";
    matrix(gguf, NAME, gguf.tensor(NAME)?.shape[0], hidden)
}

/// The embedding `(hidden)` of token type 0, which all tokens of a text have.
pub(super) fn token_type(gguf: &Gguf, hidden: usize) -> Result<Vec<f32>> {
    const NAME: &str = "token_types.weight";
    let mut out = vec![0.0; hidden];
    unpack_row(&matrix(gguf, NAME, gguf.tensor(NAME)?.shape[0], hidden)?, 0, &mut out);
    Ok(out)
}

/// The matrix `name.weight` and, if `biased`, the vector `name.bias`.
pub(super) fn dense(gguf: &Gguf, name: &str, rows: usize, cols: usize, biased: bool) -> Result<Dense> {
    let weight = matrix(gguf, &format!("{name}.weight"), rows, cols)?;
    let bias = biased.then(|| vector(gguf, &format!("{name}.bias"), rows)).transpose()?;
    if !biased {
        no_bias(gguf, name)?;
    }
    Ok(Dense { weight, bias })
}

/// An error if the file has a bias `name.bias` that the architecture would not read.
pub(super) fn no_bias(gguf: &Gguf, name: &str) -> Result<()> {
    let name = format!("{name}.bias");
    match gguf.maybe_tensor(&name)? {
        Some(_) => Err(gguf.unsupported("tensor", name, "matrices without a bias in this place")),
        None => Ok(()),
    }
}

/// The layer norm `name.weight` and `name.bias`.
pub(super) fn layer_norm(gguf: &Gguf, name: &str, width: usize) -> Result<LayerNorm> {
    let half = |suffix: &str| vector(gguf, &format!("{name}.{suffix}"), width);
    Ok(LayerNorm { weight: half("weight")?, bias: half("bias")? })
}

/// The bias or norm `name` of `n` numbers, copied because it is small and used in every step.
pub(super) fn vector(gguf: &Gguf, name: &str, n: usize) -> Result<Vec<f32>> {
    let tensor = gguf.tensor(name)?;
    if tensor.shape[..] != [n] {
        return Err(Error::Shape { name: name.to_owned(), expected: vec![n], found: tensor.shape });
    }
    let mut out = vec![0.0; n];
    tensor.dtype.unpacker()(tensor.data, &mut out);
    Ok(out)
}

/// Unpacks row `idx` of a matrix.
pub(super) fn unpack_row(tensor: &TensorRef, idx: usize, out: &mut [f32]) {
    let row_bytes = tensor.data().len() / tensor.shape()[0];
    tensor.dtype().unpacker()(&tensor.data()[idx * row_bytes..][..row_bytes], out);
}
