//! A navigable small-world graph over the rows of one segment: built by `instant-distance`, searched here.
//!
//! The crate can neither map its graph nor filter, and fixes the beam when it builds. So its links are taken out with a
//! [`flat`] serializer and written as they are, and [`Graph::search`] walks them: greedily down the upper layers, with
//! a beam on the last. With the same beam it finds the same rows as the crate (a test holds it to that).
//!
//! ```text
//! header 64 B: upper layers u32, links 64 u32, upper links 32 u32, zeros 4, sizes of the upper layers 12 x u32 (first: 1)
//! layer 0: 64 x u32 per row, ended by 2^32-1 | layers 1, 2, ...: 32 x u32 for each of their rows
//! ```
//!
//! Layer l is the first `size_l` rows, which is why a segment with a graph has its rows in the crate's order. Row 0 is
//! where every search enters. Source: Malkov, Yashunin, arXiv 1603.09320.

mod build;
mod flat;

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

pub use build::{Built, GraphPlan, build};

use super::bytes::u32_at;

/// Links of a row in layer 0.
const LINKS: usize = 64;
/// Links of a row in a layer above.
const UPPER_LINKS: usize = 32;
/// Length of the header in bytes.
const HEADER: usize = 64;
/// Most layers above layer 0.
const MAX_UPPER: usize = 12;
/// Ends the links of a row that has fewer.
const END: u32 = u32::MAX;

/// Where the layers of a graph lie.
#[derive(Clone, Debug)]
pub struct GraphLayout {
    rows: usize,
    /// Sizes of layers 1, 2, ...
    upper: Vec<usize>,
}

impl GraphLayout {
    /// The layout that `bytes` describe, if they are a graph of `rows` rows.
    pub fn read(bytes: &[u8], rows: usize) -> Option<GraphLayout> {
        let header = bytes.get(..HEADER)?;
        let n_upper = u32_at(header, 0) as usize;
        let shaped = u32_at(header, 4) as usize == LINKS && u32_at(header, 8) as usize == UPPER_LINKS;
        if !shaped || n_upper > MAX_UPPER || rows == 0 {
            return None;
        }
        let upper: Vec<usize> = (0..n_upper).map(|layer| u32_at(header, 16 + layer * 4) as usize).collect();
        let shrinks = upper.iter().try_fold(rows, |below, &size| (0 < size && size <= below).then_some(size)).is_some();
        let layout = GraphLayout { rows, upper };
        (shrinks && layout.len() == Some(bytes.len())).then_some(layout)
    }

    fn len(&self) -> Option<usize> {
        let upper = self.upper.iter().sum::<usize>().checked_mul(UPPER_LINKS * 4)?;
        self.rows.checked_mul(LINKS * 4)?.checked_add(upper)?.checked_add(HEADER)
    }

    fn header(&self) -> [u8; HEADER] {
        let mut header = [0u8; HEADER];
        for (at, value) in [(0, self.upper.len()), (4, LINKS), (8, UPPER_LINKS)] {
            header[at..at + 4].copy_from_slice(&(value as u32).to_le_bytes());
        }
        for (layer, &size) in self.upper.iter().enumerate() {
            header[16 + layer * 4..][..4].copy_from_slice(&(size as u32).to_le_bytes());
        }
        header
    }

    /// The graph in `bytes`, from which this layout was read.
    pub fn over<'a>(&'a self, bytes: &'a [u8]) -> Graph<'a> {
        Graph { layout: self, bytes }
    }
}

/// A mapped graph.
#[derive(Clone, Copy)]
pub struct Graph<'a> {
    layout: &'a GraphLayout,
    bytes: &'a [u8],
}

/// A row that a search met.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Near {
    /// Smaller is nearer.
    pub distance: f32,
    /// The row.
    pub row: u32,
}

impl Eq for Near {}
impl Ord for Near {
    fn cmp(&self, other: &Self) -> Ordering {
        self.distance.total_cmp(&other.distance).then(self.row.cmp(&other.row))
    }
}
impl PartialOrd for Near {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Memory of a search that the next one reuses: a byte for each row, and the queues.
#[derive(Debug, Default)]
pub struct Scratch {
    visited: Vec<u8>,
    round: u8,
    candidates: BinaryHeap<Reverse<Near>>,
    nearest: Vec<Near>,
    next: Vec<u32>,
}

impl Scratch {
    /// The rows found last, nearest first.
    pub fn nearest(&self) -> &[Near] {
        &self.nearest
    }

    /// Forgets which rows were visited. Rounds are numbered, so that the bytes are cleared once in 255.
    fn new_round(&mut self, rows: usize) {
        if self.visited.len() < rows || self.round == u8::MAX {
            self.visited.clear();
            self.visited.resize(rows, 0);
            self.round = 0;
        }
        self.round += 1;
    }

