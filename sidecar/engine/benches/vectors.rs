//! The vector search measured: every way of searching at several sizes, and a whole store. Prints tables.
//!
//! ```text
//! vectors table  <n,n,...> <graph rows at most> <seg-N.vec>...   ways of searching; a graph up to that many rows
//! vectors export <n> <folder> <seg-N.vec>...                     rows, queries and truth for bench/usearch_rows.py
//! vectors build  <n> <folder> <seg-N.vec>...                     a store of n chunks in the folder
//! vectors open   <folder> <seg-N.vec>...                         opens and searches it, in a fresh process
//! ```
//!
//! The segments hold real vectors of an index. One row in eight, at most 200, is a query and no row. Where more rows are
//! wanted than there are, they are generated around the real ones: each at the distance that a real row has to its
//! nearest neighbour, in the direction of the difference of two real rows, so that the spectrum of the data and the
//! distances between neighbours are kept. Generated figures are not real figures; notes must say so.

#![allow(clippy::print_stdout, missing_docs)]

use std::path::Path;
use std::time::{Duration, Instant};

use offheap_engine::disk::Folder;
use offheap_engine::kernel::{self, Kernel};
use offheap_engine::store::{FileRecord, Filter, NewChunk, Space, Store};
use offheap_engine::vector::graph::GraphPlan;
use offheap_engine::vector::manifest::{Manifest, SegmentEntry};
use offheap_engine::vector::search::{Effort, Vectors};
use offheap_engine::vector::segment::Segment;
use offheap_engine::vector::write::{self, Entry};
use offheap_engine::vector::{RowSource, Rows, f16_values, normalised};

const K: usize = 10;
const SEGMENT_ROWS: usize = 250_000;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["table", sizes, graph_rows, segments @ ..] => {
            let real = Real::read(segments);
            for n in sizes.split(',') {
                table(&real, number(n), number(graph_rows));
            }
        }
        ["export", n, folder, segments @ ..] => export(&Real::read(segments), number(n), Path::new(folder)),
        ["build", n, folder, segments @ ..] => build(&Real::read(segments), number(n), Path::new(folder)),
        ["open", folder, segments @ ..] => open(&Real::read(segments), Path::new(folder)),
        _ => println!("vectors table|export|build|open ...: see the head of benches/vectors.rs"),
    }
}

