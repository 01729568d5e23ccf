//! BERT encoders: learned positions, post-layer-norm, GELU, mean or first-token pooling.
//!
//! Source: Devlin et al., BERT, arXiv 1810.04805; tensor and key names as GGUF writers emit them.

use super::{Batch, Model, bad_value, matrix, unsupported, vector};
use crate::error::Result;
use crate::gguf::{Gguf, TensorRef};
use crate::kernel::{Activation, Attention, AttentionScratch, Columns, Kernel, Linear, Panel, Pool, narrow_len};

/// How a sequence's token vectors become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pooling {
    Mean,
    Cls,
}

/// Sizes, from metadata.
#[derive(Clone, Copy, Debug)]
struct Config {
    hidden: usize,
    heads: usize,
    ffn: usize,
    layers: usize,
    context: usize,
    eps: f32,
    pooling: Pooling,
}

/// A bert model over its mapped file.
pub struct Bert {
    config: Config,
    token_embd: TensorRef,    // (vocab, hidden)
    position_embd: TensorRef, // (context, hidden)
    token_type: Vec<f32>,     // (hidden), row 0: every text is segment A
    embd_norm: Norm,
    layers: Vec<Layer>,
    arena: Arena,
}

struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

struct Layer {
    qkv: [(TensorRef, Vec<f32>); 3], // (hidden, hidden) each
    attn_output: (TensorRef, Vec<f32>),
    attn_norm: Norm,
    ffn_up: (TensorRef, Vec<f32>),   // (ffn, hidden)
    ffn_down: (TensorRef, Vec<f32>), // (hidden, ffn)
    output_norm: Norm,
}

/// Activations for `max_tokens`, made once; a forward pass allocates only what is counted in sequences.
struct Arena {
    max_tokens: usize,
    x: Vec<f32>,   // (tokens, hidden)
    y: Vec<f32>,   // (tokens, hidden)
    qkv: Vec<f32>, // (tokens, 3 * hidden)
    up: Vec<f32>,  // (tokens, ffn or hidden, whichever is wider): also takes the attention's output
    /// Input of a product in 16 bits, for kernels that want it so.
    narrow: Vec<u16>,
    workers: Vec<std::sync::Mutex<(Panel, AttentionScratch)>>,
}

impl Config {
    fn read(gguf: &Gguf) -> Result<Self> {
        let size = |key: &str| -> Result<usize> {
            let value = gguf.require_u32(key)? as usize;
            if value == 0 || value > 1 << 20 {
                return Err(bad_value(gguf, key, format!("{value} is out of range")));
            }
            Ok(value)
        };
        let config = Config {
            hidden: size("bert.embedding_length")?,
            heads: size("bert.attention.head_count")?,
            ffn: size("bert.feed_forward_length")?,
            layers: size("bert.block_count")?,
            context: size("bert.context_length")?,
            eps: gguf.require_f32("bert.attention.layer_norm_epsilon")?,
            pooling: match gguf.require_u32("bert.pooling_type")? {
                1 => Pooling::Mean,
                2 => Pooling::Cls,
                other => return Err(unsupported(gguf, "pooling type", &other.to_string(), "1 (mean), 2 (cls)")),
            },
        };
        if gguf.bool("bert.attention.causal")? == Some(true) {
            return Err(unsupported(gguf, "attention", "causal", "bidirectional"));
        }
        if !config.hidden.is_multiple_of(config.heads) {
            let problem = format!("{} heads cannot share a width of {}", config.heads, config.hidden);
            return Err(bad_value(gguf, "bert.attention.head_count", problem));
        }
        // The kernels work on whole registers; every BERT there is has sizes that are multiples of 32.
        for (key, width) in [
            ("bert.embedding_length", config.hidden),
            ("bert.feed_forward_length", config.ffn),
            ("bert.attention.head_count", config.hidden / config.heads),
        ] {
            if !width.is_multiple_of(32) {
                return Err(bad_value(gguf, key, format!("width {width} is not a multiple of 32")));
            }
        }
        if config.context < 2 {
            return Err(bad_value(gguf, "bert.context_length", "no room for the two special tokens".to_owned()));
        }
        if !config.eps.is_finite() || config.eps < 0.0 {
            let problem = format!("{} is out of range", config.eps);
            return Err(bad_value(gguf, "bert.attention.layer_norm_epsilon", problem));
        }
        if config.layers > 512 {
            return Err(bad_value(gguf, "bert.block_count", format!("{} is out of range", config.layers)));
        }
        Ok(config)
    }
}

