//! Products of 16-bit integers: what processors without tiles multiply fastest at this precision.
//!
//! Each token's columns and each row's columns are scaled, a block of [`BLOCK_COLS`] at a time, to integers of a
//! bounded Euclidean length. By the Cauchy-Schwarz inequality no sum of their products, whole or partial, leaves 32
//! bits: sums are exact, in any order, so tiles may be cut as it suits and no bit depends on how. What is lost is the
//! rounding to integers, one part in about 4,000 of a block's length: ten times less than bfloat16 loses.
//!
//! `madd` multiplies sixteen pairs of words and adds neighbours where a float instruction multiplies eight.

use std::ops::Range;

use super::linear::{BLOCK_COLS, Input, Linear, MAX_PANEL_ROWS, Product, scales_len};
use super::simd::Simd;
use crate::quant::DType;
use crate::quant::q8_0;

/// The length that a block of integers is scaled to. Rounding adds at most half a unit a column, three quarters where
/// Q8_0's factors are rounded too; the products of two such blocks stay below 2^31 = 2,147,483,648:
/// (46,310 + sqrt(512) / 2) x (46,310 + sqrt(512) x 3/4) = 2,145,926,136.
const LENGTH: f32 = 46_310.0;
/// Columns of one round: every width is a multiple of it.
const STEP: usize = 32;
/// Rows of a tile: so many sums fill a register of 128 bits.
const R: usize = 4;
/// The largest integer.
const LARGEST: f32 = 32_750.0;

/// Registers of 16-bit integers, beside those of floats.
///
/// # Safety
/// As for [`Simd`].
pub(super) unsafe trait Words: Simd {
    /// A register of integers.
    type I: Copy;
    /// Words in it.
    const WORDS: usize;

    unsafe fn zero() -> Self::I;
    unsafe fn load_words(p: *const i16) -> Self::I;
    /// `acc` + the products of the words, neighbours added.
    unsafe fn madd(acc: Self::I, a: Self::I, b: Self::I) -> Self::I;
    /// `out[i] += x * scales[i] * sum of a[i]'s lanes`.
    unsafe fn add_sums(a: [Self::I; R], x: f32, scales: *const f32, out: *mut f32);
    /// `Simd::LANES` floats times `scale`, to the nearest integers. Only called where they fit.
    unsafe fn store_rounded(p: *mut i16, x: Self::V, scale: Self::V);
    /// Sixteen signed bytes times `factor` / 256, to the nearest words.
    unsafe fn store_scaled(p: *mut i16, bytes: *const i8, factor: i16);
}

/// Rounds rows of `cols` floats: `out` as many words, `scales` what a step is worth in each block of columns.
#[inline(always)]
pub(super) unsafe fn narrow<S: Words>(x: &[f32], cols: usize, out: &mut [u16], scales: &mut [f32]) {
    let tokens = x.len() / cols;
    assert!(x.len() <= out.len() && scales.len() == scales_len(tokens, cols) && cols.is_multiple_of(32));
    let blocks = x.chunks_exact(cols).zip(out.chunks_exact_mut(cols));
    for ((x, out), scales) in blocks.zip(scales.chunks_exact_mut(cols.div_ceil(BLOCK_COLS))) {
        for ((x, out), scale) in x.chunks(BLOCK_COLS).zip(out.chunks_mut(BLOCK_COLS)).zip(scales) {
            // SAFETY: this is `S`'s instruction set; both blocks are as long, a multiple of 32.
            *scale = unsafe { round::<S>(x, out.as_mut_ptr().cast()) };
        }
    }
}

/// Scales a block and rounds it. Returns what a step is worth: NaN where the block is not finite.
#[inline(always)]
unsafe fn round<S: Words>(x: &[f32], out: *mut i16) -> f32 {
    // SAFETY: this is `S`'s instruction set, and the length is a multiple of LANES.
    unsafe {
        let zero = S::splat(0.0);
        let (mut squares, mut largest) = (zero, zero);
        for i in (0..x.len()).step_by(S::LANES) {
            let x = S::load(x.as_ptr().add(i));
            squares = S::mul_add(x, x, squares);
            largest = S::max(largest, S::max(x, S::sub(zero, x)));
        }
        let (squares, largest) = (S::sum(squares), S::max_lane(largest));
        let mut fits = LENGTH / squares.sqrt();
        if !(squares > 1e-30 && squares < f32::INFINITY) {
            fits = (f64::from(LENGTH) / far_length(x)) as f32;
        }
        if fits.is_nan() {
            for i in (0..x.len()).step_by(S::LANES) {
                S::store_rounded(out.add(i), zero, zero);
            }
            return f32::NAN;
        }
        // A block of zeros, or of numbers so small that they count as none, becomes zeros.
        let scale = fits.min(LARGEST / largest).min(1e30);
        for i in (0..x.len()).step_by(S::LANES) {
            S::store_rounded(out.add(i), S::load(x.as_ptr().add(i)), S::splat(scale));
        }
        1.0 / scale
    }
}

