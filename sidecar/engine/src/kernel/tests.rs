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
        "portable" | "avx2" | "avx512" => 1e-6,
        _ => 1e-2, // products of narrower numbers
    }
}

/// Whether the kernel computes in `f32` throughout, as the bounds on single functions suppose.
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
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("weight.gguf");
    let file = Writer::new().tensor("w", &[cols as u64, rows as u64], type_id, &pack(type_id, values));
    std::fs::write(&path, file.bytes()).expect("write the file");
    let packed = Gguf::open(&path).and_then(|file| file.tensor_ref("w")).expect("a sound file");
    let mut values = vec![f32::NAN; rows * cols];
    crate::quant::unpacker(packed.dtype())(packed.data(), &mut values);
    Weights { packed, values }
}

/// All panels of a product, backwards: their order must not matter.
fn multiply(kernel: &Kernel, job: Linear<'_>, x: &[f32], cols: usize) {
    // Old contents of the scratch must not matter either.
    let mut panel = Panel::new(cols);
    panel.floats_mut().fill(f32::NAN);
    let mut narrow = vec![0x7fff; narrow_len(job.tokens, cols)];
    if let Some(run) = kernel.narrow {
        // SAFETY: `kernels` gives out only what this processor can run.
        unsafe { run(x, &mut narrow) };
    }
    let job = job.with_narrow(&narrow);
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
    const GUARD: f32 = -777.0;
    let all = [F32, F16, BF16, Q8_0].map(|type_id| (type_id, &[32, 64, 96, 384, 1536][..]));
    let small = [Q4_0, Q4_1, Q5_0, Q5_1].map(|type_id| (type_id, &[32, 96, 384][..]));
    let k = [Q4_K, Q5_K, Q6_K].map(|type_id| (type_id, &[256, 768][..]));
    for (type_id, widths) in all.into_iter().chain(small).chain(k) {
        for &cols in widths {
            for rows in [1, 5, 16, 17, 33] {
                let weight = weights(type_id, rows, cols, &noise(3, rows * cols));
                let bias = noise(4, rows);
                for tokens in [1, 2, 3, 4, 5, 6, 7, 8, 13] {
                    for (activation, with_residual, gap) in
                        [(Activation::None, false, 0), (Activation::None, true, 3), (Activation::Gelu, true, 0)]
                    {
                        let stride = rows + gap;
                        let x = noise(5, tokens * cols);
                        let residual = noise(6, tokens * stride);
                        for kernel in kernels() {
                            let mut out = vec![GUARD; tokens * stride];
                            let residual = with_residual.then_some(&residual[..]);
                            let job = Linear::new(
                                &x,
                                tokens,
                                &weight.packed,
                                &bias,
                                activation,
                                residual,
                                Columns::of(&mut out, stride),
                            );
                            multiply(kernel, job, &x, cols);
                            for (i, found) in out.iter().enumerate() {
                                let (t, r) = (i / stride, i % stride);
                                if r >= rows {
                                    assert_eq!(*found, GUARD, "{}: wrote beyond its columns", kernel.name);
                                    continue;
                                }
                                let (mut sum, mut size) = (f64::from(bias[r]), f64::from(bias[r].abs()));
                                for (x, w) in x[t * cols..][..cols].iter().zip(&weight.values[r * cols..][..cols]) {
                                    sum += f64::from(*x) * f64::from(*w);
                                    size += (f64::from(*x) * f64::from(*w)).abs();
                                }
                                let sum = if activation == Activation::Gelu { gelu(sum) } else { sum };
                                let sum = sum + residual.map_or(0.0, |r| f64::from(r[i]));
                                let error = (f64::from(*found) - sum).abs();
                                assert!(
                                    error <= slack(kernel) * size + 1e-6,
                                    "{}: type {type_id}, {tokens} x {cols} times {rows}: {found} for {sum}",
                                    kernel.name
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_token_has_the_same_bits_alone_and_among_others() {
    let (rows, cols, tokens) = (33, 96, 13);
    let weight = weights(Q8_0, rows, cols, &noise(3, rows * cols));
    let (bias, x) = (noise(4, rows), noise(5, tokens * cols));
    for kernel in kernels() {
        let mut all = vec![0.0; tokens * rows];
        let out = Columns::of(&mut all, rows);
        multiply(kernel, Linear::new(&x, tokens, &weight.packed, &bias, Activation::Gelu, None, out), &x, cols);
        for t in 0..tokens {
            let (x, mut one) = (&x[t * cols..][..cols], vec![0.0; rows]);
            let out = Columns::of(&mut one, rows);
            multiply(kernel, Linear::new(x, 1, &weight.packed, &bias, Activation::Gelu, None, out), x, cols);
            assert_eq!(one, all[t * rows..][..rows], "{}: token {t}", kernel.name);
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
        let row = Columns::of(&mut out, 1);
        multiply(kernel, Linear::new(&x, 1, &weight, &[0.0], Activation::None, None, row), &x, cols);
        assert_eq!(out, [128.0 * 1024.0 * 1536.0], "{}", kernel.name);
    }
}

/// GELU of each number, through a layer that passes it on: the one way that all kernels have.
fn gelu_of(kernel: &Kernel, numbers: &[f32]) -> Vec<f32> {
    let mut row = vec![0.0; 32];
    row[0] = 1.0;
    let weight = weights(F32, 1, 32, &row);
    let x: Vec<f32> = numbers.iter().flat_map(|x| std::iter::once(*x).chain(std::iter::repeat_n(0.0, 31))).collect();
    let mut out = vec![f32::NAN; numbers.len()];
    let column = Columns::of(&mut out, 1);
    multiply(kernel, Linear::new(&x, numbers.len(), &weight.packed, &[0.0], Activation::Gelu, None, column), &x, 32);
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

/// One sequence through all heads; `hidden` is `heads * head_dim`.
fn attend(kernel: &Kernel, qkv: &[f32], tokens: usize, heads: usize, room: usize) -> Vec<f32> {
    let hidden = qkv.len() / tokens / 3;
    let mut out = vec![f32::NAN; tokens * hidden];
    let mut scratch = AttentionScratch::new(room, hidden / heads);
    let job = Attention::new(qkv, &mut out, tokens, heads);
    for head in (0..heads).rev() {
        // SAFETY: `kernels` gives out only what this processor can run.
        unsafe { (kernel.attention)(&job, head, &mut scratch) }
    }
    out
}

/// softmax(Q K^T / sqrt d) V in `f64`.
fn attend_plainly(qkv: &[f32], tokens: usize, heads: usize) -> Vec<f64> {
    let hidden = qkv.len() / tokens / 3;
    let d = hidden / heads;
    let at = |token: usize, third: usize, column: usize| f64::from(qkv[(3 * token + third) * hidden + column]);
    let mut out = vec![0.0; tokens * hidden];
    for head in 0..heads {
        let columns = head * d..(head + 1) * d;
        for q in 0..tokens {
            let score = |k| columns.clone().map(|c| at(q, 0, c) * at(k, 1, c)).sum::<f64>() / (d as f64).sqrt();
            let scores: Vec<f64> = (0..tokens).map(score).collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scores.iter().map(|s| (s - max).exp()).sum();
            for (k, score) in scores.iter().enumerate() {
                for c in columns.clone() {
                    out[q * hidden + c] += (score - max).exp() / total * at(k, 2, c);
                }
            }
        }
    }
    out
}

#[test]
fn attention_is_the_papers_at_every_length() {
    for (heads, head_dim) in [(1, 32), (3, 32), (2, 64), (1, 96)] {
        let hidden = heads * head_dim;
        for tokens in (1..=70).chain([127, 128, 129]) {
            let qkv: Vec<f32> = noise(9, tokens * 3 * hidden).into_iter().map(|x| 3.0 * x).collect();
            let truth = attend_plainly(&qkv, tokens, heads);
            for kernel in kernels() {
                // Room for more tokens than there are, as in a batch.
                let found = attend(kernel, &qkv, tokens, heads, 160);
                for (i, (found, truth)) in found.iter().zip(&truth).enumerate() {
                    let error = (f64::from(*found) - truth).abs();
                    let most = 10.0 * slack(kernel);
                    assert!(error < most, "{}: {tokens} tokens, {heads} x {head_dim}, {i}: {error:e}", kernel.name);
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
    for kernel in kernels().into_iter().filter(is_exact) {
        let mut worst = (0.0, 0.0);
        for i in 0..20_000 {
            let key = i as f32 * (-87.0 / scale / 20_000.0);
            let mut qkv = vec![0.0; 2 * row];
            qkv[0] = 1.0; // the first query
            qkv[row + d] = key; // the second key
            qkv[2 * d] = 1.0; // the first value, in column 0
            qkv[row + 2 * d + 1] = 1.0; // the second value, in column 1
            let found = attend(kernel, &qkv, 2, 1, 2);
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
            let found = attend(kernel, &qkv, tokens, 1, tokens);
            assert!(found.iter().step_by(d).all(|x| (x - 20.0).abs() < 1e-4), "{}: {far:e}", kernel.name);
        }
        let qkv: Vec<f32> = (0..tokens * 3 * d).map(|i| if i % (3 * d) < 2 * d { 1e9 } else { 1.5 }).collect();
        let found = attend(kernel, &qkv, tokens, 1, tokens);
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
            let found = attend(kernel, &qkv, tokens, 1, tokens);
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
