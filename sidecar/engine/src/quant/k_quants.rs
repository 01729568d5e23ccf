//! Q4_K, Q5_K and Q6_K: super-blocks of 256 weights. A super-block has an `f16` scale, and each of its sub-blocks a
//! small integer scale that is multiplied with it.
//!
//! **Q4_K**, 144 bytes, and **Q5_K**, 176: eight sub-blocks of 32 weights, each with a scale and a minimum of six bits;
//! weight = (d x scale) x q - (dmin x min).
//!
//! | Bytes        | Holds                                                                                   |
//! |--------------|-----------------------------------------------------------------------------------------|
//! | 2 + 2        | d and dmin, `f16`                                                                       |
//! | 12           | eight scales and eight minima, see [`Scales`]                                           |
//! | 32           | Q5_K only: bit `s` of byte `i` is the fifth bit of weight `i` of sub-block `s`          |
//! | 4 x 32       | four bits per weight: 32 bytes `r` hold sub-block `2r` (lower) and `2r + 1` (upper)     |
//!
//! **Q6_K**, 210 bytes: sixteen sub-blocks of 16 weights, each with a scale of eight bits; weight = (d x scale) x (q - 32).
//!
//! | Bytes        | Holds                                                                                   |
//! |--------------|-----------------------------------------------------------------------------------------|
//! | 2 x 64       | lower four bits: of each 128 weights, 0..64 in the lower halves, 64..128 in the upper   |
//! | 2 x 32       | upper two bits: of each 128 weights, `i`, `32 + i`, `64 + i`, `96 + i` in byte `i`      |
//! | 16           | scales, `i8`                                                                            |
//! | 2            | d, `f16`                                                                                |

use super::block::{blocks, f16_at, opaque};

/// Weights in a super-block.
pub const BLOCK: usize = 256;
/// Bytes of a super-block of Q4_K.
pub const Q4_K_BYTES: usize = 144;
/// Bytes of a super-block of Q5_K.
pub const Q5_K_BYTES: usize = 176;
/// Bytes of a super-block of Q6_K.
pub const Q6_K_BYTES: usize = 210;

/// Weights in a sub-block of Q4_K and Q5_K.
const SUB_BLOCK: usize = 32;

/// Unpacks whole super-blocks of Q4_K.
#[inline(always)]
pub fn unpack_q4_k(packed: &[u8], out: &mut [f32]) {
    let (blocks, out) = blocks::<Q4_K_BYTES, BLOCK>(packed, out);
    for (block, out) in blocks.iter().zip(out) {
        let scales = Scales::read(block);
        let chunks: &[u8; 128] = block.last_chunk().expect("a block is 144 bytes");
        let (chunks, out) = (chunks.as_chunks::<SUB_BLOCK>().0, out.as_chunks_mut::<SUB_BLOCK>().0);
        for r in 0..4 {
            let chunk = &chunks[r];
            let (scale, min) = (opaque(scales.scales[2 * r]), scales.mins[2 * r]);
            for i in 0..SUB_BLOCK {
                out[2 * r][i] = scale * f32::from(chunk[i] & 15) - min;
            }
            let (scale, min) = (opaque(scales.scales[2 * r + 1]), scales.mins[2 * r + 1]);
            for i in 0..SUB_BLOCK {
                out[2 * r + 1][i] = scale * f32::from(chunk[i] >> 4) - min;
            }
        }
    }
}

/// Unpacks whole super-blocks of Q5_K.
#[inline(always)]
pub fn unpack_q5_k(packed: &[u8], out: &mut [f32]) {
    let (blocks, out) = blocks::<Q5_K_BYTES, BLOCK>(packed, out);
    for (block, out) in blocks.iter().zip(out) {
        let scales = Scales::read(block);
        let fifths: &[u8; SUB_BLOCK] = block[16..48].try_into().expect("a block is 176 bytes");
        let chunks: &[u8; 128] = block.last_chunk().expect("a block is 176 bytes");
        let (chunks, out) = (chunks.as_chunks::<SUB_BLOCK>().0, out.as_chunks_mut::<SUB_BLOCK>().0);
        for s in 0..8 {
            let (chunk, bit) = (&chunks[s / 2], 1 << s);
            let (scale, min) = (opaque(scales.scales[s]), scales.mins[s]);
            let mut quants = [0; SUB_BLOCK];
            for i in 0..SUB_BLOCK {
                let low = if s % 2 == 0 { chunk[i] & 15 } else { chunk[i] >> 4 };
                let fifth = if fifths[i] & bit == 0 { 0 } else { 16 };
                quants[i] = low + fifth;
            }
            for i in 0..SUB_BLOCK {
                out[s][i] = scale * f32::from(quants[i]) - min;
            }
        }
    }
}

/// Unpacks whole super-blocks of Q6_K.
#[inline(always)]
pub fn unpack_q6_k(packed: &[u8], out: &mut [f32]) {
    let (blocks, out) = blocks::<Q6_K_BYTES, BLOCK>(packed, out);
    for (block, out) in blocks.iter().zip(out) {
        let d = opaque(f16_at(block, 208));
        let packed_scales: &[u8; 16] = block[192..208].try_into().expect("a block is 210 bytes");
        let mut scales = [0.0; 16];
        for i in 0..16 {
            scales[i] = d * f32::from(packed_scales[i] as i8);
        }
        // In the order of storage: two sub-blocks at a time, from four chunks of lower bits, then two of upper bits.
        let (chunks, out) = (block.as_chunks::<32>().0, out.as_chunks_mut::<32>().0);
        for half in 0..2 {
            for quarter in 0..4 {
                let (lower, upper) = (&chunks[2 * half + quarter % 2], &chunks[4 + half]);
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

/// The scales and minima of the eight sub-blocks of a Q4_K or Q5_K super-block, multiplied with d and dmin.
///
/// The 12 packed bytes: bytes 0..4 hold scales 0..4 in their lower six bits, bytes 4..8 hold minima 0..4. Byte `8 + i`
/// holds the lower four bits of scale `4 + i` and, above them, of minimum `4 + i`; the upper two bits of scale `4 + i`
/// are those of byte `i`, and of minimum `4 + i` those of byte `4 + i`.
struct Scales {
    scales: [f32; 8],
    mins: [f32; 8],
}

impl Scales {
    /// Reads them from a block, which begins with d, dmin and the packed scales.
    #[inline(always)]
    fn read<const BYTES: usize>(block: &[u8; BYTES]) -> Scales {
        let d = f16_at(block, 0);
        let dmin = f16_at(block, 2);
        let mut scales = Scales { scales: [0.0; 8], mins: [0.0; 8] };
        for i in 0..4 {
            let (a, b, c) = (block[4 + i], block[8 + i], block[12 + i]);
            scales.scales[i] = d * f32::from(a & 63);
            scales.mins[i] = dmin * f32::from(b & 63);
            scales.scales[4 + i] = d * f32::from(c & 15 | a >> 6 << 4);
            scales.mins[4 + i] = dmin * f32::from(c >> 4 | b >> 6 << 4);
        }
        scales
    }
}
