//! The vector scan of [`scan`] on AVX2 and AVX-512.

use std::arch::x86_64::*;

use super::scan::{self, CODE_BLOCK, CODE_POSITION};

/// Rows multiplied at the same time: enough independent sums, and the query is widened once for all of them.
const TILE: usize = 4;

/// [`scan::dot_i8`] on AVX2. Bytes are widened to 16 bits, so that no product or pair of products can overflow.
///
/// # Safety
/// The processor has AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn dot_i8_avx2(a: &[i8], b: &[i8]) -> i32 {
    let n = a.len().min(b.len());
    let whole = n - n % 16;
    let mut sum = _mm256_setzero_si256();
    for i in (0..whole).step_by(16) {
        // SAFETY: `i + 16` is at most `n`.
        let (x, y) = unsafe { (widened(a.as_ptr().add(i)), widened(b.as_ptr().add(i))) };
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(x, y));
    }
    total(sum) + scan::dot_i8(&a[whole..n], &b[whole..n])
}

/// [`scan::scan_i8`] on AVX2; uses the portable scan unless `query.len()` is a multiple of 16.
///
/// # Safety
/// The processor has AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn scan_i8_avx2(query: &[i8], rows: &[i8], out: &mut [i32]) {
    let stride = query.len();
    if stride == 0 || !stride.is_multiple_of(16) {
        return scan::scan_i8(query, rows, out);
    }
    let mut tiles = out.chunks_exact_mut(TILE);
    let mut rows = rows.chunks_exact(stride * TILE);
    for (out, rows) in (&mut tiles).zip(&mut rows) {
        let p = rows.as_ptr();
        let mut sums = [_mm256_setzero_si256(); TILE];
        for i in (0..stride).step_by(16) {
            // SAFETY: the tile is `TILE` rows of `stride` bytes, and `i + 16 <= stride`.
            unsafe {
                let q = widened(query.as_ptr().add(i));
                for (r, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(q, widened(p.add(r * stride + i))));
                }
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = total(sum);
        }
    }
    scan::scan_i8(query, rows.remainder(), tiles.into_remainder());
}

/// Loads 16 signed bytes as 16-bit integers.
///
/// # Safety
/// 16 bytes are readable at `p`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn widened(p: *const i8) -> __m256i {
    // SAFETY: the caller promises 16 bytes.
    _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(p.cast()) })
}

/// Sum of the eight 32-bit lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn total(v: __m256i) -> i32 {
    let four = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
    let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two)))
}

/// [`scan::scan_codes`] on AVX2.
///
/// Computes two positions at a time, one in each half of a register. Pairs of bytes are added as 16-bit integers: `all`
/// sums the even byte plus 256 times the odd one, `odd` sums the odd byte, and the difference at the end is exact modulo
/// 2^16.
///
/// # Safety
/// The processor has AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn scan_codes_avx2(table: &[u8], codes: &[u8], out: &mut [u16]) {
    if table.is_empty() || !table.len().is_multiple_of(2 * CODE_POSITION) {
        return scan::scan_codes(table, codes, out);
    }
    let nibble = _mm256_set1_epi8(15);
    for (out, block) in out.chunks_exact_mut(CODE_BLOCK).zip(codes.chunks_exact(table.len())) {
        let zero = _mm256_setzero_si256();
        let (mut low, mut low_odd, mut high, mut high_odd) = (zero, zero, zero, zero);
        for i in (0..table.len()).step_by(2 * CODE_POSITION) {
            // SAFETY: both are `table.len()` bytes long, a multiple of 32.
            let (t, c) = unsafe {
                (_mm256_loadu_si256(table.as_ptr().add(i).cast()), _mm256_loadu_si256(block.as_ptr().add(i).cast()))
            };
            let a = _mm256_shuffle_epi8(t, _mm256_and_si256(c, nibble));
            let b = _mm256_shuffle_epi8(t, _mm256_and_si256(_mm256_srli_epi16::<4>(c), nibble));
            low = _mm256_add_epi16(low, a);
            low_odd = _mm256_add_epi16(low_odd, _mm256_srli_epi16::<8>(a));
            high = _mm256_add_epi16(high, b);
            high_odd = _mm256_add_epi16(high_odd, _mm256_srli_epi16::<8>(b));
        }
        for (half, (all, odd)) in [(low, low_odd), (high, high_odd)].into_iter().enumerate() {
            let odd = folded(odd);
            let even = _mm_sub_epi16(folded(all), _mm_slli_epi16::<8>(odd));
            let p = out[half * CODE_POSITION..][..CODE_POSITION].as_mut_ptr();
            // SAFETY: 16 elements are writable at `p`.
            unsafe {
                _mm_storeu_si128(p.cast(), _mm_unpacklo_epi16(even, odd));
                _mm_storeu_si128(p.add(8).cast(), _mm_unpackhi_epi16(even, odd));
            }
        }
    }
}

