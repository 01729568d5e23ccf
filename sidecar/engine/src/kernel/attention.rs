//! Softmax attention of one head over one sequence, a tile of queries at a time.
//!
//! Scores exist for one tile only, never for all pairs of tokens.
//! Source: Vaswani et al., Attention Is All You Need, arXiv 1706.03762, equation 1.

use super::buffer::Buffer;
use super::simd::{self, Simd};

/// Queries handled together.
const TILE: usize = 6;
/// Tokens between the one that is copied and the one that is fetched.
const AHEAD: usize = 8;

/// The sizes of a model's attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub n: usize,
    /// Heads of keys and values; each serves `n / n_kv` query heads in a row.
    pub n_kv: usize,
    /// Width of each, a multiple of 32.
    pub dim: usize,
    /// A token sees itself and those before it.
    pub causal: bool,
}

impl Heads {
    /// Floats of a token's queries.
    pub fn q_width(&self) -> usize {
        self.n * self.dim
    }

    /// Floats of a token's keys, and of its values.
    pub fn kv_width(&self) -> usize {
        self.n_kv * self.dim
    }
}

/// Attention of one sequence. The queries are overwritten with the result: a head reads and writes its own columns only.
///
/// Shapes: `q` `(tokens, q_width)`; `kv` `(tokens, 2 * kv_width)`, keys then values, the heads side by side in each.
pub struct Attention<'a> {
    q: *mut f32,
    kv: &'a [f32],
    tokens: usize,
    heads: Heads,
}

// SAFETY: `q` is the only pointer; heads use disjoint columns of it, and it is borrowed for 'a by `new`.
unsafe impl Sync for Attention<'_> {}

impl<'a> Attention<'a> {
    /// Checks every length, so that kernels need not.
    pub fn new(q: &'a mut [f32], kv: &'a [f32], heads: Heads) -> Self {
        let tokens = q.len() / heads.q_width();
        assert!(q.len() == tokens * heads.q_width() && kv.len() == tokens * 2 * heads.kv_width());
        assert!(
            heads.dim.is_multiple_of(32) && heads.n.is_multiple_of(heads.n_kv),
            "checked when the model was opened"
        );
        Attention { q: q.as_mut_ptr(), kv, tokens, heads }
    }
}

/// A thread's copy of one head's keys, transposed, and of its values, and its tile of scores.
pub struct AttentionScratch {
    keys: Buffer<f32>,
    values: Buffer<f32>,
    scores: Buffer<f32>,
}

impl AttentionScratch {
    /// Room for sequences of up to `max_tokens`.
    pub fn new(max_tokens: usize, head_dim: usize) -> Self {
        let padded = max_tokens.next_multiple_of(32);
        AttentionScratch {
            keys: Buffer::new(head_dim * padded),
            values: Buffer::new(head_dim * padded),
            scores: Buffer::new(TILE * padded),
        }
    }
}

/// Runs one query head.
#[inline(always)]
pub(super) unsafe fn head<S: Simd>(job: &Attention<'_>, head: usize, scratch: &mut AttentionScratch) {
    let Heads { n, n_kv, dim: d, causal } = job.heads;
    let (len, row, q_row) = (job.tokens, 2 * n_kv * d, n * d);
    let padded = len.next_multiple_of(32); // of two registers, whatever their width
    let k = head / (n / n_kv) * d;
    let v = n_kv * d + k;

    // Side by side, because a head's values in `kv` are far apart: every tile of queries would fetch them anew.
    let (keys, values) = (&mut scratch.keys[..d * padded], &mut scratch.values[..d * len]);
    for (t, (token, values)) in job.kv.chunks_exact(row).zip(values.chunks_exact_mut(d)).enumerate() {
        if let Some(soon) = job.kv.get((t + AHEAD) * row + k..) {
            // SAFETY: this is `S`'s instruction set.
            unsafe {
                S::prefetch(soon.as_ptr(), d);
                S::prefetch(soon.as_ptr().wrapping_add(n_kv * d), d);
            }
        }
        values.copy_from_slice(&token[v..v + d]);
        for (i, x) in token[k..k + d].iter().enumerate() {
            keys[i * padded + t] = *x;
        }
    }
    for padding in keys.chunks_exact_mut(padded) {
        padding[len..].fill(0.0);
    }

    let scale = 1.0 / (d as f32).sqrt();
    for first in (0..len).step_by(TILE) {
        let n = TILE.min(len - first);
        // What the tile's last query sees.
        let seen = if causal { first + n } else { len };
        let width = seen.next_multiple_of(32);
        let scores = &mut scratch.scores[..TILE * width];
        // SAFETY: the tile's queries exist, in this head's own columns; pointers have the lengths asked for; two
        // registers divide `width` and `d`, and `width` is at most `padded`.
        unsafe {
            // The last tile repeats its last query, as `linear` does with tokens.
            let mut queries: [*const f32; TILE] = [job.q; TILE];
            for (m, query) in queries.iter_mut().enumerate() {
                *query = job.q.add((first + m).min(len - 1) * q_row + head * d);
            }
            for t in (0..width).step_by(2 * S::LANES) {
                let tile = outer::<S>(queries, keys.as_ptr().add(t), padded, d);
                for (m, pair) in tile.into_iter().enumerate() {
                    let at = scores.as_mut_ptr().add(m * width + t);
                    S::store(at, pair[0]);
                    S::store(at.add(S::LANES), pair[1]);
                }
            }
            let mut sums = [1.0; TILE];
            for (m, row) in scores.chunks_exact_mut(width).enumerate().take(n) {
                sums[m] = exps::<S>(row, if causal { first + m + 1 } else { len }, scale);
            }
            // Taken after the last write through `scores`.
            let mut exps = [scores.as_ptr(); TILE];
            for (m, row) in exps.iter_mut().enumerate() {
                *row = scores[m * width..][..width].as_ptr();
            }
            for i in (0..d).step_by(2 * S::LANES) {
                let tile = outer::<S>(exps, values.as_ptr().add(i), d, seen);
                for (m, pair) in tile.into_iter().enumerate().take(n) {
                    let at = job.q.add((first + m) * q_row + head * d + i);
                    let share = S::splat(1.0 / sums[m]);
                    S::store(at, S::mul(pair[0], share));
                    S::store(at.add(S::LANES), S::mul(pair[1], share));
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

/// The numerators of a softmax over the first `len` scores times `scale`, and their sum; the padding behind them becomes
/// zero.
#[inline(always)]
unsafe fn exps<S: Simd>(row: &mut [f32], len: usize, scale: f32) -> f32 {
    row[len..].fill(f32::NEG_INFINITY);
    let p = row.as_mut_ptr();
    // SAFETY: the row's length is a multiple of LANES.
    let sum = unsafe {
        let mut max = S::splat(f32::NEG_INFINITY);
        for i in (0..row.len()).step_by(S::LANES) {
            max = S::max(max, S::load(p.add(i)));
        }
        let (max, scale) = (S::splat(S::max_lane(max)), S::splat(scale));
        let mut sum = S::splat(0.0);
        for i in (0..row.len()).step_by(S::LANES) {
            // Of the padding this is e^-87, nothing beside the largest's 1.
            let x = simd::exp::<S>(S::mul(S::sub(S::load(p.add(i)), max), scale));
            sum = S::add(sum, x);
            S::store(p.add(i), x);
        }
        S::sum(sum)
    };
    row[len..].fill(0.0);
    sum
}
