//! `out = activation(x W^T + b)`, with W read from its mapped blocks.
//!
//! The work is cut into panels of rows of W, and a panel into blocks of [`BLOCK_COLS`] columns. A thread unpacks one
//! block of its panel into scratch that fits the first-level cache, multiplies it with every token of the micro-batch,
//! and adds that to the panel's sums; after the last block it finishes the outputs. Nothing of W is ever kept.
//!
//! What a block is unpacked into is the [`Product`]'s: floats here, 16-bit integers in [`super::words`].

use std::ops::Range;

use super::buffer::{Buffer, Plain};
use super::simd::{self, Simd};
use crate::gguf::TensorRef;
use crate::quant::DType;

/// Columns of W that are unpacked together: a whole number of blocks of every quantisation.
pub(super) const BLOCK_COLS: usize = 512;

/// What happens to a sum after the bias was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// GELU, exact (erf) form.
    Gelu,
    /// `x * sigmoid(x)`, also called swish.
    Silu,
}

/// How a finished value meets what stands in `out`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// It replaces it.
    Set,
    /// It is added: a residual connection.
    Add,
    /// They are multiplied: a gate.
    Multiply,
}

/// The left operand of products: tokens as `f32`, and in the form that the kernel multiplies.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// `(tokens, cols)`.
    pub(super) x: &'a [f32],
    /// The same in 16 bits, for kernels that have [`super::Kernel::narrow`]; [`narrow_len`] long.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // no other instruction set has words
    pub(super) words: &'a [u16],
    /// What one step of `words` is worth, `(tokens, blocks)`, for kernels whose words are integers.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // no other instruction set has words
    pub(super) scales: &'a [f32],
    pub(super) tokens: usize,
    pub(super) cols: usize,
}

impl<'a> Input<'a> {
    /// Rows of `cols` floats; panics unless `x` is whole rows of a multiple of 32.
    pub fn new(x: &'a [f32], cols: usize) -> Self {
        assert!(!x.is_empty() && x.len().is_multiple_of(cols) && cols.is_multiple_of(32));
        Input { x, words: &[], scales: &[], tokens: x.len() / cols, cols }
    }

    /// The same with what [`super::Kernel::narrow`] made of it.
    pub fn with_words(self, words: &'a [u16], scales: &'a [f32]) -> Self {
        assert!(
            words.len() >= narrow_len(self.tokens, self.cols) && scales.len() >= scales_len(self.tokens, self.cols)
        );
        Input { words, scales, ..self }
    }
}

/// Words that a 16-bit copy of `(tokens, cols)` takes: whole blocks of 32 tokens. What stands in the padding does not
/// matter.
pub fn narrow_len(tokens: usize, cols: usize) -> usize {
    tokens.next_multiple_of(32) * cols
}

/// Scales of a 16-bit copy of `(tokens, cols)`: one for each block of columns.
pub fn scales_len(tokens: usize, cols: usize) -> usize {
    tokens * cols.div_ceil(BLOCK_COLS)
}

/// One linear layer applied to one micro-batch.
///
/// Shapes: input `(tokens, cols)`, `weight` `rows` packed rows of `cols`, `bias` `(rows)`, `out` a band of columns,
/// `(tokens, rows)` with its own stride.
pub struct Linear<'a> {
    pub(super) input: Input<'a>,
    weight: &'a [u8],
    dtype: DType,
    bias: Option<&'a [f32]>,
    pub(super) activation: Activation,
    combine: Combine,
    out: *mut f32,
    rows: usize,
    stride: usize,
}

// SAFETY: `out` is the only pointer; panels write disjoint columns of it, and `Columns` borrowed it for 'a.
unsafe impl Sync for Linear<'_> {}

/// A band of columns of a row-major buffer, to be written from several threads.
pub struct Columns<'a> {
    first: *mut f32,
    /// Floats from `first` to the end of the buffer.
    len: usize,
    stride: usize,
    width: usize,
    buffer: std::marker::PhantomData<&'a mut [f32]>,
}

impl<'a> Columns<'a> {
    /// All columns of rows of `stride`.
    pub fn of(buffer: &'a mut [f32], stride: usize) -> Self {
        let [all] = Columns::split(buffer, [stride]);
        all
    }

    /// Bands of these widths, side by side, which together are the whole rows.
    pub fn split<const N: usize>(buffer: &'a mut [f32], widths: [usize; N]) -> [Self; N] {
        let stride = widths.iter().sum();
        assert!(buffer.len() >= stride);
        let (first, len) = (buffer.as_mut_ptr(), buffer.len());
        let mut at = 0;
        widths.map(|width| {
            let start = at;
            at += width;
            // SAFETY: `start` is at most `stride`, and the buffer has a whole row.
            let first = unsafe { first.add(start) };
            Columns { first, len: len - start, stride, width, buffer: std::marker::PhantomData }
        })
    }
}

