//! Softmax attention of one head over one sequence, for a few queries at a time.
//!
//! Scores are stored for one tile of queries only, never for all pairs of tokens.
//! Source: Vaswani et al., Attention Is All You Need, arXiv 1706.03762, equation 1.

use super::buffer::Buffer;
use super::simd::{self, Simd};

/// Queries computed together.
const TILE: usize = 6;
/// How many tokens ahead of the copy keys and values are prefetched.
const AHEAD: usize = 8;

/// Number and width of a model's attention heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Number of query heads.
    pub n: usize,
    /// Number of key and value heads; each serves `n / n_kv` consecutive query heads.
    pub n_kv: usize,
    /// Floats of one head, a multiple of 32.
    pub dim: usize,
    /// Whether a token attends only to itself and the tokens before it.
    pub causal: bool,
}

impl Heads {
    /// Floats of all queries of a token.
    pub fn q_width(&self) -> usize {
        self.n * self.dim
    }

    /// Floats of all keys of a token; its values have as many.
    pub fn kv_width(&self) -> usize {
        self.n_kv * self.dim
    }
}

/// Attention of one sequence, which overwrites the queries with the result: a head only accesses its own columns.
///
/// Shapes: `q` `(tokens, q_width)`; `kv` `(tokens, 2 * kv_width)`, first the keys of all heads, then the values.
pub struct Attention<'a> {
    q: *mut f32,
    kv: &'a [f32],
    tokens: usize,
    heads: Heads,
}

// SAFETY: `q` is the only pointer; heads access disjoint columns of it, and `new` borrows it for 'a.
unsafe impl Sync for Attention<'_> {}

impl<'a> Attention<'a> {
    /// Combines the operands. Panics if a length does not fit, so kernels rely on the lengths.
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

/// A thread's working memory: one head's keys, transposed, and values, and the scores of one tile.
pub struct AttentionScratch {
    keys: Buffer<f32>,
    values: Buffer<f32>,
    scores: Buffer<f32>,
}

impl AttentionScratch {
    /// Memory for sequences of up to `max_tokens` tokens.
    pub fn new(max_tokens: usize, head_dim: usize) -> Self {
        let padded = max_tokens.next_multiple_of(32);
        AttentionScratch {
            keys: Buffer::new(head_dim * padded),
            values: Buffer::new(head_dim * padded),
            scores: Buffer::new(TILE * padded),
        }
    }
}

/// Computes query head number `head`.
#[inline(always)]
pub(super) unsafe fn head<S: Simd>(attention: &Attention<'_>, head: usize, scratch: &mut AttentionScratch) {
    let Heads { n, n_kv, dim: d, causal } = attention.heads;
    let (len, row, q_row) = (attention.tokens, 2 * n_kv * d, n * d);
    let padded = len.next_multiple_of(32); // of two registers of any instruction set
    let k = head / (n / n_kv) * d;
    let v = n_kv * d + k;

    // Copied, because the rows of one head are far apart in `kv`: every tile of queries would fetch them again.
    let (keys, values) = (&mut scratch.keys[..d * padded], &mut scratch.values[..d * len]);
    for (t, (token, values)) in attention.kv.chunks_exact(row).zip(values.chunks_exact_mut(d)).enumerate() {
        if let Some(soon) = attention.kv.get((t + AHEAD) * row + k..) {
            // SAFETY: the caller's processor has the instruction set of `S`.
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
        // Tokens that the last query of the tile attends to.
        let seen = if causal { first + n } else { len };
        let width = seen.next_multiple_of(32);
        let scores = &mut scratch.scores[..TILE * width];
        // SAFETY: the tile's queries exist, in this head's own columns; the buffers have the lengths that are accessed;
        // `width` and `d` are multiples of two registers, and `width` is at most `padded`.
        unsafe {
            // The last tile repeats the last query, so that no second code path is needed.
            let mut queries: [*const f32; TILE] = [attention.q; TILE];
            for (m, query) in queries.iter_mut().enumerate() {
                *query = attention.q.add((first + m).min(len - 1) * q_row + head * d);
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
            // These pointers are made after the last write through `scores`, which would invalidate them.
            let mut exps = [scores.as_ptr(); TILE];
            for (m, row) in exps.iter_mut().enumerate() {
                *row = scores[m * width..][..width].as_ptr();
            }
            for i in (0..d).step_by(2 * S::LANES) {
                let tile = outer::<S>(exps, values.as_ptr().add(i), d, seen);
                for (m, pair) in tile.into_iter().enumerate().take(n) {
                    let at = attention.q.add((first + m) * q_row + head * d + i);
                    let share = S::splat(1.0 / sums[m]);
                    S::store(at, S::mul(pair[0], share));
                    S::store(at.add(S::LANES), S::mul(pair[1], share));
                }
            }
        }
    }
}

/// For each query `m`: the sum over `k` of `a[m][k] * b[k]`, for as many columns of `b` as two registers hold.
#[inline(always)]
unsafe fn outer<S: Simd>(a: [*const f32; TILE], b: *const f32, b_stride: usize, n: usize) -> [[S::V; 2]; TILE] {
    // SAFETY: the caller gives `n` floats at each pointer of `a`, and `n` rows of two registers at `b`.
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

/// Replaces the first `len` scores by the numerators of the softmax over them times `scale`, and the rest of the row by
/// zeros. Returns the sum of the numerators.
#[inline(always)]
unsafe fn exps<S: Simd>(row: &mut [f32], len: usize, scale: f32) -> f32 {
    row[len..].fill(f32::NEG_INFINITY);
    let p = row.as_mut_ptr();
    // SAFETY: the length of the row is a multiple of LANES.
    let sum = unsafe {
        let mut max = S::splat(f32::NEG_INFINITY);
        for i in (0..row.len()).step_by(S::LANES) {
            max = S::max(max, S::load(p.add(i)));
        }
        let (max, scale) = (S::splat(S::max_lane(max)), S::splat(scale));
        let mut sum = S::splat(0.0);
        for i in (0..row.len()).step_by(S::LANES) {
            // Padding becomes e^-87, which is negligible compared with the largest numerator, 1.
            let x = simd::exp::<S>(S::mul(S::sub(S::load(p.add(i)), max), scale));
            sum = S::add(sum, x);
            S::store(p.add(i), x);
        }
        S::sum(sum)
    };
    row[len..].fill(0.0);
    sum
}
