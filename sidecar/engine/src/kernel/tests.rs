//! Every kernel against the same thing in `f64`, written down plainly.
#![expect(clippy::print_stdout, reason = "how far off is worth reading, with `--nocapture`")]

use super::*;
use crate::gguf::Gguf;
use support::Writer;
use support::tiny::{BF16, F16, F32, Noise, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0, pack};

#[path = "../../tests/support/mod.rs"]
mod support;

fn kernels() -> Vec<&'static Kernel> {
    let names = choose(Some("none of them")).err().expect("no kernel has this name");
    names.into_iter().map(|name| choose(Some(name)).expect("listed as usable")).collect()
}

/// What a sum of products may be off by, as a part of the sum of their magnitudes.
fn slack(kernel: &Kernel) -> f64 {
    match kernel.name {
        "portable" | "neon" => 1e-6,
        "amx" => 1e-2, // bfloat16
        _ => 1e-3,     // 16-bit integers
    }
}

/// What attention may be off by, of values up to 3: all kernels compute it in `f32`.
const ATTENTION_SLACK: f64 = 1e-5;

/// Whether the kernel multiplies `f32`, as the bounds on single functions suppose.
fn is_exact(kernel: &&Kernel) -> bool {
    slack(kernel) < 1e-5
}

fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut noise = Noise(seed);
    (0..n).map(|_| noise.next()).collect()
}

/// A weight of a file, unpacked too.
struct Weights {
    packed: crate::gguf::TensorRef,
    values: Vec<f32>,
}

fn weights(type_id: u32, rows: usize, cols: usize, values: &[f32]) -> Weights {
    assert_eq!(values.len(), rows * cols);
    of_bytes(type_id, rows, cols, &pack(type_id, values))
}

fn of_bytes(type_id: u32, rows: usize, cols: usize, bytes: &[u8]) -> Weights {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("weight.gguf");
    let file = Writer::new().tensor("w", &[cols as u64, rows as u64], type_id, bytes);
    std::fs::write(&path, file.bytes()).expect("write the file");
    let packed = Gguf::open(&path).and_then(|file| file.tensor_ref("w")).expect("a sound file");
    let mut values = vec![f32::NAN; rows * cols];
    packed.dtype().unpacker()(packed.data(), &mut values);
    Weights { packed, values }
}

/// All panels of a product, backwards: their order must not matter.
fn multiply(
    kernel: &Kernel,
    x: &[f32],
    (weight, bias): (&crate::gguf::TensorRef, Option<&[f32]>),
    (activation, combine): (Activation, Combine),
    out: Columns<'_>,
) {
    let cols = weight.shape()[1];
    let tokens = x.len() / cols;
    // Old contents of the scratch must not matter either.
    let mut panel = kernel.panel(cols, tokens);
    let (weights, sums) = panel.parts_mut::<f32>();
    weights.fill(f32::NAN);
    sums.fill(f32::NAN);
    let (mut words, mut scales) = (vec![0x7fff; narrow_len(tokens, cols)], vec![f32::NAN; scales_len(tokens, cols)]);
    if let Some(run) = kernel.narrow {
        // SAFETY: `kernels` gives out only what this processor can run.
        unsafe { run(x, cols, &mut words, &mut scales) };
    }
    let job = Linear::new(Input::new(x, cols).with_words(&words, &scales), weight, bias, activation, combine, out);
    for i in (0..job.panels(kernel.panel_rows)).rev() {
        // SAFETY: as above.
        unsafe { (kernel.linear)(&job, i, &mut panel) }
    }
}

#[test]
fn an_unknown_name_lists_what_runs_here() {
    let usable = choose(Some("abacus")).err().expect("no such kernel");
    assert_eq!(usable.last(), Some(&"portable"));
    for name in usable {
        assert_eq!(choose(Some(name)).expect("listed as usable").name, name);
    }
}

