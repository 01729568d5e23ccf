//! The tensors: by name, borrowed from the map.

use std::ops::Range;

use super::file::Gguf;
use super::parse::{self, TensorEntry};
use crate::Result;
use crate::quant::DType;

/// A tensor, borrowed from its file.
#[derive(Clone, Debug)]
pub struct Tensor<'a> {
    /// Name in the file, such as `blk.0.attn_q.weight`.
    pub name: &'a str,
    /// Storage format of `data`.
    pub dtype: DType,
    /// Dimensions, outermost first: `[rows, cols]`. The file has them in reverse order.
    pub shape: Vec<usize>,
    /// The packed blocks, row after row; its length follows from `dtype` and `shape`.
    pub data: &'a [u8],
}

/// A tensor that keeps its file mapped: what the layers of a model hold.
#[derive(Clone)]
pub struct TensorRef {
    file: Gguf,
    range: Range<usize>,
    dtype: DType,
    shape: Vec<usize>,
    name: String,
}

impl TensorRef {
    /// The packed blocks, row after row.
    pub fn data(&self) -> &[u8] {
        &self.file.bytes()[self.range.clone()]
    }

    /// Storage format of [`data`](Self::data).
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Name in the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A range of the matrix's rows, as a matrix of its own. Panics if the range exceeds the rows.
    pub fn rows(&self, rows: Range<usize>) -> TensorRef {
        let row_bytes = self.range.len() / self.shape[0];
        assert!(rows.start <= rows.end && rows.end <= self.shape[0], "rows of `{}`", self.name);
        let range = self.range.start + rows.start * row_bytes..self.range.start + rows.end * row_bytes;
        let shape = [&[rows.len()], &self.shape[1..]].concat();
        TensorRef { file: self.file.clone(), range, dtype: self.dtype, shape, name: self.name.clone() }
    }
}

impl std::fmt::Debug for TensorRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {}", self.name, self.shape, self.dtype.name())
    }
}

/// One entry of the file's tensor table.
#[derive(Clone, Debug)]
pub struct TensorInfo<'a> {
    /// Name in the file.
    pub name: &'a str,
    /// Storage format; `None` if this build cannot unpack it.
    pub dtype: Option<DType>,
    /// The format's number in the file.
    pub type_id: u32,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
}

impl Gguf {
    /// The tensor named `name`.
    ///
    /// Errors: [`Error::Gguf`](crate::Error::Gguf) if it is missing, [`Error::Unsupported`](crate::Error::Unsupported) if
    /// this build cannot unpack its format.
    pub fn tensor(&self, name: &str) -> Result<Tensor<'_>> {
        self.maybe_tensor(name)?.ok_or_else(|| self.damaged(name, "the tensor is missing"))
    }

    /// The tensor named `name`, or `None` if the file has none: for optional tensors such as a bias.
    pub fn maybe_tensor(&self, name: &str) -> Result<Option<Tensor<'_>>> {
        let Some((entry, dtype)) = self.find(name)? else { return Ok(None) };
        let data = &self.bytes()[entry.data.clone()];
        Ok(Some(Tensor {
            name: parse::checked_text(self.bytes(), entry.name.clone()),
            dtype,
            shape: entry.shape(),
            data,
        }))
    }

    /// Like [`tensor`](Self::tensor), without borrowing the file: the result keeps it mapped.
    pub fn tensor_ref(&self, name: &str) -> Result<TensorRef> {
        self.maybe_tensor_ref(name)?.ok_or_else(|| self.damaged(name, "the tensor is missing"))
    }

    /// Like [`maybe_tensor`](Self::maybe_tensor), without borrowing the file: the result keeps it mapped.
    pub fn maybe_tensor_ref(&self, name: &str) -> Result<Option<TensorRef>> {
        let Some((entry, dtype)) = self.find(name)? else { return Ok(None) };
        let (range, shape) = (entry.data.clone(), entry.shape());
        Ok(Some(TensorRef { file: self.clone(), range, dtype, shape, name: name.to_owned() }))
    }

    /// All tensors of the file, sorted by name.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = TensorInfo<'_>> {
        self.inner.tensors.iter().map(|entry| TensorInfo {
            name: parse::checked_text(self.bytes(), entry.name.clone()),
            dtype: DType::from_id(entry.type_id),
            type_id: entry.type_id,
            shape: entry.shape(),
        })
    }

    /// The table entry of the tensor named `name`, and its format.
    fn find(&self, name: &str) -> Result<Option<(&TensorEntry, DType)>> {
        let tensors = &self.inner.tensors;
        let position = tensors.binary_search_by(|entry| self.bytes()[entry.name.clone()].cmp(name.as_bytes()));
        let Ok(idx) = position else { return Ok(None) };
        let entry = &tensors[idx];
        let found = || format!("type {} of tensor {name}", entry.type_id);
        let dtype =
            DType::from_id(entry.type_id).ok_or_else(|| self.unsupported("quantisation", found(), DType::SUPPORTED))?;
        Ok(Some((entry, dtype)))
    }
}
