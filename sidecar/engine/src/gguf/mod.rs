//! A model file, mapped: metadata by key, tensors by name, never copied.
//!
//! Our own reader of GGUF versions 2 and 3, little endian. Nothing in the file is trusted: every count, length, offset
//! and string is checked once, by [`Gguf::open`], and a file that breaks a rule is an [`Error::Gguf`](crate::Error::Gguf)
//! naming the field. What is kept on the heap is an index of ranges into the map, a few bytes for each key and tensor.

mod parse;
mod file;
mod metadata;
mod tensor;

pub use file::Gguf;
pub use metadata::Strings;
pub use tensor::{Tensor, TensorInfo, TensorRef};