fn erf(x: f64) -> f64 {
    // 2/sqrt(pi) e^(-x^2) times the sum over n of 2^n x^(2n+1) / (2n+1)!!: all terms have one sign.
    if x.abs() > 6.5 {
        return x.signum();
    }
    let (mut term, mut sum, mut n) = (x, 0.0, 1.0);
    while term.abs() > 1e-18 * f64::abs(sum) {
        sum += term;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        n += 1.0;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

fn gelu(x: f64) -> f64 {
    x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)) / 2.0
}

#[test]
fn the_error_function_of_these_tests_is_right() {
    // Abramowitz and Stegun, table 7.1.
    for (x, y) in [(0.0, 0.0), (0.5, 0.520_499_877_8), (1.0, 0.842_700_792_9), (2.0, 0.995_322_265_0)] {
        assert!((erf(x) - y).abs() < 1e-10 && (erf(-x) + y).abs() < 1e-10, "erf({x}) = {}", erf(x));
    }
}

#[test]
fn linear_is_a_product_of_matrices_in_every_format_and_shape() {
    for type_id in [F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K] {
        // Of one block of columns, of several, and with a part of one at the end. Under Miri every one takes minutes.
        let cols: &[usize] = match type_id {
            _ if cfg!(miri) => {
                let cols = if matches!(type_id, Q4_K | Q5_K | Q6_K) { 256 } else { 32 };
                linear_is_a_product(type_id, 17, cols, &[3]);
                continue;
            }
            Q4_K | Q5_K | Q6_K => &[256, 512, 1280],
            F32 | Q8_0 => &[32, 64, 96, 384, 512, 1120],
            _ => &[32, 1120],
        };
        for cols in cols {
            let all_rows: &[usize] = if type_id == Q8_0 { &[1, 5, 16, 17, 24, 33, 50] } else { &[1, 17, 33] };
            for rows in all_rows {
                linear_is_a_product(type_id, *rows, *cols, &[1, 2, 3, 4, 5, 6, 7, 8, 13]);
            }
        }
        linear_is_a_product(type_id, 70, 256, &[31, 32, 33, 64, 100]);
    }
}

/// Blocks of random bytes with scales as large and as small as there are: what a file may hold, whoever wrote it.
#[test]
fn linear_of_any_blocks_is_what_unpacking_says() {
    for type_id in [Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K] {
        for scale in [0x0001_u16, 0x8001, 0x0400, 0x3c00, 0xbc00, 0x7bff, 0xfbff, 0x0000] {
            let (rows, cols, tokens) = (5, 512, 4);
            let weight = random_blocks(type_id, rows, cols, scale);
            let x = noise(5, tokens * cols);
            for kernel in kernels() {
                let mut out = vec![f32::NAN; tokens * rows];
                let plain = (Activation::None, Combine::Set);
                multiply(kernel, &x, (&weight.packed, None), plain, Columns::of(&mut out, rows));
                for (i, found) in out.iter().enumerate() {
                    let (t, r) = (i / rows, i % rows);
                    let (mut sum, mut size) = (0.0, 0.0_f64);
                    for (x, w) in x[t * cols..][..cols].iter().zip(&weight.values[r * cols..][..cols]) {
                        sum += f64::from(*x) * f64::from(*w);
                        size += (f64::from(*x) * f64::from(*w)).abs();
                    }
                    let error = (f64::from(*found) - sum).abs();
                    // Numbers below 1e-30 may count as none.
                    let most = 1.2 * slack(kernel) * size + 1e-28;
                    assert!(error <= most, "{}: type {type_id}, scale {scale:#x}: {found} for {sum}", kernel.name);
                }
            }
        }
    }
}

#[test]
fn a_block_of_nothing_with_a_large_scale_hides_no_other_block() {
    for large in [1.0, 1e-2, 1e-3] {
        let mut bytes = Vec::new();
        for block in 0..16 {
            let scale = half::f16::from_f32(if block == 3 { large } else { 1e-4 });
            bytes.extend(scale.to_le_bytes());
            bytes.extend((0..32).map(|i| if block == 3 { 0 } else { (i * 7 + block * 3) as u8 }));
        }
        let weight = of_bytes(Q8_0, 1, 512, &bytes);
        let x = noise(5, 512);
        let products = x.iter().zip(&weight.values).map(|(x, w)| f64::from(*x) * f64::from(*w));
        let (truth, size) = (products.clone().sum::<f64>(), products.map(f64::abs).sum::<f64>());
        for kernel in kernels() {
            let mut out = [f32::NAN];
            multiply(kernel, &x, (&weight.packed, None), (Activation::None, Combine::Set), Columns::of(&mut out, 1));
            let error = (f64::from(out[0]) - truth).abs();
            assert!(error < slack(kernel) * size, "{}: {large}: {} for {truth}", kernel.name, out[0]);
        }
    }
}

