//! Vectors on disk and their search.
//!
//! A row is a unit vector stored twice: as int8 with one scale, which scans read, and as f16, which rescoring reads; a
//! large segment also has one bit per value ([`codes`]) and may have a graph ([`graph`]). Rows live in immutable
//! [`segment`] files that are mapped, never rewritten, only unlinked (`write.rs` makes them). Equal vectors are one
//! row; an entry says which chunk has which row. A [`manifest`] names the segments of one generation and the entries
//! that are dead; [`search`] finds the nearest.

pub mod bytes;
pub mod bitmap;
pub mod manifest;
mod layout;
mod format_1;
pub mod segment;
pub mod write;
pub mod codes;
pub mod graph;
pub mod search;

use half::f16;

pub use bitmap::Bitmap;

/// int8 rows are padded with zeros to a multiple of this, so that a kernel needs no tail and no unaligned load.
pub const ROW_ALIGN: usize = 64;

/// Length in bytes of one padded int8 row.
pub fn stride(dim: usize) -> usize {
    dim.next_multiple_of(ROW_ALIGN)
}

/// Encoded rows: a mapped segment, or the rows waiting for the next commit.
pub trait RowSource {
    /// Padded int8 row.
    fn int8(&self, row: usize) -> &[i8];
    /// The value of one int8 step.
    fn scale(&self, row: usize) -> f32;
    /// `dim` little-endian f16 values.
    fn f16_bytes(&self, row: usize) -> &[u8];
}

/// Encoded rows in memory, put since the last commit.
#[derive(Debug, Default)]
pub struct Rows {
    dim: usize,
    ids: Vec<u64>,
    scales: Vec<f32>,
    int8: Vec<i8>,
    f16: Vec<u8>,
}

impl Rows {
    /// No rows yet, for vectors of `dim` values.
    pub fn new(dim: usize) -> Self {
        Rows { dim, ..Rows::default() }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The chunk that this row embeds.
    pub fn chunk_id(&self, row: usize) -> u64 {
        self.ids[row]
    }

    /// Adds `vector` scaled to length 1; `false` when it is not finite or has no length.
    pub fn push(&mut self, chunk_id: u64, vector: &[f32]) -> bool {
        debug_assert_eq!(vector.len(), self.dim);
        let Some(unit) = normalised(vector) else { return false };
        let (int8, scale) = quantise(&unit);
        self.ids.push(chunk_id);
        self.scales.push(scale);
        self.int8.extend_from_slice(&int8);
        self.f16.extend(unit.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()));
        true
    }
}

impl RowSource for Rows {
    fn int8(&self, row: usize) -> &[i8] {
        let stride = stride(self.dim);
        &self.int8[row * stride..][..stride]
    }
    fn scale(&self, row: usize) -> f32 {
        self.scales[row]
    }
    fn f16_bytes(&self, row: usize) -> &[u8] {
        &self.f16[row * self.dim * 2..][..self.dim * 2]
    }
}

/// Scales `vector` to length 1; `None`, and nothing is changed, when it is not finite or has no length.
pub fn normalise(vector: &mut [f32]) -> Option<()> {
    let norm = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    if !norm.is_finite() || norm <= 0.0 {
        return None;
    }
    vector.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
    Some(())
}

/// A copy of `vector` scaled to length 1, as [`normalise`] does.
pub fn normalised(vector: &[f32]) -> Option<Vec<f32>> {
    let mut unit = vector.to_vec();
    normalise(&mut unit).map(|()| unit)
}

/// Padded int8 row and its scale, `max |x| / 127`.
pub fn quantise(vector: &[f32]) -> (Vec<i8>, f32) {
    let max = vector.iter().fold(0f32, |m, x| m.max(x.abs()));
    let scale = max / 127.0;
    let mut row = vec![0i8; stride(vector.len())];
    if scale > 0.0 {
        for (q, x) in row.iter_mut().zip(vector) {
            *q = (x / scale).round().clamp(-127.0, 127.0) as i8;
        }
    }
    (row, scale)
}

/// The values of a row of little-endian f16.
pub fn f16_values(bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
    bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantisation_keeps_the_greatest_value_and_pads_with_zeros() {
        let (row, scale) = quantise(&[0.5, -1.0, 0.25]);
        assert_eq!(row.len(), ROW_ALIGN);
        assert_eq!(&row[..4], &[64, -127, 32, 0]);
        assert!((scale - 1.0 / 127.0).abs() < 1e-9);
    }

    #[test]
    fn rows_refuse_what_has_no_direction() {
        let mut rows = Rows::new(2);
        assert!(!rows.push(1, &[0.0, 0.0]));
        assert!(!rows.push(1, &[f32::NAN, 1.0]));
        assert!(!rows.push(1, &[f32::INFINITY, 1.0]));
        assert!(rows.push(1, &[3.0, 4.0]));
        assert_eq!(rows.len(), 1);
        let values: Vec<f32> = f16_values(rows.f16_bytes(0)).collect();
        assert!((values[0] - 0.6).abs() < 1e-3 && (values[1] - 0.8).abs() < 1e-3);
    }
}
