//! The vector operations that the algorithms need, and functions made of them.
//!
//! Implementations are zero-sized types. Their functions are `#[inline(always)]`, so that they are compiled with the
//! features of the `#[target_feature]` function that they are inlined into. Closures are not: an intrinsic in a closure
//! (`array::from_fn`, `map`) becomes a function call. Hot code uses plain loops for that reason.

use crate::quant::DType;

/// The registers of an instruction set, each of `LANES` floats.
///
/// # Safety
/// The functions may only run on processors with the implementation's instruction set. `load` needs `LANES` readable and
/// `store` `LANES` writable floats at the pointer, which need not be aligned.
pub(crate) unsafe trait Simd: Copy {
    /// A register.
    type V: Copy;
    /// Floats in a register.
    const LANES: usize;

    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// The larger value in each lane; `b` if either is NaN.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// The smaller value in each lane; `b` if either is NaN.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`.
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Rounds to the nearest integer, ties to even.
    unsafe fn round(a: Self::V) -> Self::V;
    /// `2^n` for integer-valued `n` in -126..=127.
    unsafe fn exp2_int(n: Self::V) -> Self::V;
    /// Sum of the lanes, added in one fixed order.
    unsafe fn sum(a: Self::V) -> f32;
    /// Sums of the lanes of several registers, where that is cheaper than [`Simd::sum`] of each; the order of additions is
    /// the same for every register.
    #[inline(always)]
    unsafe fn sums<const R: usize>(a: [Self::V; R]) -> [f32; R] {
        let mut out = [0.0; R];
        for r in 0..R {
            // SAFETY: the caller's processor has this instruction set.
            out[r] = unsafe { Self::sum(a[r]) };
        }
        out
    }
    /// Largest lane.
    unsafe fn max_lane(a: Self::V) -> f32;
    /// Prefetches `n` floats into the cache, if there is an instruction for it. Reads nothing, so any pointer is valid.
    #[inline(always)]
    unsafe fn prefetch(_p: *const f32, _n: usize) {}
    /// [`DType::unpack`] compiled for this instruction set. Not inlined, because the compiler vectorises its loops only in a
    /// function of their own.
    unsafe fn unpack(dtype: DType, packed: &[u8], out: &mut [f32]);
}

/// `e^x` to about 2 units in the last place. Inputs are clamped so that the result is a normal float; NaN stays NaN.
///
/// Cody-Waite reduction by ln 2, then a degree-6 Taylor polynomial on [-ln2/2, ln2/2] (error below 1.3e-7).
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller's processor has the instruction set of `S`; nothing here accesses memory.
    unsafe {
        // This order of operands keeps NaN: damaged weights must lead to an error, not to a plausible vector.
        let x = S::min(S::splat(88.0), S::max(S::splat(-87.0), x));
        let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
        let r = S::mul_add(n, S::splat(-0.693_359_4), x);
        let r = S::mul_add(n, S::splat(2.121_944_4e-4), r);
        let mut p = S::splat(1.0 / 720.0);
        for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            p = S::mul_add(p, r, S::splat(c));
        }
        S::mul(p, S::exp2_int(n))
    }
}

/// GELU, `x * (1 + erf(x / sqrt 2)) / 2`, to about 5e-7: the exact form that BERT was trained with, not the tanh one.
///
/// Computed as `max(x, 0) - h(|x|)`, where `h(a) = a * erfc(a / sqrt 2) / 2` is at most 0.17 and tends to 0. The
/// reciprocal of `erfc / 2` is approximated by a polynomial to the power of 16, the form of Abramowitz and Stegun, Handbook of Mathematical
/// Functions, 7.1.28; the coefficients here minimise the largest error of `h` (reweighted least squares on 0..7, largest
/// error 2.5e-7) with `erfc(0) = 1` fixed. All are positive: no cancellation, and nothing to clamp.
#[inline(always)]
pub(crate) unsafe fn gelu<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller's processor has the instruction set of `S`; nothing here accesses memory.
    unsafe {
        let abs = S::max(x, S::sub(S::splat(0.0), x));
        let mut p = S::splat(6.589_796e-6);
        for c in [4.343_625_6e-5, 6.158_119_5e-5, 3.394_496e-3, 2.209_291_4e-2, 5.207_221_6e-2, 1.044_273_7] {
            p = S::mul_add(p, abs, S::splat(c));
        }
        for _ in 0..4 {
            p = S::mul(p, p);
        }
        S::sub(S::max(x, S::splat(0.0)), S::div(abs, p))
    }
}

/// SiLU, `x * sigmoid(x)`.
#[inline(always)]
pub(crate) unsafe fn silu<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller's processor has the instruction set of `S`; nothing here accesses memory.
    unsafe { S::div(x, S::add(S::splat(1.0), exp::<S>(S::sub(S::splat(0.0), x)))) }
}
