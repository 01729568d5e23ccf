//! F32, F16 and BF16: plain little-endian numbers, one after another.

use super::block::blocks;

/// Bytes of an F32 number.
pub const F32_BYTES: usize = 4;
/// Bytes of an F16 or BF16 number.
pub const F16_BYTES: usize = 2;

/// Unpacks F32.
#[inline(always)]
pub fn unpack_f32(packed: &[u8], out: &mut [f32]) {
    let (numbers, out) = blocks::<F32_BYTES, 1>(packed, out);
    for (bytes, out) in numbers.iter().zip(out) {
        out[0] = f32::from_le_bytes(*bytes);
    }
}

/// Unpacks F16, IEEE half precision.
#[inline(always)]
pub fn unpack_f16(packed: &[u8], out: &mut [f32]) {
    let (numbers, out) = blocks::<F16_BYTES, 1>(packed, out);
    for (bytes, out) in numbers.iter().zip(out) {
        out[0] = f16_to_f32(u16::from_le_bytes(*bytes));
    }
}

/// Unpacks BF16, whose numbers are the upper 16 bits of an `f32`.
#[inline(always)]
pub fn unpack_bf16(packed: &[u8], out: &mut [f32]) {
    let (numbers, out) = blocks::<F16_BYTES, 1>(packed, out);
    for (bytes, out) in numbers.iter().zip(out) {
        out[0] = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
    }
}

/// Converts IEEE half precision to `f32`, exactly; a NaN keeps its payload.
///
/// Bit arithmetic without branches, because the `half` crate checks the processor's features at every call.
#[inline(always)]
pub fn f16_to_f32(bits: u16) -> f32 {
    const EXPONENT: u32 = 0x1f << 23; // the exponent bits of a half, shifted to where an `f32` has them
    const REBIAS: u32 = (127 - 15) << 23;
    const SMALLEST_NORMAL: f32 = 1.0 / 16384.0; // 2^-14
    let magnitude = (u32::from(bits) & 0x7fff) << 13;
    let exponent = magnitude & EXPONENT;
    let rebiased = magnitude + REBIAS;
    // A subnormal half has no implied leading one: add one by setting the exponent, then subtract its value. No operand
    // is a subnormal `f32`, which is slow on some processors.
    let subnormal = (f32::from_bits(rebiased + (1 << 23)) - SMALLEST_NORMAL).to_bits();
    let not_finite = rebiased + REBIAS; // the largest exponent of an `f32`
    let number = if exponent == EXPONENT { not_finite } else { rebiased };
    let number = if exponent == 0 { subnormal } else { number };
    f32::from_bits(number | (u32::from(bits) & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_f16_converts_exactly() {
        for bits in 0..=u16::MAX {
            let (ours, theirs) = (f16_to_f32(bits), half::f16::from_bits(bits).to_f32());
            // The `half` crate sets the quiet bit of every NaN.
            let quiet = if theirs.is_nan() { 1 << 22 } else { 0 };
            assert_eq!(ours.to_bits() | quiet, theirs.to_bits(), "{bits:#06x}: {ours} for {theirs}");
        }
    }

    #[test]
    fn every_bf16_converts_exactly() {
        for bits in 0..=u16::MAX {
            let (mut ours, theirs) = ([0.0], half::bf16::from_bits(bits).to_f32());
            unpack_bf16(&bits.to_le_bytes(), &mut ours);
            let quiet = if theirs.is_nan() { 1 << 22 } else { 0 };
            assert_eq!(ours[0].to_bits() | quiet, theirs.to_bits(), "{bits:#06x}: {} for {theirs}", ours[0]);
        }
    }
}
