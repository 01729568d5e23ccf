//! The whole network once more, in plain float32 on candle, as the paper's figure 1 has it; ours must agree with it.
//!
//! Weights of the same file are unpacked to `f32`, so the quantisation is on both sides and only the arithmetic is
//! compared: our tiles, our exponential, our batching. And files that cannot be run must say so.
#![expect(clippy::print_stdout, reason = "how far off is worth reading, with `--nocapture`")]

mod common;
mod support;

use std::path::PathBuf;

use candle_core::{D, Device, Tensor};
use candle_nn::{LayerNorm, Linear, Module, ops::softmax_last_dim};
use common::{cosine, model_path, parity_items};
use offheap_engine::embedder::{Embedder, Options};
use offheap_engine::gguf::Gguf;
use offheap_engine::tokenizer::Specials;
use offheap_engine::{Error, kernel, quant};
use support::Value;
use support::tiny::{BF16, F16, F32, Parts, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0, Tiny};

type CandleResult<T> = candle_core::Result<T>;

// ---------------------------------------------------------------------------------------------------------------------
// The reference. h hidden, t tokens, a heads, d = h / a. One text at a time: no padding, no mask.

struct Bert {
    tokens: Tensor,    // (vocab, h)
    positions: Tensor, // (context, h)
    segment: Tensor,   // (h): every text is the first one
    norm: LayerNorm,
    layers: Vec<Layer>,
    heads: usize,
    first_token: bool,
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    attention_norm: LayerNorm,
    up: Linear,
    down: Linear,
    output_norm: LayerNorm,
}

impl Bert {
    fn read(file: &Gguf) -> CandleResult<Bert> {
        let eps = f64::from(file.require_f32("bert.attention.layer_norm_epsilon").unwrap());
        let tensor = |name: &str| unpacked(file, name);
        let linear = |name: &str| -> CandleResult<Linear> {
            Ok(Linear::new(tensor(&format!("{name}.weight"))?, Some(tensor(&format!("{name}.bias"))?)))
        };
        let norm = |name: &str| -> CandleResult<LayerNorm> {
            Ok(LayerNorm::new(tensor(&format!("{name}.weight"))?, tensor(&format!("{name}.bias"))?, eps))
        };
        let layer = |i: u32| -> CandleResult<Layer> {
            Ok(Layer {
                query: linear(&format!("blk.{i}.attn_q"))?,
                key: linear(&format!("blk.{i}.attn_k"))?,
                value: linear(&format!("blk.{i}.attn_v"))?,
                output: linear(&format!("blk.{i}.attn_output"))?,
                attention_norm: norm(&format!("blk.{i}.attn_output_norm"))?,
                up: linear(&format!("blk.{i}.ffn_up"))?,
                down: linear(&format!("blk.{i}.ffn_down"))?,
                output_norm: norm(&format!("blk.{i}.layer_output_norm"))?,
            })
        };
        Ok(Bert {
            tokens: tensor("token_embd.weight")?,
            positions: tensor("position_embd.weight")?,
            segment: tensor("token_types.weight")?.get(0)?,
            norm: norm("token_embd_norm")?,
            layers: (0..file.require_u32("bert.block_count").unwrap()).map(layer).collect::<CandleResult<_>>()?,
            heads: file.require_u32("bert.attention.head_count").unwrap() as usize,
            first_token: file.require_u32("bert.pooling_type").unwrap() == 2,
        })
    }

    /// A unit vector `(h)`.
    fn embed(&self, ids: &[u32]) -> CandleResult<Vec<f32>> {
        let x = self.tokens.index_select(&Tensor::new(ids, &Device::Cpu)?, 0)?; // (t, h)
        let x = (x + self.positions.narrow(0, 0, ids.len())?)?.broadcast_add(&self.segment)?;
        let mut x = self.norm.forward(&x)?;
        for layer in &self.layers {
            let attended = layer.output.forward(&layer.attention(&x, self.heads)?)?;
            x = layer.attention_norm.forward(&(x + attended)?)?;
            let fed = layer.down.forward(&layer.up.forward(&x)?.gelu_erf()?)?; // (t, ffn) between the two
            x = layer.output_norm.forward(&(x + fed)?)?;
        }
        let pooled = if self.first_token { x.get(0)? } else { x.mean(0)? }; // (h)
        let length = pooled.sqr()?.sum_all()?.sqrt()?;
        pooled.broadcast_div(&length)?.to_vec1()
    }
}