impl Bert {
    /// Reads sizes and small tensors, checks the shape and format of every matrix, leaves the matrices mapped.
    pub fn open(gguf: &Gguf, max_tokens: usize, threads: usize) -> Result<Self> {
        let config = Config::read(gguf)?;
        let Config { hidden, ffn, .. } = config;
        let norm = |name: &str| -> Result<Norm> {
            Ok(Norm {
                weight: vector(gguf, &format!("{name}.weight"), hidden)?,
                bias: vector(gguf, &format!("{name}.bias"), hidden)?,
            })
        };
        let linear = |name: &str, rows: usize, cols: usize| -> Result<(TensorRef, Vec<f32>)> {
            Ok((matrix(gguf, &format!("{name}.weight"), rows, cols)?, vector(gguf, &format!("{name}.bias"), rows)?))
        };
        let layers = (0..config.layers)
            .map(|i| {
                let name = |part: &str| format!("blk.{i}.{part}");
                Ok(Layer {
                    qkv: [
                        linear(&name("attn_q"), hidden, hidden)?,
                        linear(&name("attn_k"), hidden, hidden)?,
                        linear(&name("attn_v"), hidden, hidden)?,
                    ],
                    attn_output: linear(&name("attn_output"), hidden, hidden)?,
                    attn_norm: norm(&name("attn_output_norm"))?,
                    ffn_up: linear(&name("ffn_up"), ffn, hidden)?,
                    ffn_down: linear(&name("ffn_down"), hidden, ffn)?,
                    output_norm: norm(&name("layer_output_norm"))?,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let vocab = gguf.tensor("token_embd.weight")?.shape[0];
        let token_types = gguf.tensor("token_types.weight")?.shape[0];
        let types = matrix(gguf, "token_types.weight", token_types, hidden)?;
        Ok(Bert {
            token_embd: matrix(gguf, "token_embd.weight", vocab, hidden)?,
            position_embd: matrix(gguf, "position_embd.weight", config.context, hidden)?,
            token_type: row(&types, 0),
            embd_norm: norm("token_embd_norm")?,
            layers,
            arena: Arena {
                max_tokens,
                x: vec![0.0; max_tokens * hidden],
                y: vec![0.0; max_tokens * hidden],
                qkv: vec![0.0; max_tokens * 3 * hidden],
                up: vec![0.0; max_tokens * ffn.max(hidden)],
                narrow: vec![0; narrow_len(max_tokens, hidden.max(ffn))],
                workers: (0..threads.max(1))
                    .map(|_| {
                        let longest = max_tokens.min(config.context);
                        (Panel::new(hidden.max(ffn)), AttentionScratch::new(longest, hidden / config.heads)).into()
                    })
                    .collect(),
            },
            config,
        })
    }
}

/// One row of a matrix that [`matrix`] accepted.
fn row(tensor: &TensorRef, idx: usize) -> Vec<f32> {
    let mut out = vec![0.0; tensor.shape()[1]];
    unpack_row(tensor, idx, &mut out);
    out
}

fn unpack_row(tensor: &TensorRef, idx: usize, out: &mut [f32]) {
    let row_bytes = tensor.data().len() / tensor.shape()[0];
    let unpack = crate::quant::unpacker(tensor.dtype());
    unpack(&tensor.data()[idx * row_bytes..][..row_bytes], out);
}

impl Model for Bert {
    fn dim(&self) -> usize {
        self.config.hidden
    }

    fn context_length(&self) -> usize {
        self.config.context
    }

    fn forward(&mut self, batch: &Batch<'_>, kernel: &'static Kernel, pool: &mut Pool, out: &mut [f32]) {
        let Config { hidden, heads, ffn, eps, .. } = self.config;
        let tokens = batch.ids.len();
        assert!(tokens <= self.arena.max_tokens, "the embedder keeps the token budget");
        let Arena { x, y, qkv, up, narrow, workers, .. } = &mut self.arena;
        let x = &mut x[..tokens * hidden];
        let y = &mut y[..tokens * hidden];
        let qkv = &mut qkv[..tokens * 3 * hidden];
        let mut step = Step { kernel, pool, workers };

        let positions = batch.sequences().flat_map(|s| 0..s.len());
        let mut position = vec![0.0; hidden];
        for ((x, id), pos) in x.chunks_exact_mut(hidden).zip(batch.ids).zip(positions) {
            unpack_row(&self.token_embd, *id as usize, x);
            unpack_row(&self.position_embd, pos, &mut position);
            for (x, (p, t)) in x.iter_mut().zip(position.iter().zip(&self.token_type)) {
                *x += p + t;
            }
        }
        step.layer_norm(x, &self.embd_norm, eps);

        for layer in &self.layers {
            let bands = Columns::split::<3>(qkv, 3 * hidden);
            let input = step.narrow(x, hidden, narrow);
            let projections = layer.qkv.iter().zip(bands).map(|((weight, bias), out)| {
                Linear::new(x, tokens, weight, bias, Activation::None, None, out).with_narrow(input)
            });
            step.linear(&projections.collect::<Vec<_>>());
            step.attention(qkv, y, batch, heads); // y = context
            let (weight, bias) = &layer.attn_output;
            let attended = &mut up[..tokens * hidden];
            let out = Columns::of(attended, hidden);
            let input = step.narrow(y, hidden, narrow);
            let project = Linear::new(y, tokens, weight, bias, Activation::None, Some(x), out);
            step.linear(&[project.with_narrow(input)]);
            x.copy_from_slice(attended);
            step.layer_norm(x, &layer.attn_norm, eps);

            let (weight, bias) = &layer.ffn_up;
            let up = &mut up[..tokens * ffn];
            let input = step.narrow(x, hidden, narrow);
            let widen = Linear::new(x, tokens, weight, bias, Activation::Gelu, None, Columns::of(up, ffn));
            step.linear(&[widen.with_narrow(input)]);
            let (weight, bias) = &layer.ffn_down;
            let input = step.narrow(up, ffn, narrow);
            let project = Linear::new(up, tokens, weight, bias, Activation::None, Some(x), Columns::of(y, hidden));
            step.linear(&[project.with_narrow(input)]);
            x.copy_from_slice(y);
            step.layer_norm(x, &layer.output_norm, eps);
        }

        for (range, out) in batch.sequences().zip(out.chunks_exact_mut(hidden)) {
            match self.config.pooling {
                Pooling::Cls => out.copy_from_slice(&x[range.start * hidden..][..hidden]),
                Pooling::Mean => {
                    out.fill(0.0);
                    for token in x[range.start * hidden..range.end * hidden].chunks_exact(hidden) {
                        out.iter_mut().zip(token).for_each(|(sum, x)| *sum += x);
                    }
                    let n = range.len() as f32;
                    out.iter_mut().for_each(|sum| *sum /= n);
                }
            }
        }
    }
}

/// The kernel, spread over the pool. One step, one barrier.
struct Step<'a> {
    kernel: &'static Kernel,
    pool: &'a mut Pool,
    workers: &'a [std::sync::Mutex<(Panel, AttentionScratch)>],
}

impl Step<'_> {
    /// The input of a product, in 16 bits if the kernel wants it so.
    fn narrow<'b>(&mut self, x: &[f32], cols: usize, buffer: &'b mut [u16]) -> &'b [u16] {
        const TOKENS: usize = 32;
        let Some(narrow) = self.kernel.narrow else { return &[] };
        {
            let rows = x.chunks(TOKENS * cols).zip(buffer.chunks_mut(TOKENS * cols));
            let rows: Vec<_> = rows.map(std::sync::Mutex::new).collect();
            self.pool.run(rows.len(), &|_, i| {
                let mut rows = rows[i].lock().expect("each job has its own rows");
                let (x, out) = &mut *rows;
                // SAFETY: as for `linear`.
                unsafe { narrow(x, out) }
            });
        }
        buffer
    }

