//! Nomic's BERT encoders: rotary positions, gated feed-forward layers, post-layer-norm, no biases in the matrices.
//!
//! Source: Nussbaum et al., Nomic Embed, arXiv 2402.01613; tensor and key names as GGUF writers emit them.

use super::layers::{Arena, Dense, LayerNorm, Product, Rope, Run, Sizes};
use super::{Batch, Keys, Model, Pooling, blocks, dense, layer_norm, matrix, no_bias, token_table, unpack_row};
use crate::error::Result;
use crate::gguf::{Gguf, TensorRef};
use crate::kernel::{Activation, Columns, Combine, Kernel, Pool};

/// A nomic-bert model over its mapped file.
pub struct NomicBert {
    sizes: Sizes,
    eps: f32,
    pooling: Pooling,
    token_embd: TensorRef, // (vocab, hidden)
    token_type: Vec<f32>,  // (hidden), row 0: every text is segment A
    embd_norm: LayerNorm,
    rope: Rope,
    layers: Vec<Layer>,
    kernel: &'static Kernel,
    max_tokens: usize,
    arena: Arena,
}

struct Layer {
    q: Dense, // (hidden, hidden), as the next three: three thirds of one tensor, and the output
    k: Dense,
    v: Dense,
    attn_output: Dense,
    attn_norm: LayerNorm,
    ffn_gate: Dense, // (ffn, hidden)
    ffn_up: Dense,   // (ffn, hidden)
    ffn_down: Dense, // (hidden, ffn)
    output_norm: LayerNorm,
}

impl NomicBert {
    /// Reads sizes and small tensors, checks the shape and format of every matrix, leaves the matrices mapped.
    pub fn open(gguf: &Gguf, wanted_tokens: usize, kernel: &'static Kernel, threads: usize) -> Result<Self> {
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
                let dense = |part: &str, rows, cols| dense(gguf, &format!("blk.{i}.{part}"), rows, cols, false);
                let norm = |part: &str| layer_norm(gguf, &format!("blk.{i}.{part}"), hidden);
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
        let mut token_type = vec![0.0; hidden];
        let types = gguf.tensor("token_types.weight")?.shape[0];
        unpack_row(&matrix(gguf, "token_types.weight", types, hidden)?, 0, &mut token_type);
        let max_tokens = sizes.max_tokens(wanted_tokens);
        Ok(NomicBert {
            sizes,
            eps,
            pooling,
            token_embd: token_table(gguf, hidden)?,
            token_type,
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
        assert!(tokens <= self.max_tokens, "the embedder keeps the token budget");
        let Arena { x, q, kv, up, block, scratch, .. } = &mut self.arena;
        let (x, q) = (&mut x[..tokens * hidden], &mut q[..tokens * hidden]);
        let kv = &mut kv[..tokens * 2 * hidden];
        let mut run = Run { kernel: self.kernel, pool, scratch };
        let positions = batch.positions();

        for (x, id) in x.chunks_exact_mut(hidden).zip(batch.ids) {
            unpack_row(&self.token_embd, *id as usize, x);
            x.iter_mut().zip(&self.token_type).for_each(|(x, t)| *x += t);
        }
        run.layer_norm(x, &self.embd_norm, eps);

        for layer in &self.layers {
            for b in blocks(tokens, *block) {
                let [k, v] = Columns::split(&mut kv[b.start * 2 * hidden..b.end * 2 * hidden], [hidden; 2]);
                let q = Columns::of(&mut q[b.start * hidden..b.end * hidden], hidden);
                let products = [Product::set(&layer.q, q), Product::set(&layer.k, k), Product::set(&layer.v, v)];
                run.linear(&x[b.start * hidden..b.end * hidden], hidden, products);
            }
            run.rotate(q, hidden, hidden, &self.rope, &positions);
            run.rotate(kv, 2 * hidden, hidden, &self.rope, &positions);
            run.attention(q, kv, batch, heads);
            for b in blocks(tokens, *block) {
                let rows = b.start * hidden..b.end * hidden;
                let (x, up) = (&mut x[rows.clone()], &mut up[..b.len() * ffn]);
                run.linear(&q[rows], hidden, [Product::add(&layer.attn_output, x)]);
                run.layer_norm(x, &layer.attn_norm, eps);
                run.linear(x, hidden, [Product::set(&layer.ffn_up, Columns::of(up, ffn))]);
                let out = Columns::of(up, ffn);
                let (activation, combine) = (Activation::Silu, Combine::Multiply);
                run.linear(x, hidden, [Product { dense: &layer.ffn_gate, activation, combine, out }]);
                run.linear(up, ffn, [Product::add(&layer.ffn_down, x)]);
                run.layer_norm(x, &layer.output_norm, eps);
            }
        }
        self.pooling.pool(x, batch, out, hidden);
    }
}
