//! Q4_K, Q5_K and Q6_K: super-blocks of 256 weights, whose parts have small integer scales under one `f16`.
//!
//! **Q4_K**, 144 bytes, and **Q5_K**, 176: eight parts of 32 weights, each with a scale and a minimum of six bits;
//! weight = (d x scale) x q - (dmin x min).
//!
//! | Bytes        | Holds                                                                                   |
//! |--------------|-----------------------------------------------------------------------------------------|
//! | 2 + 2        | d and dmin, `f16`                                                                       |
//! | 12           | eight scales and eight minima, see [`Scales`]                                           |
//! | 32           | Q5_K only: bit `p` of byte `i` is the fifth bit of weight `i` of part `p`               |
//! | 4 x 32       | four bits per weight: run `r` has part `2r` in its lower halves, `2r + 1` in the upper  |
//!
//! **Q6_K**, 210 bytes: sixteen parts of 16 weights, each with a scale of eight bits; weight = (d x scale) x (q - 32).
//!
//! | Bytes        | Holds                                                                                   |
//! |--------------|-----------------------------------------------------------------------------------------|
//! | 2 x 64       | lower four bits: of each 128 weights, 0..64 in the lower halves, 64..128 in the upper   |
//! | 2 x 32       | upper two bits: of each 128 weights, `i`, `32 + i`, `64 + i`, `96 + i` in byte `i`      |
//! | 16           | scales, `i8`                                                                            |
//! | 2            | d, `f16`                                                                                |

use super::{alone, half_at};

/// Weights in a super-block.
const BLOCK: usize = 256;
/// Weights that share a scale and a minimum in Q4_K and Q5_K.
const PART: usize = 32;

/// Unpacks whole super-blocks of 144 bytes.
#[inline(always)]
pub fn unpack_q4_k(packed: &[u8], out: &mut [f32]) {
    let (blocks, out) = super::blocks::<144, BLOCK>(packed, out);
    for (block, out) in blocks.iter().zip(out) {
        let parts = Scales::read(block);
        let runs: &[u8; 128] = block.last_chunk().expect("a block is 144 bytes");
        let (runs, out) = (runs.as_chunks::<PART>().0, out.as_chunks_mut::<PART>().0);
        for r in 0..4 {
            let run = &runs[r];
            let (scale, min) = (alone(parts.scales[2 * r]), parts.mins[2 * r]);
            for i in 0..PART {
                out[2 * r][i] = scale * f32::from(run[i] & 15) - min;
            }
            let (scale, min) = (alone(parts.scales[2 * r + 1]), parts.mins[2 * r + 1]);
            for i in 0..PART {
                out[2 * r + 1][i] = scale * f32::from(run[i] >> 4) - min;
            }
        }
    }
}

/// Unpacks whole super-blocks of 176 bytes.
#[inline(always)]
pub fn unpack_q5_k(packed: &[u8], out: &mut [f32]) {
    let (blocks, out) = super::blocks::<176, BLOCK>(packed, out);
    for (block, out) in blocks.iter().zip(out) {
        let parts = Scales::read(block);
        let fifths: &[u8; PART] = block[16..48].try_into().expect("a block is 176 bytes");
        let runs: &[u8; 128] = block.last_chunk().expect("a block is 176 bytes");
        let (runs, out) = (runs.as_chunks::<PART>().0, out.as_chunks_mut::<PART>().0);
        for p in 0..8 {
            let (run, bit) = (&runs[p / 2], 1 << p);
            let (scale, min) = (alone(parts.scales[p]), parts.mins[p]);
            let mut quants = [0; PART];
            for i in 0..PART {
                let low = if p % 2 == 0 { run[i] & 15 } else { run[i] >> 4 };
                let fifth = if fifths[i] & bit == 0 { 0 } else { 16 };
                quants[i] = low + fifth;
            }
            for i in 0..PART {
                out[p][i] = scale * f32::from(quants[i]) - min;
            }
        }
    }
}

/// Unpacks whole super-blocks of 210 bytes.
#[inline(always)]
pub fn unpack_q6_k(packed: &[u8], out: &mut [f32]) {
    let (blocks, out) = super::blocks::<210, BLOCK>(packed, out);
    for (block, out) in blocks.iter().zip(out) {
        let d = alone(half_at(block, 208));
        let packed_scales: &[u8; 16] = block[192..208].try_into().expect("a block is 210 bytes");
        let mut scales = [0.0; 16];
        for i in 0..16 {
            scales[i] = d * f32::from(packed_scales[i] as i8);
        }
        // Two parts at a time, as the bits lie: four runs of lower bits, then two of upper ones.
        let (runs, out) = (block.as_chunks::<32>().0, out.as_chunks_mut::<32>().0);
        for half in 0..2 {
            for quarter in 0..4 {
                let (lower, upper) = (&runs[2 * half + quarter % 2], &runs[4 + half]);
                let pair = 4 * half + quarter;
                let mut quants = [0; 32];
                for i in 0..32 {
                    let low = if quarter < 2 { lower[i] & 15 } else { lower[i] >> 4 };
                    quants[i] = low | (upper[i] >> (2 * quarter) & 3) << 4;
                }
                for i in 0..32 {
                    out[pair][i] = scales[2 * pair + i / 16] * f32::from(quants[i] as i8 - 32);
                }
            }
        }
    }
}

/// The scales and minima of the eight parts of Q4_K and Q5_K, multiplied out.
///
/// Bytes 0..4 hold scales 0..4 in their lower six bits, bytes 4..8 minima 0..4. Of the other four parts, byte `8 + i`
/// holds the lower four bits of scale `4 + i` and, above them, of minimum `4 + i`; their upper two bits are the upper
/// two of bytes `i` and `4 + i`.
struct Scales {
    scales: [f32; 8],
    mins: [f32; 8],
}

impl Scales {
    /// Of a block that begins with d, dmin and the packed scales.
    #[inline(always)]
    fn read<const BYTES: usize>(block: &[u8; BYTES]) -> Scales {
        let d = half_at(block, 0);
        let dmin = half_at(block, 2);
        let mut parts = Scales { scales: [0.0; 8], mins: [0.0; 8] };
        for i in 0..4 {
            let (a, b, c) = (block[4 + i], block[8 + i], block[12 + i]);
            parts.scales[i] = d * f32::from(a & 63);
            parts.mins[i] = dmin * f32::from(b & 63);
            parts.scales[4 + i] = d * f32::from(c & 15 | a >> 6 << 4);
            parts.mins[4 + i] = dmin * f32::from(c >> 4 | b >> 6 << 4);
        }
        parts
    }
}
