//! What the layers of every architecture are made of, spread over the pool: products, norms, rotations, attention.
//!
//! One step, one barrier; small steps run on the calling thread alone.

use std::sync::Mutex;

use super::Batch;
use crate::gguf::TensorRef;
use crate::kernel::{
    Activation, Attention, AttentionScratch, Buffer, Columns, Combine, Heads, Input, Kernel, Linear, Panel, Pool,
    narrow_len, scales_len,
};

/// Tokens of a job that works row by row: enough for it to be worth handing over.
const ROWS_PER_JOB: usize = 32;
/// Bytes of the wide activations of a block of tokens.
const BLOCK_BYTES: usize = 8 << 20;
/// Bytes of what is kept of every token of a micro-batch from layer to layer.
const TOKEN_BYTES: usize = 24 << 20;

/// A weight with its bias.
pub(super) struct Dense {
    pub weight: TensorRef,
    pub bias: Option<Vec<f32>>,
}

/// Scale and offset of a layer norm.
pub(super) struct LayerNorm {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

/// The sizes that decide how much memory a forward pass takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub hidden: usize,
    pub heads: Heads,
    /// Width of the feed-forward layer.
    pub ffn: usize,
    /// The longest sequence that the model was made for.
    pub context: usize,
}

impl Sizes {
    /// Tokens that are computed together: `wanted`, or the context if that is longer, as far as memory goes.
    pub(super) fn max_tokens(&self, wanted: usize) -> usize {
        let bytes = 4 * (self.hidden + self.heads.q_width() + 2 * self.heads.kv_width());
        wanted.max(self.context).min(TOKEN_BYTES / bytes).max(32)
    }

    /// Tokens whose wide activations are there at the same time.
    fn block(&self, max_tokens: usize) -> usize {
        let bytes = 4 * (self.hidden + self.ffn) + 2 * self.widest();
        (BLOCK_BYTES / bytes).next_multiple_of(32).min(max_tokens)
    }

    fn widest(&self) -> usize {
        self.hidden.max(self.ffn).max(self.heads.q_width())
    }
}

/// Activations of one micro-batch, made once: a forward pass allocates lists of jobs and positions, no activations.
pub(super) struct Arena {
    /// The residual stream, `(tokens, hidden)`.
    pub x: Buffer<f32>,
    /// Queries, then what was attended to, `(tokens, q_width)`.
    pub q: Buffer<f32>,
    /// Keys and values, `(tokens, 2 * kv_width)`.
    pub kv: Buffer<f32>,
    /// One block's normalised inputs, `(block, hidden)`; only where norms come first.
    pub normed: Buffer<f32>,
    /// One block's wide activations, `(block, ffn)`.
    pub up: Buffer<f32>,
    /// Tokens in a block.
    pub block: usize,
    /// What the steps themselves need.
    pub scratch: Scratch,
}

/// Input of a product in 16 bits, and each thread's own memory.
pub(super) struct Scratch {
    words: Buffer<u16>,
    scales: Buffer<f32>,
    workers: Vec<Mutex<(Panel, AttentionScratch)>>,
}

impl Arena {
    pub(super) fn new(sizes: &Sizes, max_tokens: usize, norms_first: bool, kernel: &Kernel, threads: usize) -> Self {
        let block = sizes.block(max_tokens);
        let (widest, longest) = (sizes.widest(), max_tokens.min(sizes.context));
        let (words, scales) = match kernel.has_narrow() {
            true => (narrow_len(block, widest), scales_len(block, widest)),
            false => (0, 0),
        };
        let worker = || (kernel.panel(widest, block), AttentionScratch::new(longest, sizes.heads.dim));
        Arena {
            x: Buffer::new(max_tokens * sizes.hidden),
            q: Buffer::new(max_tokens * sizes.heads.q_width()),
            kv: Buffer::new(max_tokens * 2 * sizes.heads.kv_width()),
            normed: Buffer::new(if norms_first { block * sizes.hidden } else { 0 }),
            up: Buffer::new(block * sizes.ffn),
            block,
            scratch: Scratch {
                words: Buffer::new(words),
                scales: Buffer::new(scales),
                workers: (0..threads.max(1)).map(|_| worker().into()).collect(),
            },
        }
    }
}

/// A product that is still to be done: the weight, what follows, and where it goes.
pub(super) struct Product<'a> {
    pub dense: &'a Dense,
    pub activation: Activation,
    pub combine: Combine,
    pub out: Columns<'a>,
}

impl<'a> Product<'a> {
    /// The plain product into `out`.
    pub(super) fn set(dense: &'a Dense, out: Columns<'a>) -> Self {
        Product { dense, activation: Activation::None, combine: Combine::Set, out }
    }

    /// Added to what stands in the rows of `out`: a residual connection.
    pub(super) fn add(dense: &'a Dense, out: &'a mut [f32]) -> Self {
        let stride = dense.weight.shape()[0];
        Product { dense, activation: Activation::None, combine: Combine::Add, out: Columns::of(out, stride) }
    }
}

/// The kernel, spread over the pool.
pub(super) struct Run<'a> {
    pub kernel: &'static Kernel,
    pub pool: &'a mut Pool,
    pub scratch: &'a mut Scratch,
}