impl<'a> Linear<'a> {
    /// Checks every length, so that kernels need not.
    pub fn new(
        input: Input<'a>,
        weight: &'a TensorRef,
        bias: Option<&'a [f32]>,
        activation: Activation,
        combine: Combine,
        out: Columns<'a>,
    ) -> Self {
        let [rows, cols] = weight.shape()[..] else {
            panic!("`{}` is checked to be a matrix when it is opened", weight.name())
        };
        assert!(input.cols == cols && bias.is_none_or(|bias| bias.len() == rows));
        let Columns { first: out, len, stride, width, .. } = out;
        assert!(width >= rows && len >= (input.tokens - 1) * stride + rows);
        let packed = weight.data();
        assert!(packed.len().is_multiple_of(rows));
        Linear { input, weight: packed, dtype: weight.dtype(), bias, activation, combine, out, rows, stride }
    }

    /// How many panels of `panel_rows` there are to run.
    pub fn panels(&self, panel_rows: usize) -> usize {
        self.rows.div_ceil(panel_rows)
    }

    /// A panel's first row and how many it has.
    pub(super) fn panel(&self, panel: usize, panel_rows: usize) -> (usize, usize) {
        let first = panel * panel_rows;
        (first, panel_rows.min(self.rows - first))
    }

    /// The format of the weights.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // no other instruction set has words
    pub(super) fn dtype(&self) -> DType {
        self.dtype
    }

    /// The packed blocks of some columns of one row; `cols` begins and ends between blocks.
    #[inline(always)]
    pub(super) fn packed(&self, row: usize, cols: Range<usize>) -> &[u8] {
        let (len, bytes) = (self.dtype.block_len(), self.dtype.block_bytes());
        let row = &self.weight[row * (self.input.cols / len * bytes)..];
        &row[cols.start / len * bytes..cols.end / len * bytes]
    }

    /// The same as floats.
    ///
    /// SAFETY: this is `S`'s instruction set.
    #[inline(always)]
    pub(super) unsafe fn unpack<S: Simd>(&self, row: usize, cols: Range<usize>, out: &mut [f32]) {
        // SAFETY: the caller's.
        unsafe { S::unpack(self.dtype, self.packed(row, cols), out) };
    }

    /// The biases of `out.len()` rows from `first`; zeros where there are none or no rows.
    pub(super) fn bias<const N: usize>(&self, first: usize, n: usize) -> [f32; N] {
        let mut out = [0.0; N];
        if let Some(bias) = self.bias {
            out[..n].copy_from_slice(&bias[first..first + n]);
        }
        out
    }

    /// Finishes one token's sums of the panel's rows and puts them in their place: bias, activation, `out`.
    ///
    /// `bias` is what [`Linear::bias`] gave, the sums are whole registers, the first `n` of them rows that exist.
    ///
    /// SAFETY: this is `S`'s instruction set, `token` and the rows exist, and no other thread writes these rows.
    #[inline(always)]
    pub(super) unsafe fn finish<S: Simd>(&self, token: usize, (first, n): (usize, usize), sums: &[f32], bias: &[f32]) {
        assert!(n <= sums.len() && sums.len() == bias.len() && sums.len().is_multiple_of(S::LANES));
        // SAFETY: the caller's.
        unsafe {
            match self.activation {
                Activation::None => self.activated::<S, 0>(token, (first, n), sums, bias),
                Activation::Gelu => self.activated::<S, 1>(token, (first, n), sums, bias),
                Activation::Silu => self.activated::<S, 2>(token, (first, n), sums, bias),
            }
        }
    }

    /// One loop for each activation.
    #[inline(always)]
    unsafe fn activated<S: Simd, const ACTIVATION: usize>(
        &self,
        token: usize,
        (first, n): (usize, usize),
        sums: &[f32],
        bias: &[f32],
    ) {
        // SAFETY: both slices are as long, whole registers; `new` checked the extent of `out`, which is borrowed
        // mutably, and these columns of it are ours.
        unsafe {
            let out = self.out.add(token * self.stride + first);
            for i in (0..n).step_by(S::LANES) {
                let x = S::add(S::load(sums.as_ptr().add(i)), S::load(bias.as_ptr().add(i)));
                let x = match ACTIVATION {
                    1 => simd::gelu::<S>(x),
                    2 => simd::silu::<S>(x),
                    _ => x,
                };
                let out = out.add(i);
                if i + S::LANES <= n {
                    match self.combine {
                        Combine::Set => S::store(out, x),
                        Combine::Add => S::store(out, S::add(S::load(out), x)),
                        Combine::Multiply => S::store(out, S::mul(S::load(out), x)),
                    }
                    continue;
                }
                let mut last = [0.0; 16];
                S::store(last.as_mut_ptr(), x);
                for (j, x) in last.iter().enumerate().take(n - i) {
                    let out = out.add(j);
                    match self.combine {
                        Combine::Set => *out = *x,
                        Combine::Add => *out += x,
                        Combine::Multiply => *out *= x,
                    }
                }
            }
        }
    }
}

/// A thread's block of unpacked weights, and its sums.
pub struct Panel {
    weights: Buffer<f32>,
    /// `(tokens, MAX_PANEL_ROWS)`.
    pub(super) sums: Buffer<f32>,
}

/// Most rows that a panel has.
pub(super) const MAX_PANEL_ROWS: usize = 32;

