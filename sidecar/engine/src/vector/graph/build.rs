//! Builds the graph, with `instant-distance`.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use instant_distance::{Builder, Hnsw, Point};
use serde::{Serialize, Serializer};

use super::flat::Flat;
use super::{GraphLayout, HEADER, LINKS, Scratch, UPPER_LINKS, Walk};
use crate::kernel::Kernel;
use crate::vector::RowSource;
use crate::{Error, Result};

/// Beam while building (`efConstruction` in the paper).
const EF_CONSTRUCTION: usize = 100;
/// A build with one thread gives the same graph each time.
const SEED: u64 = 0x6f66_6668_6561_7021;
/// Rows that are searched for in a new graph, to measure its recall.
const N_SAMPLES: usize = 100;
/// How many neighbours of each sampled row are compared with the exact ones.
const SAMPLE_DEPTH: usize = 10;
/// Beam of the searches that measure the recall.
pub const SAMPLE_EF: usize = 128;

/// How a graph is to be built.
pub struct GraphPlan<'a> {
    /// The kernel that computes distances.
    pub kernel: &'a Kernel,
    /// Threads that build. With more than one the graph differs a little from build to build.
    pub threads: usize,
    /// Asked before every comparison; `true` ends the build at once.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
}

/// A graph, ready to be written.
pub struct Built {
    /// The bytes of the graph section.
    pub bytes: Vec<u8>,
    /// For each position in the segment, the row that is stored there.
    pub order: Vec<u32>,
    /// Share of the ten nearest rows that a beam of [`SAMPLE_EF`] finds, over [`N_SAMPLES`] rows.
    pub recall: f32,
}

/// A row as a point of the crate, which copies points: this is small.
#[derive(Clone)]
struct Row<'a> {
    int8: &'a [i8],
    scale: f32,
    plan: &'a GraphPlan<'a>,
}

/// The payload of the panic that ends a cancelled build: the crate has no other way to stop.
struct Stop;

impl Point for Row<'_> {
    fn distance(&self, other: &Self) -> f32 {
        if (self.plan.cancelled)() {
            resume_unwind(Box::new(Stop)); // without the panic hook: nothing is printed
        }
        distance(self.plan.kernel, self.int8, self.scale, other.int8, other.scale)
    }
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

/// 1 minus the cosine.
#[inline]
pub fn distance(kernel: &Kernel, a: &[i8], a_scale: f32, b: &[i8], b_scale: f32) -> f32 {
    1.0 - kernel.dot_i8(a, b) as f32 * (a_scale * b_scale)
}

/// Builds the graph of `rows`. Errors: [`Error::Cancelled`]; [`Error::Io`] when no thread can be started.
pub fn build(rows: &[(&dyn RowSource, usize)], plan: &GraphPlan<'_>) -> Result<Built> {
    let (bytes, order) = build_links(rows, plan)?;
    let layout = GraphLayout::read(&bytes, rows.len()).expect("its own header describes it");
    let placed: Vec<(&dyn RowSource, usize)> = order.iter().map(|&row| rows[row as usize]).collect();
    let recall = recall(&placed, &layout, &bytes, plan)?;
    Ok(Built { bytes, order, recall })
}

fn build_links(rows: &[(&dyn RowSource, usize)], plan: &GraphPlan<'_>) -> Result<(Vec<u8>, Vec<u32>)> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(plan.threads.max(1)).thread_name(|i| format!("graph-{i}"));
    let pool = pool.build().map_err(|e| Error::io("start threads for", "graph".as_ref(), std::io::Error::other(e)))?;
    let points: Vec<Row<'_>> =
        rows.iter().map(|(source, row)| Row { int8: source.int8(*row), scale: source.scale(*row), plan }).collect();
    let builder = Builder::default().ef_construction(EF_CONSTRUCTION).ef_search(SAMPLE_EF).seed(SEED);
    let built = catch_unwind(AssertUnwindSafe(|| pool.install(|| builder.build_hnsw(points))));
    let (hnsw, places) = built.map_err(|cause| match cause.downcast::<Stop>() {
        Ok(_) => Error::Cancelled,
        Err(cause) => resume_unwind(cause),
    })?;
    let mut order = vec![0u32; rows.len()];
    for (row, place) in places.into_iter().enumerate() {
        order[place.into_inner() as usize] = row as u32;
    }
    Ok((links(&hnsw, rows.len()), order))
}

