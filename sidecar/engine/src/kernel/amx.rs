//! AMX-BF16: 16 x 16 outputs per instruction, from weights and activations rounded to bfloat16.
//!
//! A panel is 32 rows of weights, unpacked to bfloat16 in the layout that the tile unit wants: for each 32 columns two
//! tiles of 16 rows, a tile holding 16 pairs of columns by 16 rows. Activations are rounded once per step, not once
//! per panel ([`Kernel::narrow`]). Sums are kept in `f32` over all columns. Attention and the rest are AVX-512.
//!
//! Instructions are written as assembly: the intrinsics are not stable (rust-lang/rust#126622).
//! Source: Intel 64 Architecture Software Developer's Manual, volume 1, chapter 18.

use std::arch::asm;
use std::arch::x86_64::*;
use std::sync::OnceLock;

use super::linear::BLOCK_COLS;
use super::x86::{AVX512, Sixteen, has_avx512};
use super::{Input, Kernel, Linear, Panel};
use crate::quant::DType;
use crate::quant::q8_0;

/// Rows of a tile, and its columns of 32 bits.
const TILE: usize = 16;
/// Columns of weights in one step: a row of a tile has 64 bytes.
const STEP: usize = 32;
/// Rows of weights in a panel, tokens in a block: two tiles each way keep four sums in tiles.
const BLOCK: usize = 2 * TILE;

/// See the module.
pub(super) static AMX: Kernel = Kernel {
    name: "amx",
    panel_rows: BLOCK,
    panel_bytes: |max_cols| BLOCK * max_cols * 2,
    linear: run_linear,
    narrow: Some(run_narrow),
    attention: AVX512.attention,
    layer_norm: AVX512.layer_norm,
    rms_norm: AVX512.rms_norm,
    dot_i8: AVX512.dot_i8,
    scan_i8: AVX512.scan_i8,
    scan_codes: AVX512.scan_codes,
};

/// The processor has the unit, the system saves its state, and this process has asked for it.
pub(super) fn has_amx() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| has_avx512() && is_x86_feature_detected!("avx512bf16") && has_tiles() && permitted())
}

fn has_tiles() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    const OSXSAVE: u32 = 1 << 27;
    /// Tile configuration and tile data are saved on a context switch.
    const SAVED: u32 = 0b11 << 17;
    if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    let features = __cpuid_count(7, 0).edx;
    let saved: u32;
    // SAFETY: OSXSAVE says that XGETBV exists; it reads register 0 and changes nothing else.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") saved, out("edx") _, options(nomem, nostack)) };
    features & AMX_BF16 != 0 && features & AMX_TILE != 0 && saved & SAVED == SAVED
}

/// Linux gives the tile state only to processes that ask, because it makes their signal frames larger.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: asks for a permission; touches no memory.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false // macOS has no such machines; Windows would grant it by itself, which nobody has tried yet
}

/// Eight tiles of 16 rows of 64 bytes: palette 1.
#[repr(C, align(64))]
struct TileConfig([u8; 64]);

static CONFIG: TileConfig = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = 64; // bytes of a row, u16 LE
        bytes[48 + tile] = TILE as u8;
        tile += 1;
    }
    TileConfig(bytes)
};

