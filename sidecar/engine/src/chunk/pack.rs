//! Lines into chunks: the cheapest set of cuts under the size cap.
//!
//! Splitting a large definition at its statements, merging small neighbours, keeping a comment with what it
//! describes and a large definition by itself are all prices here, and a shortest path over the lines finds the
//! best sum. The work is linear: a chunk reaches back over at most [`MAX_LINES`] lines.

use std::ops::Range;

use super::lines::Line;
use super::{ChunkLimits, Outline};

/// What one more chunk costs: the unit of all other prices.
pub(super) const CHUNK: u32 = 100;

/// The price of a cut before a line that belongs to the line above: paid only when the cap demands it.
pub(super) const GLUED: u32 = 150;

/// The price of not cutting before a large definition: worth a chunk, but not a tiny one.
pub(super) const OWN_CHUNK: u32 = 150;

/// Up to this much more for a chunk below `min_bytes`, the shorter the dearer.
const TINY: u64 = 100;

/// For a chunk that starts inside a definition and goes on beyond its end.
const LEAVES_SCOPE: u64 = 110;

/// Up to this much for a full chunk, with the square of its size: even parts beat a full one and a rest.
const UNEVEN: u64 = 10;

/// More short lines than this never share a chunk.
const MAX_LINES: usize = 256;

/// The runs of lines that make up the chunks, in order; together they are all lines.
pub(super) fn pack(lines: &[Line], outline: &Outline, limits: &ChunkLimits) -> Vec<Range<usize>> {
    let places = &outline.places;
    let depth = |idx: usize| outline.scopes[places[idx].scope].depth;
    // Entry `end` is about the lines before `end`: the least price, and where the last chunk starts.
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
            let price = best[start].0 + u64::from(places[start].cut) + size_price(n_bytes, limits) + kept + leaves;
            if price <= choice.0 {
                choice = (price, start);
            }
            kept += u64::from(places[start].keep);
            if !places[start].closer {
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