/// Adds the two positions of a register.
#[inline]
#[target_feature(enable = "avx2")]
fn folded(v: __m256i) -> __m128i {
    _mm_add_epi16(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v))
}

/// [`scan::dot_i8`] on AVX-512.
///
/// # Safety
/// The processor has AVX-512 F and BW.
#[target_feature(enable = "avx512f,avx512bw,avx2")]
pub(super) unsafe fn dot_i8_avx512(a: &[i8], b: &[i8]) -> i32 {
    let n = a.len().min(b.len());
    let whole = n - n % 32;
    let mut sum = _mm512_setzero_si512();
    for i in (0..whole).step_by(32) {
        // SAFETY: `i + 32` is at most `n`.
        let (x, y) =
            unsafe { (_mm256_loadu_si256(a.as_ptr().add(i).cast()), _mm256_loadu_si256(b.as_ptr().add(i).cast())) };
        sum = _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_cvtepi8_epi16(x), _mm512_cvtepi8_epi16(y)));
    }
    _mm512_reduce_add_epi32(sum) + scan::dot_i8(&a[whole..n], &b[whole..n])
}

/// [`scan::scan_i8`] on AVX-512, with VNNI if the processor has it.
///
/// # Safety
/// The processor has AVX-512 F and BW.
#[target_feature(enable = "avx512f,avx512bw,avx2")]
pub(super) unsafe fn scan_i8_avx512(query: &[i8], rows: &[i8], out: &mut [i32]) {
    let stride = query.len();
    if stride != 0 && stride.is_multiple_of(64) && is_x86_feature_detected!("avx512vnni") {
        // SAFETY: VNNI was just detected; the caller has the other features.
        return unsafe { scan_i8_vnni(query, rows, out) };
    }
    for (out, row) in out.iter_mut().zip(rows.chunks_exact(stride.max(1))) {
        // SAFETY: both functions have the same features.
        *out = unsafe { dot_i8_avx512(query, row) };
    }
}

/// [`scan::scan_i8`] on AVX-512 with VNNI.
///
/// VNNI multiplies unsigned with signed bytes. Flipping the top bit of a row's bytes adds 128 to their values; 128 times
/// the sum of the query is subtracted at the end. Sums of four products are 32-bit integers, so nothing saturates.
///
/// # Safety
/// The processor has AVX-512 F, BW and VNNI; `query.len()` is a multiple of 64 and not 0.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2")]
unsafe fn scan_i8_vnni(query: &[i8], rows: &[i8], out: &mut [i32]) {
    let stride = query.len();
    let flip = _mm512_set1_epi8(i8::MIN);
    let bias = 128 * query.iter().map(|&x| i32::from(x)).sum::<i32>();
    for (out, row) in out.iter_mut().zip(rows.chunks_exact(stride)) {
        let mut sum = _mm512_setzero_si512();
        for i in (0..stride).step_by(64) {
            // SAFETY: both are `stride` bytes long, a multiple of 64.
            let (q, x) = unsafe {
                (_mm512_loadu_si512(query.as_ptr().add(i).cast()), _mm512_loadu_si512(row.as_ptr().add(i).cast()))
            };
            sum = _mm512_dpbusd_epi32(sum, _mm512_xor_si512(x, flip), q);
        }
        *out = _mm512_reduce_add_epi32(sum) - bias;
    }
}