/// Euclidean length of numbers whose squares leave the range of `f32`; NaN where one is not finite.
#[cold]
fn far_length(x: &[f32]) -> f64 {
    let squares: f64 = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    if squares.is_finite() { squares.sqrt() } else { f64::NAN }
}

/// See the module. Tiles of `M` tokens by [`R`] rows; of `HALF` tokens, then of one, where fewer are left.
pub(super) struct WordProduct<S, const M: usize, const HALF: usize, const ROWS: usize>(std::marker::PhantomData<S>);

// SAFETY: the instruction set is `S`'s.
unsafe impl<S: Words, const M: usize, const HALF: usize, const ROWS: usize> Product for WordProduct<S, M, HALF, ROWS> {
    type F = S;
    type Weight = i16;
    const ROWS: usize = ROWS;

    #[inline(always)]
    unsafe fn unpack(
        job: &Linear<'_>,
        first: usize,
        n: usize,
        cols: Range<usize>,
        weights: &mut [i16],
    ) -> [f32; MAX_PANEL_ROWS] {
        let mut scales = [0.0; MAX_PANEL_ROWS];
        let mut floats = [0.0; BLOCK_COLS];
        let floats = &mut floats[..cols.len()];
        let mut factors = [Factors { factors: [0; SCALES], scale: 0.0 }; ROWS];
        if job.dtype() == DType::Q8_0 {
            // SAFETY: this is `S`'s instruction set.
            unsafe { factors_q8_0::<S>(job, first, n, &cols, &mut factors) };
        }
        for (i, row) in weights.chunks_exact_mut(cols.len()).enumerate().take(ROWS) {
            if i >= n {
                row.fill(0);
                continue;
            }
            // SAFETY: this is `S`'s instruction set; `row` has at least as many words as there are columns.
            scales[i] = unsafe {
                if factors[i].scale > 0.0 {
                    unpack_q8_0::<S>(job.packed(first + i, cols.clone()), &factors[i].factors, row.as_mut_ptr());
                    factors[i].scale
                } else {
                    job.unpack::<S>(first + i, cols.clone(), floats);
                    round::<S>(floats, row.as_mut_ptr())
                }
            };
        }
        scales
    }

    #[inline(always)]
    unsafe fn multiply(
        job: &Linear<'_>,
        cols: Range<usize>,
        weights: &[i16],
        scales: &[f32; MAX_PANEL_ROWS],
        sums: &mut [f32],
    ) {
        let Input { words, tokens, cols: stride, scales: token_scales, .. } = job.input;
        let n_blocks = stride.div_ceil(BLOCK_COLS);
        let place = |token: usize| Place {
            x: words[token * stride..][cols.clone()].as_ptr().cast(),
            stride,
            scales: token_scales[token * n_blocks + cols.start / BLOCK_COLS..].as_ptr(),
            n_blocks,
        };
        let mut token = 0;
        while token < tokens {
            let (at, sums) = (place(token), &mut sums[token * MAX_PANEL_ROWS..]);
            let left = tokens - token;
            // SAFETY: this is `S`'s instruction set; the tile's tokens exist, in words, scales and sums.
            unsafe {
                if left >= M {
                    tile::<S, M, ROWS>(&at, weights, cols.len(), scales, sums);
                    token += M;
                } else if left >= HALF {
                    tile::<S, HALF, ROWS>(&at, weights, cols.len(), scales, sums);
                    token += HALF;
                } else {
                    tile::<S, 1, ROWS>(&at, weights, cols.len(), scales, sums);
                    token += 1;
                }
            }
        }
    }
}

/// Where a tile's tokens are: the block's columns of the first, and what lies between it and the next.
struct Place {
    x: *const i16,
    stride: usize,
    scales: *const f32,
    n_blocks: usize,
}

/// `M` tokens by all rows of the panel. Sums are exact, so narrower tiles give the same bits.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "hot code uses plain loops: see `simd`")]
unsafe fn tile<S: Words, const M: usize, const ROWS: usize>(
    at: &Place,
    weights: &[i16],
    cols: usize,
    scales: &[f32; MAX_PANEL_ROWS],
    sums: &mut [f32],
) {
    assert!(weights.len() >= ROWS * BLOCK_COLS && cols <= BLOCK_COLS && sums.len() >= M * MAX_PANEL_ROWS);
    // SAFETY: `M` tokens are the caller's; rows and sums were just counted.
    unsafe {
        for r in (0..ROWS).step_by(R) {
            let w = weights.as_ptr().add(r * cols);
            let mut acc = [[S::zero(); R]; M];
            for step in (0..cols).step_by(STEP) {
                // Two registers a round, where a register is half a step: 12 % faster than one (bench/NOTES.md).
                for half in 0..STEP / S::WORDS {
                    let k = step + half * S::WORDS;
                    let mut rows = [S::zero(); R];
                    for i in 0..R {
                        rows[i] = S::load_words(w.add(i * cols + k));
                    }
                    for m in 0..M {
                        let x = S::load_words(at.x.add(m * at.stride + k));
                        for i in 0..R {
                            acc[m][i] = S::madd(acc[m][i], x, rows[i]);
                        }
                    }
                }
            }
            for m in 0..M {
                let out = sums.as_mut_ptr().add(m * MAX_PANEL_ROWS + r);
                S::add_sums(acc[m], *at.scales.add(m * at.n_blocks), scales.as_ptr().add(r), out);
            }
        }
    }
}

