//! Nomic's BERT encoders: rotary positions, gated feed-forward layers, layer norms after each step, no biases in the
//! matrices.
//!
//! Source: Nussbaum et al., Nomic Embed, arXiv 2402.01613; tensor and key names as GGUF writers emit them.

use super::Model;
use super::arena::Arena;
use super::batch::{Batch, blocks};
use super::keys::Keys;
use super::layers::{ParallelKernel, Projection};
use super::pooling::Pooling;
use super::rope::Rope;
use super::sizes::Sizes;
use super::weights::{Dense, LayerNorm, dense, layer_norm, matrix, no_bias, token_table, token_type, unpack_row};
use crate::error::Result;
use crate::gguf::{Gguf, TensorRef};
use crate::kernel::{Activation, Columns, Combine, Kernel, Pool};

/// A `nomic-bert` model over its mapped file.
pub struct NomicBert {
    sizes: Sizes,
    eps: f32,
    pooling: Pooling,
    token_embd: TensorRef, // (vocab, hidden)
    token_type: Vec<f32>,  // (hidden)
    embd_norm: LayerNorm,
    rope: Rope,
    layers: Vec<Layer>,
    kernel: &'static Kernel,
    max_tokens: usize,
    arena: Arena,
}

struct Layer {
    // q, k and v are the thirds of one tensor of the file.
    q: Dense,           // (hidden, hidden)
    k: Dense,           // (hidden, hidden)
    v: Dense,           // (hidden, hidden)
    attn_output: Dense, // (hidden, hidden)
    attn_norm: LayerNorm,
    ffn_gate: Dense, // (ffn, hidden)
    ffn_up: Dense,   // (ffn, hidden)
    ffn_down: Dense, // (hidden, ffn)
    output_norm: LayerNorm,
}

impl NomicBert {
    /// Reads sizes and small tensors, checks the shape and format of every matrix, leaves the matrices in the mapped file. Memory is allocated for batches of
    /// `target_tokens`, see [`super::open`].
    pub fn open(gguf: &Gguf, target_tokens: usize, kernel: &'static Kernel, threads: usize) -> Result<Self> {
        let keys = Keys { gguf, architecture: "nomic-bert" };
        let sizes = keys.sizes(false)?;
        let (n_layers, eps) = (keys.layers()?, keys.eps("attention.layer_norm_epsilon")?);
        let pooling = Pooling::read(gguf, "nomic-bert.pooling_type", None)?;
        keys.causal(false)?;
        let Sizes { hidden, ffn, heads, context } = sizes;
        if heads.n_kv != heads.n {
            return Err(keys.bad("attention.head_count_kv", format!("{}, not one for each query head", heads.n_kv)));
        }
        let layers = (0..n_layers)
            .map(|i| {
                let dense = |name: &str, rows, cols| dense(gguf, &format!("blk.{i}.{name}"), rows, cols, false);
                let norm = |name: &str| layer_norm(gguf, &format!("blk.{i}.{name}"), hidden);
                let qkv = matrix(gguf, &format!("blk.{i}.attn_qkv.weight"), 3 * hidden, hidden)?;
                no_bias(gguf, &format!("blk.{i}.attn_qkv"))?;
                let third = |n: usize| Dense { weight: qkv.rows(n * hidden..(n + 1) * hidden), bias: None };
                Ok(Layer {
                    q: third(0),
                    k: third(1),
                    v: third(2),
                    attn_output: dense("attn_output", hidden, hidden)?,
                    attn_norm: norm("attn_output_norm")?,
                    ffn_gate: dense("ffn_gate", ffn, hidden)?,
                    ffn_up: dense("ffn_up", ffn, hidden)?,
                    ffn_down: dense("ffn_down", hidden, ffn)?,
                    output_norm: norm("layer_output_norm")?,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let max_tokens = sizes.max_tokens(target_tokens);
        Ok(NomicBert {
            sizes,
            eps,
            pooling,
            token_embd: token_table(gguf, hidden)?,
            token_type: token_type(gguf, hidden)?,
            embd_norm: layer_norm(gguf, "token_embd_norm", hidden)?,
            rope: Rope::new(keys.rope_base(10_000.0)?, heads.dim, context.min(max_tokens)),
            layers,
            kernel,
            max_tokens,
            arena: Arena::new(&sizes, max_tokens, false, kernel, threads),
        })
    }
}

impl Model for NomicBert {
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
        let Arena { x, q, kv, up, block_tokens, scratch, .. } = &mut self.arena;
        let (x, q) = (&mut x[..tokens * hidden], &mut q[..tokens * hidden]);
        let kv = &mut kv[..tokens * 2 * hidden];
        let mut kernel = ParallelKernel { kernel: self.kernel, pool, scratch };
        let positions = batch.positions();

        for (x, id) in x.chunks_exact_mut(hidden).zip(batch.ids) {
            unpack_row(&self.token_embd, *id as usize, x);
            x.iter_mut().zip(&self.token_type).for_each(|(x, t)| *x += t);
        }
        kernel.layer_norm(x, &self.embd_norm, eps);

        for layer in &self.layers {
            for block in blocks(tokens, *block_tokens) {
                let [k, v] = Columns::split(&mut kv[block.start * 2 * hidden..block.end * 2 * hidden], [hidden; 2]);
                let q = Columns::of(&mut q[block.start * hidden..block.end * hidden], hidden);
                let projections =
                    [Projection::set(&layer.q, q), Projection::set(&layer.k, k), Projection::set(&layer.v, v)];
                kernel.linear(&x[block.start * hidden..block.end * hidden], hidden, projections);
            }
            kernel.rotate(q, hidden, hidden, &self.rope, &positions);
            kernel.rotate(kv, 2 * hidden, hidden, &self.rope, &positions);
            kernel.attention(q, kv, batch, heads);
            for block in blocks(tokens, *block_tokens) {
                let rows = block.start * hidden..block.end * hidden;
                let (x, up) = (&mut x[rows.clone()], &mut up[..block.len() * ffn]);
                kernel.linear(&q[rows], hidden, [Projection::add(&layer.attn_output, x)]);
                kernel.layer_norm(x, &layer.attn_norm, eps);
                kernel.linear(x, hidden, [Projection::set(&layer.ffn_up, Columns::of(up, ffn))]);
                let out = Columns::of(up, ffn);
                let (activation, combine) = (Activation::Silu, Combine::Multiply);
                kernel.linear(x, hidden, [Projection { dense: &layer.ffn_gate, activation, combine, out }]);
                kernel.linear(up, ffn, [Projection::add(&layer.ffn_down, x)]);
                kernel.layer_norm(x, &layer.output_norm, eps);
            }
        }
        self.pooling.pool(x, batch, out, hidden);
    }
}
