//! BERT encoders: learned positions, post-layer-norm, GELU, mean or first-token pooling.
//!
//! Source: Devlin et al., BERT, arXiv 1810.04805; tensor and key names as GGUF writers emit them.

use super::layers::{Arena, Dense, LayerNorm, Product, Run, Sizes};
use super::{Batch, Keys, Model, Pooling, blocks, dense, layer_norm, matrix, token_table, unpack_row};
use crate::error::Result;
use crate::gguf::{Gguf, TensorRef};
use crate::kernel::{Activation, Columns, Combine, Kernel, Pool};

/// A bert model over its mapped file.
pub struct Bert {
    sizes: Sizes,
    eps: f32,
    pooling: Pooling,
    token_embd: TensorRef,    // (vocab, hidden)
    position_embd: TensorRef, // (context, hidden)
    token_type: Vec<f32>,     // (hidden), row 0: every text is segment A
    embd_norm: LayerNorm,
    layers: Vec<Layer>,
    kernel: &'static Kernel,
    max_tokens: usize,
    arena: Arena,
}

struct Layer {
    q: Dense, // (hidden, hidden), as the next three
    k: Dense,
    v: Dense,
    attn_output: Dense,
    attn_norm: LayerNorm,
    ffn_up: Dense,   // (ffn, hidden)
    ffn_down: Dense, // (hidden, ffn)
    output_norm: LayerNorm,
}

impl Bert {
    /// Reads sizes and small tensors, checks the shape and format of every matrix, leaves the matrices mapped.
    pub fn open(gguf: &Gguf, wanted_tokens: usize, kernel: &'static Kernel, threads: usize) -> Result<Self> {
        let keys = Keys { gguf, architecture: "bert" };
        let sizes = keys.sizes(false)?;
        let (n_layers, eps) = (keys.layers()?, keys.eps("attention.layer_norm_epsilon")?);
        let pooling = Pooling::read(gguf, "bert.pooling_type", None)?;
        keys.causal(false)?;
        let Sizes { hidden, ffn, heads, context } = sizes;
        let layers = (0..n_layers)
            .map(|i| {
                let dense = |part: &str, rows, cols| dense(gguf, &format!("blk.{i}.{part}"), rows, cols, true);
                let norm = |part: &str| layer_norm(gguf, &format!("blk.{i}.{part}"), hidden);
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
        let mut token_type = vec![0.0; hidden];
        let types = gguf.tensor("token_types.weight")?.shape[0];
        unpack_row(&matrix(gguf, "token_types.weight", types, hidden)?, 0, &mut token_type);
        let max_tokens = sizes.max_tokens(wanted_tokens);
        Ok(Bert {
            sizes,
            eps,
            pooling,
            token_embd: token_table(gguf, hidden)?,
            position_embd: matrix(gguf, "position_embd.weight", context, hidden)?,
            token_type,
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
        assert!(tokens <= self.max_tokens, "the embedder keeps the token budget");
        let Arena { x, q, kv, up, block, scratch, .. } = &mut self.arena;
        let (x, q) = (&mut x[..tokens * hidden], &mut q[..tokens * hidden]);
        let kv = &mut kv[..tokens * 2 * heads.kv_width()];
        let mut run = Run { kernel: self.kernel, pool, scratch };

        let mut position = vec![0.0; hidden];
        for ((x, id), pos) in x.chunks_exact_mut(hidden).zip(batch.ids).zip(batch.positions()) {
            unpack_row(&self.token_embd, *id as usize, x);
            unpack_row(&self.position_embd, pos, &mut position);
            for (x, (p, t)) in x.iter_mut().zip(position.iter().zip(&self.token_type)) {
                *x += p + t;
            }
        }
        run.layer_norm(x, &self.embd_norm, eps);

        for layer in &self.layers {
            for b in blocks(tokens, *block) {
                let kv_row = 2 * heads.kv_width();
                let [k, v] = Columns::split(&mut kv[b.start * kv_row..b.end * kv_row], [heads.kv_width(); 2]);
                let q = Columns::of(&mut q[b.start * hidden..b.end * hidden], hidden);
                let products = [Product::set(&layer.q, q), Product::set(&layer.k, k), Product::set(&layer.v, v)];
                run.linear(&x[b.start * hidden..b.end * hidden], hidden, products);
            }
            run.attention(q, kv, batch, heads);
            for b in blocks(tokens, *block) {
                let rows = b.start * hidden..b.end * hidden;
                let (x, up) = (&mut x[rows.clone()], &mut up[..b.len() * ffn]);
                run.linear(&q[rows], hidden, [Product::add(&layer.attn_output, x)]);
                run.layer_norm(x, &layer.attn_norm, eps);
                let out = Columns::of(up, ffn);
                let widen = Product { dense: &layer.ffn_up, activation: Activation::Gelu, combine: Combine::Set, out };
                run.linear(x, hidden, [widen]);
                run.linear(up, ffn, [Product::add(&layer.ffn_down, x)]);
                run.layer_norm(x, &layer.output_norm, eps);
            }
        }
        self.pooling.pool(x, batch, out, hidden);
    }
}
