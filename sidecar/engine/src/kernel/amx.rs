//! AMX-BF16: one instruction computes 16 x 16 sums of products, from weights and inputs rounded to bfloat16.
//!
//! A panel is 32 rows of weights, unpacked to bfloat16 in the layout of tile registers: for each 32 columns two tiles of 16
//! rows, each with 16 pairs of columns by 16 rows. The input is rounded once for all panels ([`Kernel::round_input`]).
//! Sums are `f32` and stay in tile registers over all columns. Everything else is that of the AVX-512 kernel.
//!
//! The instructions are inline assembly, because the intrinsics are not stable (rust-lang/rust#126622).
//! Source: Intel 64 Architecture Software Developer's Manual, volume 1, chapter 18.

use std::arch::asm;
use std::arch::x86_64::*;
use std::sync::OnceLock;

use super::linear::{BLOCK_COLS, Input, Linear};
use super::panel::Panel;
use super::table::Kernel;
use super::x86::{AVX512, Lanes16, has_avx512};
use crate::quant::DType;
use crate::quant::q8_0;

/// Rows of a tile register, and its columns of 32 bits.
const TILE: usize = 16;
/// Columns of weights in one step of the inner loop: a row of a tile register has 64 bytes.
const STEP: usize = 32;
/// Rows of weights in a panel, and tokens computed together: 2 x 2 tile registers of sums.
const BLOCK: usize = 2 * TILE;

/// Kernel `amx`.
pub(super) static AMX: Kernel = Kernel {
    name: "amx",
    panel_rows: BLOCK,
    panel_bytes: |max_cols| BLOCK * max_cols * 2,
    linear: run_linear,
    round_input: Some(run_round_input),
    attention: AVX512.attention,
    layer_norm: AVX512.layer_norm,
    rms_norm: AVX512.rms_norm,
    dot_i8: AVX512.dot_i8,
    scan_i8: AVX512.scan_i8,
    scan_codes: AVX512.scan_codes,
};

/// Whether the processor has AMX, the operating system saves its state, and this process has permission to use it.
pub(super) fn has_amx() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| has_avx512() && is_x86_feature_detected!("avx512bf16") && has_tiles() && permitted())
}

/// Whether the processor has AMX-BF16 and the operating system saves tile registers on a context switch.
fn has_tiles() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    const OSXSAVE: u32 = 1 << 27;
    /// Bits of tile configuration and tile data in the mask of saved state.
    const SAVED: u32 = 0b11 << 17;
    if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    let features = __cpuid_count(7, 0).edx;
    let saved: u32;
    // SAFETY: the OSXSAVE bit means that XGETBV exists; it reads register 0 and has no side effects.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") saved, out("edx") _, options(nomem, nostack)) };
    features & AMX_BF16 != 0 && features & AMX_TILE != 0 && saved & SAVED == SAVED
}

/// Requests permission to use tile registers. Linux grants them only on request, because they enlarge signal frames.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call requests a permission and accesses no memory.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false // no Mac has AMX; Windows needs no permission, but this kernel has never been tested there
}

/// Configuration of the tile registers: palette 1, eight tiles of 16 rows of 64 bytes.
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

/// Sums of 32 tokens by 32 rows.
#[repr(C, align(64))]
struct Sums([[f32; BLOCK]; BLOCK]);

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
unsafe fn run_round_input(x: &[f32], _cols: usize, rounded: &mut [u16], _scales: &mut [f32]) {
    assert!(x.len() <= rounded.len() && x.len().is_multiple_of(STEP));
    for i in (0..x.len()).step_by(STEP) {
        // SAFETY: both slices have `STEP` elements from `i`.
        unsafe {
            let bf16 = to_bf16(_mm512_loadu_ps(x.as_ptr().add(i)), _mm512_loadu_ps(x.as_ptr().add(i + TILE)));
            _mm512_storeu_si512(rounded.as_mut_ptr().add(i).cast(), bf16);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
unsafe fn run_linear(layer: &Linear<'_>, panel: usize, scratch: &mut Panel) {
    let (first, n) = layer.panel(panel, BLOCK);
    let Input { rounded, tokens, cols, .. } = layer.input;
    let steps = cols / STEP;
    assert!(rounded.len() >= tokens.next_multiple_of(BLOCK) * cols, "the input was rounded by `Kernel::round_input`");
    let (weights, _) = scratch.parts_mut::<u16>();
    assert!(weights.len() >= steps * 2 * TILE * STEP && cols.is_multiple_of(STEP));
    // SAFETY: this function has the features; `weights` has two tiles for each step.
    unsafe { unpack(layer, first, n, weights.as_mut_ptr().cast()) };

    let bias = layer.bias::<BLOCK>(first, n);
    let mut sums = Sums([[0.0; BLOCK]; BLOCK]);
    // SAFETY: the configuration is valid and 64 bytes long; `tilerelease` follows, as nothing in between returns early. A
    // panic in between only leaves the tile registers configured.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &CONFIG, options(nostack, readonly)) };
    for token in (0..tokens).step_by(BLOCK) {
        let tokens = BLOCK.min(tokens - token);
        let x = rounded[token * cols..].as_ptr();
        // SAFETY: `x` has 32 rows of `cols` including padding; `weights` was filled above.
        unsafe { multiply(x, cols, weights.as_ptr().cast(), steps, tokens > TILE, &mut sums) };
        for (m, row) in sums.0.iter().enumerate().take(tokens) {
            // SAFETY: this function has AVX-512; the rows up to `first + n` and the token `token + m` exist.
            unsafe {
                layer.finish::<Lanes16<false>>(token + m, (first, n), row, &bias);
            }
        }
    }
    // SAFETY: resets the tile registers, so that context switches need not save them.
    unsafe { asm!("tilerelease", options(nomem, nostack)) };
}

/// Computes the sums of 32 tokens (16 unless `both`) by 32 rows over all columns.
#[inline(always)]
unsafe fn multiply(x: *const u16, cols: usize, weights: *const u8, steps: usize, both: bool, sums: &mut Sums) {
    let x_stride = cols * 2;
    // SAFETY: reads the rows of `x` and tiles of `weights` that the caller guarantees, and writes `sums`.
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

/// Unpacks the rows `first..first + n` into tiles; the other rows of the panel become zeros.
#[inline(always)]
unsafe fn unpack(layer: &Linear<'_>, first: usize, n: usize, tiles: *mut u8) {
    let cols = layer.input.cols;
    for half in 0..2 {
        let first = first + half * TILE;
        let n = n.saturating_sub(half * TILE).min(TILE);
        // SAFETY: `tiles` has two tiles of 1,024 bytes for each step.
        unsafe {
            if layer.dtype() == DType::Q8_0 {
                let mut packed: [&[u8]; TILE] = [&[]; TILE];
                for (i, packed) in packed.iter_mut().enumerate().take(n) {
                    *packed = layer.packed(first + i, 0..cols);
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
                    layer.unpack::<Lanes16<false>>(first + i, block.clone(), &mut floats[..block.len()]);
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

/// Rounds 32 floats to bfloat16.
#[inline(always)]
unsafe fn to_bf16(low: __m512, high: __m512) -> __m512i {
    // SAFETY: callers have AVX-512 BF16; both types are 64 bytes without padding.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)) }
}

/// Stores the transpose of a 16 x 16 matrix of 32-bit values, given as one register for each row.
#[inline(always)]
unsafe fn store_transposed(rows: [__m512i; TILE], out: *mut u8) {
    // SAFETY: callers have AVX-512; `out` has 1,024 bytes.
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