impl Run<'_> {
    /// Several products of one input `x` `(tokens, cols)` that do not depend on each other.
    pub(super) fn linear<'b, const N: usize>(&mut self, x: &'b [f32], cols: usize, products: [Product<'b>; N]) {
        let input = narrowed(self.kernel, self.pool, x, cols, &mut self.scratch.words, &mut self.scratch.scales);
        let jobs = products.map(|product| {
            let Product { dense, activation, combine, out } = product;
            Linear::new(input, &dense.weight, dense.bias.as_deref(), activation, combine, out)
        });
        let panel_rows = self.kernel.panel_rows;
        let panels: usize = jobs.iter().map(|job| job.panels(panel_rows)).sum();
        let workers = &self.scratch.workers;
        self.pool.run(panels, &|worker, mut panel| {
            let mut scratch = workers[worker].lock().expect("one worker, one scratch");
            let job = jobs.iter().find(|job| match panel.checked_sub(job.panels(panel_rows)) {
                None => true,
                Some(rest) => {
                    panel = rest;
                    false
                }
            });
            // SAFETY: the pool runs each panel once.
            unsafe { self.kernel.run_panel(job.expect("panel is below the sum"), panel, &mut scratch.0) }
        });
    }

    /// Attention within each sequence; `q` becomes what was attended to.
    pub(super) fn attention(&mut self, q: &mut [f32], kv: &[f32], batch: &Batch<'_>, heads: Heads) {
        let mut rest = q;
        let jobs: Vec<Attention<'_>> = batch
            .sequences()
            .map(|s| {
                let (own, others) = std::mem::take(&mut rest).split_at_mut(s.len() * heads.q_width());
                rest = others;
                Attention::new(own, &kv[s.start * 2 * heads.kv_width()..s.end * 2 * heads.kv_width()], heads)
            })
            .collect();
        let workers = &self.scratch.workers;
        self.pool.run(jobs.len() * heads.n, &|worker, i| {
            let mut scratch = workers[worker].lock().expect("one worker, one scratch");
            // SAFETY: `kernel::choose` only gives out tables that this processor can run.
            unsafe { (self.kernel.attention)(&jobs[i / heads.n], i % heads.n, &mut scratch.1) }
        });
    }

    /// Each row of `x` to mean 0 and deviation 1, then scaled and moved.
    pub(super) fn layer_norm(&mut self, x: &mut [f32], norm: &LayerNorm, eps: f32) {
        // SAFETY: as for `attention`.
        self.rows(x, norm.weight.len(), |x, _| unsafe { (self.kernel.layer_norm)(x, &norm.weight, &norm.bias, eps) });
    }

    /// Each row of `x` to a mean square of 1, then scaled.
    pub(super) fn rms_norm(&mut self, x: &mut [f32], weight: &[f32], eps: f32) {
        // SAFETY: as for `attention`.
        self.rows(x, weight.len(), |x, _| unsafe { (self.kernel.rms_norm)(x, weight, eps) });
    }

    /// Turns the heads of each row of `x`, whose first `width` floats are heads, by its token's position.
    pub(super) fn rotate(&mut self, x: &mut [f32], stride: usize, width: usize, rope: &Rope, positions: &[usize]) {
        self.rows(x, stride, |x, first| {
            for (row, position) in x.chunks_exact_mut(stride).zip(&positions[first..]) {
                rope.turn(&mut row[..width], *position);
            }
        });
    }

    /// Jobs of some rows each: `work` gets the rows and the index of the first.
    fn rows(&mut self, x: &mut [f32], width: usize, work: impl Fn(&mut [f32], usize) + Sync) {
        let rows: Vec<_> = x.chunks_mut(ROWS_PER_JOB * width).map(Mutex::new).collect();
        self.pool.run(rows.len(), &|_, i| {
            let mut rows = rows[i].lock().expect("each job has its own rows");
            work(&mut rows, i * ROWS_PER_JOB);
        });
    }
}

/// The input of products, in the form that the kernel wants.
fn narrowed<'b>(
    kernel: &Kernel,
    pool: &mut Pool,
    x: &'b [f32],
    cols: usize,
    words: &'b mut [u16],
    scales: &'b mut [f32],
) -> Input<'b> {
    let input = Input::new(x, cols);
    if !kernel.has_narrow() {
        return input;
    }
    let n_scales = scales_len(1, cols);
    let scales = &mut scales[..x.len() / cols * n_scales];
    {
        let rows = x.chunks(ROWS_PER_JOB * cols);
        let outs = words.chunks_mut(ROWS_PER_JOB * cols).zip(scales.chunks_mut(ROWS_PER_JOB * n_scales));
        let jobs: Vec<_> = rows.zip(outs).map(Mutex::new).collect();
        pool.run(jobs.len(), &|_, i| {
            let mut job = jobs[i].lock().expect("each job has its own rows");
            let (x, (words, scales)) = &mut *job;
            kernel.narrow(x, cols, words, scales);
        });
    }
    input.with_words(words, scales)
}

/// Rotary position embedding: pairs of a head's values, half a head apart, turned by angles that grow with the position.
///
/// Source: Su et al., RoFormer, arXiv 2104.09864; the pairing is GPT-NeoX's.
pub(super) struct Rope {
    /// `(positions, head_dim / 2)`, cosine and sine of each angle.
    table: Vec<(f32, f32)>,
    head_dim: usize,
}

impl Rope {
    /// Angles `position / base^(2i / head_dim)`.
    pub(super) fn new(base: f32, head_dim: usize, max_positions: usize) -> Self {
        let half = head_dim / 2;
        let mut table = Vec::with_capacity(max_positions * half);
        for position in 0..max_positions {
            for i in 0..half {
                let angle = position as f64 / f64::from(base).powf(2.0 * i as f64 / head_dim as f64);
                table.push((angle.cos() as f32, angle.sin() as f32));
            }
        }
        Rope { table, head_dim }
    }

    fn turn(&self, heads: &mut [f32], position: usize) {
        let half = self.head_dim / 2;
        let angles = &self.table[position * half..][..half];
        for head in heads.chunks_exact_mut(self.head_dim) {
            let (low, high) = head.split_at_mut(half);
            for ((a, b), (cos, sin)) in low.iter_mut().zip(high).zip(angles) {
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            }
        }
    }
}
