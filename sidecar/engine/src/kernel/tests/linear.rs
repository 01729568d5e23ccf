//! Matrix products, and the activations that follow them.
#![expect(clippy::print_stdout, reason = "the measured error is useful to read, with `--nocapture`")]

use super::support::Writer;
use super::support::tiny::{BF16, F16, F32, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0, pack};
use super::*;
use crate::gguf::{Gguf, TensorRef};

/// The largest error of a sum of products, relative to the sum of their magnitudes.
fn slack(kernel: &Kernel) -> f64 {
    match kernel.name {
        "portable" | "neon" => 1e-6,
        "amx" => 1e-2, // bfloat16
        _ => 1e-3,     // 16-bit integers
    }
}

/// Whether the kernel multiplies `f32`, as the bounds on activations assume.
fn is_exact(kernel: &&Kernel) -> bool {
    slack(kernel) < 1e-5
}

/// A matrix of a model file, packed and unpacked.
struct Weights {
    packed: TensorRef,
    values: Vec<f32>,
}

/// A matrix packed from `values`.
fn weights(type_id: u32, rows: usize, cols: usize, values: &[f32]) -> Weights {
    assert_eq!(values.len(), rows * cols);
    of_bytes(type_id, rows, cols, &pack(type_id, values))
}

/// A matrix of packed blocks.
fn of_bytes(type_id: u32, rows: usize, cols: usize, bytes: &[u8]) -> Weights {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("weight.gguf");
    let file = Writer::new().tensor("w", &[cols as u64, rows as u64], type_id, bytes);
    std::fs::write(&path, file.bytes()).expect("write the file");
    let packed = Gguf::open(&path).and_then(|file| file.tensor_ref("w")).expect("a valid file");
    let mut values = vec![f32::NAN; rows * cols];
    packed.dtype().unpacker()(packed.data(), &mut values);
    Weights { packed, values }
}

/// Computes a linear layer, its panels in reverse order: the order must not matter.
fn multiply(
    kernel: &Kernel,
    x: &[f32],
    (weight, bias): (&TensorRef, Option<&[f32]>),
    (activation, combine): (Activation, Combine),
    out: Columns<'_>,
) {
    let cols = weight.shape()[1];
    let tokens = x.len() / cols;
    // Old contents of the working memory must not matter either.
    let mut panel = kernel.panel(cols, tokens);
    let (weights, sums) = panel.parts_mut::<f32>();
    weights.fill(f32::NAN);
    sums.fill(f32::NAN);
    let (mut rounded, mut scales) = (vec![0x7fff; rounded_len(tokens, cols)], vec![f32::NAN; scales_len(tokens, cols)]);
    if let Some(round_input) = kernel.round_input {
        // SAFETY: `kernels` returns only kernels that this processor can run.
        unsafe { round_input(x, cols, &mut rounded, &mut scales) };
    }
    let layer =
        Linear::new(Input::new(x, cols).with_rounded(&rounded, &scales), weight, bias, activation, combine, out);
    for i in (0..layer.panels(kernel.panel_rows)).rev() {
        // SAFETY: `kernels` returns only kernels that this processor can run.
        unsafe { (kernel.linear)(&layer, i, &mut panel) }
    }
}

/// The error function.
fn erf(x: f64) -> f64 {
    // 2/sqrt(pi) e^(-x^2) times the sum over n of 2^n x^(2n+1) / (2n+1)!!: all terms have the same sign.
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
        // One column block, several, and an incomplete one at the end. Under Miri each takes minutes.
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

/// Blocks of random bytes with the largest and the smallest scales: a file may have any bytes.
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
                    // Numbers below 1e-30 may be rounded to zero.
                    let most = 1.2 * slack(kernel) * size + 1e-28;
                    assert!(error <= most, "{}: type {type_id}, scale {scale:#x}: {found} for {sum}", kernel.name);
                }
            }
        }
    }
}

#[test]
fn a_zero_block_with_a_large_scale_does_not_affect_other_blocks() {
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

/// Blocks of random bytes with the bits `scale` as every scale.
fn random_blocks(type_id: u32, rows: usize, cols: usize, scale: u16) -> Weights {
    let zeros = weights(type_id, 1, 256, &[0.0; 256]).packed.dtype();
    let n_bytes = rows * cols / zeros.block_len() * zeros.block_bytes();
    let mut bytes: Vec<u8> = noise(8, n_bytes).into_iter().map(|x| (x * 128.0) as i8 as u8).collect();
    // Offsets of the scales: after the quants in Q6_K, before them in the other formats; some formats have two.
    let offsets: &[usize] = match type_id {
        Q6_K => &[208],
        Q4_1 | Q5_1 | Q4_K | Q5_K => &[0, 2],
        _ => &[0],
    };
    for block in bytes.chunks_exact_mut(zeros.block_bytes()) {
        for at in offsets {
            block[*at..*at + 2].copy_from_slice(&scale.to_le_bytes());
        }
    }
    of_bytes(type_id, rows, cols, &bytes)
}

/// The first `width` columns of a buffer whose rows have `gap` more.
fn band(buffer: &mut [f32], width: usize, gap: usize) -> Columns<'_> {
    let [band, _] = Columns::split(buffer, [width, gap]);
    band
}

/// Checks a layer with all activations and combinations against a product in `f64`.
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
    let weight = Gguf::open(&path).and_then(|file| file.tensor_ref("w")).expect("a valid file");
    let x = vec![-1024.0; cols];
    for kernel in kernels() {
        let mut out = [0.0];
        multiply(kernel, &x, (&weight, None), (Activation::None, Combine::Set), Columns::of(&mut out, 1));
        let error = out[0] / (128.0 * 1024.0 * 1536.0) - 1.0;
        assert!(f64::from(error.abs()) < slack(kernel), "{}: {error:e}", kernel.name);
    }
}

/// GELU of each number, computed by a linear layer that copies it: kernels have no other interface for it.
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
fn gelu_of_large_numbers_is_the_number_or_zero() {
    for kernel in kernels().into_iter().filter(is_exact) {
        let found = gelu_of(kernel, &[0.0, 1e-30, 20.0, 1e4, 1e18, 3e38, -20.0, -1e4, -1e18, -3e38]);
        assert_eq!(found[2..6], [20.0, 1e4, 1e18, 3e38], "{}", kernel.name);
        assert_eq!(found[0], 0.0, "{}", kernel.name);
        assert!((found[1] - 5e-31).abs() < 1e-36, "{}: {:e}", kernel.name, found[1]);
        assert!(found[6..].iter().all(|x| x.abs() < 1e-6), "{}: {found:?}", kernel.name);
    }
}

#[test]
fn gelu_and_linear_keep_numbers_that_are_not_finite() {
    for kernel in kernels() {
        let found = gelu_of(kernel, &[f32::NAN, f32::INFINITY, 1.0]);
        assert!(!found[0].is_finite() && !found[1].is_finite() && found[2].is_finite(), "{}: {found:?}", kernel.name);
    }
}