/// Random bytes, every block's scales the same.
fn random_blocks(type_id: u32, rows: usize, cols: usize, scale: u16) -> Weights {
    let zeros = weights(type_id, 1, 256, &[0.0; 256]).packed.dtype();
    let n_bytes = rows * cols / zeros.block_len() * zeros.block_bytes();
    let mut bytes: Vec<u8> = noise(8, n_bytes).into_iter().map(|x| (x * 128.0) as i8 as u8).collect();
    // Where the scales stand: behind the quants in Q6_K, before them in the others; some have two.
    let places: &[usize] = match type_id {
        Q6_K => &[208],
        Q4_1 | Q5_1 | Q4_K | Q5_K => &[0, 2],
        _ => &[0],
    };
    for block in bytes.chunks_exact_mut(zeros.block_bytes()) {
        for at in places {
            block[*at..*at + 2].copy_from_slice(&scale.to_le_bytes());
        }
    }
    of_bytes(type_id, rows, cols, &bytes)
}

/// The first columns of rows with a gap behind them.
fn band(buffer: &mut [f32], width: usize, gap: usize) -> Columns<'_> {
    let [band, _] = Columns::split(buffer, [width, gap]);
    band
}

fn linear_is_a_product(type_id: u32, rows: usize, cols: usize, tokens: &[usize]) {
    const GUARD: f32 = -777.0;
    let weight = weights(type_id, rows, cols, &noise(3, rows * cols));
    let bias = noise(4, rows);
    for tokens in tokens.iter().copied() {
        for (activation, combine, with_bias, gap) in [
            (Activation::None, Combine::Set, true, 0),
            (Activation::None, Combine::Add, false, 3),
            (Activation::Gelu, Combine::Set, true, 0),
            (Activation::Silu, Combine::Multiply, false, 1),
        ] {
            let stride = rows + gap;
            let (x, before) = (noise(5, tokens * cols), noise(6, tokens * stride));
            for kernel in kernels() {
                let mut out = before.clone();
                out.iter_mut().enumerate().filter(|(i, _)| i % stride >= rows).for_each(|(_, x)| *x = GUARD);
                let weight_and_bias = (&weight.packed, with_bias.then_some(&bias[..]));
                multiply(kernel, &x, weight_and_bias, (activation, combine), band(&mut out, rows, gap));
                for (i, found) in out.iter().enumerate() {
                    let (t, r) = (i / stride, i % stride);
                    if r >= rows {
                        assert_eq!(*found, GUARD, "{}: wrote beyond its columns", kernel.name);
                        continue;
                    }
                    let bias = if with_bias { f64::from(bias[r]) } else { 0.0 };
                    let (mut sum, mut size) = (bias, bias.abs());
                    for (x, w) in x[t * cols..][..cols].iter().zip(&weight.values[r * cols..][..cols]) {
                        sum += f64::from(*x) * f64::from(*w);
                        size += (f64::from(*x) * f64::from(*w)).abs();
                    }
                    let sum = match activation {
                        Activation::None => sum,
                        Activation::Gelu => gelu(sum),
                        Activation::Silu => sum / (1.0 + (-sum).exp()),
                    };
                    let sum = match combine {
                        Combine::Set => sum,
                        Combine::Add => f64::from(before[i]) + sum,
                        Combine::Multiply => f64::from(before[i]) * sum,
                    };
                    let error = (f64::from(*found) - sum).abs();
                    assert!(
                        error <= 1.2 * slack(kernel) * size + 1e-6,
                        "{}: type {type_id}, {tokens} x {cols} times {rows}, {activation:?}, {combine:?}: {found} for {sum}",
                        kernel.name
                    );
                }
            }
        }
    }
}

