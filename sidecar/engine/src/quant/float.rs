//! F32, F16 and BF16: plain little-endian numbers, one after another.

/// Little-endian `f32`.
#[inline(always)]
pub fn unpack_f32(packed: &[u8], out: &mut [f32]) {
    let (numbers, out) = super::blocks::<4, 1>(packed, out);
    for (bytes, out) in numbers.iter().zip(out) {
        out[0] = f32::from_le_bytes(*bytes);
    }
}

/// IEEE half precision.
#[inline(always)]
pub fn unpack_f16(packed: &[u8], out: &mut [f32]) {
    let (numbers, out) = super::blocks::<2, 1>(packed, out);
    for (bytes, out) in numbers.iter().zip(out) {
        out[0] = f16_to_f32(u16::from_le_bytes(*bytes));
    }
}

/// bfloat16: the upper half of an `f32`.
#[inline(always)]
pub fn unpack_bf16(packed: &[u8], out: &mut [f32]) {
    let (numbers, out) = super::blocks::<2, 1>(packed, out);
    for (bytes, out) in numbers.iter().zip(out) {
        out[0] = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
    }
}

/// The number that 16 bits of half precision stand for, exactly; a NaN keeps its payload.
///
/// Bit arithmetic without branches, because the `half` crate asks the processor for its features at every call.
#[inline(always)]
pub fn f16_to_f32(bits: u16) -> f32 {
    const EXPONENT: u32 = 0x1f << 23; // of a half, once its mantissa stands where that of an `f32` does
    const REBIAS: u32 = (127 - 15) << 23;
    const SMALLEST_NORMAL: f32 = 1.0 / 16384.0; // 2^-14
    let magnitude = (u32::from(bits) & 0x7fff) << 13;
    let exponent = magnitude & EXPONENT;
    let rebiased = magnitude + REBIAS;
    // Without an exponent there is no implied leading one: put one there and take it away as a number. No operand is a
    // subnormal `f32`, which some processors are slow at.
    let subnormal = (f32::from_bits(rebiased + (1 << 23)) - SMALLEST_NORMAL).to_bits();
    let not_finite = rebiased + REBIAS; // the largest exponent again
    let number = if exponent == EXPONENT { not_finite } else { rebiased };
    let number = if exponent == 0 { subnormal } else { number };
    f32::from_bits(number | (u32::from(bits) & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_is_the_number_it_stands_for() {
        for bits in 0..=u16::MAX {
            let (ours, theirs) = (f16_to_f32(bits), half::f16::from_bits(bits).to_f32());
            // `half` makes every NaN a quiet one.
            let quiet = if theirs.is_nan() { 1 << 22 } else { 0 };
            assert_eq!(ours.to_bits() | quiet, theirs.to_bits(), "{bits:#06x}: {ours} for {theirs}");
        }
    }

    #[test]
    fn every_bfloat_is_the_number_it_stands_for() {
        for bits in 0..=u16::MAX {
            let (mut ours, theirs) = ([0.0], half::bf16::from_bits(bits).to_f32());
            unpack_bf16(&bits.to_le_bytes(), &mut ours);
            let quiet = if theirs.is_nan() { 1 << 22 } else { 0 };
            assert_eq!(ours[0].to_bits() | quiet, theirs.to_bits(), "{bits:#06x}: {} for {theirs}", ours[0]);
        }
    }
}
