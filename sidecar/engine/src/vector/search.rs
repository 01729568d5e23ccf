//! Exact search: scan the int8 rows, rescore the best with f16.
//!
//! Dead and filtered rows are dropped before the heap, never after, so a narrow filter still fills the answer.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::path::Path;
use std::sync::Arc;

use super::manifest::Manifest;
use super::segment::Segment;
use super::{Bitmap, RowSource, f16_values, normalised, quantise};
use crate::{Error, Result};

/// Rows rescored for each answer asked for. int8 alone keeps 99 % of the true top 10; four times as many candidates
/// leave nothing to chance (measured by the recall test in `tests/store.rs`).
const RESCORE_FACTOR: usize = 4;
/// Rows rescored at least, for small limits.
const RESCORE_SLACK: usize = 16;

/// The vectors of one generation.
#[derive(Debug, Default)]
pub struct Vectors {
    dim: usize,
    parts: Vec<Part>,
}

/// One segment and its dead rows.
#[derive(Clone, Debug)]
pub struct Part {
    /// File name in `vectors/`.
    pub file: String,
    /// The mapped file.
    pub segment: Arc<Segment>,
    /// Rows whose chunk is gone.
    pub dead: Bitmap,
}

impl Vectors {
    /// Opens what `manifest` lists. Segments that `known` already maps are shared, not mapped again.
    pub fn open(dir: &Path, manifest: &Manifest, known: &[Part]) -> Result<Vectors> {
        let dim = manifest.dim as usize;
        let mut parts = Vec::with_capacity(manifest.segments.len());
        for entry in &manifest.segments {
            let path = dir.join(&entry.file);
            let damaged = |problem: &str| Error::IndexDamaged { path: path.clone(), problem: problem.into() };
            if !is_plain_name(&entry.file) {
                return Err(damaged("the manifest names a file outside its directory"));
            }
            let known = known.iter().find(|part| part.file == entry.file).map(|part| part.segment.clone());
            let segment = match known {
                Some(segment) => segment,
                None => Arc::new(Segment::open(&path)?),
            };
            if segment.checksum() != entry.checksum || segment.rows() as u64 != entry.rows || segment.dim() != dim {
                return Err(damaged("is not the file that the manifest means"));
            }
            let mut dead = Bitmap::default();
            for &(first, length) in &entry.dead {
                let end = first.checked_add(length).filter(|&end| end <= entry.rows);
                let end = end.ok_or_else(|| damaged("the manifest marks rows that do not exist"))?;
                (first..end).for_each(|row| dead.insert(row));
            }
            parts.push(Part { file: entry.file.clone(), segment, dead });
        }
        Ok(Vectors { dim, parts })
    }

    /// The segments, for sharing and merging.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Live rows.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.segment.rows() - part.dead.len()).sum()
    }

    /// Whether there is no live row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Segment index and row of a chunk's live vector.
    pub fn locate(&self, chunk_id: u64) -> Option<(usize, usize)> {
        self.parts.iter().enumerate().find_map(|(i, part)| {
            let row = part.segment.row_of(chunk_id)?;
            (!part.dead.contains(row as u64)).then_some((i, row))
        })
    }

    /// Chunk ids of all live rows, segment by segment.
    pub fn chunk_ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.parts.iter().flat_map(|part| {
            (0..part.segment.rows())
                .filter(|&row| !part.dead.contains(row as u64))
                .map(|row| part.segment.chunk_id(row))
        })
    }

    /// The `limit` chunks nearest to `query`, nearest first, with their cosine; ties by chunk id.
    ///
    /// `dot` gets two padded int8 rows of equal length, a multiple of [`super::ROW_ALIGN`]. `allowed` holds the chunk
    /// ids that may answer. Errors: [`Error::Shape`] for another dimension, [`Error::NotFinite`].
    pub fn search(
        &self,
        query: &[f32],
        allowed: Option<&Bitmap>,
        limit: usize,
        dot: impl Fn(&[i8], &[i8]) -> i32,
    ) -> Result<Vec<(u64, f32)>> {
        if self.parts.is_empty() || limit == 0 {
            return Ok(Vec::new());
        }
        if query.len() != self.dim {
            return Err(dimension_error("query vector", self.dim, query.len()));
        }
        let query = normalised(query).ok_or(Error::NotFinite { text_idx: 0 })?;
        let (query_int8, _) = quantise(&query); // the query's own scale changes no order
        let n_candidates = limit.saturating_mul(RESCORE_FACTOR).saturating_add(RESCORE_SLACK);
        let mut heap: BinaryHeap<Candidate> = BinaryHeap::with_capacity(n_candidates.min(self.len()) + 1);
        for (part_idx, part) in self.parts.iter().enumerate() {
            let no_dead = part.dead.is_empty();
            for row in 0..part.segment.rows() {
                if !no_dead && part.dead.contains(row as u64) {
                    continue;
                }
                if allowed.is_some_and(|allowed| !allowed.contains(part.segment.chunk_id(row))) {
                    continue;
                }
                let score = dot(&query_int8, part.segment.int8(row)) as f32 * part.segment.scale(row);
                if heap.len() < n_candidates {
                    heap.push(Candidate { score, part_idx, row });
                } else if heap.peek().is_some_and(|worst| worst.score < score) {
                    heap.pop();
                    heap.push(Candidate { score, part_idx, row });
                }
            }
        }
        let mut found: Vec<(u64, f32)> = heap
            .into_iter()
            .map(|candidate| {
                let segment = &self.parts[candidate.part_idx].segment;
                (segment.chunk_id(candidate.row), cosine(&query, segment.f16_bytes(candidate.row)))
            })
            .collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        found.truncate(limit);
        Ok(found)
    }
}

/// The typed error for a vector of the wrong length.
pub fn dimension_error(name: &str, expected: usize, found: usize) -> Error {
    Error::Shape { name: name.into(), expected: vec![expected], found: vec![found] }
}

/// Cosine of a unit query and a stored row, whose length f16 moved a little from 1.
fn cosine(query: &[f32], row: &[u8]) -> f32 {
    let (mut dot, mut square) = (0f32, 0f32);
    for (q, x) in query.iter().zip(f16_values(row)) {
        dot += q * x;
        square += x * x;
    }
    if square > 0.0 { dot / square.sqrt() } else { 0.0 }
}

fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\\', ':']) && name != ".." && name != "."
}

/// Ordered so that the heap's top is the worst candidate.
struct Candidate {
    score: f32,
    part_idx: usize,
    row: usize,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score)
    }
}
impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Candidate {}
