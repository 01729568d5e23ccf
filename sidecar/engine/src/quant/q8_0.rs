//! Q8_0: blocks of 32 weights, an `f16` scale and 32 signed bytes; weight = scale x byte.

use super::block::{blocks, f16_at, opaque};

/// Weights in a block.
pub const BLOCK: usize = 32;
/// Bytes of a block: two for the scale, one for each weight.
pub const BLOCK_BYTES: usize = 34;

/// The scale and the 32 quants of the first block in `block`.
#[inline(always)]
pub fn split(block: &[u8]) -> (f32, &[u8; BLOCK]) {
    let block: &[u8; BLOCK_BYTES] = block.first_chunk().expect("a block is 34 bytes");
    (f16_at(block, 0), block.last_chunk().expect("a block is 34 bytes"))
}

/// Unpacks whole blocks of Q8_0.
#[inline(always)]
pub fn unpack_q8_0(packed: &[u8], out: &mut [f32]) {
    let (blocks, out) = blocks::<BLOCK_BYTES, BLOCK>(packed, out);
    for (block, out) in blocks.iter().zip(out) {
        let (scale, quants) = split(block);
        let scale = opaque(scale);
        for i in 0..BLOCK {
            out[i] = scale * f32::from(quants[i] as i8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacks_extremes_of_quant_and_scale() {
        for scale in [0.0f32, -1.5, 65504.0, 5.960_464_5e-8] {
            let mut block = vec![0u8; BLOCK_BYTES];
            block[..2].copy_from_slice(&half::f16::from_f32(scale).to_le_bytes());
            for (i, q) in [i8::MIN, -1, 0, 1, i8::MAX].into_iter().enumerate() {
                block[2 + i] = q as u8;
            }
            let mut out = [f32::NAN; BLOCK];
            unpack_q8_0(&block, &mut out);
            assert_eq!(out[..5], [-128.0, -1.0, 0.0, 1.0, 127.0].map(|q| q * scale), "scale {scale}");
            assert!(out[5..].iter().all(|x| *x == 0.0));
        }
    }
}
