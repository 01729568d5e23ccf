//! Plain Rust on arrays of eight floats: runs everywhere, and defines the results that other kernels are tested against.

use super::attention::{self, Attention, AttentionScratch};
use super::float32::FloatMicroKernel;
use super::linear::Linear;
use super::panel::{self, MicroKernel, Panel};
use super::simd::Simd;
use super::table::Kernel;
use super::{rowwise, scan};
use crate::quant::DType;

/// Kernel `portable`.
pub(super) static PORTABLE: Kernel = Kernel {
    name: "portable",
    panel_rows: P::ROWS,
    panel_bytes: |_| panel::block_bytes::<P>(),
    round_input: None,
    linear: run_linear,
    attention: run_attention,
    layer_norm: run_layer_norm,
    rms_norm: run_rms_norm,
    dot_i8: run_dot_i8,
    scan_i8: run_scan_i8,
    scan_codes: run_scan_codes,
};

type P = FloatMicroKernel<Lanes8, 4, 2>;

unsafe fn run_linear(layer: &Linear<'_>, panel: usize, scratch: &mut Panel) {
    // SAFETY: `Lanes8` needs no features.
    unsafe { panel::compute::<P>(layer, panel, scratch) }
}

unsafe fn run_attention(attention: &Attention<'_>, head: usize, scratch: &mut AttentionScratch) {
    // SAFETY: `Lanes8` needs no features.
    unsafe { attention::head::<Lanes8>(attention, head, scratch) }
}

unsafe fn run_layer_norm(x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
    // SAFETY: `Lanes8` needs no features.
    unsafe { rowwise::layer_norm::<Lanes8>(x, weight, bias, eps) }
}

unsafe fn run_rms_norm(x: &mut [f32], weight: &[f32], eps: f32) {
    // SAFETY: `Lanes8` needs no features.
    unsafe { rowwise::rms_norm::<Lanes8>(x, weight, eps) }
}

unsafe fn run_dot_i8(a: &[i8], b: &[i8]) -> i32 {
    scan::dot_i8(a, b)
}

unsafe fn run_scan_i8(query: &[i8], rows: &[i8], out: &mut [i32]) {
    scan::scan_i8(query, rows, out);
}

unsafe fn run_scan_codes(table: &[u8], codes: &[u8], out: &mut [u16]) {
    scan::scan_codes(table, codes, out);
}

/// Registers of eight floats, as arrays.
#[derive(Clone, Copy)]
struct Lanes8;

#[inline(always)]
fn zip(a: [f32; 8], b: [f32; 8], f: impl Fn(f32, f32) -> f32) -> [f32; 8] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

// SAFETY: plain Rust; the pointer contracts are the trait's.
unsafe impl Simd for Lanes8 {
    type V = [f32; 8];
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; 8]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::V {
        // SAFETY: eight floats are readable (trait contract).
        unsafe { p.cast::<[f32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::V) {
        // SAFETY: eight floats are writable (trait contract).
        unsafe { p.cast::<[f32; 8]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        if cfg!(target_arch = "aarch64") {
            return std::array::from_fn(|i| a[i].mul_add(b[i], c[i])); // one instruction on every AArch64 processor
        }
        // On other targets `f32::mul_add` may be a slow library call.
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn round(a: Self::V) -> Self::V {
        a.map(|a| {
            let shift = 12_582_912.0; // 1.5 x 2^23: a sum of this size has no fraction bits
            (a + shift) - shift
        })
    }
    #[inline(always)]
    unsafe fn exp2_int(n: Self::V) -> Self::V {
        n.map(|n| f32::from_bits(((n as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn sum(a: Self::V) -> f32 {
        ((a[0] + a[4]) + (a[1] + a[5])) + ((a[2] + a[6]) + (a[3] + a[7]))
    }
    #[inline(never)]
    unsafe fn unpack(dtype: DType, packed: &[u8], out: &mut [f32]) {
        dtype.unpack(packed, out);
    }
    #[inline(always)]
    unsafe fn max_lane(a: Self::V) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}
