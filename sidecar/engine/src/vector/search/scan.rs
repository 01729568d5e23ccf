//! The stages up to int8, on as many threads as they are worth.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::collect::{ScoredRow, Top};
use super::{Accepted, Bitmap, Effort, INT8_COST, ROWS_PER_THREAD};
use crate::kernel::Kernel;
use crate::kernel::scan::CODE_BLOCK;
use crate::vector::RowSource;
use crate::vector::codes::QueryTable;
use crate::vector::graph::{Graph, Scratch, Walk};
use crate::vector::segment::Segment;

/// Rows whose products are computed at a time: they stay in the first cache.
const INT8_BLOCK: usize = 32;
/// Blocks of codes whose sums are computed at a time.
const CODE_BLOCKS: usize = 16;
/// Pieces of work for each thread: when one is slowed down, the others take its pieces.
const PIECES: usize = 4;
/// How many rows ahead of the compared one are prefetched.
const AHEAD: usize = 8;

thread_local! {
    /// A byte for each row of the largest graph that the thread has searched.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// A query in every form that a stage reads.
pub(super) struct ScanQuery<'a> {
    int8: Vec<i8>,
    scale: f32,
    table: QueryTable,
    kernel: &'a Kernel,
    /// How many rows are kept for rescoring with f16.
    n_rescored: usize,
    effort: &'a Effort,
}

/// A segment, or a range of its rows, and how it is searched.
#[derive(Clone)]
pub(super) enum Job<'a> {
    Graph { part_idx: u32, segment: &'a Segment, accepted: &'a Accepted, graph: Graph<'a>, budget: usize },
    Codes { part_idx: u32, segment: &'a Segment, accepted: &'a Accepted, rows: Range<usize> },
    Int8 { part_idx: u32, segment: &'a Segment, accepted: &'a Accepted, rows: Range<usize> },
    Few { part_idx: u32, segment: &'a Segment, rows: &'a Bitmap },
}

impl<'a> Job<'a> {
    /// The estimated work, in rows of codes.
    fn cost(&self) -> usize {
        match self {
            // A few thousand rows at random places.
            Job::Graph { .. } => ROWS_PER_THREAD / 2,
            Job::Codes { rows, .. } => rows.len(),
            Job::Int8 { rows, .. } => rows.len() * INT8_COST,
            Job::Few { .. } => 0,
        }
    }

    /// The job in pieces of about `cost`.
    fn split(self, cost: usize) -> Vec<Job<'a>> {
        let cut = |rows: &Range<usize>, n: usize| -> Vec<Range<usize>> {
            let n = n.max(1).next_multiple_of(CODE_BLOCK);
            rows.clone().step_by(n).map(|start| start..(start + n).min(rows.end)).collect()
        };
        match &self {
            Job::Codes { part_idx, segment, accepted, rows } => {
                let job = |rows| Job::Codes { part_idx: *part_idx, segment, accepted, rows };
                cut(rows, cost).into_iter().map(job).collect()
            }
            Job::Int8 { part_idx, segment, accepted, rows } => {
                let job = |rows| Job::Int8 { part_idx: *part_idx, segment, accepted, rows };
                cut(rows, cost / INT8_COST).into_iter().map(job).collect()
            }
            Job::Graph { .. } | Job::Few { .. } => vec![self],
        }
    }
}

/// What a thread has found: rows with estimated scores (`coarse`) and with int8 scores (`fine`).
struct Found {
    coarse: Top,
    fine: Top,
}

/// The best rows of all jobs by their int8 score.
pub(super) fn run(query: &ScanQuery<'_>, jobs: &[Job<'_>], max_threads: usize) -> Top {
    let new = || Found { coarse: Top::new(query.effort.code_candidates), fine: Top::new(query.n_rescored) };
    let cost: usize = jobs.iter().map(Job::cost).sum();
    let threads = (cost / ROWS_PER_THREAD).clamp(1, max_threads.max(1));
    let mut found = new();
    if threads == 1 {
        jobs.iter().for_each(|job| query.run(job, &mut found));
    } else {
        let pieces: Vec<Job<'_>> =
            jobs.iter().flat_map(|job| job.clone().split(cost.div_ceil(threads * PIECES))).collect();
        let next = AtomicUsize::new(0);
        let work = || {
            let mut found = new();
            while let Some(job) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                query.run(job, &mut found);
            }
            found
        };
        std::thread::scope(|scope| {
            // When a thread cannot be started, the others do its work.
            let start = |_| std::thread::Builder::new().name("offheap-scan".into()).spawn_scoped(scope, work).ok();
            let helpers: Vec<_> = (1..threads).filter_map(start).collect();
            found = work();
            for helper in helpers {
                let Found { coarse, fine } = helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                found.coarse.merge(coarse);
                found.fine.merge(fine);
            }
        });
    }
    query.rescore(found, jobs)
}

