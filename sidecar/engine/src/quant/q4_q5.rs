//! Q4_0, Q4_1, Q5_0 and Q5_1: blocks of 32 weights of four or five bits under one scale.
//!
//! The last 16 bytes of a block hold four bits of each weight: weight `i` in the lower half of byte `i`, weight
//! `16 + i` in the upper half. The five-bit formats store the fifth bits before these 16 bytes as one 32-bit number, bit
//! `i` for weight `i`. Formats `_0` have quants around zero; formats `_1` add a minimum.
//!
//! | Format | Bytes | Block                                             | Weight                 |
//! |--------|-------|---------------------------------------------------|------------------------|
//! | Q4_0   | 18    | scale `f16`, 16 x 4+4 bits                        | scale x (q - 8)        |
//! | Q4_1   | 20    | scale `f16`, min `f16`, 16 x 4+4 bits             | scale x q + min        |
//! | Q5_0   | 22    | scale `f16`, 32 x 1 bit, 16 x 4+4 bits            | scale x (q - 16)       |
//! | Q5_1   | 24    | scale `f16`, min `f16`, 32 x 1 bit, 16 x 4+4 bits | scale x q + min        |

use super::block::{blocks, f16_at, opaque};

/// Weights in a block of any of these formats.
pub const BLOCK: usize = 32;
/// Bytes of a block of Q4_0.
pub const Q4_0_BYTES: usize = 18;
/// Bytes of a block of Q4_1.
pub const Q4_1_BYTES: usize = 20;
/// Bytes of a block of Q5_0.
pub const Q5_0_BYTES: usize = 22;
/// Bytes of a block of Q5_1.
pub const Q5_1_BYTES: usize = 24;

/// Weights in half a block: in the lower, or in the upper four bits of its last 16 bytes.
const HALF: usize = BLOCK / 2;

/// Unpacks whole blocks of Q4_0.
#[inline(always)]
pub fn unpack_q4_0(packed: &[u8], out: &mut [f32]) {
    let (blocks, out) = blocks::<Q4_0_BYTES, BLOCK>(packed, out);
    for (block, out) in blocks.iter().zip(out) {
        let (scale, quants) = (opaque(f16_at(block, 0)), nibbles(block));
        for i in 0..BLOCK {
            out[i] = scale * f32::from(quants[i] as i8 - 8);
        }
    }
}

/// Unpacks whole blocks of Q4_1.
#[inline(always)]
pub fn unpack_q4_1(packed: &[u8], out: &mut [f32]) {
    let (blocks, out) = blocks::<Q4_1_BYTES, BLOCK>(packed, out);
    for (block, out) in blocks.iter().zip(out) {
        let (scale, min, quants) = (opaque(f16_at(block, 0)), f16_at(block, 2), nibbles(block));
        for i in 0..BLOCK {
            out[i] = scale * f32::from(quants[i]) + min;
        }
    }
}

/// Unpacks whole blocks of Q5_0.
#[inline(always)]
pub fn unpack_q5_0(packed: &[u8], out: &mut [f32]) {
    let (blocks, out) = blocks::<Q5_0_BYTES, BLOCK>(packed, out);
    for (block, out) in blocks.iter().zip(out) {
        let (scale, fifths, quants) = (opaque(f16_at(block, 0)), fifths(block, 2), nibbles(block));
        for i in 0..BLOCK {
            out[i] = scale * (i32::from(quants[i]) + fifth(fifths, i) - 16) as f32;
        }
    }
}

/// Unpacks whole blocks of Q5_1.
#[inline(always)]
pub fn unpack_q5_1(packed: &[u8], out: &mut [f32]) {
    let (blocks, out) = blocks::<Q5_1_BYTES, BLOCK>(packed, out);
    for (block, out) in blocks.iter().zip(out) {
        let (scale, min) = (opaque(f16_at(block, 0)), f16_at(block, 2));
        let (fifths, quants) = (fifths(block, 4), nibbles(block));
        for i in 0..BLOCK {
            out[i] = scale * (i32::from(quants[i]) + fifth(fifths, i)) as f32 + min;
        }
    }
}

/// The lower four bits of each weight, in order.
#[inline(always)]
fn nibbles<const BYTES: usize>(block: &[u8; BYTES]) -> [u8; BLOCK] {
    let pairs: &[u8; HALF] = block.last_chunk().expect("every block has more than 16 bytes");
    let mut quants = [0; BLOCK];
    for i in 0..HALF {
        quants[i] = pairs[i] & 15;
        quants[HALF + i] = pairs[i] >> 4;
    }
    quants
}

/// The fifth bits of all weights, which are stored at byte `at` of the block.
#[inline(always)]
fn fifths<const BYTES: usize>(block: &[u8; BYTES], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// The value of weight `i`'s fifth bit: 16 or 0.
///
/// A comparison with a constant instead of a shift by `i`, because not every instruction set can shift each lane by a
/// different number.
#[inline(always)]
fn fifth(fifths: u32, i: usize) -> i32 {
    if fifths & (1 << i) == 0 { 0 } else { 16 }
}
