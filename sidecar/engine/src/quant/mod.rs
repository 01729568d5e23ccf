//! Block formats: how a row of weights lies in the file, and how it becomes `f32`.
//!
//! One file per family. Each format has one scalar `unpack` here that is the truth; kernels may have a faster
//! one of their own and are tested against it. Layouts follow the GGUF specification (ggml-org/ggml, docs/gguf.md).

pub mod float;
pub mod q8_0;

use crate::gguf::DType;

/// Unpacks whole blocks of packed weights into as many floats.
pub type Unpack = fn(packed: &[u8], out: &mut [f32]);

/// The reader of a format; `None` where this build cannot read `dtype`.
pub fn unpacker(dtype: DType) -> Unpack {
    match dtype {
        DType::F32 => float::unpack_f32,
        DType::F16 => float::unpack_f16,
        DType::BF16 => float::unpack_bf16,
        DType::Q8_0 => q8_0::unpack,
        _ => todo!(),
    }
}

/// What [`unpacker`] reads, for error texts.
pub const SUPPORTED: &str = "F32, F16, BF16, Q8_0";
