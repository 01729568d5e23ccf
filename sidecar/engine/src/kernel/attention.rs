//! Softmax attention of one head over one sequence, a tile of queries at a time.
//!
//! Source: Vaswani et al., Attention Is All You Need, arXiv 1706.03762, equation 1.

use super::simd::{self, Simd};

/// Queries handled together.
const TILE: usize = 4;

/// Bidirectional attention of one sequence.
///
/// Shapes: `qkv` `(tokens, 3 * hidden)`, the heads side by side within each third; output `(tokens, hidden)`.
pub struct Attention<'a> {
    qkv: &'a [f32],
    out: *mut f32,
    tokens: usize,
    hidden: usize,
    head_dim: usize,
}

// SAFETY: `out` is the only pointer; heads write disjoint columns of it, and it is borrowed for 'a by `new`.
unsafe impl Sync for Attention<'_> {}

impl<'a> Attention<'a> {
    /// Checks every length, so that kernels need not.
    pub fn new(qkv: &'a [f32], out: &'a mut [f32], tokens: usize, heads: usize) -> Self {
        let hidden = out.len() / tokens;
        assert!(out.len() == tokens * hidden && qkv.len() == tokens * 3 * hidden && hidden.is_multiple_of(heads));
        let head_dim = hidden / heads;
        assert!(head_dim.is_multiple_of(32), "checked when the model was opened");
        Attention { qkv, out: out.as_mut_ptr(), tokens, hidden, head_dim }
    }
}

/// A thread's transposed keys and its tile of scores.
pub struct AttentionScratch {
    keys: Vec<f32>,
    scores: Vec<f32>,
}

impl AttentionScratch {
    /// Room for sequences of up to `max_tokens`.
    pub fn new(max_tokens: usize, head_dim: usize) -> Self {
        let padded = max_tokens.next_multiple_of(32);
        AttentionScratch { keys: vec![0.0; head_dim * padded], scores: vec![0.0; TILE * padded] }
    }
}

/// Runs one head.
#[inline(always)]
pub(super) unsafe fn head<S: Simd>(job: &Attention<'_>, head: usize, scratch: &mut AttentionScratch) {
    let (len, d, row) = (job.tokens, job.head_dim, 3 * job.hidden);
    let padded = len.next_multiple_of(32); // of two registers, whatever their width
    let (q, k, v) = (head * d, job.hidden + head * d, 2 * job.hidden + head * d);

    let keys = &mut scratch.keys[..d * padded];
    for (t, token) in job.qkv.chunks_exact(row).enumerate() {
        for (i, x) in token[k..k + d].iter().enumerate() {
            keys[i * padded + t] = *x;
        }
    }
    for padding in keys.chunks_exact_mut(padded) {
        padding[len..].fill(0.0);
    }

    let scores = &mut scratch.scores[..TILE * padded];
    let scale = 1.0 / (d as f32).sqrt();
    for first in (0..len).step_by(TILE) {
        // The last tile repeats its last query, as `linear` does with tokens.
        let queries: [*const f32; TILE] =
            std::array::from_fn(|m| job.qkv[(first + m).min(len - 1) * row + q..][..d].as_ptr());
        let n = TILE.min(len - first);
        // SAFETY: pointers have the lengths asked for; two registers divide `padded` and `d`.
        unsafe {
            for t in (0..padded).step_by(2 * S::LANES) {
                let tile = outer::<S>(queries, keys.as_ptr().add(t), padded, d);
                for (m, pair) in tile.into_iter().enumerate() {
                    let at = scores.as_mut_ptr().add(m * padded + t);
                    S::store(at, S::mul(pair[0], S::splat(scale)));
                    S::store(at.add(S::LANES), S::mul(pair[1], S::splat(scale)));
                }
            }
            for row in scores.chunks_exact_mut(padded).take(n) {
                softmax::<S>(row, len);
            }
            // Taken after the last write through `scores`.
            let probabilities: [*const f32; TILE] = std::array::from_fn(|m| scores[m * padded..][..padded].as_ptr());
            for i in (0..d).step_by(2 * S::LANES) {
                let tile = outer::<S>(probabilities, job.qkv.as_ptr().add(v + i), row, len);
                for (m, pair) in tile.into_iter().enumerate().take(n) {
                    let at = job.out.add((first + m) * job.hidden + head * d + i);
                    S::store(at, pair[0]);
                    S::store(at.add(S::LANES), pair[1]);
                }
            }
        }
    }
}

/// `sum over k of a[m][k] * b[k][..]` for two registers' worth of columns.
#[inline(always)]
unsafe fn outer<S: Simd>(a: [*const f32; TILE], b: *const f32, b_stride: usize, n: usize) -> [[S::V; 2]; TILE] {
    // SAFETY: the caller gives `n` floats behind each `a` and `n` rows of two registers behind `b`.
    unsafe {
        let mut acc = [[S::splat(0.0); 2]; TILE];
        for k in 0..n {
            let b0 = S::load(b.add(k * b_stride));
            let b1 = S::load(b.add(k * b_stride + S::LANES));
            for m in 0..TILE {
                let x = S::splat(*a[m].add(k));
                acc[m][0] = S::mul_add(x, b0, acc[m][0]);
                acc[m][1] = S::mul_add(x, b1, acc[m][1]);
            }
        }
        acc
    }
}

/// Softmax over the first `len` scores; the padding behind them becomes zero.
#[inline(always)]
unsafe fn softmax<S: Simd>(row: &mut [f32], len: usize) {
    row[len..].fill(f32::NEG_INFINITY);
    let p = row.as_mut_ptr();
    // SAFETY: the row's length is a multiple of LANES.
    unsafe {
        let mut max = S::splat(f32::NEG_INFINITY);
        for i in (0..row.len()).step_by(S::LANES) {
            max = S::max(max, S::load(p.add(i)));
        }
        let max = S::splat(S::max_lane(max));
        for i in (0..row.len()).step_by(S::LANES) {
            S::store(p.add(i), simd::exp::<S>(S::sub(S::load(p.add(i)), max)));
        }
        row[len..].fill(0.0);
        let p = row.as_mut_ptr();
        let mut sum = S::splat(0.0);
        for i in (0..row.len()).step_by(S::LANES) {
            sum = S::add(sum, S::load(p.add(i)));
        }
        let scale = S::splat(1.0 / S::sum(sum));
        for i in (0..row.len()).step_by(S::LANES) {
            S::store(p.add(i), S::mul(S::load(p.add(i)), scale));
        }
    }
}
