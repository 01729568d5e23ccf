//! Models small enough for a test: random weights, every part there, a few hundred kilobytes.

use half::{bf16, f16};

use super::{Value, Writer};

/// How weights are packed: the format's numbers.
pub const F32: u32 = 0;
pub const F16: u32 = 1;
pub const Q4_0: u32 = 2;
pub const Q4_1: u32 = 3;
pub const Q5_0: u32 = 6;
pub const Q5_1: u32 = 7;
pub const Q8_0: u32 = 8;
pub const Q4_K: u32 = 12;
pub const Q5_K: u32 = 13;
pub const Q6_K: u32 = 14;
pub const BF16: u32 = 30;

/// The sizes of a model.
#[derive(Clone, Copy, Debug)]
pub struct Tiny {
    /// "bert", "nomic-bert" or "qwen2".
    pub architecture: &'static str,
    pub hidden: usize,
    pub heads: usize,
    /// Heads of keys and values; 0: as many as of queries, and no key in the file that says so.
    pub kv_heads: usize,
    pub ffn: usize,
    pub layers: usize,
    pub vocab: usize,
    pub context: usize,
    /// Type of the matrices, its number in the file; biases and norms are always F32.
    pub type_id: u32,
    /// 1 mean, 2 first token, 3 last token.
    pub pooling: u32,
    pub seed: u64,
}

impl Tiny {
    pub const SMALL: Tiny = Tiny {
        architecture: "bert",
        hidden: 64,
        heads: 2,
        kv_heads: 0,
        ffn: 96,
        layers: 2,
        vocab: 200,
        context: 40,
        type_id: F32,
        pooling: 1,
        seed: 7,
    };

    /// Metadata and weights, still to be changed by a test that wants them wrong.
    pub fn parts(&self) -> ModelParts {
        let size = |n: usize| Value::U32(n as u32);
        let key = |name: &str| format!("{}.{name}", self.architecture);
        let norms_first = self.architecture == "qwen2";
        let mut keys: Vec<(String, Value)> = vec![
            ("general.architecture".into(), Value::Str(self.architecture)),
            ("general.name".into(), Value::Str("tiny")),
            (key("embedding_length"), size(self.hidden)),
            (key("attention.head_count"), size(self.heads)),
            (key("feed_forward_length"), size(self.ffn)),
            (key("block_count"), size(self.layers)),
            (key("context_length"), size(self.context)),
            (key("attention.causal"), Value::Bool(norms_first)),
            (key("pooling_type"), Value::U32(self.pooling)),
            ("tokenizer.ggml.model".into(), Value::Str("bert")),
            ("tokenizer.ggml.tokens".into(), Value::Strings(vocabulary(self.vocab))),
        ];
        let eps = if norms_first { ("layer_norm_rms_epsilon", 1e-6) } else { ("layer_norm_epsilon", 1e-12) };
        keys.push((key(&format!("attention.{}", eps.0)), Value::F32(eps.1)));
        if self.kv_heads != 0 {
            keys.push((key("attention.head_count_kv"), size(self.kv_heads)));
        }
        if self.architecture != "bert" {
            keys.push((key("rope.freq_base"), Value::F32(1000.0)));
        }
        let mut parts = ModelParts { keys, tensors: Vec::new(), noise: Noise(self.seed) };
        let (hidden, ffn) = (self.hidden, self.ffn);
        let kv = if self.kv_heads == 0 { hidden } else { hidden / self.heads * self.kv_heads };
        parts.matrix("token_embd.weight", self.vocab, hidden, self.type_id);
        if self.architecture == "bert" {
            parts.matrix("position_embd.weight", self.context, hidden, F32);
        }
        if norms_first {
            parts.vector("output_norm.weight", hidden, 1.0);
        } else {
            parts.matrix("token_types.weight", 2, hidden, F32);
            parts.norm("token_embd_norm", hidden);
        }
        let (q, k, v) = (("attn_q", hidden, true), ("attn_k", kv, true), ("attn_v", kv, true));
        let matrices: &[(&str, usize, bool)] = match self.architecture {
            "bert" => &[q, k, v, ("attn_output", hidden, true), ("ffn_up", ffn, true)],
            "nomic-bert" => &[
                ("attn_qkv", 3 * hidden, false),
                ("attn_output", hidden, false),
                ("ffn_gate", ffn, false),
                ("ffn_up", ffn, false),
            ],
            _ => &[q, k, v, ("attn_output", hidden, false), ("ffn_gate", ffn, false), ("ffn_up", ffn, false)],
        };
        for i in 0..self.layers {
            let down = [("ffn_down", hidden, self.architecture == "bert")];
            for (part, rows, biased) in matrices.iter().chain(&down) {
                let cols = if *part == "ffn_down" { ffn } else { hidden };
                parts.matrix(&format!("blk.{i}.{part}.weight"), *rows, cols, self.type_id);
                if *biased {
                    parts.vector(&format!("blk.{i}.{part}.bias"), *rows, 0.0);
                }
            }
            if norms_first {
                parts.vector(&format!("blk.{i}.attn_norm.weight"), hidden, 1.0);
                parts.vector(&format!("blk.{i}.ffn_norm.weight"), hidden, 1.0);
            } else {
                parts.norm(&format!("blk.{i}.attn_output_norm"), hidden);
                parts.norm(&format!("blk.{i}.layer_output_norm"), hidden);
            }
        }
        parts
    }
}

