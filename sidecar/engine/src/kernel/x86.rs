//! AVX2 with FMA, and AVX-512, each with and without VNNI: the generic algorithms on eight and sixteen lanes.

use std::arch::x86_64::*;

use super::attention::{self, Attention, AttentionScratch};
use super::int16::{self, Int16MicroKernel, Int16Simd};
use super::linear::Linear;
use super::panel::{self, MicroKernel, Panel};
use super::simd::Simd;
use super::table::Kernel;
use super::{rowwise, scan_x86};
use crate::quant::DType;

/// Defines a kernel from the functions of `$module`.
macro_rules! kernel {
    ($static:ident, $name:literal, $module:ident, $dot:ident, $scan:ident) => {
        #[doc = concat!("Kernel `", $name, "`.")]
        pub(super) static $static: Kernel = Kernel {
            name: $name,
            panel_rows: $module::P::ROWS,
            panel_bytes: |_| panel::block_bytes::<$module::P>(),
            round_input: Some($module::run_round_input),
            linear: $module::run_linear,
            attention: $module::run_attention,
            layer_norm: $module::run_layer_norm,
            rms_norm: $module::run_rms_norm,
            dot_i8: scan_x86::$dot,
            scan_i8: scan_x86::$scan,
            scan_codes: scan_x86::scan_codes_avx2,
        };
    };
}

kernel!(AVX512_VNNI, "avx512vnni", avx512vnni, dot_i8_avx512, scan_i8_avx512);
kernel!(AVX512, "avx512", avx512, dot_i8_avx512, scan_i8_avx512);
kernel!(AVX_VNNI, "avxvnni", avxvnni, dot_i8_avx2, scan_i8_avx2);
kernel!(AVX2, "avx2", avx2, dot_i8_avx2, scan_i8_avx2);

pub(super) fn has_avx512_vnni() -> bool {
    has_avx512() && is_x86_feature_detected!("avx512vnni")
}

pub(super) fn has_avx_vnni() -> bool {
    has_avx2() && is_x86_feature_detected!("avxvnni")
}

pub(super) fn has_avx512() -> bool {
    has_avx2()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
}

pub(super) fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

/// Defines a module with the generic algorithms compiled for the instruction set `$features`.
macro_rules! compiled_for {
    ($module:ident, $lanes:ty, $micro_kernel:ty, $features:literal) => {
        mod $module {
            use super::*;
            pub(super) type P = $micro_kernel;

            #[target_feature(enable = $features)]
            pub(super) unsafe fn run_round_input(x: &[f32], cols: usize, rounded: &mut [u16], scales: &mut [f32]) {
                // SAFETY: this function has the features.
                unsafe { int16::round_input::<$lanes>(x, cols, rounded, scales) }
            }

            #[target_feature(enable = $features)]
            pub(super) unsafe fn run_linear(layer: &Linear<'_>, panel: usize, scratch: &mut Panel) {
                // SAFETY: this function has the features; the lengths were checked when the layer was built.
                unsafe { panel::compute::<P>(layer, panel, scratch) }
            }
            #[target_feature(enable = $features)]
            pub(super) unsafe fn run_attention(attention: &Attention<'_>, head: usize, scratch: &mut AttentionScratch) {
                // SAFETY: this function has the features.
                unsafe { attention::head::<$lanes>(attention, head, scratch) }
            }
            #[target_feature(enable = $features)]
            pub(super) unsafe fn run_layer_norm(x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
                // SAFETY: this function has the features.
                unsafe { rowwise::layer_norm::<$lanes>(x, weight, bias, eps) }
            }
            #[target_feature(enable = $features)]
            pub(super) unsafe fn run_rms_norm(x: &mut [f32], weight: &[f32], eps: f32) {
                // SAFETY: this function has the features.
                unsafe { rowwise::rms_norm::<$lanes>(x, weight, eps) }
            }
        }
    };
}

