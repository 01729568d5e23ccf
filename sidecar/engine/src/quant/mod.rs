//! Block formats: how a row of weights lies in the file, and how it becomes `f32`.
//!
//! One file per family. Each format has one `unpack` here that is the truth; kernels inline it, or have a faster one
//! of their own that is tested against it. Layouts follow the GGUF specification and the block types of ggml
//! (ggml-org/ggml: docs/gguf.md, src/ggml-common.h); all numbers are little-endian.
//!
//! The functions are plain loops over arrays of fixed size, `inline(always)` and free of closures, so that a function
//! with `#[target_feature]` that calls one gets it compiled for its own instruction set. A closure, or a function of
//! another crate that asks the processor what it can do (as `half` does), would stay a call.

pub mod float;
pub mod q8_0;
pub mod q4_q5;
pub mod k_quants;

use crate::gguf::DType;

/// Unpacks whole blocks of packed weights into as many floats.
pub type Unpack = fn(packed: &[u8], out: &mut [f32]);

/// The reader of a format, compiled for any processor.
pub fn unpacker(dtype: DType) -> Unpack {
    match dtype {
        DType::F32 => float::unpack_f32,
        DType::F16 => float::unpack_f16,
        DType::BF16 => float::unpack_bf16,
        DType::Q8_0 => q8_0::unpack_q8_0,
        DType::Q4_0 => q4_q5::unpack_q4_0,
        DType::Q4_1 => q4_q5::unpack_q4_1,
        DType::Q5_0 => q4_q5::unpack_q5_0,
        DType::Q5_1 => q4_q5::unpack_q5_1,
        DType::Q4_K => k_quants::unpack_q4_k,
        DType::Q5_K => k_quants::unpack_q5_k,
        DType::Q6_K => k_quants::unpack_q6_k,
    }
}

/// Unpacks whole blocks, compiled for whatever its caller is compiled for.
///
/// `out` has a place for every weight in `packed`; a remainder of either is left alone.
#[inline(always)]
pub fn unpack(dtype: DType, packed: &[u8], out: &mut [f32]) {
    match dtype {
        DType::F32 => float::unpack_f32(packed, out),
        DType::F16 => float::unpack_f16(packed, out),
        DType::BF16 => float::unpack_bf16(packed, out),
        DType::Q8_0 => q8_0::unpack_q8_0(packed, out),
        DType::Q4_0 => q4_q5::unpack_q4_0(packed, out),
        DType::Q4_1 => q4_q5::unpack_q4_1(packed, out),
        DType::Q5_0 => q4_q5::unpack_q5_0(packed, out),
        DType::Q5_1 => q4_q5::unpack_q5_1(packed, out),
        DType::Q4_K => k_quants::unpack_q4_k(packed, out),
        DType::Q5_K => k_quants::unpack_q5_k(packed, out),
        DType::Q6_K => k_quants::unpack_q6_k(packed, out),
    }
}

/// Cuts both sides into blocks of `BYTES` and their `N` weights.
#[inline(always)]
fn blocks<'a, 'b, const BYTES: usize, const N: usize>(
    packed: &'a [u8],
    out: &'b mut [f32],
) -> (&'a [[u8; BYTES]], &'b mut [[f32; N]]) {
    debug_assert!(packed.len().is_multiple_of(BYTES) && out.len() == packed.len() / BYTES * N, "whole blocks");
    (packed.as_chunks().0, out.as_chunks_mut().0)
}

/// The `f16` at byte `at` of a block.
#[inline(always)]
fn half_at<const BYTES: usize>(block: &[u8; BYTES], at: usize) -> f32 {
    float::f16_to_f32(u16::from_le_bytes([block[at], block[at + 1]]))
}

/// A scale that the optimiser cannot follow, so that it works on the weights under this scale alone.
///
/// These lie side by side, ready for vectors. But LLVM unrolls the short loops over them first, then finds only the
/// loop over blocks left to vectorise, and gathers each byte of eight blocks on its own: a third of the speed.
#[inline(always)]
fn alone(scale: f32) -> f32 {
    std::hint::black_box(scale)
}