/// Special tokens, then words and pieces that spell any text of `a` to `z`, then words of nothing.
fn vocabulary(n_tokens: usize) -> Vec<String> {
    let letters = || ('a'..='z').map(String::from);
    let specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(String::from).into_iter();
    let starts = letters().map(|letter| format!("\u{2581}{letter}"));
    let words = (0..).map(|i| format!("\u{2581}w{i}"));
    specials.chain(starts).chain(letters()).chain(words).take(n_tokens).collect()
}

/// A tensor, not yet packed.
#[derive(Clone)]
pub struct UnpackedTensor {
    pub name: String,
    /// Outermost first.
    pub shape: Vec<usize>,
    pub type_id: u32,
    pub values: Vec<f32>,
}

/// What a file is made of.
#[derive(Clone)]
pub struct ModelParts {
    pub keys: Vec<(String, Value)>,
    pub tensors: Vec<UnpackedTensor>,
    noise: Noise,
}

impl ModelParts {
    /// Adds a matrix of random weights.
    pub fn matrix(&mut self, name: &str, rows: usize, cols: usize, type_id: u32) {
        // Large enough for every part to matter, small enough for attention not to pick a single token.
        let scale = 2.0 / (cols as f32).sqrt();
        let values = (0..rows * cols).map(|_| scale * self.noise.next()).collect();
        self.tensors.push(UnpackedTensor { name: name.into(), shape: vec![rows, cols], type_id, values });
    }

    /// Adds a vector of random numbers around `center`.
    pub fn vector(&mut self, name: &str, n: usize, center: f32) {
        let values = (0..n).map(|_| center + 0.3 * self.noise.next()).collect();
        self.tensors.push(UnpackedTensor { name: name.into(), shape: vec![n], type_id: F32, values });
    }

    fn norm(&mut self, name: &str, n: usize) {
        self.vector(&format!("{name}.weight"), n, 1.0);
        self.vector(&format!("{name}.bias"), n, 0.0);
    }

    /// The tensor, to be changed.
    pub fn tensor(&mut self, name: &str) -> &mut UnpackedTensor {
        self.tensors.iter_mut().find(|part| part.name == name).expect("a tensor of the model")
    }

    /// Replaces or adds a value of the metadata.
    pub fn set(&mut self, key: &str, value: Value) {
        self.keys.retain(|(k, _)| k != key);
        self.keys.push((key.to_owned(), value));
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        for (key, value) in &self.keys {
            writer = writer.key(key, value.clone());
        }
        for part in &self.tensors {
            let dims: Vec<u64> = part.shape.iter().rev().map(|n| *n as u64).collect();
            writer = writer.tensor(&part.name, &dims, part.type_id, &pack(part.type_id, &part.values));
        }
        writer.bytes()
    }
}

/// Packs whole rows, rounding to what is nearest under a scale that holds all of a block. What cannot be packed here
/// becomes zeros, which is enough for a file that is refused.
pub fn pack(type_id: u32, values: &[f32]) -> Vec<u8> {
    match type_id {
        F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        F16 => values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
        BF16 => values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
        Q8_0 => values.chunks(32).flat_map(pack_q8_0).collect(),
        Q4_0 => values.chunks(32).flat_map(|block| pack_around_zero(block, 4)).collect(),
        Q4_1 => values.chunks(32).flat_map(|block| pack_from_min(block, 4)).collect(),
        Q5_0 => values.chunks(32).flat_map(|block| pack_around_zero(block, 5)).collect(),
        Q5_1 => values.chunks(32).flat_map(|block| pack_from_min(block, 5)).collect(),
        Q4_K => values.chunks(256).flat_map(|block| pack_q4_k_or_q5_k(block, 4)).collect(),
        Q5_K => values.chunks(256).flat_map(|block| pack_q4_k_or_q5_k(block, 5)).collect(),
        Q6_K => values.chunks(256).flat_map(pack_q6_k).collect(),
        _ => vec![0; 4 * values.len()],
    }
}

fn pack_q8_0(block: &[f32]) -> Vec<u8> {
    let scale = f16::from_f32(largest(block).abs() / 127.0);
    let quants = block.iter().map(|x| quant(*x, scale.to_f32(), -127.0, 127.0) as i8 as u8);
    scale.to_le_bytes().into_iter().chain(quants).collect()
}

/// Q4_0, Q5_0: the largest value becomes the lowest quant, which has no counterpart above zero.
fn pack_around_zero(block: &[f32], bits: u32) -> Vec<u8> {
    let half = (1 << (bits - 1)) as f32;
    let scale = f16::from_f32(largest(block) / -half);
    let quants = block.iter().map(|x| (quant(*x, scale.to_f32(), -half, half - 1.0) + half) as u8).collect();
    [scale.to_le_bytes().to_vec(), fifths(quants, bits)].concat()
}