// Tiles are as large as the number of registers allows. An unpacked column block leaves space for tokens in the
// first-level cache.
type Avx512Int16<const VNNI: bool> = Int16MicroKernel<Lanes16<VNNI>, 6, 3, 32>;
type Avx2Int16<const VNNI: bool> = Int16MicroKernel<Lanes8<VNNI>, 2, 1, 24>;
compiled_for!(avx512vnni, Lanes16<true>, Avx512Int16<true>, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma");
compiled_for!(avx512, Lanes16<false>, Avx512Int16<false>, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma");
compiled_for!(avxvnni, Lanes8<true>, Avx2Int16<true>, "avxvnni,avx2,fma");
compiled_for!(avx2, Lanes8<false>, Avx2Int16<false>, "avx2,fma");

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
#[inline(never)]
unsafe fn unpack_avx512(dtype: DType, packed: &[u8], out: &mut [f32]) {
    dtype.unpack(packed, out);
}

#[target_feature(enable = "avx2,fma")]
#[inline(never)]
unsafe fn unpack_avx2(dtype: DType, packed: &[u8], out: &mut [f32]) {
    dtype.unpack(packed, out);
}

/// Registers of AVX-512. With `VNNI`, multiplying and adding 16-bit integers is one instruction.
#[derive(Clone, Copy)]
pub(super) struct Lanes16<const VNNI: bool>;

// SAFETY: AVX-512 intrinsics; callers have the features, pointers are as the trait requires.
#[allow(clippy::undocumented_unsafe_blocks)] // every function is one intrinsic or a few, all under the note above
unsafe impl<const VNNI: bool> Simd for Lanes16<VNNI> {
    type V = __m512;
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::V {
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::V) {
        unsafe { _mm512_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn round(a: Self::V) -> Self::V {
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    unsafe fn exp2_int(n: Self::V) -> Self::V {
        unsafe {
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        }
    }
    #[inline(always)]
    unsafe fn sum(a: Self::V) -> f32 {
        unsafe { _mm512_reduce_add_ps(a) }
    }
    #[inline(always)]
    unsafe fn sums<const R: usize>(a: [Self::V; R]) -> [f32; R] {
        let [a, b, c, d] = a[..] else { unreachable!("all callers add four registers") };
        // Adds the halves of four registers until one register has the four sums: 14 instructions instead of 4 x 9.
        unsafe {
            let ab = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xEE>(a, b));
            let cd = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xEE>(c, d));
            let v = _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(ab, cd), _mm512_shuffle_f32x4::<0xDD>(ab, cd));
            let v = _mm512_add_ps(v, _mm512_permute_ps::<0b10_11_00_01>(v));
            let v = _mm512_add_ps(v, _mm512_permute_ps::<0b01_00_11_10>(v));
            let mut out = [0.0; R];
            _mm_storeu_ps(out.as_mut_ptr(), _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, v)));
            out
        }
    }
    unsafe fn unpack(dtype: DType, packed: &[u8], out: &mut [f32]) {
        unsafe { unpack_avx512(dtype, packed, out) }
    }
    #[inline(always)]
    unsafe fn prefetch(p: *const f32, n: usize) {
        unsafe { prefetch(p, n) }
    }
    #[inline(always)]
    unsafe fn max_lane(a: Self::V) -> f32 {
        unsafe { _mm512_reduce_max_ps(a) }
    }
}

/// Fetches `n` floats into the cache, see [`Simd::prefetch`].
#[inline(always)]
unsafe fn prefetch(p: *const f32, n: usize) {
    for i in (0..n).step_by(16) {
        // SAFETY: every x86-64 processor has the instruction, which accepts any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.wrapping_add(i).cast()) };
    }
}

/// Registers of AVX2. With `VNNI`, multiplying and adding 16-bit integers is one instruction.
#[derive(Clone, Copy)]
struct Lanes8<const VNNI: bool>;

