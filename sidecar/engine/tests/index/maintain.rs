//! Large segments: equal vectors stored once, scans by codes, graphs built aside and installed.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use offheap_engine::Error;
use offheap_engine::kernel::{self, Kernel};
use offheap_engine::store::{FileRecord, Filter, NewChunk, Snapshot, Space, Step, Store};
use offheap_engine::vector::Bitmap;
use offheap_engine::vector::search::Effort;

const DIM: usize = 40;
const SEED: u64 = 0x9E37_79B9_7F4A_7C15;
/// Entries from which on these tests build a graph.
const GRAPH: usize = 500;

fn kernel() -> &'static Kernel {
    kernel::choose(None).expect("portable always runs")
}

/// Vectors in clusters, like those of code; vector `i` is always the same.
fn vector(i: u64) -> Vec<f32> {
    let noise = |seed: u64, at: usize| {
        let mut x = SEED ^ seed.wrapping_mul(0xD134_2543_DE82_EF95) ^ (at as u64).wrapping_mul(0xA24B_AED4_963E_E407);
        for _ in 0..3 {
            x ^= x >> 32;
            x = x.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        }
        (x >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..DIM).map(|at| noise(i % 37, at) + 0.8 * noise(1000 + i, at)).collect()
}

/// A store with `n` files of one chunk each. Every commit of `step` vectors makes a segment.
fn filled(dir: &Path, n: u64, step: usize, of: impl Fn(u64) -> Vec<f32>) -> Store {
    let mut store = Store::open(dir).unwrap();
    store.set_space(&Space { id: "test".into(), dim: DIM }).unwrap();
    for file in 0..n {
        put(&mut store, file, "first");
    }
    store.commit().unwrap();
    embed(&mut store, step, of);
    store
}

fn put(store: &mut Store, file: u64, text: &str) {
    let mut key = [0u8; 32];
    key[..8].copy_from_slice(&file.to_le_bytes());
    key[8..16].copy_from_slice(&text.bytes().fold(0u64, |sum, byte| sum * 31 + u64::from(byte)).to_le_bytes());
    let record = FileRecord { hash: key, n_chunks: 1, ..FileRecord::default() };
    let chunk =
        NewChunk { bytes: 0..1, first_line: 1, last_line: 1, languages: vec![], scope: "", symbols: vec![], text, key };
    store.put_file(&format!("d{}/f{file}.rs", file % 10), "rust", record, &[chunk]).unwrap();
}

fn embed(store: &mut Store, step: usize, of: impl Fn(u64) -> Vec<f32>) {
    let pending: Vec<_> = store.pending().unwrap().into_iter().flat_map(|file| file.chunks).collect();
    for chunks in pending.chunks(step) {
        for chunk in chunks {
            store.put_vectors(&[(chunk.chunk_id, chunk.key, &of(chunk.chunk_id))]).unwrap();
        }
        store.commit().unwrap();
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Recall of fifty searches among the chunks of `ids`: the share of the ten nearest by brute force that are found.
fn recall(snapshot: &Snapshot, ids: &[u64], allowed: Option<&Bitmap>, of: impl Fn(u64) -> Vec<f32>) -> f64 {
    let (mut found, mut asked) = (0, 0);
    let rows: Vec<(u64, Vec<f32>)> = ids.iter().map(|&id| (id, of(id))).collect();
    for query in 0..50 {
        let query = vector(1_000_000 + query);
        let mut exact: Vec<(u64, f32)> = rows.iter().map(|(id, row)| (*id, cosine(&query, row))).collect();
        exact.sort_by(|a, b| b.1.total_cmp(&a.1));
        let hits = snapshot.vectors().search(&query, allowed, 10, kernel()).unwrap();
        assert_eq!(hits.len(), 10.min(ids.len()));
        assert!(hits.iter().all(|(id, _)| ids.contains(id)), "only chunks that may answer");
        // Equally near rows are equally right.
        let worst = exact[9.min(exact.len() - 1)].1 - 1e-3;
        found += hits.iter().filter(|(_, score)| *score >= worst).count();
        asked += hits.len();
    }
    found as f64 / asked as f64
}

fn has_graph(store: &Store) -> Vec<bool> {
    store.snapshot().vectors().parts().iter().map(|part| part.segment.graph().is_some()).collect()
}

#[test]
fn a_graph_is_built_aside_and_installed() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = filled(dir.path(), 1500, 400, vector);
    assert!(store.maintenance().is_none(), "too few for the real crossover");
    assert_eq!(has_graph(&store), [false; 4]);
    let generation = store.snapshot().generation;
    let job = store.maintenance_from(GRAPH).expect("four segments are worth a graph");
    let built = job.run(kernel(), 2, &|| false).unwrap();
    assert_eq!(store.snapshot().generation, generation, "nothing is committed yet");

    // The store commits meanwhile: one chunk is removed, one is replaced.
    store.remove_file("d3/f3.rs").unwrap();
    put(&mut store, 5, "second");
    store.commit().unwrap();
    assert!(store.install(built).unwrap());
    assert_eq!(store.snapshot().generation, generation + 2);
    assert_eq!(has_graph(&store), [true]);
    let living: Vec<u64> = (0..1500).filter(|id| ![3, 5].contains(id)).collect();
    assert_eq!(store.snapshot().stats().vectors, 1498);
    assert!(store.maintenance_from(GRAPH).is_none(), "done");
    store.verify().unwrap();
    assert_eq!(std::fs::read_dir(dir.path().join("building")).unwrap().count(), 0);
    let r = recall(&store.snapshot(), &living, None, vector);
    assert!(r >= 0.99, "{r}");
    // Wide and narrow filters, inside the beam and beside it.
    for share in [2, 5, 20, 300] {
        let ids: Vec<u64> = living.iter().copied().filter(|id| id % share == 0).collect();
        let mut allowed = Bitmap::default();
        ids.iter().for_each(|&id| allowed.insert(id));
        let r = recall(&store.snapshot(), &ids, Some(&allowed), vector);
        assert!(r >= 0.99, "one in {share}: {r}");
    }
    drop(store);
    let mut store = Store::open(dir.path()).unwrap();
    store.verify().unwrap();
    assert_eq!(has_graph(&store), [true]);
    // New rows are found beside the graph.
    embed(&mut store, 100, |_| vector(7));
    let hits = store.snapshot().search_vectors(&vector(7), &Filter::default(), 2, kernel()).unwrap();
    assert_eq!(hits.iter().map(|hit| hit.0).collect::<Vec<_>>(), [7, 1500]);
}

#[test]
fn what_was_overtaken_is_dropped_and_what_is_cancelled_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = filled(dir.path(), 700, 350, vector);
    let building = dir.path().join("building");
    let files = || std::fs::read_dir(&building).map_or(0, Iterator::count);
    let asked = AtomicUsize::new(0);
    let cancelled = || asked.fetch_add(1, Ordering::Relaxed) > 2_000;
    let job = store.maintenance_from(GRAPH).unwrap();
    assert!(matches!(job.run(kernel(), 2, &cancelled), Err(Error::Cancelled)));
    assert_eq!(files(), 0);
    let job = store.maintenance_from(GRAPH).unwrap();
    assert!(matches!(job.run(kernel(), 1, &|| true), Err(Error::Cancelled)));

    let built = store.maintenance_from(GRAPH).unwrap().run(kernel(), 1, &|| false).unwrap();
    assert_eq!(files(), 1);
    store.clear().unwrap();
    store.commit().unwrap();
    assert!(!store.install(built).unwrap(), "its segments are gone");
    assert_eq!(files(), 0);
    assert_eq!(store.snapshot().stats().vectors, 0);

    // A file that a killed process had begun.
    std::fs::write(building.join("seg.vec"), b"half").unwrap();
    drop(store);
    Store::open(dir.path()).unwrap();
    assert_eq!(files(), 0);
}

/// An installation is a commit: when a step fails the index stands before it or after it, and goes on.
#[test]
fn a_failing_installation_leaves_a_store_that_works() {
    let steps =
        [Step::Segment, Step::Manifest, Step::Prepare, Step::CommitPoint, Step::Cache, Step::Publish, Step::Garbage];
    for (i, fails) in steps.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = filled(dir.path(), 600, 300, vector);
        let built = store.maintenance_from(GRAPH).unwrap().run(kernel(), 2, &|| false).unwrap();
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        store.on_step(move |step| if step == fails { Err(full()) } else { Ok(()) });
        assert!(store.install(built).is_err(), "{fails:?}");
        store.on_step(|_| Ok(()));
        assert_eq!(has_graph(&store).contains(&true), i > 3, "{fails:?}");
        store.verify().unwrap();
        drop(store);
        let mut store = Store::open(dir.path()).unwrap();
        store.verify().unwrap();
        assert_eq!(store.snapshot().stats().vectors, 600, "{fails:?}");
        if let Some(job) = store.maintenance_from(GRAPH) {
            let built = job.run(kernel(), 2, &|| false).unwrap();
            assert!(store.install(built).unwrap());
        }
        assert_eq!(has_graph(&store), [true], "{fails:?}");
        store.verify().unwrap();
    }
}

