//! A linear layer: `out = combine(out, activation(x W^T + b))`, with W read from its mapped blocks.
//!
//! This file has the operands, checked once, and the last step (bias, activation, output). The loops over W are in
//! [`panel`](super::panel); the head of [`kernel`](super) has a diagram of them.

use std::ops::Range;

use super::simd::{self, Simd};
use crate::gguf::TensorRef;
use crate::quant::DType;

/// Columns of W in a column block, which is unpacked at once: a multiple of every format's block.
pub(super) const BLOCK_COLS: usize = 512;

/// The function that is applied to a sum after the bias was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// The identity.
    None,
    /// GELU, the exact form with the error function.
    Gelu,
    /// `x * sigmoid(x)`, also called swish.
    Silu,
}

/// How a result is combined with the present value in `out`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// The result replaces it.
    Set,
    /// The result is added to it: a residual connection.
    Add,
    /// The result is multiplied with it: a gate.
    Multiply,
}

/// The left operand of a product: tokens as `f32`, and rounded to 16 bits if the kernel multiplies 16-bit numbers.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// Tokens as `f32`, `(tokens, cols)`.
    pub(super) x: &'a [f32],
    /// Tokens rounded by [`super::Kernel::round_input`], [`rounded_len`] long; empty for kernels that multiply `f32`.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // other targets have `f32` kernels only
    pub(super) rounded: &'a [u16],
    /// The value of one unit of `rounded`, `(tokens, column blocks)`, for kernels that round to integers.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // other targets have `f32` kernels only
    pub(super) scales: &'a [f32],
    pub(super) tokens: usize,
    pub(super) cols: usize,
}

impl<'a> Input<'a> {
    /// An input of rows of `cols` floats. Panics unless `x` consists of whole rows and `cols` is a multiple of 32.
    pub fn new(x: &'a [f32], cols: usize) -> Self {
        assert!(!x.is_empty() && x.len().is_multiple_of(cols) && cols.is_multiple_of(32));
        Input { x, rounded: &[], scales: &[], tokens: x.len() / cols, cols }
    }

    /// Adds the output of [`super::Kernel::round_input`] for this input. Panics if it is too short.
    pub fn with_rounded(self, rounded: &'a [u16], scales: &'a [f32]) -> Self {
        assert!(
            rounded.len() >= rounded_len(self.tokens, self.cols) && scales.len() >= scales_len(self.tokens, self.cols)
        );
        Input { rounded, scales, ..self }
    }
}

/// Length of an input `(tokens, cols)` rounded to 16 bits: tokens are padded to a multiple of 32. Padding may have any
/// value.
pub fn rounded_len(tokens: usize, cols: usize) -> usize {
    tokens.next_multiple_of(32) * cols
}

/// Number of scales of an input `(tokens, cols)` rounded to 16 bits: one for each token and column block.
pub fn scales_len(tokens: usize, cols: usize) -> usize {
    tokens * cols.div_ceil(BLOCK_COLS)
}

/// A linear layer applied to a batch of tokens.
///
/// Shapes: input `(tokens, cols)`; `weight` has `rows` packed rows of `cols`; `bias` `(rows)`; `out` `(tokens, rows)`, which
/// may be some columns of a wider matrix.
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

// SAFETY: `out` is the only pointer; panels write disjoint columns of it, and `Columns` borrows it for 'a.
unsafe impl Sync for Linear<'_> {}

/// Adjacent columns of a row-major buffer, to be written by several threads.
pub struct Columns<'a> {
    first: *mut f32,
    /// Floats from `first` to the end of the buffer.
    len: usize,
    stride: usize,
    width: usize,
    buffer: std::marker::PhantomData<&'a mut [f32]>,
}

impl<'a> Columns<'a> {
    /// All columns of a buffer with rows of `stride` floats.
    pub fn of(buffer: &'a mut [f32], stride: usize) -> Self {
        let [all] = Columns::split(buffer, [stride]);
        all
    }

