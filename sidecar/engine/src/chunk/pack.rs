//! Groups lines into chunks: the cheapest set of cuts under the size cap.
//!
//! Each rule is a price: to split a large definition at its statements, to merge small neighbours, to keep a comment
//! with what it describes, to give a large definition a chunk of its own. A shortest path over the lines finds the
//! least sum. The work is linear: a chunk reaches back over at most [`MAX_LINES`] lines.

use std::ops::Range;

use super::lines::Line;
use super::{ChunkLimits, CutPoint, Scope};

/// What one more chunk costs: the unit of all other prices.
pub(super) const CHUNK: u32 = 100;

/// The price of a cut before a line that belongs to the line above: paid only when the cap demands it.
pub(super) const GLUED: u32 = 150;

/// The price of not cutting before a large definition: more than a chunk costs, less than a tiny chunk.
pub(super) const OWN_CHUNK: u32 = 150;

/// The most that a chunk below `min_bytes` costs in addition; the shorter, the more.
const TINY: u64 = 100;

/// What a chunk costs in addition when it starts inside a definition and goes on beyond its end.
const LEAVES_SCOPE: u64 = 110;

/// What a full chunk costs in addition. It grows with the square of the size, so that two even chunks cost less than a
/// full one and a small rest.
const UNEVEN: u64 = 10;

/// Most lines of a chunk; it bounds the work for each line.
const MAX_LINES: usize = 256;

/// The runs of lines that make up the chunks, in order; together they are all lines.
pub(super) fn pack(
    lines: &[Line],
    cut_points: &[CutPoint],
    scopes: &[Scope],
    limits: &ChunkLimits,
) -> Vec<Range<usize>> {
    let depth = |idx: usize| scopes[cut_points[idx].scope].depth;
    // Entry `end`: the least price of all lines before `end`, and where their last chunk starts.
    let mut best: Vec<(u64, usize)> = Vec::with_capacity(lines.len() + 1);
    best.push((0, 0));
    for end in 1..=lines.len() {
        let mut choice = (u64::MAX, end - 1);
        let mut kept = 0; // the price of the cuts not made inside
        let mut shallowest = u32::MAX; // of the lines after the first
        for start in (end.saturating_sub(MAX_LINES)..end).rev() {
            let n_bytes = lines[end - 1].end - lines[start].start;
            if limits.max_bytes < n_bytes {
                break;
            }
            let leaves = if shallowest < depth(start) { LEAVES_SCOPE } else { 0 };
            let price = best[start].0 + u64::from(cut_points[start].cut) + size_price(n_bytes, limits) + kept + leaves;
            if price <= choice.0 {
                choice = (price, start);
            }
            kept += u64::from(cut_points[start].keep);
            if !cut_points[start].closer {
                shallowest = shallowest.min(depth(start));
            }
        }
        best.push(choice);
    }

    let mut runs = Vec::new();
    let mut end = lines.len();
    while 0 < end {
        let start = best[end].1;
        runs.push(start..end);
        end = start;
    }
    runs.reverse();
    runs
}

fn size_price(n_bytes: usize, limits: &ChunkLimits) -> u64 {
    let (size, max, min) = (n_bytes as u64, limits.max_bytes as u64, limits.min_bytes as u64);
    let tiny = if size < min { TINY * (min - size) / min } else { 0 };
    u64::from(CHUNK) + tiny + UNEVEN * (size * size) / (max * max).max(1)
}
