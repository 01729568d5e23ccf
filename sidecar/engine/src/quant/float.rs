//! F32, F16 and BF16: plain little-endian numbers, one after another.

use super::block::{blocks, f16_to_f32};

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