#[test]
fn linear_of_extreme_quants_does_not_overflow() {
    let cols = 1536;
    let mut block = half::f16::from_f32(1.0).to_le_bytes().to_vec();
    block.extend([i8::MIN as u8; 32]);
    let bytes = block.repeat(cols / 32);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("weight.gguf");
    std::fs::write(&path, Writer::new().tensor("w", &[cols as u64, 1], Q8_0, &bytes).bytes()).expect("write");
    let weight = Gguf::open(&path).and_then(|file| file.tensor_ref("w")).expect("a sound file");
    let x = vec![-1024.0; cols];
    for kernel in kernels() {
        let mut out = [0.0];
        multiply(kernel, &x, (&weight, None), (Activation::None, Combine::Set), Columns::of(&mut out, 1));
        let error = out[0] / (128.0 * 1024.0 * 1536.0) - 1.0;
        assert!(f64::from(error.abs()) < slack(kernel), "{}: {error:e}", kernel.name);
    }
}

/// GELU of each number, through a layer that passes it on: the one way that all kernels have.
fn gelu_of(kernel: &Kernel, numbers: &[f32]) -> Vec<f32> {
    let mut row = vec![0.0; 32];
    row[0] = 1.0;
    let weight = weights(F32, 1, 32, &row);
    let x: Vec<f32> = numbers.iter().flat_map(|x| std::iter::once(*x).chain(std::iter::repeat_n(0.0, 31))).collect();
    let mut out = vec![f32::NAN; numbers.len()];
    multiply(kernel, &x, (&weight.packed, None), (Activation::Gelu, Combine::Set), Columns::of(&mut out, 1));
    out
}

#[test]
fn gelu_is_within_a_millionth() {
    let numbers: Vec<f32> = (-40_000..=40_000).map(|i| i as f32 / 4000.0).collect();
    for kernel in kernels().into_iter().filter(is_exact) {
        let mut worst = (0.0, 0.0);
        for (x, found) in numbers.iter().zip(gelu_of(kernel, &numbers)) {
            let error = (f64::from(found) - gelu(f64::from(*x))).abs();
            if error > worst.0 {
                worst = (error, *x);
            }
        }
        println!("{}: largest error of GELU {:e} at {}", kernel.name, worst.0, worst.1);
        assert!(worst.0 < 1e-6, "{}: GELU({}) is off by {:e}", kernel.name, worst.1, worst.0);
    }
}

#[test]
fn gelu_far_out_is_the_number_or_nothing() {
    for kernel in kernels().into_iter().filter(is_exact) {
        let found = gelu_of(kernel, &[0.0, 1e-30, 20.0, 1e4, 1e18, 3e38, -20.0, -1e4, -1e18, -3e38]);
        assert_eq!(found[2..6], [20.0, 1e4, 1e18, 3e38], "{}", kernel.name);
        assert_eq!(found[0], 0.0, "{}", kernel.name);
        assert!((found[1] - 5e-31).abs() < 1e-36, "{}: {:e}", kernel.name, found[1]);
        assert!(found[6..].iter().all(|x| x.abs() < 1e-6), "{}: {found:?}", kernel.name);
    }
}

#[test]
fn gelu_and_linear_pass_on_what_is_not_finite() {
    for kernel in kernels() {
        let found = gelu_of(kernel, &[f32::NAN, f32::INFINITY, 1.0]);
        assert!(!found[0].is_finite() && !found[1].is_finite() && found[2].is_finite(), "{}: {found:?}", kernel.name);
    }
}

