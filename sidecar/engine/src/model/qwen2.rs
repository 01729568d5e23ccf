//! Qwen2 decoders used as embedders: causal grouped-query attention, rotary positions, norms before each step, gated
//! feed-forward layers, last-token pooling.
//!
//! Source: Yang et al., Qwen2 Technical Report, arXiv 2407.10671; tensor and key names as GGUF writers emit them.

use super::Model;
use super::arena::Arena;
use super::batch::{Batch, blocks};
use super::keys::Keys;
use super::layers::{ParallelKernel, Projection};
use super::pooling::Pooling;
use super::rope::Rope;
use super::sizes::Sizes;
use super::weights::{Dense, dense, token_table, unpack_row, vector};
use crate::error::Result;
use crate::gguf::{Gguf, TensorRef};
use crate::kernel::{Activation, Columns, Combine, Kernel, Pool};

/// A `qwen2` model over its mapped file.
pub struct Qwen2 {
    sizes: Sizes,
    eps: f32,
    pooling: Pooling,
    token_embd: TensorRef, // (vocab, hidden)
    rope: Rope,
    layers: Vec<Layer>,
    output_norm: Vec<f32>, // (hidden)
    kernel: &'static Kernel,
    max_tokens: usize,
    arena: Arena,
}

struct Layer {
    attn_norm: Vec<f32>, // (hidden)
    q: Dense,            // (q_width, hidden), with a bias
    k: Dense,            // (kv_width, hidden), with a bias
    v: Dense,            // (kv_width, hidden), with a bias
    attn_output: Dense,  // (hidden, q_width)
    ffn_norm: Vec<f32>,  // (hidden)
    ffn_gate: Dense,     // (ffn, hidden)
    ffn_up: Dense,       // (ffn, hidden)
    ffn_down: Dense,     // (hidden, ffn)
}

impl Qwen2 {
    /// Reads sizes and small tensors, checks the shape and format of every matrix, leaves the matrices in the mapped file. Memory is allocated for batches of
    /// `target_tokens`, see [`super::open`].
    pub fn open(gguf: &Gguf, target_tokens: usize, kernel: &'static Kernel, threads: usize) -> Result<Self> {
        let keys = Keys { gguf, architecture: "qwen2" };
        let sizes = keys.sizes(true)?;
        let (n_layers, eps) = (keys.layers()?, keys.eps("attention.layer_norm_rms_epsilon")?);
        // Files made for text generation have no pooling type; embedding models of this family use the last token.
        let pooling = Pooling::read(gguf, "qwen2.pooling_type", Some(Pooling::Last))?;
        keys.causal(true)?;
        let Sizes { hidden, ffn, heads, context } = sizes;
        let layers = (0..n_layers)
            .map(|i| {
                let dense =
                    |name: &str, rows, cols, biased| dense(gguf, &format!("blk.{i}.{name}"), rows, cols, biased);
                let norm = |name: &str| vector(gguf, &format!("blk.{i}.{name}.weight"), hidden);
                Ok(Layer {
                    attn_norm: norm("attn_norm")?,
                    q: dense("attn_q", heads.q_width(), hidden, true)?,
                    k: dense("attn_k", heads.kv_width(), hidden, true)?,
                    v: dense("attn_v", heads.kv_width(), hidden, true)?,
                    attn_output: dense("attn_output", hidden, heads.q_width(), false)?,
                    ffn_norm: norm("ffn_norm")?,
                    ffn_gate: dense("ffn_gate", ffn, hidden, false)?,
                    ffn_up: dense("ffn_up", ffn, hidden, false)?,
                    ffn_down: dense("ffn_down", hidden, ffn, false)?,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let max_tokens = sizes.max_tokens(target_tokens);
        Ok(Qwen2 {
            sizes,
            eps,
            pooling,
            token_embd: token_table(gguf, hidden)?,
            rope: Rope::new(keys.rope_base(10_000.0)?, heads.dim, context.min(max_tokens)),
            layers,
            output_norm: vector(gguf, "output_norm.weight", hidden)?,
            kernel,
            max_tokens,
            arena: Arena::new(&sizes, max_tokens, true, kernel, threads),
        })
    }
}

impl Model for Qwen2 {
    fn dim(&self) -> usize {
        self.sizes.hidden
    }

    fn context_length(&self) -> usize {
        self.sizes.context.min(self.max_tokens)
    }

    fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    fn forward(&mut self, batch: &Batch<'_>, pool: &mut Pool, out: &mut [f32]) {
        let (Sizes { hidden, heads, ffn, .. }, eps) = (self.sizes, self.eps);
        let tokens = batch.ids.len();
        assert!(tokens <= self.max_tokens, "a batch has at most `max_tokens`");
        let (q_row, kv_row) = (heads.q_width(), 2 * heads.kv_width());
        let Arena { x, q, kv, normed, up, block_tokens, scratch } = &mut self.arena;
        let (x, q, kv) = (&mut x[..tokens * hidden], &mut q[..tokens * q_row], &mut kv[..tokens * kv_row]);
        let mut kernel = ParallelKernel { kernel: self.kernel, pool, scratch };
        let positions = batch.positions();

        for (x, id) in x.chunks_exact_mut(hidden).zip(batch.ids) {
            unpack_row(&self.token_embd, *id as usize, x);
        }
        for layer in &self.layers {
            for block in blocks(tokens, *block_tokens) {
                let normed = &mut normed[..block.len() * hidden];
                normed.copy_from_slice(&x[block.start * hidden..block.end * hidden]);
                kernel.rms_norm(normed, &layer.attn_norm, eps);
                let [k, v] = Columns::split(&mut kv[block.start * kv_row..block.end * kv_row], [heads.kv_width(); 2]);
                let q = Columns::of(&mut q[block.start * q_row..block.end * q_row], q_row);
                let projections =
                    [Projection::set(&layer.q, q), Projection::set(&layer.k, k), Projection::set(&layer.v, v)];
                kernel.linear(normed, hidden, projections);
            }
            kernel.rotate(q, q_row, q_row, &self.rope, &positions);
            kernel.rotate(kv, kv_row, heads.kv_width(), &self.rope, &positions);
            kernel.attention(q, kv, batch, heads);
            for block in blocks(tokens, *block_tokens) {
                let x = &mut x[block.start * hidden..block.end * hidden];
                let (normed, up) = (&mut normed[..block.len() * hidden], &mut up[..block.len() * ffn]);
                kernel.linear(
                    &q[block.start * q_row..block.end * q_row],
                    q_row,
                    [Projection::add(&layer.attn_output, x)],
                );
                normed.copy_from_slice(x);
                kernel.rms_norm(normed, &layer.ffn_norm, eps);
                kernel.linear(normed, hidden, [Projection::set(&layer.ffn_up, Columns::of(up, ffn))]);
                let out = Columns::of(up, ffn);
                let (activation, combine) = (Activation::Silu, Combine::Multiply);
                kernel.linear(normed, hidden, [Projection { dense: &layer.ffn_gate, activation, combine, out }]);
                kernel.linear(up, ffn, [Projection::add(&layer.ffn_down, x)]);
            }
        }
        kernel.rms_norm(x, &self.output_norm, eps);
        self.pooling.pool(x, batch, out, hidden);
    }
}