#[repr(C, align(64))]
struct Sums([[f32; BLOCK]; BLOCK]);

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
unsafe fn run_narrow(x: &[f32], _cols: usize, out: &mut [u16], _scales: &mut [f32]) {
    assert!(x.len() <= out.len() && x.len().is_multiple_of(STEP));
    for i in (0..x.len()).step_by(STEP) {
        // SAFETY: both have `STEP` more at `i`.
        unsafe {
            let words = to_bf16(_mm512_loadu_ps(x.as_ptr().add(i)), _mm512_loadu_ps(x.as_ptr().add(i + TILE)));
            _mm512_storeu_si512(out.as_mut_ptr().add(i).cast(), words);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
unsafe fn run_linear(job: &Linear<'_>, panel: usize, scratch: &mut Panel) {
    let (first, n) = job.panel(panel, BLOCK);
    let Input { words, tokens, cols, .. } = job.input;
    let steps = cols / STEP;
    assert!(words.len() >= tokens.next_multiple_of(BLOCK) * cols, "`Kernel::narrow` ran before");
    let (weights, _) = scratch.parts_mut::<u16>();
    assert!(weights.len() >= steps * 2 * TILE * STEP && cols.is_multiple_of(STEP));
    // SAFETY: this processor has the features; `weights` holds two tiles for each step.
    unsafe { unpack(job, first, n, weights.as_mut_ptr().cast()) };

    let bias = job.bias::<BLOCK>(first, n);
    let mut sums = Sums([[0.0; BLOCK]; BLOCK]);
    // SAFETY: the configuration is valid and 64 bytes long; `tilerelease` follows on every path, as nothing between
    // returns early, and a panic in between only leaves the unit configured.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &CONFIG, options(nostack, readonly)) };
    for token in (0..tokens).step_by(BLOCK) {
        let tokens = BLOCK.min(tokens - token);
        let x = words[token * cols..].as_ptr();
        // SAFETY: `x` has 32 rows of `cols`, padding included; `weights` was filled above.
        unsafe { multiply(x, cols, weights.as_ptr().cast(), steps, tokens > TILE, &mut sums) };
        for (m, row) in sums.0.iter().enumerate().take(tokens) {
            // SAFETY: this processor has AVX-512; `first + n` is within the rows, `token + m` within the tokens.
            unsafe {
                job.finish::<Sixteen<false>>(token + m, (first, n), row, &bias);
            }
        }
    }
    // SAFETY: puts the unit back into its first state, so that a context switch need not save it.
    unsafe { asm!("tilerelease", options(nomem, nostack)) };
}

/// Sums of 32 tokens (16 without `both`) with 32 rows, over all columns.
#[inline(always)]
unsafe fn multiply(x: *const u16, cols: usize, weights: *const u8, steps: usize, both: bool, sums: &mut Sums) {
    let x_stride = cols * 2;
    // SAFETY: reads rows of `x` and tiles of `weights` that the caller vouches for, writes `sums`.
    unsafe {
        if both {
            asm!(
                "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                "2:",
                "tileloadd tmm6, [{w} + {ws}*1]",
                "tileloadd tmm4, [{a} + {xs}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{w} + {ws}*1 + 1024]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{b} + {xs}*1]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {a}, 64", "add {b}, 64", "add {w}, 2048",
                "dec {k}",
                "jnz 2b",
                "tilestored [{c} + {cs}*1], tmm0",
                "tilestored [{c} + {cs}*1 + 64], tmm1",
                "tilestored [{c} + {cs}*1 + 2048], tmm2",
                "tilestored [{c} + {cs}*1 + 2112], tmm3",
                a = inout(reg) x => _, b = inout(reg) x.add(TILE * cols) => _, w = inout(reg) weights => _,
                k = inout(reg) steps => _, xs = in(reg) x_stride, ws = in(reg) 64usize,
                c = in(reg) sums.0.as_mut_ptr(), cs = in(reg) BLOCK * 4,
                options(nostack),
            );
        } else {
            asm!(
                "tilezero tmm0", "tilezero tmm1",
                "2:",
                "tileloadd tmm6, [{w} + {ws}*1]",
                "tileloadd tmm4, [{a} + {xs}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{w} + {ws}*1 + 1024]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "add {a}, 64", "add {w}, 2048",
                "dec {k}",
                "jnz 2b",
                "tilestored [{c} + {cs}*1], tmm0",
                "tilestored [{c} + {cs}*1 + 64], tmm1",
                a = inout(reg) x => _, w = inout(reg) weights => _,
                k = inout(reg) steps => _, xs = in(reg) x_stride, ws = in(reg) 64usize,
                c = in(reg) sums.0.as_mut_ptr(), cs = in(reg) BLOCK * 4,
                options(nostack),
            );
        }
    }
}

/// Rows `first..first + n` into tiles; rows that are not there become zeros.
#[inline(always)]
unsafe fn unpack(job: &Linear<'_>, first: usize, n: usize, tiles: *mut u8) {
    let cols = job.input.cols;
    for half in 0..2 {
        let first = first + half * TILE;
        let n = n.saturating_sub(half * TILE).min(TILE);
        // SAFETY: a tile's 1,024 bytes are in the scratch, two tiles for each step.
        unsafe {
            if job.dtype() == DType::Q8_0 {
                let mut packed: [&[u8]; TILE] = [&[]; TILE];
                for (i, packed) in packed.iter_mut().enumerate().take(n) {
                    *packed = job.packed(first + i, 0..cols);
                }
                for step in 0..cols / STEP {
                    let mut rows = [_mm512_setzero_si512(); TILE];
                    for i in 0..n {
                        let (scale, quants) = q8_0::split(&packed[i][step * q8_0::BLOCK_BYTES..]);
                        let scale = _mm512_set1_ps(scale);
                        let quants = _mm256_loadu_si256(quants.as_ptr().cast());
                        let low = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_castsi256_si128(quants)));
                        let high = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_extracti128_si256::<1>(quants)));
                        rows[i] = to_bf16(_mm512_mul_ps(low, scale), _mm512_mul_ps(high, scale));
                    }
                    store_transposed(rows, tiles.add((step * 2 + half) * TILE * 64));
                }
                continue;
            }
            let mut floats = [[0.0f32; BLOCK_COLS]; TILE];
            for start in (0..cols).step_by(BLOCK_COLS) {
                let block = start..cols.min(start + BLOCK_COLS);
                for (i, floats) in floats.iter_mut().enumerate().take(n) {
                    job.unpack::<Sixteen<false>>(first + i, block.clone(), &mut floats[..block.len()]);
                }
                for step in 0..block.len() / STEP {
                    let mut rows = [_mm512_setzero_si512(); TILE];
                    for i in 0..n {
                        let at = floats[i].as_ptr().add(step * STEP);
                        rows[i] = to_bf16(_mm512_loadu_ps(at), _mm512_loadu_ps(at.add(TILE)));
                    }
                    store_transposed(rows, tiles.add(((start / STEP + step) * 2 + half) * TILE * 64));
                }
            }
        }
    }
}