/// One sequence through all heads. `qkv` is `(tokens, q_width + 2 * kv_width)`.
fn attend(kernel: &Kernel, qkv: &[f32], heads: Heads, room: usize) -> Vec<f32> {
    let (q_width, kv_width) = (heads.q_width(), 2 * heads.kv_width());
    let (mut q, mut kv) = (Vec::new(), Vec::new());
    for token in qkv.chunks_exact(q_width + kv_width) {
        q.extend_from_slice(&token[..q_width]);
        kv.extend_from_slice(&token[q_width..]);
    }
    let mut scratch = AttentionScratch::new(room, heads.dim);
    let job = Attention::new(&mut q, &kv, heads);
    for head in (0..heads.n).rev() {
        // SAFETY: `kernels` gives out only what this processor can run.
        unsafe { (kernel.attention)(&job, head, &mut scratch) }
    }
    q
}

/// `n` heads of their own keys and values that see everything.
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
                // Room for more tokens than there are, as in a batch.
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
    // Two tokens, the scores 0 and x: the weight of the second over that of the first is e^x, x from -87 to 0.
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
        // 2 units, and half a one for each of the two products with the softmax's scale.
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
fn a_score_that_is_not_a_number_stays_none() {
    let (d, tokens) = (32, 9);
    for kernel in kernels() {
        for third in 0..3 {
            let mut qkv = noise(11, tokens * 3 * d);
            qkv[4 * 3 * d + third * d + 5] = f32::NAN; // of token 4
            let found = attend(kernel, &qkv, full(1, d), tokens);
            let is_nan = |t: usize| found[t * d..][..d].iter().any(|x| x.is_nan());
            let reached = (0..tokens).filter(|t| is_nan(*t)).count();
            // A query is its own; a key or value is everybody's.
            assert_eq!(reached, if third == 0 { 1 } else { tokens }, "{}: third {third}", kernel.name);
            assert!(is_nan(4));
        }
    }
}

