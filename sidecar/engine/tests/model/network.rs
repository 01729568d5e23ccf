//! The networks in plain `f32` on candle, written like the figures of the papers: the reference for this crate's own.
//!
//! Shapes: h hidden, t tokens, a heads, d = h / a. One text at a time, so there is no padding.

use candle_core::{D, Device, Tensor};
use candle_nn::{LayerNorm, Linear, Module, RmsNorm, ops::softmax_last_dim, rotary_emb::rope};
use offheap_engine::gguf::Gguf;

pub type CandleResult<T> = candle_core::Result<T>;

/// A network with all weights unpacked to `f32`.
pub struct Network {
    tokens: Tensor,                 // (vocab, h)
    before: Option<(Tensor, Norm)>, // (h), added to every token; and the norm before the first layer
    positions: Option<Tensor>,      // (context, h)
    layers: Vec<Layer>,
    after: Option<Norm>, // the norm after the last layer
    heads: usize,
    kv_heads: usize,
    rope_base: Option<f64>,
    causal: bool,
    pooling: u32,
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    attention_norm: Norm,
    gate: Option<Linear>,
    up: Linear,
    down: Linear,
    feed_norm: Norm,
}

enum Norm {
    Layer(LayerNorm),
    Rms(RmsNorm),
}

impl Norm {
    fn forward(&self, x: &Tensor) -> CandleResult<Tensor> {
        match self {
            Norm::Layer(norm) => norm.forward(x),
            Norm::Rms(norm) => norm.forward(x),
        }
    }
}

impl Network {
    /// Reads the network from a model file.
    pub fn read(file: &Gguf) -> CandleResult<Network> {
        let architecture = file.require_str("general.architecture").unwrap();
        let key = |name: &str| format!("{architecture}.{name}");
        let number = |name: &str| file.u32(&key(name)).unwrap().map(|n| n as usize);
        let norms_first = architecture == "qwen2";
        let tensor = |name: &str| unpacked(file, name);
        let linear = |name: &str, biased: bool| -> CandleResult<Linear> {
            let bias = biased.then(|| tensor(&format!("{name}.bias"))).transpose()?;
            Ok(Linear::new(tensor(&format!("{name}.weight"))?, bias))
        };
        let norm = |name: &str| -> CandleResult<Norm> {
            let weight = tensor(&format!("{name}.weight"))?;
            Ok(if norms_first {
                let eps = file.require_f32(&key("attention.layer_norm_rms_epsilon")).unwrap();
                Norm::Rms(RmsNorm::new(weight, f64::from(eps)))
            } else {
                let eps = file.require_f32(&key("attention.layer_norm_epsilon")).unwrap();
                Norm::Layer(LayerNorm::new(weight, tensor(&format!("{name}.bias"))?, f64::from(eps)))
            })
        };
        let layer = |i: usize| -> CandleResult<Layer> {
            let name = |part: &str| format!("blk.{i}.{part}");
            let biased = architecture != "nomic-bert";
            let [query, key, value] = if biased {
                [linear(&name("attn_q"), true)?, linear(&name("attn_k"), true)?, linear(&name("attn_v"), true)?]
            } else {
                let thirds = tensor(&name("attn_qkv.weight"))?.chunk(3, 0)?;
                let [q, k, v] = &thirds[..] else { unreachable!("three were asked for") };
                [q, k, v].map(|third| Linear::new(third.clone(), None))
            };
            let encoder = architecture == "bert";
            Ok(Layer {
                query,
                key,
                value,
                output: linear(&name("attn_output"), encoder)?,
                attention_norm: norm(&name(if norms_first { "attn_norm" } else { "attn_output_norm" }))?,
                gate: (!encoder).then(|| linear(&name("ffn_gate"), false)).transpose()?,
                up: linear(&name("ffn_up"), encoder)?,
                down: linear(&name("ffn_down"), encoder)?,
                feed_norm: norm(&name(if norms_first { "ffn_norm" } else { "layer_output_norm" }))?,
            })
        };
        let heads = number("attention.head_count").unwrap();
        let segment = || -> CandleResult<_> { Ok((tensor("token_types.weight")?.get(0)?, norm("token_embd_norm")?)) };
        Ok(Network {
            tokens: tensor("token_embd.weight")?,
            before: (!norms_first).then(segment).transpose()?,
            positions: (architecture == "bert").then(|| tensor("position_embd.weight")).transpose()?,
            layers: (0..number("block_count").unwrap()).map(layer).collect::<CandleResult<_>>()?,
            after: norms_first.then(|| norm("output_norm")).transpose()?,
            heads,
            kv_heads: number("attention.head_count_kv").unwrap_or(heads),
            rope_base: file.f32(&key("rope.freq_base")).unwrap().map(f64::from),
            causal: norms_first,
            pooling: file.require_u32(&key("pooling_type")).unwrap(),
        })
    }

