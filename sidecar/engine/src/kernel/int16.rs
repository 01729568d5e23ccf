//! Matrix products of 16-bit integers, for processors without tile registers: twice as fast as `f32`.
//!
//! Tokens and rows of weights are scaled, one column block at a time, to integers of a bounded Euclidean norm. By the
//! Cauchy-Schwarz inequality no sum of their products, whole or partial, exceeds 32 bits: the sums are exact in any order,
//! so the result does not depend on how the work is divided into tiles. The only loss is the rounding to integers, about
//! 1/4,000 of a block's norm: a tenth of the loss of bfloat16.
//!
//! A multiply-add instruction multiplies 16 pairs of 16-bit integers and adds neighbours, where one for `f32` multiplies 8
//! pairs.

use std::ops::Range;

use super::linear::{BLOCK_COLS, Input, Linear, scales_len};
use super::panel::{MAX_PANEL_ROWS, MicroKernel};
use super::simd::Simd;
use crate::quant::DType;
use crate::quant::q8_0;

/// The Euclidean norm that a column block is scaled to.
///
/// Rounding adds at most 1/2 to each column, and 3/4 where the factors of Q8_0 blocks are rounded too. The inner product
/// of two such blocks stays below 2^31 = 2,147,483,648:
/// (46,310 + sqrt(512) / 2) x (46,310 + sqrt(512) x 3/4) = 2,145,926,136.
const MAX_NORM: f32 = 46_310.0;
/// Columns in one iteration of the inner loop; the number of columns is a multiple of it.
const STEP: usize = 32;
/// Rows in a tile: four sums of 32 bits fill a register of 128 bits.
const TILE_ROWS: usize = 4;
/// The largest integer that a number is scaled to.
const LARGEST: f32 = 32_750.0;

/// An instruction set's registers of 16-bit integers, in addition to those of floats.
///
/// # Safety
/// The functions may only run on processors with the implementation's instruction set; pointers have as many elements as
/// the register or the tile.
pub(super) unsafe trait Int16Simd: Simd {
    /// A register of 16-bit or 32-bit integers.
    type I: Copy;
    /// 16-bit integers in a register.
    const I16_LANES: usize;

    unsafe fn zero() -> Self::I;
    unsafe fn load_i16(p: *const i16) -> Self::I;
    /// Adds to each 32-bit lane of `acc` the two products of the corresponding 16-bit lanes of `a` and `b`.
    unsafe fn madd(acc: Self::I, a: Self::I, b: Self::I) -> Self::I;
    /// For each row `i` of a tile: `out[i] += x * scales[i] * sum of the lanes of a[i]`.
    unsafe fn add_sums(a: [Self::I; TILE_ROWS], x: f32, scales: *const f32, out: *mut f32);
    /// Stores `x * scale`, rounded to the nearest 16-bit integers. The caller knows that they fit.
    unsafe fn store_rounded(p: *mut i16, x: Self::V, scale: Self::V);
    /// Stores 16 signed bytes times `factor / 256`, rounded to the nearest 16-bit integers.
    unsafe fn store_scaled(p: *mut i16, bytes: *const i8, factor: i16);
}

/// Scales and rounds rows of `cols` floats to 16-bit integers `out`; `scales` receives the value of one unit of each
/// column block.
#[inline(always)]
pub(super) unsafe fn round_input<S: Int16Simd>(x: &[f32], cols: usize, out: &mut [u16], scales: &mut [f32]) {
    let tokens = x.len() / cols;
    assert!(x.len() <= out.len() && scales.len() == scales_len(tokens, cols) && cols.is_multiple_of(32));
    let blocks = x.chunks_exact(cols).zip(out.chunks_exact_mut(cols));
    for ((x, out), scales) in blocks.zip(scales.chunks_exact_mut(cols.div_ceil(BLOCK_COLS))) {
        for ((x, out), scale) in x.chunks(BLOCK_COLS).zip(out.chunks_mut(BLOCK_COLS)).zip(scales) {
            // SAFETY: the caller's processor has the instruction set of `S`; both blocks have the same length, a multiple
            // of 32.
            *scale = unsafe { round::<S>(x, out.as_mut_ptr().cast()) };
        }
    }
}

