//! The vector scan on NEON. The model's arithmetic is that of the portable kernel, which the compiler vectorises with NEON,
//! fused multiply-add included.

use std::arch::aarch64::*;

use super::portable::PORTABLE;
use super::scan::{self, CODE_BLOCK, CODE_POSITION};
use super::table::Kernel;

/// Kernel `neon`. NEON is part of every AArch64 processor.
pub(super) static NEON: Kernel = Kernel {
    name: "neon",
    panel_rows: PORTABLE.panel_rows,
    panel_bytes: PORTABLE.panel_bytes,
    round_input: PORTABLE.round_input,
    linear: PORTABLE.linear,
    attention: PORTABLE.attention,
    layer_norm: PORTABLE.layer_norm,
    rms_norm: PORTABLE.rms_norm,
    dot_i8,
    scan_i8,
    scan_codes,
};

/// [`scan::dot_i8`] on NEON. A product of two bytes fits 16 bits; pairs of products are added to 32-bit sums.
unsafe fn dot_i8(a: &[i8], b: &[i8]) -> i32 {
    let n = a.len().min(b.len());
    let whole = n - n % 16;
    // SAFETY: every AArch64 processor has NEON; `i + 16` is at most `n`.
    let sum = unsafe {
        let mut sum = vdupq_n_s32(0);
        for i in (0..whole).step_by(16) {
            let (x, y) = (vld1q_s8(a.as_ptr().add(i)), vld1q_s8(b.as_ptr().add(i)));
            sum = vpadalq_s16(sum, vmull_s8(vget_low_s8(x), vget_low_s8(y)));
            sum = vpadalq_s16(sum, vmull_high_s8(x, y));
        }
        vaddvq_s32(sum)
    };
    sum + scan::dot_i8(&a[whole..n], &b[whole..n])
}

/// [`scan::scan_i8`] on NEON.
unsafe fn scan_i8(query: &[i8], rows: &[i8], out: &mut [i32]) {
    for (out, row) in out.iter_mut().zip(rows.chunks_exact(query.len().max(1))) {
        // SAFETY: every AArch64 processor has NEON.
        *out = unsafe { dot_i8(query, row) };
    }
}

/// [`scan::scan_codes`] on NEON.
unsafe fn scan_codes(table: &[u8], codes: &[u8], out: &mut [u16]) {
    for (out, block) in out.chunks_exact_mut(CODE_BLOCK).zip(codes.chunks_exact(table.len().max(1))) {
        // SAFETY: every AArch64 processor has NEON; every position has 16 bytes in table and block, `out` has 32 elements.
        unsafe {
            let nibble = vdupq_n_u8(15);
            let mut sums = [vdupq_n_u16(0); 4];
            for i in (0..table.len() / CODE_POSITION * CODE_POSITION).step_by(CODE_POSITION) {
                let (t, c) = (vld1q_u8(table.as_ptr().add(i)), vld1q_u8(block.as_ptr().add(i)));
                let (a, b) = (vqtbl1q_u8(t, vandq_u8(c, nibble)), vqtbl1q_u8(t, vshrq_n_u8::<4>(c)));
                sums[0] = vaddw_u8(sums[0], vget_low_u8(a));
                sums[1] = vaddw_high_u8(sums[1], a);
                sums[2] = vaddw_u8(sums[2], vget_low_u8(b));
                sums[3] = vaddw_high_u8(sums[3], b);
            }
            for (eight, sum) in sums.into_iter().enumerate() {
                vst1q_u16(out.as_mut_ptr().add(eight * 8), sum);
            }
        }
    }
}
