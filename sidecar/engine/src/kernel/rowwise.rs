//! Norms: operations on one row at a time.

use super::simd::Simd;

/// `x = (x - mean) / sqrt(var + eps) * weight + bias` for each row of `weight.len()` floats.
///
/// Panics unless the width of a row is a multiple of the registers' lanes, which is checked when a model is opened.
#[inline(always)]
pub(super) unsafe fn layer_norm<S: Simd>(x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
    let width = weight.len();
    assert!(bias.len() == width && width.is_multiple_of(S::LANES) && x.len().is_multiple_of(width));
    for row in x.chunks_exact_mut(width) {
        let p = row.as_mut_ptr();
        // SAFETY: `i` stays below `width`, a multiple of `LANES`; all three slices are `width` long.
        unsafe {
            let mut sum = S::splat(0.0);
            for i in (0..width).step_by(S::LANES) {
                sum = S::add(sum, S::load(p.add(i)));
            }
            let mean = S::splat(S::sum(sum) / width as f32);
            let mut sum = S::splat(0.0);
            for i in (0..width).step_by(S::LANES) {
                let d = S::sub(S::load(p.add(i)), mean);
                sum = S::mul_add(d, d, sum);
            }
            let scale = S::splat(1.0 / (S::sum(sum) / width as f32 + eps).sqrt());
            for i in (0..width).step_by(S::LANES) {
                let d = S::mul(S::sub(S::load(p.add(i)), mean), scale);
                S::store(p.add(i), S::mul_add(d, S::load(weight.as_ptr().add(i)), S::load(bias.as_ptr().add(i))));
            }
        }
    }
}

/// `x = x / sqrt(mean(x^2) + eps) * weight` for each row of `weight.len()` floats.
///
/// Panics unless the width of a row is a multiple of the registers' lanes. Source: Zhang and Sennrich, Root Mean Square Layer Normalization, arXiv 1910.07467.
#[inline(always)]
pub(super) unsafe fn rms_norm<S: Simd>(x: &mut [f32], weight: &[f32], eps: f32) {
    let width = weight.len();
    assert!(width.is_multiple_of(S::LANES) && x.len().is_multiple_of(width));
    for row in x.chunks_exact_mut(width) {
        let p = row.as_mut_ptr();
        // SAFETY: `i` stays below `width`, a multiple of `LANES`; both slices are `width` long.
        unsafe {
            let mut sum = S::splat(0.0);
            for i in (0..width).step_by(S::LANES) {
                let x = S::load(p.add(i));
                sum = S::mul_add(x, x, sum);
            }
            let scale = S::splat(1.0 / (S::sum(sum) / width as f32 + eps).sqrt());
            for i in (0..width).step_by(S::LANES) {
                S::store(p.add(i), S::mul(S::mul(S::load(p.add(i)), scale), S::load(weight.as_ptr().add(i))));
            }
        }
    }
}