/// Scales and rounds one column block. Returns the value of one unit: NaN if a number of the block is not finite.
#[inline(always)]
unsafe fn round<S: Int16Simd>(x: &[f32], out: *mut i16) -> f32 {
    // SAFETY: the caller's processor has the instruction set of `S`, and the length is a multiple of LANES.
    unsafe {
        let zero = S::splat(0.0);
        let (mut squares, mut largest) = (zero, zero);
        for i in (0..x.len()).step_by(S::LANES) {
            let x = S::load(x.as_ptr().add(i));
            squares = S::mul_add(x, x, squares);
            largest = S::max(largest, S::max(x, S::sub(zero, x)));
        }
        let (squares, largest) = (S::sum(squares), S::max_lane(largest));
        let mut max_scale = MAX_NORM / squares.sqrt();
        if !(squares > 1e-30 && squares < f32::INFINITY) {
            max_scale = (f64::from(MAX_NORM) / far_norm(x)) as f32;
        }
        if max_scale.is_nan() {
            for i in (0..x.len()).step_by(S::LANES) {
                S::store_rounded(out.add(i), zero, zero);
            }
            return f32::NAN;
        }
        // The last limit: a block of zeros, or of numbers near the smallest `f32`, becomes zeros.
        let scale = max_scale.min(LARGEST / largest).min(1e30);
        for i in (0..x.len()).step_by(S::LANES) {
            S::store_rounded(out.add(i), S::load(x.as_ptr().add(i)), S::splat(scale));
        }
        1.0 / scale
    }
}

/// Euclidean norm of numbers whose squares leave the range of `f32`; NaN if one of them is not finite.
#[cold]
fn far_norm(x: &[f32]) -> f64 {
    let squares: f64 = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    if squares.is_finite() { squares.sqrt() } else { f64::NAN }
}

/// Multiplies 16-bit integers in panels of `ROWS` rows and tiles of `M` tokens by [`TILE_ROWS`] rows. For the last tokens
/// the tiles have `HALF` tokens, then one.
pub(super) struct Int16MicroKernel<S, const M: usize, const HALF: usize, const ROWS: usize>(
    std::marker::PhantomData<S>,
);

