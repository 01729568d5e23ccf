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
/// `residual` and `out` `(tokens, rows)` at a row stride of `stride`, from column 0.
pub struct Linear<'a> {
    x: &'a [f32],
    weight: &'a [u8],
    dtype: DType,
    unpack: fn(&[u8], &mut [f32]),
    bias: &'a [f32],
    activation: Activation,
    residual: Option<&'a [f32]>,
    out: *mut f32,
    tokens: usize,
    cols: usize,
    rows: usize,
    stride: usize,
}

// SAFETY: `out` is the only pointer; panels write disjoint columns of it, and it is borrowed for 'a by `new`.
unsafe impl Sync for Linear<'_> {}

impl<'a> Linear<'a> {
    /// Checks every length, so that kernels need not.
    ///
    /// `out` is the first output column: column `j` of token `t` is `out[t * stride + j]`.
    #[expect(
        clippy::too_many_arguments,
        reason = "a matrix product has this many parts; naming them in a builder hides none"
    )]
    pub fn new(
        x: &'a [f32],
        tokens: usize,
        weight: &'a crate::gguf::TensorRef,
        bias: &'a [f32],
        activation: Activation,
        residual: Option<&'a [f32]>,
        out: &'a mut [f32],
        stride: usize,
    ) -> Self {
        let [rows, cols] = weight.shape()[..] else {
            panic!("`{}` is checked to be a matrix when it is opened", weight.name())
        };
        let unpack = crate::quant::unpacker(weight.dtype()).expect("checked when the model was opened");
        assert!(tokens > 0 && x.len() >= tokens * cols && cols.is_multiple_of(32));
        assert!(bias.len() == rows && stride >= rows && out.len() >= (tokens - 1) * stride + rows);
        assert!(residual.is_none_or(|r| r.len() >= (tokens - 1) * stride + rows));
        let weight_bytes = weight.data();
        assert!(weight_bytes.len().is_multiple_of(rows));
        Linear {
            x,
            weight: weight_bytes,
            dtype: weight.dtype(),
            unpack,
            bias,
            activation,
            residual,
            out: out.as_mut_ptr(),
            tokens,
            cols,
            rows,
            stride,
        }
    }

    /// How many panels there are to run.
    pub fn panels(&self) -> usize {
        self.rows.div_ceil(PANEL_ROWS)
    }
}

/// A thread's unpacked panel.
pub struct Panel(pub(super) Vec<f32>);

impl Panel {
    /// Room for [`PANEL_ROWS`] rows of up to `max_cols` columns.
    pub fn new(max_cols: usize) -> Self {
        Panel(vec![0.0; PANEL_ROWS * max_cols])
    }
}

/// Runs one panel against every token.
#[inline(always)]
pub(super) unsafe fn panel<S: Simd>(job: &Linear<'_>, panel: usize, scratch: &mut Panel) {
    let first = panel * PANEL_ROWS;
    let n = PANEL_ROWS.min(job.rows - first);
    let weights = &mut scratch.0[..PANEL_ROWS * job.cols];
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
            let at = (token + m) * job.stride + first;
            // SAFETY: the buffers are PANEL_ROWS long, a multiple of LANES.
            unsafe { finish::<S>(sums, &bias, job.activation) };
            if let Some(residual) = job.residual {
                sums.iter_mut().zip(&residual[at..at + n]).for_each(|(x, r)| *x += r);
            }
            // SAFETY: `new` checked the extent of `out`; no other panel writes these columns.
            unsafe { std::ptr::copy_nonoverlapping(sums.as_ptr(), job.out.add(at), n) };
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

#[inline(always)]
unsafe fn finish<S: Simd>(sums: &mut [f32; PANEL_ROWS], bias: &[f32; PANEL_ROWS], activation: Activation) {
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