impl<'a> ScanQuery<'a> {
    pub fn new(
        query: &[f32],
        (int8, scale): (Vec<i8>, f32),
        kernel: &'a Kernel,
        n_rescored: usize,
        effort: &'a Effort,
    ) -> ScanQuery<'a> {
        ScanQuery { int8, scale, table: QueryTable::new(query), kernel, n_rescored, effort }
    }

    fn run(&self, job: &Job<'_>, found: &mut Found) {
        match job {
            Job::Graph { part_idx, segment, accepted, graph, budget } => {
                if !self.walk(*part_idx, segment, accepted, graph, *budget, &mut found.fine) {
                    let (part_idx, rows) = (*part_idx, 0..segment.rows());
                    let scan = match segment.has_codes() {
                        true => Job::Codes { part_idx, segment, accepted, rows },
                        false => Job::Int8 { part_idx, segment, accepted, rows },
                    };
                    self.run(&scan, found);
                }
            }
            Job::Codes { part_idx, segment, accepted, rows } => {
                self.codes(*part_idx, segment, accepted, rows.clone(), &mut found.coarse);
            }
            Job::Int8 { part_idx, segment, accepted, rows } => {
                self.int8(*part_idx, segment, accepted, rows.clone(), &mut found.fine);
            }
            Job::Few { part_idx, segment, rows } => {
                for row in rows.iter() {
                    found.fine.push(self.exact(*part_idx, segment, row as u32));
                }
            }
        }
    }

    /// The cosine by int8, without the query's scale, which does not change the order.
    #[inline]
    fn exact(&self, part_idx: u32, segment: &Segment, row: u32) -> ScoredRow {
        let dot = self.kernel.dot_i8(&self.int8, segment.int8(row as usize));
        ScoredRow { score: dot as f32 * segment.scale(row as usize), part_idx, row }
    }

    fn int8(&self, part_idx: u32, segment: &Segment, accepted: &Accepted, rows: Range<usize>, top: &mut Top) {
        let mut dots = [0i32; INT8_BLOCK];
        for start in rows.clone().step_by(INT8_BLOCK) {
            let block = start..(start + INT8_BLOCK).min(rows.end);
            let dots = &mut dots[..block.len()];
            self.kernel.scan_i8(&self.int8, segment.int8_rows(block.clone()), dots);
            for (row, &dot) in block.zip(&*dots) {
                let score = dot as f32 * segment.scale(row);
                if score > top.threshold && accepted.row(row) {
                    top.push(ScoredRow { score, part_idx, row: row as u32 });
                }
            }
        }
    }

    fn codes(&self, part_idx: u32, segment: &Segment, accepted: &Accepted, rows: Range<usize>, top: &mut Top) {
        let blocks = rows.start / CODE_BLOCK..rows.end.div_ceil(CODE_BLOCK);
        let mut sums = [0u16; CODE_BLOCK * CODE_BLOCKS];
        let mut scores = [0f32; CODE_BLOCK];
        for start in blocks.clone().step_by(CODE_BLOCKS) {
            let group = start..(start + CODE_BLOCKS).min(blocks.end);
            let sums = &mut sums[..group.len() * CODE_BLOCK];
            self.kernel.scan_codes(&self.table.table, segment.codes(group.clone()), sums);
            for (block, sums) in group.zip(sums.as_chunks::<CODE_BLOCK>().0) {
                self.table.estimates(sums, &segment.code_factors(block), &mut scores);
                let threshold = top.threshold;
                // Without a branch per row: nearly every block has nothing.
                if !scores.iter().fold(false, |any, &score| any | (score > threshold)) {
                    continue;
                }
                for (row, &score) in (block * CODE_BLOCK..rows.end).zip(&scores) {
                    if score > top.threshold && accepted.row(row) {
                        top.push(ScoredRow { score, part_idx, row: row as u32 });
                    }
                }
            }
        }
    }

    fn walk(
        &self,
        part_idx: u32,
        segment: &Segment,
        accepted: &Accepted,
        graph: &Graph<'_>,
        budget: usize,
        top: &mut Top,
    ) -> bool {
        let distance = |row: u32| 1.0 - self.exact(part_idx, segment, row).score * self.scale;
        let accepts = |row: u32| accepted.row(row as usize);
        let walk = Walk {
            ef: self.effort.ef,
            budget: budget.max(self.effort.ef * 64),
            distance,
            accepts,
            prefetch: |row: u32| prefetch(segment.int8(row as usize)),
        };
        SCRATCH.with_borrow_mut(|scratch| {
            let arrived = graph.search(&walk, scratch);
            if arrived {
                for near in scratch.nearest() {
                    top.push(self.exact(part_idx, segment, near.row));
                }
            }
            arrived
        })
    }

    /// Scores the rows that codes chose by int8, and gives the best of all.
    fn rescore(&self, found: Found, jobs: &[Job<'_>]) -> Top {
        let Found { mut coarse, mut fine } = found;
        let mut chosen = coarse.take();
        // In the order of the file, for the sake of the pages.
        chosen.sort_unstable_by_key(|candidate| (candidate.part_idx, candidate.row));
        let mut segments = Vec::new();
        for job in jobs {
            if let Job::Codes { part_idx, segment, .. } | Job::Graph { part_idx, segment, .. } = job {
                segments.resize(segments.len().max(*part_idx as usize + 1), None);
                segments[*part_idx as usize] = Some(*segment);
            }
        }
        let segment = |candidate: &ScoredRow| segments[candidate.part_idx as usize].expect("the job that found it");
        let mut exact = Top::new(self.n_rescored);
        for (i, candidate) in chosen.iter().enumerate() {
            if let Some(later) = chosen.get(i + AHEAD) {
                prefetch(segment(later).int8(later.row as usize));
            }
            exact.push(self.exact(candidate.part_idx, segment(candidate), candidate.row));
        }
        fine.merge(exact);
        fine
    }
}

/// Asks for the cache lines of `row`.
#[inline]
fn prefetch(row: &[i8]) {
    #[cfg(target_arch = "x86_64")]
    for line in row.chunks(64) {
        // SAFETY: a hint that reads nothing, and the address is one of a slice.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.as_ptr()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = row;
}