// SAFETY: the only instruction set used is that of `S`.
unsafe impl<S: Int16Simd, const M: usize, const HALF: usize, const ROWS: usize> MicroKernel
    for Int16MicroKernel<S, M, HALF, ROWS>
{
    type F = S;
    type Weight = i16;
    const ROWS: usize = ROWS;

    #[inline(always)]
    unsafe fn unpack(
        layer: &Linear<'_>,
        first: usize,
        n: usize,
        cols: Range<usize>,
        weights: &mut [i16],
    ) -> [f32; MAX_PANEL_ROWS] {
        let mut scales = [0.0; MAX_PANEL_ROWS];
        let mut floats = [0.0; BLOCK_COLS];
        let floats = &mut floats[..cols.len()];
        let mut factors = [Factors { factors: [0; SCALES], scale: 0.0 }; ROWS];
        if layer.dtype() == DType::Q8_0 {
            // SAFETY: the caller's processor has the instruction set of `S`.
            unsafe { factors_q8_0::<S>(layer, first, n, &cols, &mut factors) };
        }
        for (i, row) in weights.chunks_exact_mut(cols.len()).enumerate().take(ROWS) {
            if i >= n {
                row.fill(0);
                continue;
            }
            // SAFETY: the caller's processor has the instruction set of `S`; `row` has as many elements as `cols`.
            scales[i] = unsafe {
                if factors[i].scale > 0.0 {
                    unpack_q8_0::<S>(layer.packed(first + i, cols.clone()), &factors[i].factors, row.as_mut_ptr());
                    factors[i].scale
                } else {
                    layer.unpack::<S>(first + i, cols.clone(), floats);
                    round::<S>(floats, row.as_mut_ptr())
                }
            };
        }
        scales
    }

    #[inline(always)]
    unsafe fn multiply(
        layer: &Linear<'_>,
        cols: Range<usize>,
        weights: &[i16],
        scales: &[f32; MAX_PANEL_ROWS],
        sums: &mut [f32],
    ) {
        let Input { rounded, tokens, cols: stride, scales: token_scales, .. } = layer.input;
        let n_blocks = stride.div_ceil(BLOCK_COLS);
        let tile_input = |token: usize| TileInput {
            x: rounded[token * stride..][cols.clone()].as_ptr().cast(),
            stride,
            scales: token_scales[token * n_blocks + cols.start / BLOCK_COLS..].as_ptr(),
            n_blocks,
        };
        let mut token = 0;
        while token < tokens {
            let (input, sums) = (tile_input(token), &mut sums[token * MAX_PANEL_ROWS..]);
            let left = tokens - token;
            // SAFETY: the caller's processor has the instruction set of `S`; the tile's tokens exist in all three buffers.
            unsafe {
                if left >= M {
                    tile::<S, M, ROWS>(&input, weights, cols.len(), scales, sums);
                    token += M;
                } else if left >= HALF {
                    tile::<S, HALF, ROWS>(&input, weights, cols.len(), scales, sums);
                    token += HALF;
                } else {
                    tile::<S, 1, ROWS>(&input, weights, cols.len(), scales, sums);
                    token += 1;
                }
            }
        }
    }
}

/// The tokens of a tile, in one column block.
struct TileInput {
    /// The columns of the first token.
    x: *const i16,
    /// Distance from one token's columns to the next token's.
    stride: usize,
    /// The scale of the first token.
    scales: *const f32,
    /// Distance from one token's scale to the next token's.
    n_blocks: usize,
}

/// Multiplies `M` tokens with all rows of the panel, one tile after the other.
///
/// Integer sums are exact, so tiles with fewer tokens give the same bits.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "hot code uses plain loops: see `simd`")]
unsafe fn tile<S: Int16Simd, const M: usize, const ROWS: usize>(
    input: &TileInput,
    weights: &[i16],
    cols: usize,
    scales: &[f32; MAX_PANEL_ROWS],
    sums: &mut [f32],
) {
    assert!(weights.len() >= ROWS * BLOCK_COLS && cols <= BLOCK_COLS && sums.len() >= M * MAX_PANEL_ROWS);
    // SAFETY: the caller gives `M` tokens; the lengths of weights and sums were just checked.
    unsafe {
        for r in (0..ROWS).step_by(TILE_ROWS) {
            let w = weights.as_ptr().add(r * cols);
            let mut acc = [[S::zero(); TILE_ROWS]; M];
            for step in (0..cols).step_by(STEP) {
                // With 256-bit registers, two registers in each iteration are 12 % faster than one (bench/NOTES.md).
                for half in 0..STEP / S::I16_LANES {
                    let k = step + half * S::I16_LANES;
                    let mut rows = [S::zero(); TILE_ROWS];
                    for i in 0..TILE_ROWS {
                        rows[i] = S::load_i16(w.add(i * cols + k));
                    }
                    for m in 0..M {
                        let x = S::load_i16(input.x.add(m * input.stride + k));
                        for i in 0..TILE_ROWS {
                            acc[m][i] = S::madd(acc[m][i], x, rows[i]);
                        }
                    }
                }
            }
            for m in 0..M {
                let out = sums.as_mut_ptr().add(m * MAX_PANEL_ROWS + r);
                S::add_sums(acc[m], *input.scales.add(m * input.n_blocks), scales.as_ptr().add(r), out);
            }
        }
    }
}

