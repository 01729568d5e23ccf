//! What the unpack functions share: splitting a row into blocks, and reading a block's scales.

use super::float::f16_to_f32;

/// Splits packed weights into blocks of `BYTES` bytes, and the output into the `N` values of each block.
#[inline(always)]
pub(super) fn blocks<'a, 'b, const BYTES: usize, const N: usize>(
    packed: &'a [u8],
    out: &'b mut [f32],
) -> (&'a [[u8; BYTES]], &'b mut [[f32; N]]) {
    debug_assert!(packed.len().is_multiple_of(BYTES) && out.len() == packed.len() / BYTES * N, "whole blocks");
    (packed.as_chunks().0, out.as_chunks_mut().0)
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
