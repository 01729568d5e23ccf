//! BERT encoders: learned positions, layer norms after each step, GELU, mean or first-token pooling.
//!
//! Source: Devlin et al., BERT, arXiv 1810.04805; tensor and key names as GGUF writers emit them.

use super::Model;
use super::arena::Arena;
use super::batch::{Batch, blocks};
use super::keys::Keys;
use super::layers::{ParallelKernel, Projection};
use super::pooling::Pooling;
use super::sizes::Sizes;
use super::weights::{Dense, LayerNorm, dense, layer_norm, matrix, token_table, token_type, unpack_row};
use crate::error::Result;
use crate::gguf::{Gguf, TensorRef};
use crate::kernel::{Activation, Columns, Combine, Kernel, Pool};

/// A `bert` model over its mapped file.
pub struct Bert {
    sizes: Sizes,
    eps: f32,
    pooling: Pooling,
    token_embd: TensorRef,    // (vocab, hidden)
    position_embd: TensorRef, // (context, hidden)
    token_type: Vec<f32>,     // (hidden)
    embd_norm: LayerNorm,
    layers: Vec<Layer>,
    kernel: &'static Kernel,
    max_tokens: usize,
    arena: Arena,
}

struct Layer {
    q: Dense,           // (hidden, hidden)
    k: Dense,           // (kv_width, hidden)
    v: Dense,           // (kv_width, hidden)
    attn_output: Dense, // (hidden, hidden)
    attn_norm: LayerNorm,
    ffn_up: Dense,   // (ffn, hidden)
    ffn_down: Dense, // (hidden, ffn)
    output_norm: LayerNorm,
}

impl Bert {
    /// Reads sizes and small tensors, checks the shape and format of every matrix, leaves the matrices in the mapped file. Memory is allocated for batches of
    /// `target_tokens`, see [`super::open`].
    pub fn open(gguf: &Gguf, target_tokens: usize, kernel: &'static Kernel, threads: usize) -> Result<Self> {
        let keys = Keys { gguf, architecture: "bert" };
        let sizes = keys.sizes(false)?;
        let (n_layers, eps) = (keys.layers()?, keys.eps("attention.layer_norm_epsilon")?);
        let pooling = Pooling::read(gguf, "bert.pooling_type", None)?;
        keys.causal(false)?;
        let Sizes { hidden, ffn, heads, context } = sizes;
        let layers = (0..n_layers)
            .map(|i| {
                let dense = |name: &str, rows, cols| dense(gguf, &format!("blk.{i}.{name}"), rows, cols, true);
                let norm = |name: &str| layer_norm(gguf, &format!("blk.{i}.{name}"), hidden);
                Ok(Layer {
                    q: dense("attn_q", hidden, hidden)?,
                    k: dense("attn_k", heads.kv_width(), hidden)?,
                    v: dense("attn_v", heads.kv_width(), hidden)?,
                    attn_output: dense("attn_output", hidden, hidden)?,
                    attn_norm: norm("attn_output_norm")?,
                    ffn_up: dense("ffn_up", ffn, hidden)?,
                    ffn_down: dense("ffn_down", hidden, ffn)?,
                    output_norm: norm("layer_output_norm")?,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let max_tokens = sizes.max_tokens(target_tokens);
        Ok(Bert {
            sizes,
            eps,
            pooling,
            token_embd: token_table(gguf, hidden)?,
            position_embd: matrix(gguf, "position_embd.weight", context, hidden)?,
            token_type: token_type(gguf, hidden)?,
            embd_norm: layer_norm(gguf, "token_embd_norm", hidden)?,
            layers,
            kernel,
            max_tokens,
            arena: Arena::new(&sizes, max_tokens, false, kernel, threads),
        })
    }
}

impl Model for Bert {
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
        let kv = &mut kv[..tokens * 2 * heads.kv_width()];
        let mut kernel = ParallelKernel { kernel: self.kernel, pool, scratch };

        let mut position = vec![0.0; hidden];
        for ((x, id), pos) in x.chunks_exact_mut(hidden).zip(batch.ids).zip(batch.positions()) {
            unpack_row(&self.token_embd, *id as usize, x);
            unpack_row(&self.position_embd, pos, &mut position);
            for (x, (p, t)) in x.iter_mut().zip(position.iter().zip(&self.token_type)) {
                *x += p + t;
            }
        }
        kernel.layer_norm(x, &self.embd_norm, eps);

        for layer in &self.layers {
            for block in blocks(tokens, *block_tokens) {
                let kv_row = 2 * heads.kv_width();
                let [k, v] = Columns::split(&mut kv[block.start * kv_row..block.end * kv_row], [heads.kv_width(); 2]);
                let q = Columns::of(&mut q[block.start * hidden..block.end * hidden], hidden);
                let projections =
                    [Projection::set(&layer.q, q), Projection::set(&layer.k, k), Projection::set(&layer.v, v)];
                kernel.linear(&x[block.start * hidden..block.end * hidden], hidden, projections);
            }
            kernel.attention(q, kv, batch, heads);
            for block in blocks(tokens, *block_tokens) {
                let rows = block.start * hidden..block.end * hidden;
                let (x, up) = (&mut x[rows.clone()], &mut up[..block.len() * ffn]);
                kernel.linear(&q[rows], hidden, [Projection::add(&layer.attn_output, x)]);
                kernel.layer_norm(x, &layer.attn_norm, eps);
                let out = Columns::of(up, ffn);
                let up_and_gelu =
                    Projection { dense: &layer.ffn_up, activation: Activation::Gelu, combine: Combine::Set, out };
                kernel.linear(x, hidden, [up_and_gelu]);
                kernel.linear(up, ffn, [Projection::add(&layer.ffn_down, x)]);
                kernel.layer_norm(x, &layer.output_norm, eps);
            }
        }
        self.pooling.pool(x, batch, out, hidden);
    }
}
