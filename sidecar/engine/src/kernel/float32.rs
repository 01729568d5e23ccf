//! Matrix products of `f32`.

use std::ops::Range;

use super::linear::{BLOCK_COLS, Input, Linear};
use super::panel::{MAX_PANEL_ROWS, MicroKernel};
use super::simd::Simd;

/// Multiplies `f32` in tiles of `M` tokens by `R` rows.
pub(super) struct FloatMicroKernel<S, const M: usize, const R: usize>(std::marker::PhantomData<S>);

// SAFETY: the only instruction set used is that of `S`.
unsafe impl<S: Simd, const M: usize, const R: usize> MicroKernel for FloatMicroKernel<S, M, R> {
    type F = S;
    type Weight = f32;
    const ROWS: usize = 16;

    #[inline(always)]
    unsafe fn unpack(
        layer: &Linear<'_>,
        first: usize,
        n: usize,
        cols: Range<usize>,
        weights: &mut [f32],
    ) -> [f32; MAX_PANEL_ROWS] {
        for (i, row) in weights.chunks_exact_mut(BLOCK_COLS).enumerate() {
            let row = &mut row[..cols.len()];
            if i < n {
                // SAFETY: the caller's processor has the instruction set of `S`.
                unsafe { layer.unpack::<S>(first + i, cols.clone(), row) };
            } else {
                row.fill(0.0);
            }
        }
        [1.0; MAX_PANEL_ROWS]
    }

    /// The last tile repeats the last token. That computes up to `M - 1` tokens in vain, but needs no second code path,
    /// whose rounding could differ.
    #[inline(always)]
    unsafe fn multiply(
        layer: &Linear<'_>,
        cols: Range<usize>,
        weights: &[f32],
        _scales: &[f32; MAX_PANEL_ROWS],
        sums: &mut [f32],
    ) {
        let Input { x, tokens, cols: stride, .. } = layer.input;
        for token in (0..tokens).step_by(M) {
            let mut rows = [x.as_ptr(); M];
            for (m, row) in rows.iter_mut().enumerate() {
                *row = x[(token + m).min(tokens - 1) * stride..][cols.clone()].as_ptr();
            }
            for r in (0..Self::ROWS).step_by(R) {
                let mut w = [weights.as_ptr(); R];
                for (i, w) in w.iter_mut().enumerate() {
                    *w = weights[(r + i) * BLOCK_COLS..][..cols.len()].as_ptr();
                }
                // SAFETY: all pointers have `cols.len()` readable floats, a multiple of LANES.
                let tile = unsafe { dots::<S, M, R>(rows, w, cols.len()) };
                for (m, tile) in tile.iter().enumerate().take(tokens - token) {
                    for (sum, x) in sums[(token + m) * MAX_PANEL_ROWS + r..].iter_mut().zip(tile) {
                        *sum += x;
                    }
                }
            }
        }
    }
}

/// One tile: inner products of `M` tokens with `R` rows, each accumulated over the columns in one fixed order.
#[inline(always)]
unsafe fn dots<S: Simd, const M: usize, const R: usize>(
    x: [*const f32; M],
    w: [*const f32; R],
    cols: usize,
) -> [[f32; R]; M] {
    // SAFETY: the caller gives `cols` readable floats at every pointer; `k` is less than `cols`.
    unsafe {
        let mut acc = [[S::splat(0.0); R]; M];
        for k in (0..cols).step_by(S::LANES) {
            let mut rows = [S::splat(0.0); R];
            for r in 0..R {
                rows[r] = S::load(w[r].add(k));
            }
            for m in 0..M {
                let x = S::load(x[m].add(k));
                for r in 0..R {
                    acc[m][r] = S::mul_add(x, rows[r], acc[m][r]);
                }
            }
        }
        let mut out = [[0.0; R]; M];
        for m in 0..M {
            out[m] = S::sums(acc[m]);
        }
        out
    }
}
