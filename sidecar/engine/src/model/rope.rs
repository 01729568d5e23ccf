//! Rotary position embedding.

/// Rotary position embedding: rotates pairs of a head's values, half a head apart, by angles proportional to the
/// position.
///
/// Source: Su et al., RoFormer, arXiv 2104.09864; the pairing is GPT-NeoX's.
pub(super) struct Rope {
    /// `(positions, head_dim / 2)`: cosine and sine of each angle.
    table: Vec<(f32, f32)>,
    head_dim: usize,
}

impl Rope {
    /// Computes the angles `position / base^(2i / head_dim)`.
    pub(super) fn new(base: f32, head_dim: usize, max_positions: usize) -> Self {
        let half = head_dim / 2;
        let mut table = Vec::with_capacity(max_positions * half);
        for position in 0..max_positions {
            for i in 0..half {
                let angle = position as f64 / f64::from(base).powf(2.0 * i as f64 / head_dim as f64);
                table.push((angle.cos() as f32, angle.sin() as f32));
            }
        }
        Rope { table, head_dim }
    }

    /// Rotates every head in `heads`, the heads of one token, by the angles of `position`.
    pub(super) fn rotate(&self, heads: &mut [f32], position: usize) {
        let half = self.head_dim / 2;
        let angles = &self.table[position * half..][..half];
        for head in heads.chunks_exact_mut(self.head_dim) {
            let (low, high) = head.split_at_mut(half);
            for ((a, b), (cos, sin)) in low.iter_mut().zip(high).zip(angles) {
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            }
        }
    }
}
