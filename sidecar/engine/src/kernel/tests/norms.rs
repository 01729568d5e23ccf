//! Layer norm and root mean square norm.

use super::*;

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
                    // SAFETY: `kernels` returns only kernels that this processor can run.
                    unsafe { (kernel.layer_norm)(&mut found, &weight, &bias, eps) }
                    for (x, found) in x.chunks_exact(width).zip(found.chunks_exact(width)) {
                        let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / width as f64;
                        let variance = x.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / width as f64;
                        let deviation = (variance + f64::from(eps)).sqrt();
                        // The mean is rounded, with an error proportional to the offset.
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
                // SAFETY: `kernels` returns only kernels that this processor can run.
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
        // SAFETY: `kernels` returns only kernels that this processor can run.
        unsafe { (kernel.layer_norm)(&mut x, &weight, &bias, 1e-12) }
        assert!(x.chunks_exact(96).all(|row| row == bias), "{}", kernel.name);
    }
}