    /// Whether the row is met for the first time; a link to nowhere is not met.
    fn meet(&mut self, row: u32) -> bool {
        let round = self.round;
        self.visited.get_mut(row as usize).is_some_and(|seen| std::mem::replace(seen, round) != round)
    }
}

/// The parameters of one search.
pub struct Walk<D, A, P> {
    /// Rows kept on the last layer (`ef` in the paper): more find more and take longer.
    pub ef: usize,
    /// Rows compared at most.
    pub budget: usize,
    /// Distance of the query and a row.
    pub distance: D,
    /// Rows that may answer; others are only passed through.
    pub accepts: A,
    /// Called with rows that are compared soon.
    pub prefetch: P,
}

impl Graph<'_> {
    /// Finds the `ef` accepted rows nearest to a query, left in `scratch`; `false` when the budget ran out before.
    pub fn search<D, A, P>(&self, walk: &Walk<D, A, P>, scratch: &mut Scratch) -> bool
    where
        D: Fn(u32) -> f32,
        A: Fn(u32) -> bool,
        P: Fn(u32),
    {
        let mut entry = Near { distance: (walk.distance)(0), row: 0 };
        for layer in (1..=self.layout.upper.len()).rev() {
            entry = self.descend(walk, layer, entry, scratch);
        }
        let Walk { ef, budget, .. } = *walk;
        let mut n_compared = 0;
        scratch.new_round(self.layout.rows);
        scratch.candidates.clear();
        scratch.nearest.clear();
        scratch.meet(entry.row);
        scratch.candidates.push(Reverse(entry));
        if (walk.accepts)(entry.row) {
            scratch.nearest.push(entry);
        }
        while let Some(Reverse(candidate)) = scratch.candidates.pop() {
            if scratch.nearest.len() >= ef
                && scratch.nearest.last().is_some_and(|last| candidate.distance > last.distance)
            {
                break;
            }
            // All links first, then all distances: the rows are on their way while the links are read.
            let mut next = std::mem::take(&mut scratch.next);
            next.clear();
            for link in self.links(0, candidate.row) {
                if scratch.meet(link) {
                    (walk.prefetch)(link);
                    next.push(link);
                }
            }
            n_compared += next.len();
            for &row in &next {
                let near = Near { distance: (walk.distance)(row), row };
                let place = scratch.nearest.partition_point(|other| *other < near);
                if place >= ef {
                    continue;
                }
                scratch.candidates.push(Reverse(near));
                if (walk.accepts)(row) {
                    scratch.nearest.insert(place, near);
                }
            }
            scratch.nearest.truncate(ef);
            scratch.next = next;
            if n_compared > budget {
                return false;
            }
        }
        true
    }

    /// The nearest row of an upper layer that greedy steps from `entry` reach.
    fn descend<D, A, P>(&self, walk: &Walk<D, A, P>, layer: usize, entry: Near, scratch: &mut Scratch) -> Near
    where
        D: Fn(u32) -> f32,
        P: Fn(u32),
    {
        // As the crate does it: a queue of candidates with a beam of 1, not a plain walk downhill.
        scratch.new_round(self.layout.rows);
        scratch.candidates.clear();
        scratch.meet(entry.row);
        scratch.candidates.push(Reverse(entry));
        let mut best = entry;
        while let Some(Reverse(candidate)) = scratch.candidates.pop() {
            if candidate.distance > best.distance {
                break;
            }
            for link in self.links(layer, candidate.row) {
                if !scratch.meet(link) {
                    continue;
                }
                let near = Near { distance: (walk.distance)(link), row: link };
                if near < best {
                    best = near;
                    scratch.candidates.push(Reverse(near));
                }
            }
        }
        best
    }

    /// Whether every link leads to a row of its layer.
    pub fn is_sound(&self) -> bool {
        let sizes = std::iter::once(self.layout.rows).chain(self.layout.upper.iter().copied());
        sizes
            .enumerate()
            .all(|(layer, size)| (0..size as u32).all(|row| self.links(layer, row).all(|link| (link as usize) < size)))
    }

    /// The links of a row in a layer; none where the file is damaged.
    fn links(&self, layer: usize, row: u32) -> impl Iterator<Item = u32> + '_ {
        let GraphLayout { rows, upper } = self.layout;
        let (start, size, n_links) = match layer {
            0 => (HEADER, *rows, LINKS),
            _ => {
                let before: usize = upper[..layer - 1].iter().sum();
                (HEADER + rows * LINKS * 4 + before * UPPER_LINKS * 4, upper[layer - 1], UPPER_LINKS)
            }
        };
        let row = row as usize;
        let bytes = if row < size { &self.bytes[start + row * n_links * 4..][..n_links * 4] } else { &[] };
        bytes.chunks_exact(4).map(|link| u32_at(link, 0)).take_while(|&link| link != END)
    }
}
