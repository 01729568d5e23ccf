//! Qwen2 decoders used as embedders: causal grouped-query attention, rotary positions, norms first, gated feed-forward
//! layers, last-token pooling.
//!
//! Source: Yang et al., Qwen2 Technical Report, arXiv 2407.10671; tensor and key names as GGUF writers emit them.

use super::layers::{Arena, Dense, Product, Rope, Run, Sizes};
use super::{Batch, Keys, Model, Pooling, blocks, dense, token_table, unpack_row, vector};
use crate::error::Result;
use crate::gguf::{Gguf, TensorRef};
use crate::kernel::{Activation, Columns, Combine, Kernel, Pool};

/// A qwen2 model over its mapped file.
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
    q: Dense,            // (hidden, hidden), with a bias
    k: Dense,            // (kv_width, hidden), with a bias, as the next
    v: Dense,
    attn_output: Dense, // (hidden, hidden)
    ffn_norm: Vec<f32>, // (hidden)
    ffn_gate: Dense,    // (ffn, hidden)
    ffn_up: Dense,      // (ffn, hidden)
    ffn_down: Dense,    // (hidden, ffn)
}

impl Qwen2 {
    /// Reads sizes and small tensors, checks the shape and format of every matrix, leaves the matrices mapped.
    pub fn open(gguf: &Gguf, wanted_tokens: usize, kernel: &'static Kernel, threads: usize) -> Result<Self> {
        let keys = Keys { gguf, architecture: "qwen2" };
        let sizes = keys.sizes(true)?;
        let (n_layers, eps) = (keys.layers()?, keys.eps("attention.layer_norm_rms_epsilon")?);
        // Files made for text generation do not say; embedders of this family read the last token.
        let pooling = Pooling::read(gguf, "qwen2.pooling_type", Some(Pooling::Last))?;
        keys.causal(true)?;
        let Sizes { hidden, ffn, heads, context } = sizes;
        let layers = (0..n_layers)
            .map(|i| {
                let part = |part: &str, rows, cols, biased| dense(gguf, &format!("blk.{i}.{part}"), rows, cols, biased);
                let norm = |part: &str| vector(gguf, &format!("blk.{i}.{part}.weight"), hidden);
                Ok(Layer {
                    attn_norm: norm("attn_norm")?,
                    q: part("attn_q", heads.q_width(), hidden, true)?,
                    k: part("attn_k", heads.kv_width(), hidden, true)?,
                    v: part("attn_v", heads.kv_width(), hidden, true)?,
                    attn_output: part("attn_output", hidden, heads.q_width(), false)?,
                    ffn_norm: norm("ffn_norm")?,
                    ffn_gate: part("ffn_gate", ffn, hidden, false)?,
                    ffn_up: part("ffn_up", ffn, hidden, false)?,
                    ffn_down: part("ffn_down", hidden, ffn, false)?,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let max_tokens = sizes.max_tokens(wanted_tokens);
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
        assert!(tokens <= self.max_tokens, "the embedder keeps the token budget");
        let (q_row, kv_row) = (heads.q_width(), 2 * heads.kv_width());
        let Arena { x, q, kv, normed, up, block, scratch } = &mut self.arena;
        let (x, q, kv) = (&mut x[..tokens * hidden], &mut q[..tokens * q_row], &mut kv[..tokens * kv_row]);
        let mut run = Run { kernel: self.kernel, pool, scratch };
        let positions = batch.positions();

        for (x, id) in x.chunks_exact_mut(hidden).zip(batch.ids) {
            unpack_row(&self.token_embd, *id as usize, x);
        }
        for layer in &self.layers {
            for b in blocks(tokens, *block) {
                let normed = &mut normed[..b.len() * hidden];
                normed.copy_from_slice(&x[b.start * hidden..b.end * hidden]);
                run.rms_norm(normed, &layer.attn_norm, eps);
                let [k, v] = Columns::split(&mut kv[b.start * kv_row..b.end * kv_row], [heads.kv_width(); 2]);
                let q = Columns::of(&mut q[b.start * q_row..b.end * q_row], q_row);
                let products = [Product::set(&layer.q, q), Product::set(&layer.k, k), Product::set(&layer.v, v)];
                run.linear(normed, hidden, products);
            }
            run.rotate(q, q_row, q_row, &self.rope, &positions);
            run.rotate(kv, kv_row, heads.kv_width(), &self.rope, &positions);
            run.attention(q, kv, batch, heads);
            for b in blocks(tokens, *block) {
                let x = &mut x[b.start * hidden..b.end * hidden];
                let (normed, up) = (&mut normed[..b.len() * hidden], &mut up[..b.len() * ffn]);
                run.linear(&q[b.start * q_row..b.end * q_row], q_row, [Product::add(&layer.attn_output, x)]);
                normed.copy_from_slice(x);
                run.rms_norm(normed, &layer.ffn_norm, eps);
                run.linear(normed, hidden, [Product::set(&layer.ffn_up, Columns::of(up, ffn))]);
                let out = Columns::of(up, ffn);
                let (activation, combine) = (Activation::Silu, Combine::Multiply);
                run.linear(normed, hidden, [Product { dense: &layer.ffn_gate, activation, combine, out }]);
                run.linear(up, ffn, [Product::add(&layer.ffn_down, x)]);
            }
        }
        run.rms_norm(x, &self.output_norm, eps);
        self.pooling.pool(x, batch, out, hidden);
    }
}
