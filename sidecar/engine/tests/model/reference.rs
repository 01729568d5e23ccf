//! Vectors against those of the same network in plain `f32` on candle.
//!
//! Both unpack the weights of the same file, so quantisation cancels out and only the arithmetic is compared: tiles, the
//! exponential, batching.
#![expect(clippy::print_stdout, reason = "the measured error is useful to read, with `--nocapture`")]

use offheap_engine::embedder::{Embedder, Options};
use offheap_engine::gguf::Gguf;
use offheap_engine::tokenizer::Specials;

use super::network::Network;
use super::parity_set::{cosine, parity_items};
use super::support::model_path;
use super::support::tiny::{BF16, F16, F32, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0, Tiny};
use super::{TempModel, embed, kernels, open};

/// The least cosine similarity to the reference, and the largest difference of a coordinate.
fn bounds(kernel: &str) -> (f64, f32) {
    match kernel {
        "portable" | "neon" => (0.999_999_9, 2e-6), // `f32` like the reference, with another order of additions
        "amx" => (0.9999, 1e-2),                    // bfloat16
        _ => (0.999_99, 2e-3),                      // 16-bit integers
    }
}

/// Checks a vector against the reference; returns its similarity and largest difference.
fn check(kernel: &str, what: &str, ours: &[f32], reference: &[f32]) -> (f64, f32) {
    let similarity = cosine(ours, reference);
    let largest = ours.iter().zip(reference).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let (least, most) = bounds(kernel);
    assert!(similarity >= least, "{kernel}: {what} has cosine {similarity:.9} to the reference");
    assert!(largest <= most, "{kernel}: {what} differs by {largest:e} from the reference");
    (similarity, largest)
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
        let mut embedder = open(&path, kernel, 2);
        let mut worst = (1.0_f64, 0.0_f32);
        for (i, (item, truth)) in items.iter().zip(&truth).enumerate() {
            let ours = embed(&mut embedder, &[&item.token_ids]);
            let (similarity, largest) = check(kernel, &format!("item {i}"), &ours, truth);
            worst = (worst.0.min(similarity), worst.1.max(largest));
        }
        println!("{kernel}: worst cosine {:.9}, largest difference {:e}", worst.0, worst.1);
    }
}

/// Sequences of every length up to the context.
fn sequences(tiny: &Tiny) -> Vec<Vec<u32>> {
    (1..=tiny.context).map(|n| (0..n).map(|i| ((7 * i + 31 * n) % tiny.vocab) as u32).collect()).collect()
}

/// Checks a tiny model on all kernels: sequences of all lengths, alone and in one batch.
fn agrees(tiny: &Tiny) {
    let file = TempModel::write(&tiny.parts());
    let reference = Network::read(&Gguf::open(&file.path).expect("a valid file")).expect("candle");
    let sequences = sequences(tiny);
    let truth: Vec<Vec<f32>> = sequences.iter().map(|ids| reference.embed(ids).expect("candle")).collect();
    for kernel in kernels() {
        for threads in [1, 2] {
            let mut embedder = open(&file.path, kernel, threads);
            let all: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
            let rows = embed(&mut embedder, &all);
            for (ids, (row, truth)) in all.iter().zip(rows.chunks_exact(tiny.hidden).zip(&truth)) {
                let what = format!("{tiny:?} with {} tokens", ids.len());
                check(kernel, &what, row, truth);
                assert_eq!(embed(&mut embedder, &[ids]), row, "{kernel}: {what} differs in a batch");
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
    // Feed-forward layers narrower than the model (a buffer was once too short for these); one head; many heads; widths
    // that are no powers of two.
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
    // One key head for all query heads, wider than a register; then one key head for each query head.
    agrees(&Tiny { architecture: "qwen2", heads: 2, hidden: 128, kv_heads: 1, pooling: 3, ..Tiny::SMALL });
    agrees(&Tiny { architecture: "qwen2", heads: 2, hidden: 64, kv_heads: 2, pooling: 3, ..Tiny::SMALL });
}

#[test]
fn embed_accepts_what_encode_returns() {
    let tiny = Tiny { context: 2, vocab: 60, ..Tiny::SMALL };
    let file = TempModel::write(&tiny.parts());
    let mut embedder = Embedder::open(&file.path, &Options::default()).expect("a valid file");
    for text in ["", "a", "abc def", "[SEP] \u{0} ß"] {
        let encoding = embedder.encode(text, Specials::Parse);
        assert!(encoding.ids.len() == 2 && encoding.truncated != text.is_empty(), "{text:?}: {encoding:?}");
        embed(&mut embedder, &[&encoding.ids]);
    }
}