    /// Divides the rows of a buffer into columns of these widths, from left to right. The widths add up to a row.
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
    /// Combines the operands. Panics if a length does not fit, so kernels rely on the lengths.
    pub fn new(
        input: Input<'a>,
        weight: &'a TensorRef,
        bias: Option<&'a [f32]>,
        activation: Activation,
        combine: Combine,
        out: Columns<'a>,
    ) -> Self {
        let [rows, cols] = weight.shape()[..] else {
            panic!("`{}` was checked to be a matrix when the model was opened", weight.name())
        };
        assert!(input.cols == cols && bias.is_none_or(|bias| bias.len() == rows));
        let Columns { first: out, len, stride, width, .. } = out;
        assert!(width >= rows && len >= (input.tokens - 1) * stride + rows);
        let packed = weight.data();
        assert!(packed.len().is_multiple_of(rows));
        Linear { input, weight: packed, dtype: weight.dtype(), bias, activation, combine, out, rows, stride }
    }

    /// Number of panels of `panel_rows` rows; the last may have fewer.
    pub fn panels(&self, panel_rows: usize) -> usize {
        self.rows.div_ceil(panel_rows)
    }

    /// First row and number of rows of panel number `panel`.
    pub(super) fn panel(&self, panel: usize, panel_rows: usize) -> (usize, usize) {
        let first = panel * panel_rows;
        (first, panel_rows.min(self.rows - first))
    }

    /// Storage format of the weights.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // other targets have `f32` kernels only
    pub(super) fn dtype(&self) -> DType {
        self.dtype
    }

    /// The packed blocks of columns `cols` of one row; `cols` begins and ends at block boundaries.
    #[inline(always)]
    pub(super) fn packed(&self, row: usize, cols: Range<usize>) -> &[u8] {
        let (len, bytes) = (self.dtype.block_len(), self.dtype.block_bytes());
        let row = &self.weight[row * (self.input.cols / len * bytes)..];
        &row[cols.start / len * bytes..cols.end / len * bytes]
    }

    /// Unpacks columns `cols` of one row to `f32`; `cols` begins and ends at block boundaries.
    ///
    /// SAFETY: the processor has the instruction set of `S`.
    #[inline(always)]
    pub(super) unsafe fn unpack<S: Simd>(&self, row: usize, cols: Range<usize>, out: &mut [f32]) {
        // SAFETY: the caller's promise.
        unsafe { S::unpack(self.dtype, self.packed(row, cols), out) };
    }

    /// The biases of `n` rows from `first`, padded with zeros to `N`; all zeros if the layer has no bias.
    pub(super) fn bias<const N: usize>(&self, first: usize, n: usize) -> [f32; N] {
        let mut out = [0.0; N];
        if let Some(bias) = self.bias {
            out[..n].copy_from_slice(&bias[first..first + n]);
        }
        out
    }

    /// Writes the outputs of one token and the `n` rows from `first`: adds `bias` to `sums`, applies the activation, and
    /// combines the result with `out`.
    ///
    /// `bias` is the result of [`Linear::bias`]; `sums` and `bias` have the same length, a multiple of `S::LANES`.
    ///
    /// SAFETY: the processor has the instruction set of `S`, `token` and the rows exist, and no other thread writes these
    /// rows.
    #[inline(always)]
    pub(super) unsafe fn finish<S: Simd>(&self, token: usize, (first, n): (usize, usize), sums: &[f32], bias: &[f32]) {
        assert!(n <= sums.len() && sums.len() == bias.len() && sums.len().is_multiple_of(S::LANES));
        // SAFETY: the caller's promise.
        unsafe {
            match self.activation {
                Activation::None => self.activated::<S, 0>(token, (first, n), sums, bias),
                Activation::Gelu => self.activated::<S, 1>(token, (first, n), sums, bias),
                Activation::Silu => self.activated::<S, 2>(token, (first, n), sums, bias),
            }
        }
    }

    /// [`Linear::finish`] for one activation, so that each activation has a loop without branches.
    #[inline(always)]
    unsafe fn activated<S: Simd, const ACTIVATION: usize>(
        &self,
        token: usize,
        (first, n): (usize, usize),
        sums: &[f32],
        bias: &[f32],
    ) {
        // SAFETY: both slices have the same length, a multiple of LANES; `new` checked the extent of `out`, which is
        // borrowed mutably, and no other thread writes these columns.
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
