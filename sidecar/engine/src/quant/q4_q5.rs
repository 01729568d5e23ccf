//! Q4_0, Q4_1, Q5_0 and Q5_1: blocks of 32 weights of four or five bits under one scale.
//!
//! The last 16 bytes of a block hold four bits of each weight: weight `i` in the lower half of byte `i`, weight
//! `16 + i` in the upper half. The five-bit formats keep the fifth bits in front of them as one 32-bit number, bit `i`
//! for weight `i`. `_0` has quants around zero, `_1` counts up from a minimum.
//!
//! | Format | Bytes | Block                                             | Weight                 |
//! |--------|-------|---------------------------------------------------|------------------------|
//! | Q4_0   | 18    | scale `f16`, 16 x 4+4 bits                        | scale x (q - 8)        |
//! | Q4_1   | 20    | scale `f16`, min `f16`, 16 x 4+4 bits             | scale x q + min        |
//! | Q5_0   | 22    | scale `f16`, 32 x 1 bit, 16 x 4+4 bits            | scale x (q - 16)       |
//! | Q5_1   | 24    | scale `f16`, min `f16`, 32 x 1 bit, 16 x 4+4 bits | scale x q + min        |

use super::{alone, half_at};

/// Weights in a block.
const BLOCK: usize = 32;
const HALF: usize = BLOCK / 2;

/// Unpacks whole blocks of 18 bytes.
#[inline(always)]
pub fn unpack_q4_0(packed: &[u8], out: &mut [f32]) {
    let (blocks, out) = super::blocks::<18, BLOCK>(packed, out);
    for (block, out) in blocks.iter().zip(out) {
        let (scale, quants) = (alone(half_at(block, 0)), nibbles(block));
        for i in 0..BLOCK {
            out[i] = scale * f32::from(quants[i] as i8 - 8);
        }
    }
}

/// Unpacks whole blocks of 20 bytes.
#[inline(always)]
pub fn unpack_q4_1(packed: &[u8], out: &mut [f32]) {
    let (blocks, out) = super::blocks::<20, BLOCK>(packed, out);
    for (block, out) in blocks.iter().zip(out) {
        let (scale, min, quants) = (alone(half_at(block, 0)), half_at(block, 2), nibbles(block));
        for i in 0..BLOCK {
            out[i] = scale * f32::from(quants[i]) + min;
        }
    }
}

/// Unpacks whole blocks of 22 bytes.
#[inline(always)]
pub fn unpack_q5_0(packed: &[u8], out: &mut [f32]) {
    let (blocks, out) = super::blocks::<22, BLOCK>(packed, out);
    for (block, out) in blocks.iter().zip(out) {
        let (scale, fifths, quants) = (alone(half_at(block, 0)), fifths(block, 2), nibbles(block));
        for i in 0..BLOCK {
            out[i] = scale * (i32::from(quants[i]) + fifth(fifths, i) - 16) as f32;
        }
    }
}

/// Unpacks whole blocks of 24 bytes.
#[inline(always)]
pub fn unpack_q5_1(packed: &[u8], out: &mut [f32]) {
    let (blocks, out) = super::blocks::<24, BLOCK>(packed, out);
    for (block, out) in blocks.iter().zip(out) {
        let (scale, min) = (alone(half_at(block, 0)), half_at(block, 2));
        let (fifths, quants) = (fifths(block, 4), nibbles(block));
        for i in 0..BLOCK {
            out[i] = scale * (i32::from(quants[i]) + fifth(fifths, i)) as f32 + min;
        }
    }
}

/// The four bits of each weight, in order.
#[inline(always)]
fn nibbles<const BYTES: usize>(block: &[u8; BYTES]) -> [u8; BLOCK] {
    let pairs: &[u8; HALF] = block.last_chunk().expect("every block is longer");
    let mut quants = [0; BLOCK];
    for i in 0..HALF {
        quants[i] = pairs[i] & 15;
        quants[HALF + i] = pairs[i] >> 4;
    }
    quants
}

#[inline(always)]
fn fifths<const BYTES: usize>(block: &[u8; BYTES], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// The fifth bit of weight `i`, worth 16. A comparison with a constant and not a shift by `i`, because not every
/// instruction set can shift each lane by its own number.
#[inline(always)]
fn fifth(fifths: u32, i: usize) -> i32 {
    if fifths & (1 << i) == 0 { 0 } else { 16 }
}