impl Layer {
    /// softmax(Q K^T / sqrt d) V, the heads side by side again: `(t, h)`.
    fn attention(&self, x: &Tensor, heads: usize) -> CandleResult<Tensor> {
        let (t, h) = x.dims2()?;
        let split = |x: Tensor| x.reshape((t, heads, h / heads))?.transpose(0, 1)?.contiguous(); // (a, t, d)
        let (q, k, v) = (split(self.query.forward(x)?)?, split(self.key.forward(x)?)?, split(self.value.forward(x)?)?);
        let scores = (q.matmul(&k.t()?)? / ((h / heads) as f64).sqrt())?; // (a, t, t)
        let context = softmax_last_dim(&scores)?.matmul(&v)?; // (a, t, d)
        context.transpose(0, 1)?.flatten_from(D::Minus2)?.contiguous()
    }
}

fn unpacked(file: &Gguf, name: &str) -> CandleResult<Tensor> {
    let tensor = file.tensor(name).unwrap();
    let mut values = vec![0.0; tensor.shape.iter().product()];
    quant::unpacker(tensor.dtype)(tensor.data, &mut values);
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
        "portable" | "neon" | "avx2" | "avx512" => (0.999_999_9, 2e-6), // float32 like the reference, in another order
        _ => (0.9999, 1e-2),                                            // products of narrower numbers
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
    let reference = Bert::read(&Gguf::open(&path).expect("the default model opens")).expect("candle");
    let items = parity_items();
    let truth: Vec<Vec<f32>> = items.iter().map(|item| reference.embed(&item.token_ids).expect("candle")).collect();
    for (item, truth) in items.iter().zip(&truth) {
        let similarity = cosine(truth, &item.embedding);
        assert!(similarity >= 0.9995, "the reference itself has {similarity} to the original weights: {:?}", item.text);
    }
    for kernel in kernels() {
        let options = Options { kernel: Some(kernel), threads: 2, sha256: None };
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
    let reference = Bert::read(&Gguf::open(&file.path).expect("a sound file")).expect("candle");
    let sequences = sequences(tiny);
    let truth: Vec<Vec<f32>> = sequences.iter().map(|ids| reference.embed(ids).expect("candle")).collect();
    for kernel in kernels() {
        for threads in [1, 2] {
            let options = Options { kernel: Some(kernel), threads, sha256: None };
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
    let mut parts = Tiny::SMALL.parts();
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
        let missing = refused(|parts| parts.keys.retain(|(k, _)| *k != key));
        assert!(matches!(&missing, Error::Gguf { field, .. } if field == key), "without {key}: {missing:?}");
        let other = refused(|parts| parts.set(key, Value::I32s(vec![1, 2])));
        assert!(matches!(&other, Error::Gguf { field, .. } if field == key), "a list as {key}: {other:?}");
    }
}

#[test]
fn what_this_build_cannot_run_is_unsupported() {
    let cases: Vec<(&str, Error)> = vec![
        ("architecture", refused(|parts| parts.set("general.architecture", Value::Str("llama")))),
        ("tokenizer", refused(|parts| parts.set("tokenizer.ggml.model", Value::Str("gpt2")))),
        ("pooling type", refused(|parts| parts.set("bert.pooling_type", Value::U32(3)))),
        ("attention", refused(|parts| parts.set("bert.attention.causal", Value::Bool(true)))),
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
        let options = Options { kernel: Some(kernel), threads: 2, sha256: None };
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
