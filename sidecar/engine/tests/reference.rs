//! The whole network once more, in plain float32 on candle, as the papers' figures have it; ours must agree with it.
//!
//! Weights of the same file are unpacked to `f32`, so the quantisation is on both sides and only the arithmetic is
//! compared: our tiles, our exponential, our batching. And files that cannot be run must say so.
#![expect(clippy::print_stdout, reason = "how far off is worth reading, with `--nocapture`")]

mod common;
mod support;

use std::path::PathBuf;

use candle_core::{D, Device, Tensor};
use candle_nn::{LayerNorm, Linear, Module, RmsNorm, ops::softmax_last_dim, rotary_emb::rope};
use common::{cosine, model_path, parity_items};
use offheap_engine::embedder::{Embedder, Options};
use offheap_engine::gguf::Gguf;
use offheap_engine::tokenizer::Specials;
use offheap_engine::{Error, kernel};
use support::Value;
use support::tiny::{BF16, F16, F32, Parts, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0, Tiny};

type CandleResult<T> = candle_core::Result<T>;

// ---------------------------------------------------------------------------------------------------------------------
// The reference. h hidden, t tokens, a heads, g heads of keys and values, d = h / a. One text at a time: no padding.

struct Network {
    tokens: Tensor,                 // (vocab, h)
    before: Option<(Tensor, Norm)>, // what is added to every token, (h), and the norm before the first layer
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
    fn read(file: &Gguf) -> CandleResult<Network> {
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

    /// A unit vector `(h)`.
    fn embed(&self, ids: &[u32]) -> CandleResult<Vec<f32>> {
        let mut x = self.tokens.index_select(&Tensor::new(ids, &Device::Cpu)?, 0)?; // (t, h)
        if let Some(positions) = &self.positions {
            x = (x + positions.narrow(0, 0, ids.len())?)?;
        }
        if let Some((segment, norm)) = &self.before {
            x = norm.forward(&x.broadcast_add(segment)?)?;
        }
        for layer in &self.layers {
            if self.after.is_some() {
                // Norms first: pre-norm residual branches.
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

    /// softmax(Q K^T / sqrt d) V, the heads side by side again: `(t, h)`.
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

    /// Rotary positions of `(n, t, d)`.
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
    fn feed(&self, x: &Tensor) -> CandleResult<Tensor> {
        let up = self.up.forward(x)?; // (t, ffn)
        let inner = match &self.gate {
            Some(gate) => (gate.forward(x)?.silu()? * up)?,
            None => up.gelu_erf()?,
        };
        self.down.forward(&inner)
    }
}

fn unpacked(file: &Gguf, name: &str) -> CandleResult<Tensor> {
    let tensor = file.tensor(name).unwrap();
    let mut values = vec![0.0; tensor.shape.iter().product()];
    tensor.dtype.unpacker()(tensor.data, &mut values);
    Tensor::from_vec(values, tensor.shape, &Device::Cpu)
}

// ---------------------------------------------------------------------------------------------------------------------
// Ours against it.

/// Names of the kernels that run here, best first.
fn kernels() -> Vec<&'static str> {
    kernel::choose(Some("none of them")).err().expect("no kernel has this name")
}

/// Least cosine and largest difference of a coordinate to the reference.
fn bounds(kernel: &str) -> (f64, f32) {
    match kernel {
        "portable" | "neon" => (0.999_999_9, 2e-6), // float32 like the reference, in another order
        "amx" => (0.9999, 1e-2),                    // bfloat16
        _ => (0.999_99, 2e-3),                      // 16-bit integers
    }
}

fn check(kernel: &str, what: &str, ours: &[f32], reference: &[f32]) -> (f64, f32) {
    let similarity = cosine(ours, reference);
    let largest = ours.iter().zip(reference).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let (least, most) = bounds(kernel);
    assert!(similarity >= least, "{kernel}: {what} has cosine {similarity:.9} to the reference");
    assert!(largest <= most, "{kernel}: {what} differs by {largest:e} from the reference");
    (similarity, largest)
}

fn embed_one(embedder: &mut Embedder, ids: &[u32]) -> Vec<f32> {
    let mut row = vec![0.0; embedder.info().dim];
    embedder.embed(&[ids], &mut row).expect("finite");
    row
}

#[test]
fn the_default_model_agrees_with_the_reference_on_every_kernel() {
    let path = model_path();
    let reference = Network::read(&Gguf::open(&path).expect("the default model opens")).expect("candle");
    let items = parity_items();
    let truth: Vec<Vec<f32>> = items.iter().map(|item| reference.embed(&item.token_ids).expect("candle")).collect();
    for (item, truth) in items.iter().zip(&truth) {
        let similarity = cosine(truth, &item.embedding);
        assert!(similarity >= 0.9995, "the reference itself has {similarity} to the original weights: {:?}", item.text);
    }
    for kernel in kernels() {
        let options = Options { kernel: Some(kernel), threads: 2, sha256: None, ..Options::default() };
        let mut embedder = Embedder::open(&path, &options).expect("the default model opens");
        let mut worst = (1.0_f64, 0.0_f32);
        for (i, (item, truth)) in items.iter().zip(&truth).enumerate() {
            let ours = embed_one(&mut embedder, &item.token_ids);
            let (similarity, largest) = check(kernel, &format!("item {i}"), &ours, truth);
            worst = (worst.0.min(similarity), worst.1.max(largest));
        }
        println!("{kernel}: worst cosine {:.9}, largest difference {:e}", worst.0, worst.1);
    }
}

/// A file in a directory that goes with it.
struct OnDisk {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

fn on_disk(parts: &Parts) -> OnDisk {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("tiny.gguf");
    std::fs::write(&path, parts.bytes()).expect("write the model");
    OnDisk { path, _dir: dir }
}

/// Sequences of every length up to the context.
fn sequences(tiny: &Tiny) -> Vec<Vec<u32>> {
    (1..=tiny.context).map(|n| (0..n).map(|i| ((7 * i + 31 * n) % tiny.vocab) as u32).collect()).collect()
}

fn agrees(tiny: &Tiny) {
    let file = on_disk(&tiny.parts());
    let reference = Network::read(&Gguf::open(&file.path).expect("a sound file")).expect("candle");
    let sequences = sequences(tiny);
    let truth: Vec<Vec<f32>> = sequences.iter().map(|ids| reference.embed(ids).expect("candle")).collect();
    for kernel in kernels() {
        for threads in [1, 2] {
            let options = Options { kernel: Some(kernel), threads, sha256: None, ..Options::default() };
            let mut embedder = Embedder::open(&file.path, &options).expect("a sound file");
            let all: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
            let mut rows = vec![0.0; all.len() * tiny.hidden];
            embedder.embed(&all, &mut rows).expect("finite");
            for (ids, (row, truth)) in all.iter().zip(rows.chunks_exact(tiny.hidden).zip(&truth)) {
                let what = format!("{tiny:?} with {} tokens", ids.len());
                check(kernel, &what, row, truth);
                assert_eq!(embed_one(&mut embedder, ids), row, "{kernel}: {what} differs in a batch");
            }
        }
    }
}

#[test]
fn tiny_models_agree_with_the_reference_in_every_format_and_pooling() {
    for type_id in [F32, F16, BF16, Q8_0] {
        for pooling in [1, 2] {
            agrees(&Tiny { type_id, pooling, ..Tiny::SMALL });
        }
    }
    for type_id in [Q4_0, Q4_1, Q5_0, Q5_1] {
        agrees(&Tiny { type_id, ..Tiny::SMALL });
    }
    for type_id in [Q4_K, Q5_K, Q6_K] {
        agrees(&Tiny { type_id, hidden: 256, ffn: 512, layers: 1, context: 12, ..Tiny::SMALL });
    }
}

#[test]
fn sizes_of_unusual_proportions_agree_with_the_reference() {
    // Layers narrower inside than outside, where a buffer was too short once; one head; many; not a power of two.
    agrees(&Tiny { ffn: 32, ..Tiny::SMALL });
    agrees(&Tiny { heads: 1, ..Tiny::SMALL });
    agrees(&Tiny { hidden: 160, heads: 5, ffn: 224, type_id: Q8_0, ..Tiny::SMALL });
    agrees(&Tiny { layers: 1, vocab: 60, context: 2, ..Tiny::SMALL });
}

#[test]
fn tiny_models_of_every_architecture_agree_with_the_reference() {
    for pooling in [1, 2, 3] {
        for type_id in [F32, Q8_0] {
            agrees(&Tiny { architecture: "nomic-bert", pooling, type_id, ..Tiny::SMALL });
            agrees(&Tiny {
                architecture: "qwen2",
                heads: 4,
                hidden: 128,
                kv_heads: 2,
                pooling,
                type_id,
                ..Tiny::SMALL
            });
        }
    }
    // One head of keys for all, longer than a register; a head for each.
    agrees(&Tiny { architecture: "qwen2", heads: 2, hidden: 128, kv_heads: 1, pooling: 3, ..Tiny::SMALL });
    agrees(&Tiny { architecture: "qwen2", heads: 2, hidden: 64, kv_heads: 2, pooling: 3, ..Tiny::SMALL });
}

#[test]
fn what_encode_gives_embed_takes() {
    let tiny = Tiny { context: 2, vocab: 60, ..Tiny::SMALL };
    let file = on_disk(&tiny.parts());
    let mut embedder = Embedder::open(&file.path, &Options::default()).expect("a sound file");
    for text in ["", "a", "abc def", "[SEP] \u{0} ß"] {
        let encoding = embedder.encode(text, Specials::Parse);
        assert!(encoding.ids.len() == 2 && encoding.truncated != text.is_empty(), "{text:?}: {encoding:?}");
        embed_one(&mut embedder, &encoding.ids);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Files that cannot be run.

fn refused(change: impl FnOnce(&mut Parts)) -> Error {
    refused_as("bert", change)
}

fn refused_as(architecture: &'static str, change: impl FnOnce(&mut Parts)) -> Error {
    let mut parts = Tiny { architecture, ..Tiny::SMALL }.parts();
    change(&mut parts);
    let file = on_disk(&parts);
    Embedder::open(&file.path, &Options::default()).err().expect("this file cannot be run")
}

#[test]
fn sizes_that_cannot_be_name_their_key() {
    let cases: &[(&str, u32)] = &[
        ("bert.attention.head_count", 0),
        ("bert.attention.head_count", 3),
        ("bert.attention.head_count", 4), // heads of 16: narrower than a kernel works
        ("bert.attention.head_count", 128),
        ("bert.attention.head_count", u32::MAX),
        ("bert.embedding_length", 0),
        ("bert.embedding_length", 62),
        ("bert.embedding_length", u32::MAX),
        ("bert.feed_forward_length", 0),
        ("bert.feed_forward_length", 97),
        ("bert.block_count", 0),
        ("bert.block_count", 513),
        ("bert.block_count", u32::MAX),
        ("bert.context_length", 0),
        ("bert.context_length", 1), // a text has two special tokens at least
        ("bert.context_length", u32::MAX),
    ];
    for (key, value) in cases {
        match refused(|parts| parts.set(key, Value::U32(*value))) {
            Error::Gguf { field, .. } => assert_eq!(field, *key, "{key} = {value}"),
            other => panic!("{key} = {value}: {other:?}"),
        }
    }
}

#[test]
fn a_head_that_is_turned_in_part_names_its_key() {
    let error = refused_as("qwen2", |parts| parts.set("qwen2.rope.dimension_count", Value::U32(16)));
    assert!(matches!(&error, Error::Gguf { field, .. } if field == "qwen2.rope.dimension_count"), "{error:?}");
}

#[test]
fn numbers_that_are_none_name_their_key() {
    for eps in [f32::NAN, f32::INFINITY, -1.0] {
        let error = refused(|parts| parts.set("bert.attention.layer_norm_epsilon", Value::F32(eps)));
        assert!(
            matches!(&error, Error::Gguf { field, .. } if field == "bert.attention.layer_norm_epsilon"),
            "{eps}: {error:?}"
        );
    }
}

#[test]
fn metadata_that_is_missing_or_of_another_type_names_its_key() {
    for (key, _) in Tiny::SMALL.parts().keys {
        if key == "general.name" || key == "bert.attention.causal" {
            continue; // these have defaults
        }
        let missing = refused(|parts| parts.keys.retain(|(k, _)| k != &key));
        assert!(matches!(&missing, Error::Gguf { field, .. } if *field == key), "without {key}: {missing:?}");
        let other = refused(|parts| parts.set(&key, Value::I32s(vec![1, 2])));
        assert!(matches!(&other, Error::Gguf { field, .. } if *field == key), "a list as {key}: {other:?}");
    }
}

#[test]
fn what_this_build_cannot_run_is_unsupported() {
    let cases: Vec<(&str, Error)> = vec![
        ("architecture", refused(|parts| parts.set("general.architecture", Value::Str("llama")))),
        ("tokenizer", refused(|parts| parts.set("tokenizer.ggml.model", Value::Str("t5")))),
        ("pooling type", refused(|parts| parts.set("bert.pooling_type", Value::U32(4)))),
        ("attention", refused(|parts| parts.set("bert.attention.causal", Value::Bool(true)))),
        ("rope scaling", refused_as("qwen2", |parts| parts.set("qwen2.rope.scaling.type", Value::Str("yarn")))),
        ("rope scaling", refused_as("qwen2", |parts| parts.set("qwen2.rope.scaling.factor", Value::F32(4.0)))),
        ("rope scaling", refused_as("nomic-bert", |parts| parts.set("nomic-bert.rope.scale_linear", Value::F32(2.0)))),
        ("tensor", refused_as("nomic-bert", |parts| parts.vector("blk.1.attn_qkv.bias", 192, 0.0))),
        ("tensor", refused_as("qwen2", |parts| parts.vector("blk.0.attn_output.bias", 64, 0.0))),
        // IQ1_S, a matrix and a bias of it
        ("quantisation", refused(|parts| parts.tensor("blk.1.ffn_up.weight").type_id = 19)),
        ("quantisation", refused(|parts| parts.tensor("blk.0.attn_k.bias").type_id = 19)),
        ("quantisation", refused(|parts| parts.tensor("token_embd.weight").type_id = 19)),
    ];
    for (wanted, error) in cases {
        assert!(matches!(&error, Error::Unsupported { what, .. } if *what == wanted), "{wanted}: {error:?}");
    }
}

#[test]
fn each_tensor_is_missed() {
    for name in Tiny::SMALL.parts().tensors.into_iter().map(|part| part.name) {
        let error = refused(|parts| parts.tensors.retain(|part| part.name != name));
        assert!(matches!(&error, Error::Gguf { field, .. } if *field == name), "without {name}: {error:?}");
    }
}

#[test]
fn each_tensor_of_a_wrong_shape_is_named() {
    for part in Tiny::SMALL.parts().tensors {
        let n: usize = part.shape.iter().product();
        // The same numbers in one row, in three dimensions, and one row more than there should be.
        let mut longer = part.shape.clone();
        longer[0] += 1;
        for shape in [vec![1, n], [&[1], &part.shape[..], &[1]].concat(), longer] {
            if part.shape.len() == 2
                && shape.len() == 2
                && ["token_embd.weight", "token_types.weight"].contains(&&*part.name)
            {
                continue; // these say themselves how many rows they have
            }
            let error = refused(|parts| {
                let part = parts.tensor(&part.name);
                part.values.resize(shape.iter().product(), 0.0);
                part.shape = shape.clone();
            });
            assert!(
                matches!(&error, Error::Shape { name, found, .. } if *name == part.name && *found == shape),
                "{} {shape:?}: {error:?}",
                part.name
            );
        }
    }
}

#[test]
fn a_vocabulary_longer_than_its_table_is_refused() {
    let error = refused(|parts| {
        let part = parts.tensor("token_embd.weight");
        part.shape[0] -= 1;
        part.values.truncate(part.shape[0] * part.shape[1]);
    });
    assert!(matches!(&error, Error::Gguf { field, .. } if field == "tokenizer.ggml.tokens"), "{error:?}");
}

/// Embeds two texts of two tokens with weights that give nothing.
fn embeds_nothing(what: &str, change: impl FnOnce(&mut Parts)) {
    let mut parts = Tiny::SMALL.parts();
    change(&mut parts);
    let file = on_disk(&parts);
    for kernel in kernels() {
        let options = Options { kernel: Some(kernel), threads: 2, sha256: None, ..Options::default() };
        let mut embedder = Embedder::open(&file.path, &options).expect("only the weights are wrong");
        let mut rows = vec![0.0; 2 * 64];
        match embedder.embed(&[&[2, 3], &[2, 3]], &mut rows) {
            Err(Error::NotFinite { text_idx: 0 }) => {}
            other => panic!("{kernel}: {what}: {other:?}, {:?} ...", &rows[..4]),
        }
    }
}

#[test]
fn weights_that_are_not_finite_never_give_a_vector() {
    // A NaN among the keys once vanished in the softmax: the vector was wrong and looked sound.
    for name in Tiny::SMALL.parts().tensors.into_iter().map(|part| part.name) {
        for wrong in [f32::NAN, f32::INFINITY] {
            embeds_nothing(&format!("{name} of {wrong}"), |parts| parts.tensor(&name).values.fill(wrong));
        }
    }
}

#[test]
fn a_single_nan_reaches_every_text_that_reads_it() {
    for name in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_down"] {
        embeds_nothing(name, |parts| parts.tensor(&format!("blk.1.{name}.weight")).values[70] = f32::NAN);
    }
}

#[test]
fn a_vector_without_length_is_an_error() {
    embeds_nothing("all zero", |parts| {
        parts.tensor("blk.1.layer_output_norm.weight").values.fill(0.0);
        parts.tensor("blk.1.layer_output_norm.bias").values.fill(0.0);
    });
}