#[test]
fn equal_vectors_are_one_row_with_many_chunks() {
    let dir = tempfile::tempdir().unwrap();
    // Every vector belongs to five chunks.
    let of = |id: u64| vector(id % 160);
    let mut store = filled(dir.path(), 800, 800, of);
    let shape = |store: &Store| {
        let snapshot = store.snapshot();
        let parts = snapshot.vectors().parts();
        (parts.iter().map(|part| part.segment.rows()).sum::<usize>(), snapshot.stats().vectors)
    };
    let nearest = |store: &Store, limit, allowed: Option<&Bitmap>| -> Vec<u64> {
        let hits = store.snapshot().vectors().search(&vector(9), allowed, limit, kernel()).unwrap();
        hits.into_iter().map(|hit| hit.0).collect()
    };
    for graph in [false, true] {
        if graph {
            let built = store.maintenance_from(GRAPH).unwrap().run(kernel(), 1, &|| false).unwrap();
            assert!(store.install(built).unwrap());
        }
        assert_eq!(shape(&store), (160, 800 - u64::from(graph)));
        let all: &[u64] = if graph { &[9, 169, 489, 649] } else { &[9, 169, 329, 489, 649] };
        assert_eq!(nearest(&store, all.len(), None), all);
        assert_eq!(nearest(&store, 2, None), all[..2], "no more than asked for");
        let mut allowed = Bitmap::default();
        [649, 3].iter().for_each(|&id| allowed.insert(id));
        assert_eq!(nearest(&store, 5, Some(&allowed)), [649, 3], "the other chunks of the row do not answer");
        store.remove_file("d9/f329.rs").unwrap();
        store.commit().unwrap();
        assert_eq!(nearest(&store, 4, None), [9, 169, 489, 649], "one is dead, its row is not");
        store.verify().unwrap();
    }
}