/// Q8_0 blocks in one row of a column block.
const SCALES: usize = BLOCK_COLS / q8_0::BLOCK;
/// [`SCALES`] ones, then as many zeros: a mask for the Q8_0 blocks that exist.
const ONES: [f32; 2 * SCALES] = {
    let mut ones = [0.0; 2 * SCALES];
    let mut i = 0;
    while i < SCALES {
        ones[i] = 1.0;
        i += 1;
    }
    ones
};

/// How to convert the quants of one row to 16-bit integers of one common scale.
#[derive(Clone, Copy)]
struct Factors {
    /// The factor of each Q8_0 block, in units of 1/256.
    factors: [i16; SCALES],
    /// The value of one unit of the result; 0 if the scales of the blocks differ too much to use factors.
    scale: f32,
}

/// Computes the [`Factors`] of all rows of a panel, to convert Q8_0 weights without a detour through floats: the quants
/// are integers already, only the scales of the blocks differ.
///
/// The norm is not computed but bounded, as if all quants were 128. That loses one of 16 bits. It would lose more if a
/// block with a large scale had small quants, but no quantiser writes such blocks.
///
/// All rows at once, because each row's factors depend on a long chain of slow instructions.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "hot code uses plain loops: zipped, these took twice as long")]
unsafe fn factors_q8_0<S: Int16Simd>(
    layer: &Linear<'_>,
    first: usize,
    n: usize,
    cols: &Range<usize>,
    out: &mut [Factors],
) {
    let mut halves = [[[0; 2]; SCALES]; MAX_PANEL_ROWS];
    let mut scales = [[0.0; SCALES]; MAX_PANEL_ROWS];
    let blocks = cols.len() / q8_0::BLOCK;
    for i in 0..n {
        let packed = layer.packed(first + i, cols.clone());
        assert!(packed.len() == blocks * q8_0::BLOCK_BYTES && blocks <= SCALES);
        for j in 0..SCALES {
            // Blocks that do not exist repeat the first scale, which changes neither maximum nor minimum.
            let at = if j < blocks { j * q8_0::BLOCK_BYTES } else { 0 };
            // SAFETY: just asserted.
            halves[i][j] = unsafe { packed.as_ptr().add(at).cast::<[u8; 2]>().read() };
        }
    }
    // SAFETY: the caller's processor has the instruction set of `S`, and `SCALES` is a multiple of LANES.
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
            let max_norm = 128.0 * (q8_0::BLOCK as f32 * S::sum(squares)).sqrt();
            let (largest, smallest) = (S::max_lane(S::sub(zero, largest)), -S::max_lane(smallest));
            // Not finite, or too different. A row of zeros passes.
            if !max_norm.is_finite() || largest > 16.0 * smallest {
                out.scale = 0.0;
                continue;
            }
            // A single block would be scaled by 46,310 / (128 sqrt 32) = 64, and 64 x 256 fits 16 bits.
            let scale = (MAX_NORM / max_norm).min(1e30);
            for j in (0..SCALES).step_by(S::LANES) {
                S::store_rounded(out.factors.as_mut_ptr().add(j), S::load(row.add(j)), S::splat(scale * 256.0));
            }
            out.scale = 1.0 / scale;
        }
    }
}

/// Converts one row of Q8_0 to 16-bit integers with the row's factors.
#[inline(always)]
unsafe fn unpack_q8_0<S: Int16Simd>(packed: &[u8], factors: &[i16; SCALES], out: *mut i16) {
    let blocks = packed.len() / q8_0::BLOCK_BYTES;
    assert!(blocks <= SCALES);
    for i in 0..blocks {
        // SAFETY: the caller's processor has the instruction set of `S`; a block has 32 quants at its end, and `out` has 32
        // elements for each block.
        unsafe {
            let quants = packed.as_ptr().add((i + 1) * q8_0::BLOCK_BYTES - q8_0::BLOCK).cast();
            let factor = *factors.as_ptr().add(i);
            S::store_scaled(out.add(i * q8_0::BLOCK), quants, factor);
            S::store_scaled(out.add(i * q8_0::BLOCK + 16), quants.add(16), factor);
        }
    }
}
