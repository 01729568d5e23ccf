//! `out = activation(x W^T + b) + residual`, with W read from its mapped blocks.
//!
//! The work is cut into panels of [`PANEL_ROWS`] rows of W. A thread unpacks a panel into its own scratch, which
//! fits L2, multiplies it with every token of the micro-batch, and finishes the outputs while they are in
//! registers' reach. Nothing of W is ever kept.

use super::simd::{self, Simd};
use crate::gguf::DType;
use crate::quant::q8_0;

/// Rows of W that are unpacked together: 24 KB at 384 columns, 98 KB at 1,536.
pub const PANEL_ROWS: usize = 16;

/// What happens to a sum before the residual is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// GELU, exact (erf) form.
    Gelu,
}

/// One linear layer applied to one micro-batch.
///
/// Shapes: `x` `(tokens, cols)`, `weight` `rows` packed rows of `cols`, `bias` `(rows)`,
/// `residual` and `out` `(tokens, rows)`, both with the row stride of `out`.
pub struct Linear<'a> {
    x: &'a [f32],
    /// `x` in 16 bits, for kernels that have [`super::Kernel::narrow`].
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // no other instruction set has one
    pub(super) narrow: &'a [u16],
    pub(super) weight: &'a [u8],
    pub(super) dtype: DType,
    pub(super) unpack: fn(&[u8], &mut [f32]),
    pub(super) bias: &'a [f32],
    pub(super) activation: Activation,
    residual: Option<&'a [f32]>,
    out: *mut f32,
    pub(super) tokens: usize,
    pub(super) cols: usize,
    pub(super) rows: usize,
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
        let [all] = Columns::split(buffer, stride);
        all
    }

    /// `N` bands of equal width, side by side.
    pub fn split<const N: usize>(buffer: &'a mut [f32], stride: usize) -> [Self; N] {
        let width = stride / N;
        assert!(width * N == stride && buffer.len() >= stride);
        let (first, len) = (buffer.as_mut_ptr(), buffer.len());
        std::array::from_fn(|i| Columns {
            // SAFETY: `i * width` is less than `stride`, and the buffer has a whole row.
            first: unsafe { first.add(i * width) },
            len: len - i * width,
            stride,
            width,
            buffer: std::marker::PhantomData,
        })
    }
}

impl<'a> Linear<'a> {
    /// Checks every length, so that kernels need not.
    pub fn new(
        x: &'a [f32],
        tokens: usize,
        weight: &'a crate::gguf::TensorRef,
        bias: &'a [f32],
        activation: Activation,
        residual: Option<&'a [f32]>,
        out: Columns<'a>,
    ) -> Self {
        let [rows, cols] = weight.shape()[..] else {
            panic!("`{}` is checked to be a matrix when it is opened", weight.name())
        };
        let unpack = crate::quant::unpacker(weight.dtype());
        assert!(tokens > 0 && x.len() >= tokens * cols && cols.is_multiple_of(32));
        let Columns { first: out, len, stride, width, .. } = out;
        assert!(bias.len() == rows && width >= rows && len >= (tokens - 1) * stride + rows);
        assert!(residual.is_none_or(|r| r.len() >= (tokens - 1) * stride + rows));
        let weight_bytes = weight.data();
        assert!(weight_bytes.len().is_multiple_of(rows));
        Linear {
            x,
            narrow: &[],
            weight: weight_bytes,
            dtype: weight.dtype(),
            unpack,
            bias,
            activation,
            residual,
            out,
            tokens,
            cols,
            rows,
            stride,
        }
    }

    /// The same with `x` rounded to 16 bits, [`narrow_len`] long.
    pub fn with_narrow(self, narrow: &'a [u16]) -> Self {
        Linear { narrow, ..self }
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

    /// Adds the residual to finished sums of one token's rows from `first`, and puts them in their place.
    ///
    /// SAFETY: `token` and the rows exist, and no other thread writes these rows.
    #[inline(always)]
    pub(super) unsafe fn store(&self, token: usize, first: usize, sums: &mut [f32]) {
        let (at, n) = (token * self.stride + first, sums.len());
        if let Some(residual) = self.residual {
            sums.iter_mut().zip(&residual[at..at + n]).for_each(|(x, r)| *x += r);
        }
        // SAFETY: `new` checked the extent of `out`.
        unsafe { std::ptr::copy_nonoverlapping(sums.as_ptr(), self.out.add(at), sums.len()) };
    }
}

/// Values that a kernel's 16-bit copy of `(tokens, cols)` activations takes: whole blocks of 32 tokens. What stands
/// in the padding does not matter.
pub fn narrow_len(tokens: usize, cols: usize) -> usize {
    tokens.next_multiple_of(32) * cols
}

/// A thread's unpacked panel.
pub struct Panel(Vec<Line>);

/// A cache line: panels begin on one, because tile loads that straddle two take twice as long.
#[derive(Clone)]
#[repr(C, align(64))]
struct Line([f32; 16]);

impl Panel {
    /// Room for [`PANEL_ROWS`] rows of `f32`, or twice as many of 16 bits, of up to `max_cols` columns.
    pub fn new(max_cols: usize) -> Self {
        Panel(vec![Line([0.0; 16]); (PANEL_ROWS * max_cols).div_ceil(16)])
    }

