//! F32, F16 and BF16: plain little-endian numbers, one after another.

use half::{bf16, f16};

/// Little-endian `f32`.
pub fn unpack_f32(row: &[u8], out: &mut [f32]) {
    for (bytes, x) in row.chunks_exact(4).zip(out) {
        *x = f32::from_le_bytes(bytes.try_into().expect("chunks of four bytes"));
    }
}

/// IEEE half precision.
pub fn unpack_f16(row: &[u8], out: &mut [f32]) {
    for (bytes, x) in row.chunks_exact(2).zip(out) {
        *x = f16::from_le_bytes(bytes.try_into().expect("chunks of two bytes")).to_f32();
    }
}

/// bfloat16: the upper half of an `f32`.
pub fn unpack_bf16(row: &[u8], out: &mut [f32]) {
    for (bytes, x) in row.chunks_exact(2).zip(out) {
        *x = bf16::from_le_bytes(bytes.try_into().expect("chunks of two bytes")).to_f32();
    }
}