/// Thirty-two floats, rounded.
#[inline(always)]
unsafe fn to_bf16(low: __m512, high: __m512) -> __m512i {
    // SAFETY: the callers' features; both types are 64 bytes without padding.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)) }
}

/// Sixteen registers of sixteen 32-bit values, columns for rows.
#[inline(always)]
unsafe fn store_transposed(rows: [__m512i; TILE], out: *mut u8) {
    // SAFETY: AVX-512 is there (callers have it); `out` has 1,024 bytes.
    unsafe {
        let zero = _mm512_setzero_si512();
        let (mut pairs, mut fours) = ([zero; TILE], [zero; TILE]);
        for i in 0..8 {
            pairs[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
            pairs[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
        }
        for g in 0..4 {
            let p = &pairs[4 * g..][..4];
            fours[4 * g] = _mm512_unpacklo_epi64(p[0], p[2]);
            fours[4 * g + 1] = _mm512_unpackhi_epi64(p[0], p[2]);
            fours[4 * g + 2] = _mm512_unpacklo_epi64(p[1], p[3]);
            fours[4 * g + 3] = _mm512_unpackhi_epi64(p[1], p[3]);
        }
        // Lane L of fours[4g + j] holds column 4L + j of rows 4g to 4g + 3.
        for j in 0..4 {
            let even_low = _mm512_shuffle_i32x4::<0x88>(fours[j], fours[4 + j]);
            let odd_low = _mm512_shuffle_i32x4::<0xDD>(fours[j], fours[4 + j]);
            let even_high = _mm512_shuffle_i32x4::<0x88>(fours[8 + j], fours[12 + j]);
            let odd_high = _mm512_shuffle_i32x4::<0xDD>(fours[8 + j], fours[12 + j]);
            let lanes = [
                _mm512_shuffle_i32x4::<0x88>(even_low, even_high),
                _mm512_shuffle_i32x4::<0x88>(odd_low, odd_high),
                _mm512_shuffle_i32x4::<0xDD>(even_low, even_high),
                _mm512_shuffle_i32x4::<0xDD>(odd_low, odd_high),
            ];
            for (lane, value) in lanes.into_iter().enumerate() {
                _mm512_storeu_si512(out.add((4 * lane + j) * 64).cast(), value);
            }
        }
    }
}