    /// The vector `(h)` of a text, scaled to length 1.
    pub fn embed(&self, ids: &[u32]) -> CandleResult<Vec<f32>> {
        let mut x = self.tokens.index_select(&Tensor::new(ids, &Device::Cpu)?, 0)?; // (t, h)
        if let Some(positions) = &self.positions {
            x = (x + positions.narrow(0, 0, ids.len())?)?;
        }
        if let Some((segment, norm)) = &self.before {
            x = norm.forward(&x.broadcast_add(segment)?)?;
        }
        for layer in &self.layers {
            if self.after.is_some() {
                // Pre-norm: each step normalises its input.
                x = (&x + layer.output.forward(&self.attention(layer, &layer.attention_norm.forward(&x)?)?)?)?;
                x = (&x + layer.feed(&layer.feed_norm.forward(&x)?)?)?;
            } else {
                let attended = layer.output.forward(&self.attention(layer, &x)?)?;
                x = layer.attention_norm.forward(&(x + attended)?)?;
                x = layer.feed_norm.forward(&(&x + layer.feed(&x)?)?)?;
            }
        }
        if let Some(norm) = &self.after {
            x = norm.forward(&x)?;
        }
        let pooled = match self.pooling {
            1 => x.mean(0)?,
            2 => x.get(0)?,
            _ => x.get(ids.len() - 1)?,
        };
        let length = pooled.sqr()?.sum_all()?.sqrt()?;
        pooled.broadcast_div(&length)?.to_vec1()
    }

    /// softmax(Q K^T / sqrt d) V, with the heads concatenated: `(t, h)`.
    fn attention(&self, layer: &Layer, x: &Tensor) -> CandleResult<Tensor> {
        let (t, h) = x.dims2()?;
        let d = h / self.heads;
        let split = |x: Tensor, n: usize| x.reshape((t, n, d))?.transpose(0, 1)?.contiguous(); // (n, t, d)
        let repeat = |x: Tensor| -> CandleResult<Tensor> {
            let times = self.heads / self.kv_heads;
            x.unsqueeze(1)?.repeat((1, times, 1, 1))?.reshape((self.heads, t, d))
        };
        let (q, k) = (split(layer.query.forward(x)?, self.heads)?, split(layer.key.forward(x)?, self.kv_heads)?);
        let v = repeat(split(layer.value.forward(x)?, self.kv_heads)?)?;
        let (q, k) = (self.rotate(q)?, repeat(self.rotate(k)?)?);
        let mut scores = (q.matmul(&k.t()?)? / (d as f64).sqrt())?; // (a, t, t)
        if self.causal {
            let mask: Vec<f32> = (0..t * t).map(|i| if i % t > i / t { f32::NEG_INFINITY } else { 0.0 }).collect();
            scores = scores.broadcast_add(&Tensor::from_vec(mask, (1, t, t), &Device::Cpu)?)?;
        }
        let context = softmax_last_dim(&scores)?.matmul(&v)?; // (a, t, d)
        context.transpose(0, 1)?.flatten_from(D::Minus2)?.contiguous()
    }

    /// Applies rotary position embedding to `(n, t, d)`.
    fn rotate(&self, x: Tensor) -> CandleResult<Tensor> {
        let Some(base) = self.rope_base else { return Ok(x) };
        let (_, t, d) = x.dims3()?;
        let angles: Vec<f32> = (0..t * d / 2)
            .map(|i| ((i / (d / 2)) as f64 / base.powf(2.0 * (i % (d / 2)) as f64 / d as f64)) as f32)
            .collect();
        let angles = Tensor::from_vec(angles, (t, d / 2), &Device::Cpu)?;
        rope(&x.unsqueeze(0)?, &angles.cos()?, &angles.sin()?)?.squeeze(0)
    }
}

impl Layer {
    /// The feed-forward layer, `(t, h)` to `(t, h)`.
    fn feed(&self, x: &Tensor) -> CandleResult<Tensor> {
        let up = self.up.forward(x)?; // (t, ffn)
        let inner = match &self.gate {
            Some(gate) => (gate.forward(x)?.silu()? * up)?,
            None => up.gelu_erf()?,
        };
        self.down.forward(&inner)
    }
}

/// The tensor named `name`, unpacked.
fn unpacked(file: &Gguf, name: &str) -> CandleResult<Tensor> {
    let tensor = file.tensor(name).unwrap();
    let mut values = vec![0.0; tensor.shape.iter().product()];
    tensor.dtype.unpacker()(tensor.data, &mut values);
    Tensor::from_vec(values, tensor.shape, &Device::Cpu)
}