#[test]
fn layer_norm_has_the_mean_and_deviation_asked_for() {
    for kernel in kernels() {
        for width in [32, 64, 96, 384, 1536] {
            for rows in [1, 2, 17] {
                for (offset, size) in [(0.0, 1.0), (100.0, 1.0), (0.0, 1e-6), (-3.0, 1e4)] {
                    let eps = 1e-12_f32;
                    let (weight, bias) = (noise(1, width), noise(2, width));
                    let x: Vec<f32> = noise(width as u64, rows * width).iter().map(|x| offset + size * x).collect();
                    let mut found = x.clone();
                    // SAFETY: `kernels` gives out only what this processor can run.
                    unsafe { (kernel.layer_norm)(&mut found, &weight, &bias, eps) }
                    for (x, found) in x.chunks_exact(width).zip(found.chunks_exact(width)) {
                        let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / width as f64;
                        let variance = x.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / width as f64;
                        let deviation = (variance + f64::from(eps)).sqrt();
                        // The mean itself is rounded to the neighbourhood of the offset.
                        let most = 2e-6 + f64::from(f32::EPSILON) * mean.abs() / deviation * 4.0;
                        for (((x, found), weight), bias) in x.iter().zip(found).zip(&weight).zip(&bias) {
                            let truth = (f64::from(*x) - mean) / deviation * f64::from(*weight) + f64::from(*bias);
                            let error = (f64::from(*found) - truth).abs();
                            assert!(error < most, "{}: {width}, {offset}, {size}: {found} for {truth}", kernel.name);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn rms_norm_has_the_mean_square_asked_for() {
    for kernel in kernels() {
        for width in [32, 96, 3584] {
            for size in [1.0, 1e-3, 1e4] {
                let (weight, eps) = (noise(1, width), 1e-6_f32);
                let x: Vec<f32> = noise(2, 3 * width).iter().map(|x| size * x).collect();
                let mut found = x.clone();
                // SAFETY: `kernels` gives out only what this processor can run.
                unsafe { (kernel.rms_norm)(&mut found, &weight, eps) }
                for (x, found) in x.chunks_exact(width).zip(found.chunks_exact(width)) {
                    let mean = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / width as f64;
                    for ((x, found), weight) in x.iter().zip(found).zip(&weight) {
                        let truth = f64::from(*x) / (mean + f64::from(eps)).sqrt() * f64::from(*weight);
                        assert!((f64::from(*found) - truth).abs() < 2e-6, "{}: {found} for {truth}", kernel.name);
                    }
                }
            }
        }
    }
}

#[test]
fn layer_norm_of_equal_numbers_is_the_bias() {
    for kernel in kernels() {
        let (weight, bias) = (noise(1, 96), noise(2, 96));
        let mut x = vec![2.5; 2 * 96];
        // SAFETY: `kernels` gives out only what this processor can run.
        unsafe { (kernel.layer_norm)(&mut x, &weight, &bias, 1e-12) }
        assert!(x.chunks_exact(96).all(|row| row == bias), "{}", kernel.name);
    }
}

#[test]
fn dot_i8_is_exact_at_every_length_and_extreme() {
    let bytes = |seed: u64, n: usize| -> Vec<i8> { noise(seed, n).into_iter().map(|x| (x * 128.0) as i8).collect() };
    for kernel in kernels() {
        for n in (0..130).chain([384, 768, 1536]) {
            let (a, b) = (bytes(1, n), bytes(2, n));
            let truth: i32 = a.iter().zip(&b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
            assert_eq!(kernel.dot_i8(&a, &b), truth, "{}: {n}", kernel.name);
            for (a, b) in [(i8::MIN, i8::MIN), (i8::MIN, i8::MAX), (i8::MAX, i8::MAX)] {
                let truth = n as i32 * i32::from(a) * i32::from(b);
                assert_eq!(kernel.dot_i8(&vec![a; n], &vec![b; n]), truth, "{}: {n} of {a} and {b}", kernel.name);
            }
        }
        assert_eq!(kernel.dot_i8(&[1, 2, 3], &[4]), 4, "{}: the shorter length counts", kernel.name);
    }
}

/// The portable functions, written as their documentation says, are the truth for every other table.
#[test]
fn scans_are_exact_at_every_shape() {
    let bytes = |seed: u64, n: usize| -> Vec<i8> { noise(seed, n).into_iter().map(|x| (x * 128.0) as i8).collect() };
    for kernel in kernels() {
        for (stride, n_rows) in [(16, 5), (64, 0), (64, 1), (64, 3), (128, 4), (384, 9), (768, 2), (24, 3)] {
            let (query, rows) = (bytes(1, stride), bytes(2, stride * n_rows));
            for query in [query, vec![i8::MIN; stride], vec![i8::MAX; stride]] {
                let truth: Vec<i32> = rows.chunks_exact(stride).map(|row| scan::dot_i8(&query, row)).collect();
                let mut out = vec![-1; n_rows];
                kernel.scan_i8(&query, &rows, &mut out);
                assert_eq!(out, truth, "{}: {n_rows} rows of {stride}", kernel.name);
            }
            let mut out = vec![0; n_rows];
            kernel.scan_i8(&vec![i8::MIN; stride], &vec![i8::MIN; stride * n_rows], &mut out);
            assert!(out.iter().all(|&x| x == stride as i32 * 16384), "{}: {stride}", kernel.name);
        }
        for (n_positions, n_blocks) in [(1, 1), (2, 2), (16, 0), (96, 3), (192, 1), (257, 1)] {
            let bits = |seed: u64, n: usize| -> Vec<u8> { bytes(seed, n).into_iter().map(|x| x as u8).collect() };
            let (table, codes) = (bits(3, n_positions * 16), bits(4, n_positions * 16 * n_blocks));
            for table in [table, vec![255; n_positions * 16]] {
                let sum = |row: usize| {
                    (0..n_positions).fold(0u16, |sum, position| {
                        let byte = codes[(row / 32 * n_positions + position) * 16 + row % 16];
                        let code = if row % 32 < 16 { byte & 15 } else { byte >> 4 };
                        sum.wrapping_add(u16::from(table[position * 16 + usize::from(code)]))
                    })
                };
                let truth: Vec<u16> = (0..n_blocks * 32).map(sum).collect();
                let mut out = vec![7; n_blocks * 32];
                kernel.scan_codes(&table, &codes, &mut out);
                assert_eq!(out, truth, "{}: {n_positions} positions", kernel.name);
            }
        }
    }
}
