//! What the unpack functions share: splitting a row into blocks, and reading half-precision numbers.

/// Splits packed weights into blocks of `BYTES` bytes, and the output into the `N` values of each block.
#[inline(always)]
pub(super) fn blocks<'a, 'b, const BYTES: usize, const N: usize>(
    packed: &'a [u8],
    out: &'b mut [f32],
) -> (&'a [[u8; BYTES]], &'b mut [[f32; N]]) {
    debug_assert!(packed.len().is_multiple_of(BYTES) && out.len() == packed.len() / BYTES * N, "whole blocks");
    (packed.as_chunks().0, out.as_chunks_mut().0)
}

/// Converts IEEE half precision to `f32`, exactly; a NaN keeps its payload.
///
/// Bit arithmetic without branches, because the `half` crate checks the processor's features at every call.
#[inline(always)]
pub(super) fn f16_to_f32(bits: u16) -> f32 {
    const EXPONENT: u32 = 0x1f << 23; // the exponent bits of a half, shifted to where an `f32` has them
    const REBIAS: u32 = (127 - 15) << 23;
    const SMALLEST_NORMAL: f32 = 1.0 / 16384.0; // 2^-14
    let magnitude = (u32::from(bits) & 0x7fff) << 13;
    let exponent = magnitude & EXPONENT;
    let rebiased = magnitude + REBIAS;
    // A subnormal half has no implied leading one: add one by setting the exponent, then subtract its value. No operand
    // is a subnormal `f32`, which is slow on some processors.
    let subnormal = (f32::from_bits(rebiased + (1 << 23)) - SMALLEST_NORMAL).to_bits();
    let not_finite = rebiased + REBIAS; // the largest exponent of an `f32`
    let number = if exponent == EXPONENT { not_finite } else { rebiased };
    let number = if exponent == 0 { subnormal } else { number };
    f32::from_bits(number | (u32::from(bits) & 0x8000) << 16)
}

/// The `f16` at byte `at` of a block.
#[inline(always)]
pub(super) fn f16_at<const BYTES: usize>(block: &[u8; BYTES], at: usize) -> f32 {
    f16_to_f32(u16::from_le_bytes([block[at], block[at + 1]]))
}

/// Returns `scale` unchanged, hidden from the optimiser.
///
/// The weights of a block are adjacent, so the loop over them is the one to vectorise. Without this, LLVM unrolls that
/// short loop first, vectorises the loop over blocks instead, and gathers single bytes of eight blocks: a third of the
/// speed.
#[inline(always)]
pub(super) fn opaque(scale: f32) -> f32 {
    std::hint::black_box(scale)
}
