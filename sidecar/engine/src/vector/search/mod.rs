//! The nearest vectors of one generation.
//!
//! Coarse to fine: bits choose rows for int8, int8 chooses rows for f16, f16 orders the answer. A small segment begins
//! at int8, a large one at its codes (`codes.rs`), and one with a sound graph walks that and comes out at int8. Dead
//! and filtered rows are dropped on the way, never after, so a narrow filter still fills the answer.

mod collect;
mod scan;

use std::sync::Arc;
use std::sync::OnceLock;

use half::f16;
use half::slice::HalfFloatSliceExt;

use self::scan::{Job, ScanQuery};
use super::manifest::Manifest;
use super::segment::Segment;
use super::{Bitmap, RowSource, normalised, quantise};
use crate::disk::Folder;
use crate::kernel::Kernel;
use crate::{Error, Result};

/// Rows rescored with f16 for each answer asked for. int8 alone keeps 99 % of the true top 10; four times as many
/// candidates leave nothing to chance (measured by the recall test in `tests/index/store.rs`).
const RESCORE_FACTOR: usize = 4;
/// Rows rescored at least, for small limits.
const RESCORE_SLACK: usize = 16;
/// Rows that codes choose for int8, at least. With 512 of them 0.999 of the ten nearest of a million are found, with
/// 128 0.995 (`bench/NOTES.md`).
const CODE_CANDIDATES: usize = 512;
/// Rows that codes choose for int8 in addition, for each answer asked for.
const CODE_CANDIDATES_PER_HIT: usize = 4;
/// Least beam of a graph search.
const EF: usize = 128;
/// Beam of a graph search for each answer asked for.
const EF_PER_HIT: usize = 2;
/// Least recall of a graph, measured when it was built, with which it is searched.
const SOUND_RECALL: f32 = 0.97;
/// When fewer than one row in this many may answer, the graph is not searched: its walk would meet mostly other rows.
const GRAPH_FILTER: usize = 8;
/// A graph search may compare one row in this many; beyond that it is given up and the segment is scanned.
const GRAPH_BUDGET: usize = 8;
/// When fewer than one row in this many may answer, those are compared one by one.
const FEW_ROWS: usize = 32;
/// Rows of codes that are worth a thread.
const ROWS_PER_THREAD: usize = 1 << 17;
/// How many rows of codes one row of int8 counts as.
const INT8_COST: usize = 8;

/// Entries from which on a graph is built, in the background: the crossover.
///
/// Measured with 384 values on an AMD EPYC (AVX2), one thread, ten answers: at 20 k rows codes take 0.19 ms and the
/// graph with its default beam 0.19, for half a minute of building; at 100 k codes take 0.43 ms and the graph 0.38, for
/// 3 to 5 minutes. From there on a scan grows with the index and the graph hardly does. `bench/NOTES.md` has the table.
pub const GRAPH_ENTRIES: usize = 100_000;

/// How much work a search does. [`Vectors::search`] uses [`Effort::of`]; benches and tests choose.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Beam on a graph (`ef` in the paper).
    pub ef: usize,
    /// Rows that codes choose.
    pub code_candidates: usize,
    /// Threads at most, the caller's included. More than one are started only for large scans.
    pub threads: usize,
    /// Whether graphs are searched.
    pub graphs: bool,
    /// Whether codes are read.
    pub codes: bool,
}

impl Effort {
    /// What `limit` answers need.
    pub fn of(limit: usize) -> Effort {
        Effort {
            ef: limit.saturating_mul(EF_PER_HIT).max(EF),
            code_candidates: limit.saturating_mul(CODE_CANDIDATES_PER_HIT).saturating_add(CODE_CANDIDATES),
            threads: n_processors(),
            graphs: true,
            codes: true,
        }
    }
}