    pub(super) fn floats_mut(&mut self) -> &mut [f32] {
        // SAFETY: a `Line` is sixteen floats without padding.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * 16) }
    }

    #[cfg(target_arch = "x86_64")]
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        let floats = self.floats_mut();
        // SAFETY: any bytes are floats, and floats are bytes.
        unsafe { std::slice::from_raw_parts_mut(floats.as_mut_ptr().cast(), size_of_val(floats)) }
    }
}

/// Runs one panel against every token.
#[inline(always)]
pub(super) unsafe fn panel<S: Simd>(job: &Linear<'_>, panel: usize, scratch: &mut Panel) {
    let (first, n) = job.panel(panel, PANEL_ROWS);
    let weights = &mut scratch.floats_mut()[..PANEL_ROWS * job.cols];
    let row_bytes = job.weight.len() / job.rows;
    let packed = &job.weight[first * row_bytes..(first + n) * row_bytes];
    for (packed, row) in packed.chunks_exact(row_bytes).zip(weights.chunks_exact_mut(job.cols)) {
        match job.dtype {
            // SAFETY: this is `S`'s instruction set.
            DType::Q8_0 => unsafe { unpack_q8_0::<S>(packed, row) },
            _ => (job.unpack)(packed, row),
        }
    }
    // Wide tiles use the 32 registers of AVX-512, narrow ones fit in 16.
    // SAFETY: this is `S`'s instruction set, `weights` is `PANEL_ROWS` full rows.
    unsafe {
        if S::LANES == 16 {
            multiply::<S, 6, 4>(job, first, n, weights);
        } else {
            multiply::<S, 4, 2>(job, first, n, weights);
        }
    }
}

#[inline(always)]
unsafe fn unpack_q8_0<S: Simd>(packed: &[u8], row: &mut [f32]) {
    for (block, out) in packed.chunks_exact(q8_0::BLOCK_BYTES).zip(row.chunks_exact_mut(q8_0::BLOCK)) {
        let (scale, quants) = q8_0::split(block);
        for i in (0..q8_0::BLOCK).step_by(S::LANES) {
            // SAFETY: a block has 32 quants and `out` 32 floats; LANES divides 32.
            unsafe {
                let q = S::load_i8(quants.as_ptr().add(i).cast());
                S::store(out.as_mut_ptr().add(i), S::mul(q, S::splat(scale)));
            }
        }
    }
}

/// Tiles of `M` tokens by `R` rows. The last tile repeats its last token: wasted work of at most `M - 1` tokens,
/// and no second code path whose rounding could differ.
#[inline(always)]
unsafe fn multiply<S: Simd, const M: usize, const R: usize>(job: &Linear<'_>, first: usize, n: usize, weights: &[f32]) {
    let mut bias = [0.0f32; PANEL_ROWS];
    bias[..n].copy_from_slice(&job.bias[first..first + n]);
    for token in (0..job.tokens).step_by(M) {
        let rows: [*const f32; M] =
            std::array::from_fn(|m| job.x[(token + m).min(job.tokens - 1) * job.cols..][..job.cols].as_ptr());
        let mut tile = [[0.0f32; PANEL_ROWS]; M];
        for r in (0..PANEL_ROWS).step_by(R) {
            let w: [*const f32; R] = std::array::from_fn(|i| weights[(r + i) * job.cols..][..job.cols].as_ptr());
            // SAFETY: all pointers have `cols` readable floats, a multiple of LANES.
            let sums = unsafe { dots::<S, M, R>(rows, w, job.cols) };
            for m in 0..M {
                tile[m][r..r + R].copy_from_slice(&sums[m]);
            }
        }
        for (m, sums) in tile.iter_mut().enumerate().take(job.tokens - token) {
            // SAFETY: the buffers are PANEL_ROWS long, a multiple of LANES.
            unsafe { finish::<S>(sums, &bias, job.activation) };
            // SAFETY: this panel's rows of an existing token.
            unsafe { job.store(token + m, first, &mut sums[..n]) };
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

/// Bias and activation.
#[inline(always)]
pub(super) unsafe fn finish<S: Simd>(sums: &mut [f32; PANEL_ROWS], bias: &[f32; PANEL_ROWS], activation: Activation) {
    for i in (0..PANEL_ROWS).step_by(S::LANES) {
        // SAFETY: both arrays are PANEL_ROWS long, a multiple of LANES.
        unsafe {
            let x = S::add(S::load(sums.as_ptr().add(i)), S::load(bias.as_ptr().add(i)));
            let x = match activation {
                Activation::None => x,
                Activation::Gelu => simd::gelu::<S>(x),
            };
            S::store(sums.as_mut_ptr().add(i), x);
        }
    }
}
