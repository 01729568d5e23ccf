//! AVX2 with FMA, and AVX-512, each with and without VNNI: the generic algorithms on eight and sixteen lanes.

use std::arch::x86_64::*;

use super::linear::Product;
use super::simd::Simd;
use super::words::{WordProduct, Words};
use super::{Attention, AttentionScratch, Kernel, Linear, Panel, attention, linear, rowwise, scan_x86, words};
use crate::quant::DType;

/// One table; `$module` has its functions.
macro_rules! table {
    ($static:ident, $name:literal, $module:ident, $dot:ident, $scan:ident) => {
        #[doc = concat!("Kernel `", $name, "`.")]
        pub(super) static $static: Kernel = Kernel {
            name: $name,
            panel_rows: $module::P::ROWS,
            panel_bytes: |_| linear::block_bytes::<$module::P>(),
            narrow: Some($module::run_narrow),
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

table!(AVX512_VNNI, "avx512vnni", avx512vnni, dot_i8_avx512, scan_i8_avx512);
table!(AVX512, "avx512", avx512, dot_i8_avx512, scan_i8_avx512);
table!(AVX_VNNI, "avxvnni", avxvnni, dot_i8_avx2, scan_i8_avx2);
table!(AVX2, "avx2", avx2, dot_i8_avx2, scan_i8_avx2);

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

/// The entry functions of one instruction set: same algorithms, other features.
macro_rules! entries {
    ($module:ident, $token:ty, $product:ty, $features:literal) => {
        mod $module {
            use super::*;
            pub(super) type P = $product;

            #[target_feature(enable = $features)]
            pub(super) unsafe fn run_narrow(x: &[f32], cols: usize, out: &mut [u16], scales: &mut [f32]) {
                // SAFETY: this function has the features.
                unsafe { words::narrow::<$token>(x, cols, out, scales) }
            }

            #[target_feature(enable = $features)]
            pub(super) unsafe fn run_linear(job: &Linear<'_>, panel: usize, scratch: &mut Panel) {
                // SAFETY: this function has the features; the job was checked when it was built.
                unsafe { linear::panel::<P>(job, panel, scratch) }
            }
            #[target_feature(enable = $features)]
            pub(super) unsafe fn run_attention(job: &Attention<'_>, head: usize, scratch: &mut AttentionScratch) {
                // SAFETY: as above.
                unsafe { attention::head::<$token>(job, head, scratch) }
            }
            #[target_feature(enable = $features)]
            pub(super) unsafe fn run_layer_norm(x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
                // SAFETY: as above.
                unsafe { rowwise::layer_norm::<$token>(x, weight, bias, eps) }
            }
            #[target_feature(enable = $features)]
            pub(super) unsafe fn run_rms_norm(x: &mut [f32], weight: &[f32], eps: f32) {
                // SAFETY: as above.
                unsafe { rowwise::rms_norm::<$token>(x, weight, eps) }
            }
        }
    };
}

// Tiles are as large as the registers allow. Panels leave room for tokens in the first-level cache.
type Wide<const VNNI: bool> = WordProduct<Sixteen<VNNI>, 6, 3, 32>;
type Narrow<const VNNI: bool> = WordProduct<Eight<VNNI>, 2, 1, 24>;
entries!(avx512vnni, Sixteen<true>, Wide<true>, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma");
entries!(avx512, Sixteen<false>, Wide<false>, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma");
entries!(avxvnni, Eight<true>, Narrow<true>, "avxvnni,avx2,fma");
entries!(avx2, Eight<false>, Narrow<false>, "avx2,fma");

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

/// With `VNNI`, a product of words and the addition of it are one instruction.
#[derive(Clone, Copy)]
pub(super) struct Sixteen<const VNNI: bool>;

// SAFETY: AVX-512 intrinsics; callers have the features, pointers are the trait's contract.
#[allow(clippy::undocumented_unsafe_blocks)] // one note for the table: every line is one intrinsic
unsafe impl<const VNNI: bool> Simd for Sixteen<VNNI> {
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
        let [a, b, c, d] = a[..] else { unreachable!("nobody asks for another number of sums") };
        // Four registers folded into one: 14 instructions instead of 4 x 9.
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

/// See [`Simd::prefetch`].
#[inline(always)]
unsafe fn prefetch(p: *const f32, n: usize) {
    for i in (0..n).step_by(16) {
        // SAFETY: every such processor has the instruction, which takes any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.wrapping_add(i).cast()) };
    }
}

#[derive(Clone, Copy)]
struct Eight<const VNNI: bool>;

// SAFETY: AVX2 and FMA intrinsics; callers have the features, pointers are the trait's contract.
#[allow(clippy::undocumented_unsafe_blocks)] // as for `Sixteen`
unsafe impl<const VNNI: bool> Simd for Eight<VNNI> {
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

/// `out[i] += x * scales[i] * sum of a[i]'s lanes`, four at a time.
#[inline(always)]
unsafe fn add_four(a: [__m256i; 4], x: f32, scales: *const f32, out: *mut f32) {
    // SAFETY: AVX2 and FMA are there (callers have them); four floats stand at both pointers.
    unsafe {
        let ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a[0], a[1]), _mm256_unpackhi_epi32(a[0], a[1]));
        let cd = _mm256_add_epi32(_mm256_unpacklo_epi32(a[2], a[3]), _mm256_unpackhi_epi32(a[2], a[3]));
        let v = _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
        let v = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
        let scale = _mm_mul_ps(_mm_set1_ps(x), _mm_loadu_ps(scales));
        _mm_storeu_ps(out, _mm_fmadd_ps(_mm_cvtepi32_ps(v), scale, _mm_loadu_ps(out)));
    }
}

/// Sixteen bytes times `factor` / 256.
#[inline(always)]
unsafe fn scaled(bytes: *const i8, factor: i16) -> __m256i {
    // SAFETY: AVX2 is there; sixteen bytes stand at the pointer.
    unsafe {
        let words = _mm256_slli_epi16::<7>(_mm256_cvtepi8_epi16(_mm_loadu_si128(bytes.cast())));
        _mm256_mulhrs_epi16(words, _mm256_set1_epi16(factor)) // (words x factor) >> 15, rounded
    }
}

// SAFETY: AVX2 and FMA intrinsics, and AVX-VNNI with `VNNI`; callers have the features, pointers are the trait's contract.
#[allow(clippy::undocumented_unsafe_blocks)] // as for `Sixteen`
unsafe impl<const VNNI: bool> Words for Eight<VNNI> {
    type I = __m256i;
    const WORDS: usize = 16;

    #[inline(always)]
    unsafe fn zero() -> Self::I {
        unsafe { _mm256_setzero_si256() }
    }
    #[inline(always)]
    unsafe fn load_words(p: *const i16) -> Self::I {
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
            let words = _mm_packs_epi32(_mm256_castsi256_si128(n), _mm256_extracti128_si256::<1>(n));
            _mm_storeu_si128(p.cast(), words);
        }
    }
    #[inline(always)]
    unsafe fn store_scaled(p: *mut i16, bytes: *const i8, factor: i16) {
        unsafe { _mm256_storeu_si256(p.cast(), scaled(bytes, factor)) }
    }
}

// SAFETY: AVX-512 intrinsics, VNNI's with `VNNI`; callers have the features, pointers are the trait's contract.
#[allow(clippy::undocumented_unsafe_blocks)] // as for `Sixteen`
unsafe impl<const VNNI: bool> Words for Sixteen<VNNI> {
    type I = __m512i;
    const WORDS: usize = 32;

    #[inline(always)]
    unsafe fn zero() -> Self::I {
        unsafe { _mm512_setzero_si512() }
    }
    #[inline(always)]
    unsafe fn load_words(p: *const i16) -> Self::I {
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
