//! Block formats: how a row of weights lies in the file, and how it becomes `f32`.
//!
//! One file per family. Each format has one scalar `unpack` here that is the truth; kernels may have a faster
//! one of their own and are tested against it. Layouts follow the GGUF specification (ggml-org/ggml, docs/gguf.md).

pub mod float;
pub mod q8_0;

use crate::gguf::DType;

/// Unpacks one row of weights into `out`, whose length is the row's number of columns.
///
/// `None` where this build cannot read `dtype`.
pub fn unpacker(dtype: DType) -> Option<fn(row: &[u8], out: &mut [f32])> {
    match dtype {
        DType::F32 => Some(float::unpack_f32),
        DType::F16 => Some(float::unpack_f16),
        DType::BF16 => Some(float::unpack_bf16),
        DType::Q8_0 => Some(q8_0::unpack),
        _ => None,
    }
}

/// What [`unpacker`] reads, for error texts.
pub const SUPPORTED: &str = "F32, F16, BF16, Q8_0";