/// Blocks of Q8_0 in a row of a panel's block.
const SCALES: usize = BLOCK_COLS / q8_0::BLOCK;
/// Ones, then zeros.
const ONES: [f32; 2 * SCALES] = {
    let mut ones = [0.0; 2 * SCALES];
    let mut i = 0;
    while i < SCALES {
        ones[i] = 1.0;
        i += 1;
    }
    ones
};

/// What turns the quants of one row's blocks into words: a factor for each block, in 256ths, and what a word is worth then.
#[derive(Clone, Copy)]
struct Factors {
    factors: [i16; SCALES],
    /// 0 where the blocks' scales differ too much.
    scale: f32,
}

/// Q8_0 needs no way through floats: a quant is already an integer, only the blocks' scales differ.
///
/// The length is not measured but bounded, by quants of 128 throughout: that loses one bit of sixteen. It would lose more
/// where a block with a large scale had small quants, which no quantiser writes.
///
/// All rows of a panel at once, because a row's factors are the end of a long chain of slow instructions.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "hot code uses plain loops: zipped, these took twice as long")]
unsafe fn factors_q8_0<S: Words>(job: &Linear<'_>, first: usize, n: usize, cols: &Range<usize>, out: &mut [Factors]) {
    let mut halves = [[[0; 2]; SCALES]; MAX_PANEL_ROWS];
    let mut scales = [[0.0; SCALES]; MAX_PANEL_ROWS];
    let blocks = cols.len() / q8_0::BLOCK;
    for i in 0..n {
        let packed = job.packed(first + i, cols.clone());
        assert!(packed.len() == blocks * q8_0::BLOCK_BYTES && blocks <= SCALES);
        for j in 0..SCALES {
            // The first once more where there is no block: no smaller, no larger than the others.
            let at = if j < blocks { j * q8_0::BLOCK_BYTES } else { 0 };
            // SAFETY: just asserted.
            halves[i][j] = unsafe { packed.as_ptr().add(at).cast::<[u8; 2]>().read() };
        }
    }
    // SAFETY: this is `S`'s instruction set, and registers divide `SCALES`.
    unsafe {
        S::unpack(DType::F16, halves[..n].as_flattened().as_flattened(), scales[..n].as_flattened_mut());
        let zero = S::splat(0.0);
        let ones = ONES.as_ptr().add(SCALES - blocks);
        for i in 0..n {
            let (row, out) = (scales[i].as_ptr(), &mut out[i]);
            let (mut largest, mut smallest, mut squares) = (zero, S::splat(f32::NEG_INFINITY), zero);
            for j in (0..SCALES).step_by(S::LANES) {
                let x = S::load(row.add(j));
                let negative = S::min(x, S::sub(zero, x));
                largest = S::min(largest, negative);
                smallest = S::max(smallest, negative);
                let x = S::mul(x, S::load(ones.add(j)));
                squares = S::mul_add(x, x, squares);
            }
            let longest = 128.0 * (q8_0::BLOCK as f32 * S::sum(squares)).sqrt();
            let (largest, smallest) = (S::max_lane(S::sub(zero, largest)), -S::max_lane(smallest));
            // Not finite, or uneven; all zeros are even.
            if !longest.is_finite() || largest > 16.0 * smallest {
                out.scale = 0.0;
                continue;
            }
            // One block alone would be scaled by 46,310 / (128 sqrt 32) = 64: factors fit a word.
            let scale = (LENGTH / longest).min(1e30);
            for j in (0..SCALES).step_by(S::LANES) {
                S::store_rounded(out.factors.as_mut_ptr().add(j), S::load(row.add(j)), S::splat(scale * 256.0));
            }
            out.scale = 1.0 / scale;
        }
    }
}

/// One row with its factors.
#[inline(always)]
unsafe fn unpack_q8_0<S: Words>(packed: &[u8], factors: &[i16; SCALES], out: *mut i16) {
    let blocks = packed.len() / q8_0::BLOCK_BYTES;
    assert!(blocks <= SCALES);
    for i in 0..blocks {
        // SAFETY: this is `S`'s instruction set; a block has 32 quants at its end, and `out` 32 words for each.
        unsafe {
            let quants = packed.as_ptr().add((i + 1) * q8_0::BLOCK_BYTES - q8_0::BLOCK).cast();
            let factor = *factors.as_ptr().add(i);
            S::store_scaled(out.add(i * q8_0::BLOCK), quants, factor);
            S::store_scaled(out.add(i * q8_0::BLOCK + 16), quants.add(16), factor);
        }
    }
}
