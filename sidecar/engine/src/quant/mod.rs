//! Block formats: how a row of weights is stored in the file, and how it becomes `f32`.
//!
//! One file for each family of formats. Each format has one `unpack` function, which defines the exact result; kernels
//! inline it, or have a faster one that is tested against it. Layouts follow the GGUF specification and the block types
//! of ggml (ggml-org/ggml: docs/gguf.md, src/ggml-common.h); all numbers are little-endian.
//!
//! The functions are plain loops over arrays of fixed size, `inline(always)` and free of closures, so that a function
//! with `#[target_feature]` that calls one gets it compiled for its own instruction set. A closure, or a function of
//! another crate that checks the processor's features (as `half` does), would stay a call.

mod block;
pub mod float;
pub mod q8_0;
pub mod q4_q5;
pub mod k_quants;
mod dtype;

pub use dtype::{DType, Unpack};