fn number(text: &str) -> usize {
    text.parse().expect("a number")
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// Real vectors, different ones only.
struct Real {
    rows: Vec<Vec<f32>>,
    queries: Vec<Vec<f32>>,
    /// Cosines of rows with their nearest neighbours.
    nearest: Vec<f32>,
}

impl Real {
    fn read(paths: &[&str]) -> Real {
        let mut rows: Vec<Vec<f32>> = Vec::new();
        for path in paths {
            let segment = Segment::open(Path::new(path)).expect("a segment");
            rows.extend(
                (0..segment.rows())
                    .map(|row| normalised(&f16_values(segment.f16_bytes(row)).collect::<Vec<_>>()).expect("unit")),
            );
        }
        rows.sort_by(|a, b| a.partial_cmp(b).expect("no NaN"));
        rows.dedup();
        let mut random = Random(0x2545_F491_4F6C_DD1D);
        for i in (1..rows.len()).rev() {
            rows.swap(i, random.below(i + 1));
        }
        let queries = rows.split_off(rows.len() - (rows.len() / 8).min(200));
        let sample = &rows[..rows.len().min(1500)];
        let nearest: Vec<f32> = sample
            .iter()
            .enumerate()
            .map(|(i, a)| {
                let others = rows.iter().enumerate().filter(|(j, _)| *j != i);
                others.map(|(_, b)| dot(a, b)).fold(-1.0, f32::max).clamp(0.0, 0.9999)
            })
            .collect();
        let mut sorted = nearest.clone();
        sorted.sort_by(f32::total_cmp);
        let quantile = |q: f32| sorted[(sorted.len() as f32 * q) as usize];
        println!(
            "{} real rows, {} queries; cosine with the nearest: quartiles {:.3} {:.3} {:.3}",
            rows.len(),
            queries.len(),
            quantile(0.25),
            quantile(0.5),
            quantile(0.75)
        );
        Real { rows, queries, nearest }
    }

    /// `n` rows: the real ones, then generated ones.
    fn rows(&self, n: usize) -> Vec<Vec<f32>> {
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        let mut out: Vec<Vec<f32>> = self.rows.iter().take(n).cloned().collect();
        while out.len() < n {
            let [base, a, b] = std::array::from_fn(|_| &self.rows[random.below(self.rows.len())]);
            let difference: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
            let along = dot(&difference, base);
            let across: Vec<f32> = difference.iter().zip(base).map(|(d, x)| d - along * x).collect();
            let Some(across) = normalised(&across) else { continue };
            let cosine = self.nearest[random.below(self.nearest.len())];
            let sine = (1.0 - cosine * cosine).sqrt();
            out.push(base.iter().zip(&across).map(|(x, d)| cosine * x + sine * d).collect());
        }
        out
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0f32; LANES];
    for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
        for i in 0..LANES {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum()
}

/// For each query, the rows that count as found: the ten nearest by `f32` cosine similarity.
fn truth(rows: &[Vec<f32>], queries: &[Vec<f32>]) -> Vec<Vec<u64>> {
    let one = |query: &Vec<f32>| {
        let mut all: Vec<(f32, u64)> = rows.iter().zip(0..).map(|(row, id)| (dot(query, row), id)).collect();
        all.select_nth_unstable_by(K - 1, |a, b| b.0.total_cmp(&a.0));
        all[..K].iter().map(|(_, id)| *id).collect()
    };
    let half = queries.len() / 2;
    std::thread::scope(|scope| {
        let first = scope.spawn(|| queries[..half].iter().map(one).collect::<Vec<_>>());
        let mut second: Vec<Vec<u64>> = queries[half..].iter().map(one).collect();
        let mut all = first.join().expect("no panic");
        all.append(&mut second);
        all
    })
}

/// Writes segments and opens them.
fn segments(rows: &[Vec<f32>], dir: &Path, kernel: &Kernel, graph: bool) -> (Vectors, Duration, u64) {
    let dim = rows[0].len();
    let mut manifest = Manifest { generation: 1, dim: dim as u32, ..Manifest::default() };
    let (mut took, mut bytes) = (Duration::ZERO, 0);
    for (i, chunk) in rows.chunks(SEGMENT_ROWS).enumerate() {
        let mut encoded = Rows::new(dim);
        for (row, id) in chunk.iter().zip((i * SEGMENT_ROWS) as u64..) {
            assert!(encoded.push(id, row));
        }
        let entries: Vec<Entry> =
            (0..encoded.len()).map(|row| Entry { chunk_id: encoded.chunk_id(row), source: &encoded, row }).collect();
        let file = format!("{}-{i}.vec", if graph { "graph" } else { "flat" });
        let path = dir.join(&file);
        let started = Instant::now();
        let plan = GraphPlan { kernel, threads: 1, cancelled: &|| false };
        let checksum = write::write(&path, dim, &entries, graph.then_some(&plan)).expect("written");
        took += started.elapsed();
        bytes += std::fs::metadata(&path).expect("there").len();
        manifest.segments.push(SegmentEntry { file, entries: entries.len() as u64, checksum, dead: Vec::new() });
        if let Some((_, recall)) = Segment::open(&path).expect("sound").graph() {
            println!("recall that the graph gives itself: {recall:.4}");
        }
    }
    (Vectors::open(&Folder::trusted(dir).expect("a folder"), &manifest, &[]).expect("sound"), took, bytes)
}

struct Measured {
    /// The calling thread's processor time: on a machine that others use, the wall clock tells of them.
    cpu: f64,
    p50: f64,
    p99: f64,
    recall: f64,
}

/// Milliseconds of a search, over every query some times, and the share of the true ten that it found.
fn measure(queries: &[Vec<f32>], truth: &[Vec<u64>], search: impl Fn(&[f32]) -> Vec<(u64, f32)>) -> Measured {
    let mut found = 0;
    for (query, truth) in queries.iter().zip(truth) {
        found += search(query).iter().filter(|(id, _)| truth.contains(id)).count(); // and warms up
    }
    let (mut times, mut cpu) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    while times.len() < 1000 && (begun.elapsed() < Duration::from_secs(8) || times.len() < queries.len()) {
        let query = &queries[times.len() % queries.len()];
        let (started, cpu_started) = (Instant::now(), cpu_ms());
        std::hint::black_box(search(query));
        times.push(started.elapsed().as_secs_f64() * 1e3);
        cpu.push(cpu_ms() - cpu_started);
    }
    times.sort_by(f64::total_cmp);
    cpu.sort_by(f64::total_cmp);
    let at = |times: &[f64], q: f64| times[((times.len() - 1) as f64 * q) as usize];
    Measured {
        cpu: at(&cpu, 0.5),
        p50: at(&times, 0.5),
        p99: at(&times, 0.99),
        recall: found as f64 / (queries.len() * K) as f64,
    }
}

fn table(real: &Real, n: usize, graph_rows: usize) {
    let kernel = kernel::choose(None).expect("portable always runs");
    let rows = real.rows(n);
    let truth = truth(&rows, &real.queries);
    let dir = tempfile::tempdir().expect("a folder");
    println!("\n{n} rows of {}, kernel {}, top {K}, {} queries", rows[0].len(), kernel.name, real.queries.len());
    println!(
        "| method | threads | built in s | MB | cpu ms | p50 ms | p99 ms | recall@10 |\n|---|---|---|---|---|---|---|---|"
    );
    let (flat, took, bytes) = segments(&rows, dir.path(), kernel, false);
    let mut lines: Vec<(String, &Vectors, Effort, f64, u64)> = Vec::new();
    let base = Effort { graphs: false, ..Effort::of(K) };
    for threads in [1, 2] {
        let effort = Effort { codes: false, threads, ..base };
        lines.push(("int8 scan".into(), &flat, effort, took.as_secs_f64(), bytes));
    }
    for (code_candidates, threads) in [(128, 1), (256, 1), (512, 1), (1024, 1), (512, 2)] {
        let effort = Effort { code_candidates, threads, ..base };
        lines.push((format!("codes, {code_candidates} to int8"), &flat, effort, took.as_secs_f64(), bytes));
    }
    let graphs = (n <= graph_rows).then(|| segments(&rows, dir.path(), kernel, true));
    if let Some((graph, took, bytes)) = &graphs {
        for (ef, threads) in [(16, 1), (32, 1), (64, 1), (128, 1), (256, 1), (128, 2)] {
            let effort = Effort { ef, threads, graphs: true, ..base };
            lines.push((format!("graph, ef {ef}"), graph, effort, took.as_secs_f64(), *bytes));
        }
    }
    for (name, vectors, effort, took, bytes) in lines {
        let search = |query: &[f32]| vectors.search_with(query, None, K, kernel, &effort).expect("searched");
        let Measured { cpu, p50, p99, recall } = measure(&real.queries, &truth, search);
        let (threads, mb) = (effort.threads, bytes as f64 / 1e6);
        println!("| {name} | {threads} | {took:.1} | {mb:.0} | {cpu:.3} | {p50:.3} | {p99:.3} | {recall:.4} |");
    }
}

fn export(real: &Real, n: usize, folder: &Path) {
    let rows = real.rows(n);
    let truth = truth(&rows, &real.queries);
    let floats = |rows: &[Vec<f32>]| rows.iter().flatten().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    std::fs::create_dir_all(folder).expect("a folder");
    std::fs::write(folder.join("rows.f32"), floats(&rows)).expect("written");
    std::fs::write(folder.join("queries.f32"), floats(&real.queries)).expect("written");
    let ids: Vec<u8> = truth.iter().flatten().flat_map(|id| id.to_le_bytes()).collect();
    std::fs::write(folder.join("truth.u64"), ids).expect("written");
    println!("{n} rows of {}", rows[0].len());
}

/// A hundred chunks of a few words in each file, a vector for each; text first, as an index run does it.
fn build(real: &Real, n: usize, folder: &Path) {
    const PER_FILE: usize = 100;
    let rows = real.rows(n);
    let mut store = Store::open(folder).expect("a store");
    store.set_space(&Space { id: "bench".into(), dim: rows[0].len() }).expect("set");
    let started = Instant::now();
    for file in 0..n.div_ceil(PER_FILE) {
        let texts: Vec<String> =
            (0..PER_FILE).map(|i| format!("fn chunk_{file}_{i}() {{ word{} }}", (file * 7 + i) % 5000)).collect();
        let chunks: Vec<NewChunk<'_>> = texts
            .iter()
            .enumerate()
            .map(|(i, text)| {
                let mut key = [0u8; 32];
                key[..8].copy_from_slice(&((file * PER_FILE + i) as u64).to_le_bytes());
                let bytes = (i * 40) as u64..(i * 40 + text.len()) as u64;
                NewChunk {
                    bytes,
                    first_line: i as u32,
                    last_line: i as u32,
                    languages: vec![],
                    scope: "",
                    symbols: vec![],
                    text,
                    key,
                }
            })
            .collect();
        let record = FileRecord { hash: [1; 32], n_chunks: PER_FILE as u32, ..FileRecord::default() };
        store.put_file(&format!("src/f{file}.rs"), "rust", record, &chunks).expect("put");
    }
    store.commit().expect("committed");
    println!("text of {n} chunks: {:.1} s", started.elapsed().as_secs_f64());
    let started = Instant::now();
    let (mut waiting, mut slowest, mut n_commits) = (Vec::new(), Duration::ZERO, 0);
    let pending = store.pending().expect("read");
    println!("pending: {:.1} s", started.elapsed().as_secs_f64());
    for chunk in pending.into_iter().flat_map(|file| file.chunks) {
        waiting.push((chunk.chunk_id, chunk.key, rows[chunk.chunk_id as usize % rows.len()].as_slice()));
        if waiting.len() == 4096 {
            store.put_vectors(&waiting).expect("put");
            waiting.clear();
            let commit = Instant::now();
            store.commit().expect("committed");
            slowest = slowest.max(commit.elapsed());
            n_commits += 1;
        }
    }
    store.put_vectors(&waiting).expect("put");
    store.commit().expect("committed");
    let took = started.elapsed().as_secs_f64();
    println!("vectors: {took:.1} s, {n_commits} commits of 4096, slowest {:.0} ms", slowest.as_secs_f64() * 1e3);
    store.release_writer().expect("released");
}

fn open(real: &Real, folder: &Path) {
    let kernel = kernel::choose(None).expect("portable always runs");
    let before = anonymous_kb();
    for round in 0..3 {
        let started = Instant::now();
        let snapshot = Store::open_read_only(folder).expect("an index");
        let read_only = started.elapsed();
        let started = Instant::now();
        let store = Store::open(folder).expect("an index");
        let owner = started.elapsed();
        let stats = store.snapshot().stats();
        println!(
            "round {round}: {} chunks, {} vectors, {} segments; open read-only {:.1} ms, as owner {:.1} ms; RssAnon {} KB more",
            stats.chunks,
            stats.vectors,
            snapshot.vectors().parts().len(),
            read_only.as_secs_f64() * 1e3,
            owner.as_secs_f64() * 1e3,
            anonymous_kb() - before
        );
    }
    let store = Store::open(folder).expect("an index");
    let snapshot = store.snapshot();
    let filter = Filter { globs: vec!["src/f1*.rs".into()], ..Filter::default() };
    for (name, filter) in [("all", Filter::default()), ("one file in nine", filter)] {
        for limit in [K, 100] {
            let truth = vec![Vec::new(); real.queries.len()];
            let search = |query: &[f32]| snapshot.search_vectors(query, &filter, limit, kernel).expect("searched");
            let Measured { p50, p99, .. } = measure(&real.queries, &truth, search);
            println!(
                "{name}, top {limit}: p50 {p50:.3} ms, p99 {p99:.3} ms; RssAnon {} KB more",
                anonymous_kb() - before
            );
        }
    }
}

#[cfg(unix)]
fn cpu_ms() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable for the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

#[cfg(not(unix))]
fn cpu_ms() -> f64 {
    0.0
}

fn anonymous_kb() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}
