//! The steps that the layers of every architecture consist of, spread over the threads of the pool: matrix products,
//! norms, rotations, attention.
//!
//! Each step ends with a barrier; small steps run on the calling thread alone.

use std::sync::Mutex;

use super::arena::Scratch;
use super::batch::Batch;
use super::rope::Rope;
use super::weights::{Dense, LayerNorm};
use crate::kernel::{Activation, Attention, Buffer, Columns, Combine, Heads, Input, Kernel, Linear, Pool, scales_len};

/// Rows in one task of a row-wise step: enough work for it to be worth handing to another thread.
const ROWS_PER_TASK: usize = 32;

/// A linear layer to be computed: the weights, what follows the product, and the output.
pub(super) struct Projection<'a> {
    pub dense: &'a Dense,
    pub activation: Activation,
    pub combine: Combine,
    pub out: Columns<'a>,
}

impl<'a> Projection<'a> {
    /// The plain product, written to `out`.
    pub(super) fn set(dense: &'a Dense, out: Columns<'a>) -> Self {
        Projection { dense, activation: Activation::None, combine: Combine::Set, out }
    }

    /// The plain product, added to the rows of `out`: a residual connection.
    pub(super) fn add(dense: &'a Dense, out: &'a mut [f32]) -> Self {
        let stride = dense.weight.shape()[0];
        Projection { dense, activation: Activation::None, combine: Combine::Add, out: Columns::of(out, stride) }
    }
}

/// A kernel whose steps are spread over the threads of a pool.
pub(super) struct ParallelKernel<'a> {
    pub kernel: &'static Kernel,
    pub pool: &'a mut Pool,
    pub scratch: &'a mut Scratch,
}

impl ParallelKernel<'_> {
    /// Computes independent projections of one input `x` `(tokens, cols)`.
    pub(super) fn linear<'b, const N: usize>(&mut self, x: &'b [f32], cols: usize, projections: [Projection<'b>; N]) {
        let Scratch { rounded, scales, workers } = &mut *self.scratch;
        let input = rounded_input(self.kernel, self.pool, x, cols, rounded, scales);
        let layers = projections.map(|projection| {
            let Projection { dense, activation, combine, out } = projection;
            Linear::new(input, &dense.weight, dense.bias.as_deref(), activation, combine, out)
        });
        let panel_rows = self.kernel.panel_rows;
        let panels: usize = layers.iter().map(|layer| layer.panels(panel_rows)).sum();
        self.pool.run(panels, &|worker, mut panel| {
            let mut scratch = workers[worker].lock().expect("each worker has its own scratch");
            // The panels of all layers are numbered through.
            let layer = layers.iter().find(|layer| match panel.checked_sub(layer.panels(panel_rows)) {
                None => true,
                Some(rest) => {
                    panel = rest;
                    false
                }
            });
            // SAFETY: the pool runs each panel once.
            unsafe { self.kernel.run_panel(layer.expect("panel is below the sum"), panel, &mut scratch.0) }
        });
    }

    /// Attention within each sequence; overwrites `q` with the result.
    pub(super) fn attention(&mut self, q: &mut [f32], kv: &[f32], batch: &Batch<'_>, heads: Heads) {
        let mut rest = q;
        let sequences: Vec<Attention<'_>> = batch
            .sequences()
            .map(|s| {
                let (own, others) = std::mem::take(&mut rest).split_at_mut(s.len() * heads.q_width());
                rest = others;
                Attention::new(own, &kv[s.start * 2 * heads.kv_width()..s.end * 2 * heads.kv_width()], heads)
            })
            .collect();
        let workers = &self.scratch.workers;
        self.pool.run(sequences.len() * heads.n, &|worker, i| {
            let mut scratch = workers[worker].lock().expect("each worker has its own scratch");
            // SAFETY: `kernel::choose` only returns kernels that this processor can run.
            unsafe { (self.kernel.attention)(&sequences[i / heads.n], i % heads.n, &mut scratch.1) }
        });
    }

    /// Normalises each row of `x` to mean 0 and variance 1, then applies scale and offset.
    pub(super) fn layer_norm(&mut self, x: &mut [f32], norm: &LayerNorm, eps: f32) {
        // SAFETY: `kernel::choose` only returns kernels that this processor can run.
        self.rows(x, norm.weight.len(), |x, _| unsafe { (self.kernel.layer_norm)(x, &norm.weight, &norm.bias, eps) });
    }

    /// Normalises each row of `x` to a mean square of 1, then applies the scale.
    pub(super) fn rms_norm(&mut self, x: &mut [f32], weight: &[f32], eps: f32) {
        // SAFETY: `kernel::choose` only returns kernels that this processor can run.
        self.rows(x, weight.len(), |x, _| unsafe { (self.kernel.rms_norm)(x, weight, eps) });
    }

    /// Rotates the heads in the first `width` floats of each row of `x` by the angles of the row's position.
    pub(super) fn rotate(&mut self, x: &mut [f32], stride: usize, width: usize, rope: &Rope, positions: &[usize]) {
        self.rows(x, stride, |x, first| {
            for (row, position) in x.chunks_exact_mut(stride).zip(&positions[first..]) {
                rope.rotate(&mut row[..width], *position);
            }
        });
    }

    /// Calls `work` with chunks of the rows of `x`, and the index of each chunk's first row.
    fn rows(&mut self, x: &mut [f32], width: usize, work: impl Fn(&mut [f32], usize) + Sync) {
        let rows: Vec<_> = x.chunks_mut(ROWS_PER_TASK * width).map(Mutex::new).collect();
        self.pool.run(rows.len(), &|_, i| {
            let mut rows = rows[i].lock().expect("each task has its own rows");
            work(&mut rows, i * ROWS_PER_TASK);
        });
    }
}

/// The input `x` `(tokens, cols)` of matrix products in the form that the kernel multiplies: rounded to 16 bits into
/// `rounded` and `scales`, or as it is.
fn rounded_input<'b>(
    kernel: &Kernel,
    pool: &mut Pool,
    x: &'b [f32],
    cols: usize,
    rounded: &'b mut Buffer<u16>,
    scales: &'b mut Buffer<f32>,
) -> Input<'b> {
    let input = Input::new(x, cols);
    if !kernel.rounds_input() {
        return input;
    }
    let n_scales = scales_len(1, cols);
    let scales = &mut scales[..x.len() / cols * n_scales];
    {
        let rows = x.chunks(ROWS_PER_TASK * cols);
        let outs = rounded.chunks_mut(ROWS_PER_TASK * cols).zip(scales.chunks_mut(ROWS_PER_TASK * n_scales));
        let tasks: Vec<_> = rows.zip(outs).map(Mutex::new).collect();
        pool.run(tasks.len(), &|_, i| {
            let mut task = tasks[i].lock().expect("each task has its own rows");
            let (x, (rounded, scales)) = &mut *task;
            kernel.round_input(x, cols, rounded, scales);
        });
    }
    input.with_rounded(rounded, scales)
}