    /// Several products that do not depend on each other.
    fn linear(&mut self, jobs: &[Linear<'_>]) {
        let panel_rows = self.kernel.panel_rows;
        let panels: usize = jobs.iter().map(|job| job.panels(panel_rows)).sum();
        self.pool.run(panels, &|worker, mut panel| {
            let mut scratch = self.workers[worker].lock().expect("one worker, one scratch");
            let job = jobs.iter().find(|job| match panel.checked_sub(job.panels(panel_rows)) {
                None => true,
                Some(rest) => {
                    panel = rest;
                    false
                }
            });
            // SAFETY: `kernel::choose` only gives out tables that this processor can run.
            unsafe { (self.kernel.linear)(job.expect("panel is below the sum"), panel, &mut scratch.0) }
        });
    }

    fn attention(&mut self, qkv: &[f32], out: &mut [f32], batch: &Batch<'_>, heads: usize) {
        let hidden = out.len() / batch.ids.len();
        let mut rest = out;
        let jobs: Vec<Attention<'_>> = batch
            .sequences()
            .map(|s| {
                let (own, others) = std::mem::take(&mut rest).split_at_mut(s.len() * hidden);
                rest = others;
                Attention::new(&qkv[s.start * 3 * hidden..s.end * 3 * hidden], own, s.len(), heads)
            })
            .collect();
        self.pool.run(jobs.len() * heads, &|worker, i| {
            let mut scratch = self.workers[worker].lock().expect("one worker, one scratch");
            // SAFETY: as for `linear`.
            unsafe { (self.kernel.attention)(&jobs[i / heads], i % heads, &mut scratch.1) }
        });
    }

    fn layer_norm(&mut self, x: &mut [f32], norm: &Norm, eps: f32) {
        const TOKENS: usize = 16; // enough work for a job to be worth handing over
        let rows: Vec<_> = x.chunks_mut(TOKENS * norm.weight.len()).map(std::sync::Mutex::new).collect();
        self.pool.run(rows.len(), &|_, i| {
            let mut rows = rows[i].lock().expect("each job has its own rows");
            // SAFETY: as for `linear`.
            unsafe { (self.kernel.layer_norm)(&mut rows, &norm.weight, &norm.bias, eps) }
        });
    }
}