impl Panel {
    /// Room for blocks of `bytes` and for the sums of `max_tokens`.
    pub(super) fn new(bytes: usize, max_tokens: usize) -> Self {
        Panel { weights: Buffer::new(bytes.div_ceil(4)), sums: Buffer::new(max_tokens * MAX_PANEL_ROWS) }
    }

    /// The unpacked weights as `T`, and the sums.
    pub(super) fn parts_mut<T: Plain>(&mut self) -> (&mut [T], &mut [f32]) {
        (self.weights.as_mut(), &mut self.sums)
    }
}

/// How one kernel multiplies a block of weights.
///
/// # Safety
/// Every function may only run where the implementation's instruction set exists.
pub(super) unsafe trait Product {
    /// For bias and activation.
    type F: Simd;
    /// An unpacked weight.
    type Weight: Plain;
    /// Rows in a panel, a multiple of the register's width and of [`Product::multiply`]'s tiles.
    const ROWS: usize;

    /// Unpacks the columns of `n` rows from `first` into rows of [`BLOCK_COLS`]. Rows that are not there become zeros.
    unsafe fn unpack(
        job: &Linear<'_>,
        first: usize,
        n: usize,
        cols: Range<usize>,
        weights: &mut [Self::Weight],
    ) -> [f32; MAX_PANEL_ROWS];

    /// Adds the products of these columns to the sums. `scales` is what `unpack` returned.
    unsafe fn multiply(
        job: &Linear<'_>,
        cols: Range<usize>,
        weights: &[Self::Weight],
        scales: &[f32; MAX_PANEL_ROWS],
        sums: &mut [f32],
    );
}

/// Bytes of an unpacked block of a panel.
pub(super) const fn block_bytes<P: Product>() -> usize {
    P::ROWS * BLOCK_COLS * size_of::<P::Weight>()
}

/// Runs one panel against every token.
#[inline(always)]
pub(super) unsafe fn panel<P: Product>(job: &Linear<'_>, panel: usize, scratch: &mut Panel) {
    let (first, n) = job.panel(panel, P::ROWS);
    let Input { tokens, cols, .. } = job.input;
    let (weights, sums) = scratch.parts_mut::<P::Weight>();
    let weights = &mut weights[..P::ROWS * BLOCK_COLS];
    let sums = &mut sums[..tokens * MAX_PANEL_ROWS];
    sums.fill(0.0);
    for start in (0..cols).step_by(BLOCK_COLS) {
        let block = start..cols.min(start + BLOCK_COLS);
        // SAFETY: this is the product's instruction set; the lengths are as the trait says.
        unsafe {
            let scales = P::unpack(job, first, n, block.clone(), weights);
            P::multiply(job, block, weights, &scales, sums);
        }
    }
    let bias = job.bias::<MAX_PANEL_ROWS>(first, n);
    for (token, sums) in sums.chunks_exact(MAX_PANEL_ROWS).enumerate() {
        // SAFETY: this is the product's instruction set; these are this panel's rows of an existing token.
        unsafe { job.finish::<P::F>(token, (first, n), &sums[..P::ROWS], &bias[..P::ROWS]) };
    }
}

/// Products of floats, in tiles of `M` tokens by `R` rows.
pub(super) struct Floats<S, const M: usize, const R: usize>(std::marker::PhantomData<S>);

// SAFETY: the instruction set is `S`'s.
unsafe impl<S: Simd, const M: usize, const R: usize> Product for Floats<S, M, R> {
    type F = S;
    type Weight = f32;
    const ROWS: usize = 16;

    #[inline(always)]
    unsafe fn unpack(
        job: &Linear<'_>,
        first: usize,
        n: usize,
        cols: Range<usize>,
        weights: &mut [f32],
    ) -> [f32; MAX_PANEL_ROWS] {
        for (i, row) in weights.chunks_exact_mut(BLOCK_COLS).enumerate() {
            let row = &mut row[..cols.len()];
            if i < n {
                // SAFETY: this is `S`'s instruction set.
                unsafe { job.unpack::<S>(first + i, cols.clone(), row) };
            } else {
                row.fill(0.0);
            }
        }
        [1.0; MAX_PANEL_ROWS]
    }

    /// The last tile repeats its last token: wasted work of at most `M - 1` tokens, and no second code path whose
    /// rounding could differ.
    #[inline(always)]
    unsafe fn multiply(
        job: &Linear<'_>,
        cols: Range<usize>,
        weights: &[f32],
        _scales: &[f32; MAX_PANEL_ROWS],
        sums: &mut [f32],
    ) {
        let Input { x, tokens, cols: stride, .. } = job.input;
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
                // SAFETY: all pointers have as many readable floats, a multiple of LANES.
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

/// Inner products of `M` tokens with `R` rows, each accumulated over the columns in one fixed order.
#[inline(always)]
unsafe fn dots<S: Simd, const M: usize, const R: usize>(
    x: [*const f32; M],
    w: [*const f32; R],
    cols: usize,
) -> [[f32; R]; M] {
    // SAFETY: the caller gives `cols` readable floats behind every pointer; `k` stays below.
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
