//! The loop over one panel of weights, common to all kernels that unpack column block by column block.

use std::ops::Range;

use super::buffer::{Buffer, Plain};
use super::linear::{BLOCK_COLS, Input, Linear};
use super::simd::Simd;

/// A thread's working memory: one unpacked column block (or a whole panel), and the sums of the panel.
pub struct Panel {
    weights: Buffer<f32>,
    /// `(tokens, MAX_PANEL_ROWS)`.
    sums: Buffer<f32>,
}

/// Most rows in a panel of any kernel.
pub(super) const MAX_PANEL_ROWS: usize = 32;

impl Panel {
    /// Memory for `bytes` of unpacked weights and for the sums of `max_tokens` tokens.
    pub(super) fn new(bytes: usize, max_tokens: usize) -> Self {
        Panel { weights: Buffer::new(bytes.div_ceil(4)), sums: Buffer::new(max_tokens * MAX_PANEL_ROWS) }
    }

    /// The memory for unpacked weights, as numbers of type `T`, and the memory for the sums.
    pub(super) fn parts_mut<T: Plain>(&mut self) -> (&mut [T], &mut [f32]) {
        (self.weights.as_mut(), &mut self.sums)
    }
}

/// The inner part of a matrix product: unpacks a column block of a panel, and multiplies it with all tokens.
///
/// # Safety
/// The functions may only run on processors with the implementation's instruction set.
pub(super) unsafe trait MicroKernel {
    /// The registers for bias and activation.
    type F: Simd;
    /// Type of an unpacked weight.
    type Weight: Plain;
    /// Rows in a panel: a multiple of the registers' lanes and of the rows of a tile.
    const ROWS: usize;

    /// Unpacks columns `cols` of the `n` rows from `first` into `weights`, and fills the other rows of the panel with
    /// zeros. Returns the scale of each row.
    unsafe fn unpack(
        layer: &Linear<'_>,
        first: usize,
        n: usize,
        cols: Range<usize>,
        weights: &mut [Self::Weight],
    ) -> [f32; MAX_PANEL_ROWS];

    /// Adds the inner products over columns `cols` to `sums` `(tokens, MAX_PANEL_ROWS)`. `weights` and `scales` are the
    /// results of [`MicroKernel::unpack`].
    unsafe fn multiply(
        layer: &Linear<'_>,
        cols: Range<usize>,
        weights: &[Self::Weight],
        scales: &[f32; MAX_PANEL_ROWS],
        sums: &mut [f32],
    );
}

/// Bytes of an unpacked column block of a panel.
pub(super) const fn block_bytes<P: MicroKernel>() -> usize {
    P::ROWS * BLOCK_COLS * size_of::<P::Weight>()
}

/// Computes panel number `panel` for all tokens.
#[inline(always)]
pub(super) unsafe fn compute<P: MicroKernel>(layer: &Linear<'_>, panel: usize, scratch: &mut Panel) {
    let (first, n) = layer.panel(panel, P::ROWS);
    let Input { tokens, cols, .. } = layer.input;
    let (weights, sums) = scratch.parts_mut::<P::Weight>();
    let weights = &mut weights[..P::ROWS * BLOCK_COLS];
    let sums = &mut sums[..tokens * MAX_PANEL_ROWS];
    sums.fill(0.0);
    for start in (0..cols).step_by(BLOCK_COLS) {
        let block = start..cols.min(start + BLOCK_COLS);
        // SAFETY: the caller's processor has the instruction set; the lengths are those of the trait.
        unsafe {
            let scales = P::unpack(layer, first, n, block.clone(), weights);
            P::multiply(layer, block, weights, &scales, sums);
        }
    }
    let bias = layer.bias::<MAX_PANEL_ROWS>(first, n);
    for (token, sums) in sums.chunks_exact(MAX_PANEL_ROWS).enumerate() {
        // SAFETY: the caller's processor has the instruction set; token and rows exist, and only this thread computes this
        // panel.
        unsafe { layer.finish::<P::F>(token, (first, n), &sums[..P::ROWS], &bias[..P::ROWS]) };
    }
}
