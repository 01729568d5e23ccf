//! Softmax attention.
#![expect(clippy::print_stdout, reason = "the measured error is useful to read, with `--nocapture`")]

use super::*;

/// The largest error of attention over values up to 3; all kernels compute it in `f32`.
const ATTENTION_SLACK: f64 = 1e-5;

/// Computes all heads of one sequence. `qkv` is `(tokens, q_width + 2 * kv_width)`.
fn attend(kernel: &Kernel, qkv: &[f32], heads: Heads, room: usize) -> Vec<f32> {
    let (q_width, kv_width) = (heads.q_width(), 2 * heads.kv_width());
    let (mut q, mut kv) = (Vec::new(), Vec::new());
    for token in qkv.chunks_exact(q_width + kv_width) {
        q.extend_from_slice(&token[..q_width]);
        kv.extend_from_slice(&token[q_width..]);
    }
    let mut scratch = AttentionScratch::new(room, heads.dim);
    let attention = Attention::new(&mut q, &kv, heads);
    for head in (0..heads.n).rev() {
        // SAFETY: `kernels` returns only kernels that this processor can run.
        unsafe { (kernel.attention)(&attention, head, &mut scratch) }
    }
    q
}

/// `n` heads, each with its own keys and values, that attend to all tokens.
fn full(n: usize, dim: usize) -> Heads {
    Heads { n, n_kv: n, dim, causal: false }
}

/// softmax(Q K^T / sqrt d) V in `f64`.
fn attend_plainly(qkv: &[f32], heads: Heads) -> Vec<f64> {
    let Heads { n, n_kv, dim: d, causal } = heads;
    let (q_width, kv_width) = (heads.q_width(), heads.kv_width());
    let row = q_width + 2 * kv_width;
    let tokens = qkv.len() / row;
    let at = |token: usize, column: usize| f64::from(qkv[token * row + column]);
    let mut out = vec![0.0; tokens * q_width];
    for head in 0..n {
        let kv_head = head / (n / n_kv) * d;
        for q in 0..tokens {
            let score = |k| (0..d).map(|i| at(q, head * d + i) * at(k, q_width + kv_head + i)).sum::<f64>();
            let seen = if causal { q + 1 } else { tokens };
            let scores: Vec<f64> = (0..seen).map(|k| score(k) / (d as f64).sqrt()).collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scores.iter().map(|s| (s - max).exp()).sum();
            for (k, score) in scores.iter().enumerate() {
                for i in 0..d {
                    let value = at(k, q_width + kv_width + kv_head + i);
                    out[q * q_width + head * d + i] += (score - max).exp() / total * value;
                }
            }
        }
    }
    out
}

#[test]
fn attention_is_the_papers_at_every_length() {
    let grouped = Heads { n: 4, n_kv: 2, dim: 32, causal: true };
    for heads in [full(1, 32), full(3, 32), full(2, 64), full(1, 96), Heads { causal: false, ..grouped }, grouped] {
        for tokens in if cfg!(miri) { vec![7] } else { (1..=70).chain([127, 128, 129]).collect() } {
            let qkv: Vec<f32> =
                noise(9, tokens * (heads.q_width() + 2 * heads.kv_width())).into_iter().map(|x| 3.0 * x).collect();
            let truth = attend_plainly(&qkv, heads);
            for kernel in kernels() {
                // Working memory for more tokens than the sequence has, as in a batch.
                let found = attend(kernel, &qkv, heads, 160);
                for (i, (found, truth)) in found.iter().zip(&truth).enumerate() {
                    let error = (f64::from(*found) - truth).abs();
                    assert!(error < ATTENTION_SLACK, "{}: {tokens} tokens, {heads:?}, {i}: {error:e}", kernel.name);
                }
            }
        }
    }
}

#[test]
fn the_exponential_is_good_to_two_units_in_the_last_place() {
    // Two tokens with the scores 0 and x: the weight of the second divided by that of the first is e^x, x from -87 to 0.
    let (d, row) = (32, 3 * 32);
    let scale = 1.0 / (d as f32).sqrt();
    for kernel in kernels() {
        let mut worst = (0.0, 0.0);
        for i in 0..20_000 {
            let key = i as f32 * (-87.0 / scale / 20_000.0);
            let mut qkv = vec![0.0; 2 * row];
            qkv[0] = 1.0; // the first query
            qkv[row + d] = key; // the second key
            qkv[2 * d] = 1.0; // the first value, in column 0
            qkv[row + 2 * d + 1] = 1.0; // the second value, in column 1
            let found = attend(kernel, &qkv, full(1, d), 2);
            let truth = f64::from(key * scale).exp();
            let error = (f64::from(found[1]) / f64::from(found[0]) / truth - 1.0).abs();
            if error > worst.0 {
                worst = (error, key * scale);
            }
        }
        println!("{}: largest relative error of exp {:e} at {}", kernel.name, worst.0, worst.1);
        // 2 units in the last place, and half a unit for each of the two products with the softmax's scale.
        assert!(worst.0 < 3.0 * f64::from(f32::EPSILON), "{}: exp({}) is off by {:e}", kernel.name, worst.1, worst.0);
    }
}

#[test]
fn scores_far_apart_choose_one_token_and_equal_scores_choose_all() {
    let (d, tokens) = (32, 37);
    for kernel in kernels() {
        for far in [90.0, 1e4, 1e9, 1e30] {
            let mut qkv = vec![0.0; tokens * 3 * d];
            for t in 0..tokens {
                qkv[t * 3 * d] = 1.0;
                qkv[t * 3 * d + d] = if t == 20 { 0.0 } else { -far * 6.0 };
                qkv[t * 3 * d + 2 * d] = t as f32;
            }
            let found = attend(kernel, &qkv, full(1, d), tokens);
            assert!(found.iter().step_by(d).all(|x| (x - 20.0).abs() < 1e-4), "{}: {far:e}", kernel.name);
        }
        let qkv: Vec<f32> = (0..tokens * 3 * d).map(|i| if i % (3 * d) < 2 * d { 1e9 } else { 1.5 }).collect();
        let found = attend(kernel, &qkv, full(1, d), tokens);
        assert!(found.iter().all(|x| (x - 1.5).abs() < 1e-5), "{}: equal scores", kernel.name);
    }
}

#[test]
fn a_nan_score_gives_nan() {
    let (d, tokens) = (32, 9);
    for kernel in kernels() {
        for third in 0..3 {
            let mut qkv = noise(11, tokens * 3 * d);
            qkv[4 * 3 * d + third * d + 5] = f32::NAN; // of token 4
            let found = attend(kernel, &qkv, full(1, d), tokens);
            let is_nan = |t: usize| found[t * d..][..d].iter().any(|x| x.is_nan());
            let reached = (0..tokens).filter(|t| is_nan(*t)).count();
            // A query affects its own token, a key or value all tokens.
            assert_eq!(reached, if third == 0 { 1 } else { tokens }, "{}: third {third}", kernel.name);
            assert!(is_nan(4));
        }
    }
}