/// The number of processors, read from the system once.
fn n_processors() -> usize {
    static N: OnceLock<usize> = OnceLock::new();
    *N.get_or_init(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

/// The vectors of one generation.
#[derive(Debug, Default)]
pub struct Vectors {
    dim: usize,
    living: usize,
    parts: Vec<Part>,
    /// Rows that may answer where nothing is filtered, part by part; made by the first search.
    accepted: OnceLock<Vec<Accepted>>,
}

/// One segment and its dead entries.
#[derive(Clone, Debug)]
pub struct Part {
    /// File name in `vectors/`.
    pub file: String,
    /// The mapped file.
    pub segment: Arc<Segment>,
    /// Entries whose chunk is gone.
    pub dead: Bitmap,
}

/// Which rows of a segment may answer.
#[derive(Debug)]
enum Accepted {
    All,
    /// The rows in the set, and how many they are.
    Rows(Bitmap, usize),
}

impl Accepted {
    #[inline]
    fn row(&self, row: usize) -> bool {
        match self {
            Accepted::All => true,
            Accepted::Rows(rows, _) => rows.contains(row as u64),
        }
    }
}

impl Part {
    /// Entries that are not dead.
    pub fn living(&self) -> usize {
        self.segment.entries() - self.dead.len()
    }

    fn accepts(&self, entry: usize, allowed: Option<&Bitmap>) -> bool {
        !self.dead.contains(entry as u64)
            && allowed.is_none_or(|allowed| allowed.contains(self.segment.chunk_id(entry)))
    }

    fn accepted(&self, allowed: Option<&Bitmap>) -> Accepted {
        if allowed.is_none() && self.dead.is_empty() {
            return Accepted::All;
        }
        let mut rows = Bitmap::default();
        for entry in (0..self.segment.entries()).filter(|&entry| self.accepts(entry, allowed)) {
            let row = self.segment.row_of(entry);
            if row < self.segment.rows() {
                rows.insert(row as u64);
            }
        }
        let n = rows.len();
        Accepted::Rows(rows, n)
    }
}

impl Vectors {
    /// Opens what `manifest` lists. Segments that `known` already maps are shared, not mapped again.
    pub fn open(folder: &Folder, manifest: &Manifest, known: &[Part]) -> Result<Vectors> {
        let dim = manifest.dim as usize;
        let mut parts = Vec::with_capacity(manifest.segments.len());
        for entry in &manifest.segments {
            let path = folder.path_of(&entry.file);
            let damaged = |problem: &str| Error::IndexDamaged { path: path.clone(), problem: problem.into() };
            if !is_plain_name(&entry.file) {
                return Err(damaged("the manifest names a file outside its directory"));
            }
            let known = known.iter().find(|part| part.file == entry.file).map(|part| part.segment.clone());
            let segment = match known {
                Some(segment) => segment,
                None => match folder.open(&entry.file) {
                    Err(e) if e.is_absent() => return Err(damaged("the file is missing")),
                    file => Arc::new(Segment::map(file?, &path)?),
                },
            };
            let same = segment.checksum() == entry.checksum && segment.entries() as u64 == entry.entries;
            if !same || segment.dim() != dim {
                return Err(damaged("is not the file that the manifest means"));
            }
            let mut dead = Bitmap::default();
            let mut last_end = 0;
            for &(first, length) in &entry.dead {
                let end = first.checked_add(length).filter(|&end| first >= last_end && end <= entry.entries);
                let end = end.ok_or_else(|| damaged("the manifest marks entries that do not exist"))?;
                last_end = end;
                (first..end).for_each(|entry| dead.insert(entry));
            }
            parts.push(Part { file: entry.file.clone(), segment, dead });
        }
        let living = parts.iter().map(Part::living).sum();
        Ok(Vectors { dim, living, parts, accepted: OnceLock::new() })
    }

    /// The segments, for sharing and merging.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Chunks that have a vector.
    pub fn len(&self) -> usize {
        self.living
    }

    /// Whether no chunk has a vector.
    pub fn is_empty(&self) -> bool {
        self.living == 0
    }

    /// Whether a chunk has a vector.
    pub fn contains(&self, chunk_id: u64) -> bool {
        self.parts
            .iter()
            .any(|part| part.segment.entry_of(chunk_id).is_some_and(|entry| !part.dead.contains(entry as u64)))
    }

    /// All chunks that have a vector, segment by segment.
    pub fn chunk_ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.parts.iter().flat_map(|part| {
            let living = (0..part.segment.entries()).filter(|&entry| part.accepts(entry, None));
            living.map(|entry| part.segment.chunk_id(entry))
        })
    }

    /// The `limit` chunks nearest to `query`, nearest first, with their cosine; ties by chunk id.
    ///
    /// `allowed` holds the chunk ids that may answer. Errors: [`Error::Shape`] for another dimension,
    /// [`Error::NotFinite`].
    pub fn search(
        &self,
        query: &[f32],
        allowed: Option<&Bitmap>,
        limit: usize,
        kernel: &Kernel,
    ) -> Result<Vec<(u64, f32)>> {
        self.search_with(query, allowed, limit, kernel, &Effort::of(limit))
    }

    /// [`Vectors::search`] with a chosen effort.
    pub fn search_with(
        &self,
        query: &[f32],
        allowed: Option<&Bitmap>,
        limit: usize,
        kernel: &Kernel,
        effort: &Effort,
    ) -> Result<Vec<(u64, f32)>> {
        if self.parts.is_empty() || limit == 0 {
            return Ok(Vec::new());
        }
        if query.len() != self.dim {
            return Err(dimension_error("query vector", self.dim, query.len()));
        }
        let query = normalised(query).ok_or(Error::NotFinite { text_idx: 0 })?;
        let n_rescored = limit.saturating_mul(RESCORE_FACTOR).saturating_add(RESCORE_SLACK);
        let plan = ScanQuery::new(&query, quantise(&query), kernel, n_rescored, effort);
        let accept = || -> Vec<Accepted> { self.parts.iter().map(|part| part.accepted(allowed)).collect() };
        let filtered = allowed.map(|_| accept());
        let accepted = filtered.as_ref().unwrap_or_else(|| self.accepted.get_or_init(accept));
        let jobs: Vec<Job<'_>> = self
            .parts
            .iter()
            .zip(accepted)
            .enumerate()
            .filter_map(|(part_idx, (part, accepted))| self.job(part_idx, part, accepted, effort))
            .collect();
        let mut best = scan::run(&plan, &jobs, effort.threads);
        let mut found: Vec<(u64, f32)> = Vec::with_capacity(n_rescored.min(self.living));
        let mut values = vec![0f32; self.dim];
        for candidate in best.take() {
            let part = &self.parts[candidate.part_idx as usize];
            let score = cosine(&query, part.segment.f16_bytes(candidate.row as usize), &mut values);
            let entries = part.segment.entries_of(candidate.row as usize).filter(|&entry| part.accepts(entry, allowed));
            found.extend(entries.map(|entry| (part.segment.chunk_id(entry), score)));
        }
        found.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        found.truncate(limit);
        Ok(found)
    }

    /// How a segment is searched.
    fn job<'a>(&self, part_idx: usize, part: &'a Part, accepted: &'a Accepted, effort: &Effort) -> Option<Job<'a>> {
        let segment = &*part.segment;
        let rows = segment.rows();
        let n_accepted = match accepted {
            Accepted::All => rows,
            Accepted::Rows(_, n) => *n,
        };
        let part_idx = part_idx as u32;
        if n_accepted == 0 {
            return None;
        }
        if let Accepted::Rows(few, _) = accepted
            && n_accepted * FEW_ROWS < rows
        {
            return Some(Job::Few { part_idx, segment, rows: few });
        }
        let graph = segment.graph().filter(|&(_, recall)| recall >= SOUND_RECALL).map(|(graph, _)| graph);
        match graph.filter(|_| effort.graphs && n_accepted * GRAPH_FILTER >= rows) {
            Some(graph) => Some(Job::Graph { part_idx, segment, accepted, graph, budget: rows / GRAPH_BUDGET }),
            None if effort.codes && segment.has_codes() => {
                Some(Job::Codes { part_idx, segment, accepted, rows: 0..rows })
            }
            None => Some(Job::Int8 { part_idx, segment, accepted, rows: 0..rows }),
        }
    }
}

/// The typed error for a vector of the wrong length.
pub fn dimension_error(name: &str, expected: usize, found: usize) -> Error {
    Error::Shape { name: name.into(), expected: vec![expected], found: vec![found] }
}

/// Cosine of a unit query and a stored row, whose length f16 moved a little from 1. `values` is scratch.
fn cosine(query: &[f32], row: &[u8], values: &mut [f32]) -> f32 {
    const LANES: usize = 8;
    let mut halves = [f16::ZERO; 64];
    for (bytes, values) in row.chunks(128).zip(values.chunks_mut(64)) {
        let halves = &mut halves[..values.len()];
        for (half, bytes) in halves.iter_mut().zip(bytes.chunks_exact(2)) {
            *half = f16::from_le_bytes([bytes[0], bytes[1]]);
        }
        halves.convert_to_f32_slice(values);
    }
    let (mut dot, mut square) = ([0f32; LANES], [0f32; LANES]);
    let (q, q_rest) = query.as_chunks::<LANES>();
    let (x, x_rest) = values.as_chunks::<LANES>();
    for (q, x) in q.iter().zip(x) {
        for i in 0..LANES {
            dot[i] += q[i] * x[i];
            square[i] += x[i] * x[i];
        }
    }
    let rest = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let dot = dot.iter().sum::<f32>() + rest(q_rest, x_rest);
    let square = square.iter().sum::<f32>() + rest(x_rest, x_rest);
    if square > 0.0 { dot / square.sqrt() } else { 0.0 }
}

fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\\', ':']) && name != ".." && name != "."
}