/// Large enough for codes: what they choose is what an exact scan finds, on any number of threads.
#[test]
fn codes_find_what_an_exact_scan_finds() {
    let dir = tempfile::tempdir().unwrap();
    let n = 9_000u64;
    let mut store = filled(dir.path(), n, n as usize, vector);
    for file in (0..n).step_by(7) {
        store.remove_file(&format!("d{}/f{file}.rs", file % 10)).unwrap();
    }
    store.commit().unwrap();
    let snapshot = store.snapshot();
    assert!(snapshot.vectors().parts().iter().all(|part| part.segment.has_codes()));
    let living: Vec<u64> = (0..n).filter(|id| !id.is_multiple_of(7)).collect();
    let r = recall(&snapshot, &living, None, vector);
    println!("seed {SEED:#x}, recall {r}");
    assert!(r >= 0.99, "{r}");
    for share in [3, 50, 1000] {
        let ids: Vec<u64> = living.iter().copied().filter(|id| id % share == 0).collect();
        let mut allowed = Bitmap::default();
        ids.iter().for_each(|&id| allowed.insert(id));
        let r = recall(&snapshot, &ids, Some(&allowed), vector);
        assert!(r >= 0.99, "one in {share}: {r}");
    }
    for query in 0..20 {
        let query = vector(2_000_000 + query);
        let search = |effort: Effort| snapshot.vectors().search_with(&query, None, 20, kernel(), &effort).unwrap();
        let one = search(Effort { threads: 1, ..Effort::of(20) });
        assert_eq!(one, search(Effort { threads: 3, ..Effort::of(20) }));
        let exact = search(Effort { codes: false, graphs: false, ..Effort::of(20) });
        assert!(exact.iter().filter(|hit| one.contains(hit)).count() >= 19);
    }
}