// SAFETY: AVX2 and FMA intrinsics; callers have the features, pointers are as the trait requires.
#[allow(clippy::undocumented_unsafe_blocks)] // every function is one intrinsic or a few, all under the note above
unsafe impl<const VNNI: bool> Simd for Lanes8<VNNI> {
    type V = __m256;
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::V {
        unsafe { _mm256_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::V) {
        unsafe { _mm256_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn round(a: Self::V) -> Self::V {
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    unsafe fn exp2_int(n: Self::V) -> Self::V {
        unsafe {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        }
    }
    #[inline(always)]
    unsafe fn sum(a: Self::V) -> f32 {
        unsafe {
            let four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
    unsafe fn unpack(dtype: DType, packed: &[u8], out: &mut [f32]) {
        unsafe { unpack_avx2(dtype, packed, out) }
    }
    #[inline(always)]
    unsafe fn prefetch(p: *const f32, n: usize) {
        unsafe { prefetch(p, n) }
    }
    #[inline(always)]
    unsafe fn max_lane(a: Self::V) -> f32 {
        unsafe {
            let four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }
}

/// For each of four rows `i`: `out[i] += x * scales[i] * sum of the lanes of a[i]`.
#[inline(always)]
unsafe fn add_four(a: [__m256i; 4], x: f32, scales: *const f32, out: *mut f32) {
    // SAFETY: callers have AVX2 and FMA; both pointers have four floats.
    unsafe {
        let ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a[0], a[1]), _mm256_unpackhi_epi32(a[0], a[1]));
        let cd = _mm256_add_epi32(_mm256_unpacklo_epi32(a[2], a[3]), _mm256_unpackhi_epi32(a[2], a[3]));
        let v = _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
        let v = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
        let scale = _mm_mul_ps(_mm_set1_ps(x), _mm_loadu_ps(scales));
        _mm_storeu_ps(out, _mm_fmadd_ps(_mm_cvtepi32_ps(v), scale, _mm_loadu_ps(out)));
    }
}

/// 16 signed bytes times `factor / 256`, rounded to the nearest 16-bit integers.
#[inline(always)]
unsafe fn scaled(bytes: *const i8, factor: i16) -> __m256i {
    // SAFETY: callers have AVX2; the pointer has 16 bytes.
    unsafe {
        let shifted = _mm256_slli_epi16::<7>(_mm256_cvtepi8_epi16(_mm_loadu_si128(bytes.cast())));
        _mm256_mulhrs_epi16(shifted, _mm256_set1_epi16(factor)) // (shifted x factor) >> 15, rounded
    }
}

// SAFETY: AVX2 and FMA intrinsics, and AVX-VNNI with `VNNI`; callers have the features, pointers are as the trait
// requires.
#[allow(clippy::undocumented_unsafe_blocks)] // every function is one intrinsic or a few, all under the note above
unsafe impl<const VNNI: bool> Int16Simd for Lanes8<VNNI> {
    type I = __m256i;
    const I16_LANES: usize = 16;

    #[inline(always)]
    unsafe fn zero() -> Self::I {
        unsafe { _mm256_setzero_si256() }
    }
    #[inline(always)]
    unsafe fn load_i16(p: *const i16) -> Self::I {
        unsafe { _mm256_loadu_si256(p.cast()) }
    }
    #[inline(always)]
    unsafe fn madd(acc: Self::I, a: Self::I, b: Self::I) -> Self::I {
        unsafe {
            if VNNI { _mm256_dpwssd_avx_epi32(acc, a, b) } else { _mm256_add_epi32(acc, _mm256_madd_epi16(a, b)) }
        }
    }
    #[inline(always)]
    unsafe fn add_sums(a: [Self::I; 4], x: f32, scales: *const f32, out: *mut f32) {
        unsafe { add_four(a, x, scales, out) }
    }
    #[inline(always)]
    unsafe fn store_rounded(p: *mut i16, x: Self::V, scale: Self::V) {
        unsafe {
            let n = _mm256_cvtps_epi32(_mm256_mul_ps(x, scale));
            let packed = _mm_packs_epi32(_mm256_castsi256_si128(n), _mm256_extracti128_si256::<1>(n));
            _mm_storeu_si128(p.cast(), packed);
        }
    }
    #[inline(always)]
    unsafe fn store_scaled(p: *mut i16, bytes: *const i8, factor: i16) {
        unsafe { _mm256_storeu_si256(p.cast(), scaled(bytes, factor)) }
    }
}

// SAFETY: AVX-512 intrinsics, those of VNNI with `VNNI`; callers have the features, pointers are as the trait requires.
#[allow(clippy::undocumented_unsafe_blocks)] // every function is one intrinsic or a few, all under the note above
unsafe impl<const VNNI: bool> Int16Simd for Lanes16<VNNI> {
    type I = __m512i;
    const I16_LANES: usize = 32;

    #[inline(always)]
    unsafe fn zero() -> Self::I {
        unsafe { _mm512_setzero_si512() }
    }
    #[inline(always)]
    unsafe fn load_i16(p: *const i16) -> Self::I {
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn madd(acc: Self::I, a: Self::I, b: Self::I) -> Self::I {
        unsafe { if VNNI { _mm512_dpwssd_epi32(acc, a, b) } else { _mm512_add_epi32(acc, _mm512_madd_epi16(a, b)) } }
    }
    #[inline(always)]
    unsafe fn add_sums(a: [Self::I; 4], x: f32, scales: *const f32, out: *mut f32) {
        unsafe {
            let mut halves = [_mm256_setzero_si256(); 4];
            for i in 0..4 {
                halves[i] = _mm256_add_epi32(_mm512_castsi512_si256(a[i]), _mm512_extracti64x4_epi64::<1>(a[i]));
            }
            add_four(halves, x, scales, out);
        }
    }
    #[inline(always)]
    unsafe fn store_rounded(p: *mut i16, x: Self::V, scale: Self::V) {
        unsafe { _mm256_storeu_si256(p.cast(), _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(_mm512_mul_ps(x, scale)))) }
    }
    #[inline(always)]
    unsafe fn store_scaled(p: *mut i16, bytes: *const i8, factor: i16) {
        unsafe { _mm256_storeu_si256(p.cast(), scaled(bytes, factor)) }
    }
}