/// Q4_1, Q5_1.
fn pack_from_min(block: &[f32], bits: u32) -> Vec<u8> {
    let (levels, (min, max)) = (((1 << bits) - 1) as f32, extent(block));
    let (scale, min) = (f16::from_f32((max - min) / levels), f16::from_f32(min));
    let quants = block.iter().map(|x| quant(x - min.to_f32(), scale.to_f32(), 0.0, levels) as u8).collect();
    [scale.to_le_bytes().to_vec(), min.to_le_bytes().to_vec(), fifths(quants, bits)].concat()
}

/// Fifth bits if there are any, then the other four: weight `i` below, `16 + i` above.
fn fifths(quants: Vec<u8>, bits: u32) -> Vec<u8> {
    let fifths = (0..32).fold(0, |fifths, i| fifths | u32::from(quants[i] >> 4) << i);
    let nibbles = (0..16).map(|i| quants[i] & 15 | quants[16 + i] << 4);
    fifths.to_le_bytes().into_iter().filter(|_| bits == 5).chain(nibbles).collect()
}

fn pack_q4_k_or_q5_k(block: &[f32], bits: u32) -> Vec<u8> {
    let levels = ((1 << bits) - 1) as f32;
    // What a part counts up from is never above zero.
    let extents: Vec<(f32, f32)> =
        block.chunks(32).map(extent).map(|(min, max)| (min.min(0.0), max.max(0.0))).collect();
    let (scales, mins): (Vec<f32>, Vec<f32>) = extents.iter().map(|(min, max)| ((max - min) / levels, -min)).unzip();
    let (d, dmin) = (f16::from_f32(largest(&scales) / 63.0), f16::from_f32(largest(&mins) / 63.0));
    // Rounded up, so that what they span is in reach.
    let six_bits =
        |x: &f32, step: f16| if step.to_f32() == 0.0 { 0 } else { (x / step.to_f32()).ceil().min(63.0) as u8 };
    let scales: Vec<u8> = scales.iter().map(|x| six_bits(x, d)).collect();
    let mins: Vec<u8> = mins.iter().map(|x| six_bits(x, dmin)).collect();
    let mut out = [d.to_le_bytes(), dmin.to_le_bytes()].concat();
    out.extend((0..4).map(|i| scales[i] | scales[4 + i] >> 4 << 6));
    out.extend((0..4).map(|i| mins[i] | mins[4 + i] >> 4 << 6));
    out.extend((4..8).map(|i| scales[i] & 15 | mins[i] << 4));
    let quant_of = |(i, x): (usize, &f32)| {
        let (scale, min) = (d.to_f32() * f32::from(scales[i / 32]), dmin.to_f32() * f32::from(mins[i / 32]));
        quant(x + min, scale, 0.0, levels) as u8
    };
    let quants: Vec<u8> = block.iter().enumerate().map(quant_of).collect();
    if bits == 5 {
        out.extend((0..32).map(|i| (0..8).fold(0, |fifths, part| fifths | quants[32 * part + i] >> 4 << part)));
    }
    for run in quants.chunks(64) {
        out.extend((0..32).map(|i| run[i] & 15 | run[32 + i] << 4));
    }
    out
}

fn pack_q6_k(block: &[f32]) -> Vec<u8> {
    let steps: Vec<f32> = block.chunks(16).map(|part| largest(part) / -32.0).collect();
    let d = f16::from_f32(largest(&steps).abs() / 127.0);
    let scales: Vec<i8> = steps.iter().map(|x| quant(*x, d.to_f32(), -128.0, 127.0) as i8).collect();
    let quant_of =
        |(i, x): (usize, &f32)| (quant(*x, d.to_f32() * f32::from(scales[i / 16]), -32.0, 31.0) + 32.0) as u8;
    let quants: Vec<u8> = block.iter().enumerate().map(quant_of).collect();
    let mut out = Vec::new();
    for half in quants.chunks(128) {
        out.extend((0..64).map(|i| half[i] & 15 | half[64 + i] << 4));
    }
    for half in quants.chunks(128) {
        out.extend(
            (0..32).map(|i| (0..4).fold(0, |upper, quarter| upper | half[32 * quarter + i] >> 4 << (2 * quarter))),
        );
    }
    out.extend(scales.iter().map(|scale| *scale as u8));
    out.extend(d.to_le_bytes());
    out
}

/// The nearest whole number of steps that a quant can hold.
fn quant(x: f32, step: f32, least: f32, most: f32) -> f32 {
    if step == 0.0 { 0.0 } else { (x / step).round().clamp(least, most) }
}

/// The value farthest from zero.
fn largest(values: &[f32]) -> f32 {
    values.iter().copied().fold(0.0, |far, x| if x.abs() > far.abs() { x } else { far })
}

fn extent(values: &[f32]) -> (f32, f32) {
    values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(min, max), x| (min.min(*x), max.max(*x)))
}

/// Numbers from -1 to 1 (xorshift64*).
#[derive(Clone)]
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> f32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40; // 24 of them: all that an `f32` can hold
        bits as f32 / (1 << 23) as f32 - 1.0
    }
}