/// The bytes of the graph section of `hnsw`.
fn links(hnsw: &Hnsw<Row<'_>>, rows: usize) -> Vec<u8> {
    const SHAPE: &str = "instant-distance 0.6.1 serializes points, zero and layers, in this order";
    let mut flat = Flat { bytes: Vec::with_capacity(HEADER + rows * (LINKS + UPPER_LINKS / 2) * 4), ..Flat::default() };
    flat.bytes.resize(HEADER, 0);
    hnsw.serialize(&mut flat).expect(SHAPE);
    let [points, zero, n_layers, upper @ ..] = flat.lengths.as_slice() else { panic!("{SHAPE}") };
    assert!(*points == rows && *zero == rows && *n_layers == upper.len(), "{SHAPE}");
    let layout = GraphLayout { rows, upper: upper.to_vec() };
    assert_eq!(layout.len(), Some(flat.bytes.len()), "{SHAPE}");
    flat.bytes[..HEADER].copy_from_slice(&layout.header());
    flat.bytes
}

/// Share of the nearest rows that a search finds, over rows taken at even steps.
fn recall(rows: &[(&dyn RowSource, usize)], layout: &GraphLayout, bytes: &[u8], plan: &GraphPlan<'_>) -> Result<f32> {
    let graph = layout.over(bytes);
    let mut scratch = Scratch::default();
    let depth = SAMPLE_DEPTH.min(rows.len());
    let (mut found, mut asked) = (0, 0);
    for sample in (0..rows.len()).step_by(rows.len().div_ceil(N_SAMPLES)) {
        if (plan.cancelled)() {
            return Err(Error::Cancelled);
        }
        let (source, row) = rows[sample];
        let (query, query_scale) = (source.int8(row), source.scale(row));
        let to = |place: u32| {
            let (source, row) = rows[place as usize];
            distance(plan.kernel, query, query_scale, source.int8(row), source.scale(row))
        };
        let walk =
            Walk { ef: SAMPLE_EF, budget: usize::MAX, distance: to, accepts: |_: u32| true, prefetch: |_: u32| {} };
        graph.search(&walk, &mut scratch);
        let mut exact: Vec<f32> = (0..rows.len() as u32).map(to).collect();
        let (_, worst, _) = exact.select_nth_unstable_by(depth - 1, f32::total_cmp);
        // By distance, not by row: of equally near rows any will do.
        found += scratch.nearest().iter().take(depth).filter(|near| near.distance <= *worst).count();
        asked += depth;
    }
    Ok(found as f32 / asked as f32)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use instant_distance::Search;

    use super::*;
    use crate::kernel;
    use crate::vector::{Rows, normalised, quantise};

    const DIM: usize = 48;

    /// Vectors in clumps; a generator of its own, so that the graph is the same everywhere.
    fn rows(n: usize) -> Rows {
        let mut state = 0x9E37_79B9_7F4A_7C15u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        };
        let clumps: Vec<Vec<f32>> = (0..20).map(|_| (0..DIM).map(|_| next()).collect()).collect();
        let mut rows = Rows::new(DIM);
        for id in 0..n {
            let vector: Vec<f32> = clumps[id % clumps.len()].iter().map(|x| x + next()).collect();
            assert!(rows.push(id as u64, &vector));
        }
        rows
    }

    fn order(rows: &Rows) -> Vec<(&dyn RowSource, usize)> {
        (0..rows.len()).map(|row| (rows as &dyn RowSource, row)).collect()
    }

    /// Our walk over the flat links against the crate's own search over its own points, ids and distances.
    #[test]
    fn finds_what_the_crate_finds() {
        let kernel = kernel::choose(None).expect("portable runs");
        for n in [1, 2, 31, 33, 200, 3000] {
            let rows = rows(n);
            let plan = GraphPlan { kernel, threads: 1, cancelled: &|| false };
            let points: Vec<Row<'_>> =
                (0..n).map(|row| Row { int8: rows.int8(row), scale: rows.scale(row), plan: &plan }).collect();
            for ef in [1, 10, 64, 200] {
                let builder = Builder::default().ef_construction(EF_CONSTRUCTION).ef_search(ef).seed(SEED);
                let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
                let (hnsw, places) = pool.install(|| builder.build_hnsw(points.clone()));
                let mut row_at = vec![0; n];
                places.iter().enumerate().for_each(|(row, place)| row_at[place.into_inner() as usize] = row);
                let bytes = links(&hnsw, n);
                let layout = GraphLayout::read(&bytes, n).unwrap();
                let graph = layout.over(&bytes);
                assert!(graph.is_sound());
                let (mut theirs, mut ours) = (Search::default(), Scratch::default());
                for query in 0..40 {
                    let vector: Vec<f32> = (0..DIM).map(|i| ((i * (query + 3)) % 13) as f32 - 6.0).collect();
                    let (int8, scale) = quantise(&normalised(&vector).unwrap());
                    let point = Row { int8: &int8, scale, plan: &plan };
                    let to = |place: u32| {
                        let row = row_at[place as usize];
                        distance(kernel, &int8, scale, rows.int8(row), rows.scale(row))
                    };
                    let walk =
                        Walk { ef, budget: usize::MAX, distance: to, accepts: |_: u32| true, prefetch: |_: u32| {} };
                    assert!(graph.search(&walk, &mut ours));
                    let ours: Vec<_> = ours.nearest().iter().map(|near| (near.row, near.distance)).collect();
                    let theirs: Vec<_> =
                        hnsw.search(&point, &mut theirs).map(|item| (item.pid.into_inner(), item.distance)).collect();
                    assert_eq!(ours, theirs, "{n} rows, ef {ef}, query {query}");
                }
            }
        }
    }

    /// Rows that may not answer are passed through, and a search that gets nowhere says so.
    #[test]
    fn filters_inside_the_beam() {
        let kernel = kernel::choose(None).expect("portable runs");
        let rows = rows(2000);
        let built = build(&order(&rows), &GraphPlan { kernel, threads: 1, cancelled: &|| false }).unwrap();
        assert!(built.recall > 0.97, "{}", built.recall);
        let layout = GraphLayout::read(&built.bytes, 2000).unwrap();
        let mut scratch = Scratch::default();
        let query = rows.int8(7);
        let to = |place: u32| {
            let row = built.order[place as usize] as usize;
            distance(kernel, query, rows.scale(7), rows.int8(row), rows.scale(row))
        };
        for share in [2, 10, 100] {
            let accepts = |place: u32| built.order[place as usize].is_multiple_of(share);
            let walk = Walk { ef: 64, budget: usize::MAX, distance: to, accepts, prefetch: |_: u32| {} };
            assert!(layout.over(&built.bytes).search(&walk, &mut scratch));
            let found: Vec<u32> = scratch.nearest().iter().map(|near| near.row).collect();
            let mut exact: Vec<_> = (0..2000u32).filter(|&place| accepts(place)).collect();
            exact.sort_by(|a, b| to(*a).total_cmp(&to(*b)).then(a.cmp(b)));
            assert!(found.iter().all(|&place| accepts(place)));
            let n_found = exact[..10].iter().filter(|place| found.contains(place)).count();
            assert!(n_found >= 9, "one in {share}: {n_found} of the ten nearest");
        }
        let nothing = Walk { ef: 64, budget: 500, distance: to, accepts: |_: u32| false, prefetch: |_: u32| {} };
        assert!(!layout.over(&built.bytes).search(&nothing, &mut scratch));
    }

    #[test]
    fn a_cancelled_build_ends_at_once() {
        let kernel = kernel::choose(None).expect("portable runs");
        let rows = rows(2000);
        for threads in [1, 2] {
            let asked = AtomicUsize::new(0);
            let cancelled = || asked.fetch_add(1, Ordering::Relaxed) > 5_000;
            let outcome = build(&order(&rows), &GraphPlan { kernel, threads, cancelled: &cancelled });
            assert!(matches!(outcome, Err(Error::Cancelled)));
            assert!(asked.load(Ordering::Relaxed) < 6_000);
        }
    }
}
