//! The vector scan: many stored rows against one query. Plain Rust, which defines the results for all instruction sets.
//!
//! `dot_i8` and `scan_i8` compute exact inner products of signed bytes. `scan_codes` reads rows of one bit for each value:
//! four bits select one of 16 bytes of a table made from the query, and the selected bytes are added.
//! Source of `scan_codes`: André, Kermarrec, Le Scouarnec, "Cache locality is not enough: high-performance nearest
//! neighbor search with product quantization fast scan", VLDB 2015.

/// Rows in a block of codes.
///
/// A block has `n_positions` x 16 bytes. Byte `b` of a position has four bits of row `b` (low) and of row `b + 16` (high).
pub const CODE_BLOCK: usize = 32;
/// Bytes of a table or of a block for each position, which covers four values.
pub const CODE_POSITION: usize = 16;

/// Inner product of signed bytes; elements beyond the length of the shorter row are ignored.
#[inline(always)]
pub(super) fn dot_i8(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).map(|(a, b)| i32::from(i16::from(*a) * i16::from(*b))).sum()
}

/// `out[i]` = inner product of `query` and row `i` of `rows`; all rows have the length of the query.
#[inline(always)]
pub(super) fn scan_i8(query: &[i8], rows: &[i8], out: &mut [i32]) {
    for (out, row) in out.iter_mut().zip(rows.chunks_exact(query.len())) {
        *out = dot_i8(query, row);
    }
}

/// `out[i]` = sum over the positions of `table[position][bits of row i]`, modulo 2^16.
#[inline(always)]
pub(super) fn scan_codes(table: &[u8], codes: &[u8], out: &mut [u16]) {
    for (out, block) in out.chunks_exact_mut(CODE_BLOCK).zip(codes.chunks_exact(table.len())) {
        out.fill(0);
        let (low, high) = out.split_at_mut(CODE_BLOCK / 2);
        for (table, codes) in table.chunks_exact(CODE_POSITION).zip(block.chunks_exact(CODE_POSITION)) {
            for ((low, high), code) in low.iter_mut().zip(&mut *high).zip(codes) {
                *low = low.wrapping_add(u16::from(table[usize::from(code & 15)]));
                *high = high.wrapping_add(u16::from(table[usize::from(code >> 4)]));
            }
        }
    }
}
