//! The default model against the vectors of the original `f32` weights, on every kernel that this processor can run.
#![expect(clippy::print_stdout, reason = "the measured similarity is useful to read, with `--nocapture`")]

use offheap_engine::embedder::Embedder;

use super::parity_set::{cosine, parity_items};
use super::support::model_path;
use super::{embed, kernels, open};

/// Opens the default model on one kernel.
fn open_default(kernel: &str, threads: usize) -> Embedder {
    open(&model_path(), kernel, threads)
}

#[test]
fn every_text_is_near_the_reference_on_every_kernel() {
    let items = parity_items();
    for kernel in kernels() {
        let mut embedder = open_default(kernel, 2);
        let (mut worst, mut sum) = ((1.0, 0), 0.0);
        for (i, item) in items.iter().enumerate() {
            let row = embed(&mut embedder, &[&item.token_ids]);
            let similarity = cosine(&row, &item.embedding);
            let length = row.iter().map(|x| x * x).sum::<f32>();
            assert!((length - 1.0).abs() < 1e-5, "{kernel}: item {i} has length {length}");
            sum += similarity;
            if similarity < worst.0 {
                worst = (similarity, i);
            }
        }
        println!("{kernel}: mean cosine {:.6}, worst {:.6} (item {})", sum / items.len() as f64, worst.0, worst.1);
        assert!(worst.0 >= 0.9995, "{kernel}: item {} has cosine {:.6}: {:?}", worst.1, worst.0, items[worst.1].text);
    }
}

#[test]
fn a_vector_has_the_same_bits_alone_in_any_batch_and_on_any_number_of_threads() {
    let items = parity_items();
    let all: Vec<&[u32]> = items.iter().map(|item| &item.token_ids[..]).collect();
    let backwards: Vec<&[u32]> = all.iter().rev().copied().collect();
    for kernel in kernels() {
        let mut one_thread = open_default(kernel, 1);
        let mut three_threads = open_default(kernel, 3);
        let dim = one_thread.info().dim;
        let batch = embed(&mut three_threads, &all);
        let reversed = embed(&mut three_threads, &backwards);
        for (i, ids) in all.iter().enumerate() {
            let alone = embed(&mut one_thread, &[ids]);
            assert!(alone == batch[i * dim..][..dim], "{kernel}: item {i} differs in a batch");
            assert!(
                alone == reversed[(all.len() - 1 - i) * dim..][..dim],
                "{kernel}: item {i} differs in a reversed batch"
            );
        }
    }
}

#[test]
fn kernels_agree_with_the_portable_one() {
    let items = parity_items();
    let mut portable = open_default("portable", 1);
    for name in kernels() {
        let mut embedder = open_default(name, 2);
        for (i, item) in items.iter().enumerate() {
            let (ours, truth) = (embed(&mut embedder, &[&item.token_ids]), embed(&mut portable, &[&item.token_ids]));
            let similarity = cosine(&ours, &truth);
            // bfloat16 keeps 8 bits of each factor, 16-bit integers about 12 bits of a column block.
            let bound = match name {
                "portable" | "neon" => 0.999_999,
                "amx" => 0.9999,
                _ => 0.999_99,
            };
            assert!(similarity >= bound, "{name}: item {i} has cosine {similarity} to portable");
        }
    }
}
