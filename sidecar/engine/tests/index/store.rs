//! The index as its user sees it: put, commit, search, reopen, damage.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use offheap_engine::Error;
use offheap_engine::disk::Stat;
use offheap_engine::kernel::Kernel;
use offheap_engine::store::{FileRecord, Filter, NewChunk, Space, Store};

fn record(content: &str) -> FileRecord {
    let stat = Stat { size: content.len() as u64, mtime_ns: 1, ctime_ns: 2, inode: 3 };
    FileRecord { hash: key(content), stat, n_chunks: 1 }
}

fn key(content: &str) -> [u8; 32] {
    let mut key = [0u8; 32];
    for (i, byte) in content.bytes().enumerate() {
        key[i % 32] = key[i % 32].wrapping_mul(31).wrapping_add(byte);
    }
    key
}

fn chunk<'a>(text: &'a str, symbols: &[&'a str]) -> NewChunk<'a> {
    NewChunk {
        bytes: 0..text.len() as u64,
        first_line: 1,
        last_line: 1,
        languages: vec![],
        scope: "mod",
        symbols: symbols.iter().map(|name| (*name, "function", 1)).collect(),
        text,
        key: key(text),
    }
}

fn put(store: &mut Store, rel: &str, text: &str, symbols: &[&str]) {
    let language = rel.rsplit('.').next().unwrap();
    store.put_file(rel, language, record(text), &[chunk(text, symbols)]).unwrap();
}

fn kernel() -> &'static Kernel {
    offheap_engine::kernel::choose(None).expect("portable always runs")
}

fn space(dim: usize) -> Space {
    Space { id: format!("test:{dim}"), dim }
}

/// Paths found for a text query, best first.
fn paths(store: &Store, query: &str) -> Vec<String> {
    let snapshot = store.snapshot();
    let ids: Vec<u64> = snapshot.search_text(query, &all(), 10).unwrap().into_iter().map(|(id, _)| id).collect();
    snapshot.chunks(&ids).unwrap().into_iter().map(|chunk| chunk.unwrap().rel).collect()
}

fn all() -> Filter {
    Filter::default()
}

/// Gives every pending chunk the vector that `of` makes of its id.
fn embed(store: &mut Store, of: impl Fn(u64) -> Vec<f32>) -> usize {
    let mut n = 0;
    for file in store.pending().unwrap() {
        for chunk in file.chunks {
            store.put_vectors(&[(chunk.chunk_id, chunk.key, &of(chunk.chunk_id))]).unwrap();
            n += 1;
        }
    }
    n
}

/// xorshift; the tests print their seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn vector(&mut self, dim: usize) -> Vec<f32> {
        (0..dim).map(|_| (0..4).map(|_| (self.next() >> 40) as f32 / (1 << 24) as f32 - 0.5).sum()).collect()
    }
}

#[test]
fn put_commit_search_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    assert_eq!(store.commit().unwrap(), 0, "nothing changed");
    put(&mut store, "src/config.rs", "fn parse_config(path: &Path) -> Config { read(path) }", &["parse_config"]);
    put(&mut store, "src/http/server.ts", "class HTTPServer { listen(port) {} }", &["HTTPServer", "listen"]);
    assert_eq!(paths(&store, "parse config"), [""; 0], "not committed yet");
    assert_eq!(store.commit().unwrap(), 1);
    assert_eq!(store.commit().unwrap(), 1, "nothing changed");

    let check = |store: &Store| {
        assert_eq!(paths(store, "parse config"), ["src/config.rs"]);
        assert_eq!(paths(store, "parseConfig"), ["src/config.rs"]);
        assert_eq!(paths(store, "http servers")[0], "src/http/server.ts");
        assert_eq!(paths(store, "?!.,;"), [""; 0]);
        assert_eq!(paths(store, ""), [""; 0]);
        assert_eq!(paths(store, "absent"), [""; 0]);
        let snapshot = store.snapshot();
        assert_eq!(snapshot.generation, 1);
        let id = snapshot.search_definitions("HTTPServer", &all(), 5).unwrap();
        assert_eq!(snapshot.search_definitions("httpserver", &all(), 5).unwrap(), id);
        assert!(snapshot.search_definitions("server", &all(), 5).unwrap().is_empty(), "a part is not the name");
        let chunk = snapshot.chunks(&id).unwrap().remove(0).unwrap();
        assert_eq!(
            (chunk.rel.as_str(), chunk.language.as_str(), chunk.scope.as_str()),
            ("src/http/server.ts", "ts", "mod")
        );
        let names: Vec<(&str, &str, u32)> =
            chunk.symbols.iter().map(|s| (s.name.as_str(), s.kind.as_str(), s.line)).collect();
        assert_eq!(names, [("HTTPServer", "function", 1), ("listen", "function", 1)]);
        let stats = snapshot.stats();
        assert_eq!((stats.files, stats.chunks, stats.vectors, stats.space), (2, 2, 0, None));
        assert!(store.snapshot().bytes_on_disk() > 1000);
        let files = store.files().unwrap();
        assert_eq!(files["src/config.rs"].stat.mtime_ns, 1);
        assert_eq!(files.len(), 2);
        store.verify().unwrap();
    };
    check(&store);
    store.release_writer().unwrap();
    check(&store);
    drop(store);
    check(&Store::open(dir.path()).unwrap());
}

#[test]
fn exact_case_comes_first_among_definitions() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    put(&mut store, "a.rs", "fn config() {}", &["config"]);
    put(&mut store, "b.rs", "struct Config {}", &["Config"]);
    store.commit().unwrap();
    let snapshot = store.snapshot();
    let names = |name: &str, limit| -> Vec<String> {
        let ids = snapshot.search_definitions(name, &all(), limit).unwrap();
        snapshot.chunks(&ids).unwrap().into_iter().map(|chunk| chunk.unwrap().rel).collect()
    };
    assert_eq!(names("Config", 9), ["b.rs", "a.rs"]);
    assert_eq!(names("config", 9), ["a.rs", "b.rs"]);
    assert_eq!(names("CONFIG", 1), ["a.rs"]);
}

#[test]
fn replace_and_remove() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    store.set_space(&space(4)).unwrap();
    put(&mut store, "a.rs", "alpha", &[]);
    put(&mut store, "b.rs", "beta", &[]);
    store.commit().unwrap();
    assert_eq!(embed(&mut store, |id| vec![1.0, id as f32, 0.0, 0.0]), 2);
    store.commit().unwrap();
    let old = store.snapshot();
    assert_eq!(old.stats().vectors, 2);

    put(&mut store, "a.rs", "gamma", &[]);
    put(&mut store, "a.rs", "delta", &[]); // twice in one commit: the last one counts
    store.commit().unwrap();
    assert_eq!(paths(&store, "alpha gamma"), [""; 0]);
    assert_eq!(paths(&store, "delta"), ["a.rs"]);
    let stats = store.snapshot().stats();
    assert_eq!((stats.files, stats.chunks, stats.vectors), (2, 2, 1), "the replaced chunk's vector is dead");
    assert_eq!(store.pending().unwrap().len(), 1);

    store.remove_file("b.rs").unwrap();
    store.remove_file("never there").unwrap();
    store.commit().unwrap();
    assert_eq!(paths(&store, "beta"), [""; 0]);
    assert_eq!(store.files().unwrap().keys().collect::<Vec<_>>(), ["a.rs"]);
    let stats = store.snapshot().stats();
    assert_eq!((stats.files, stats.chunks, stats.vectors), (1, 1, 0));
    store.verify().unwrap();

    // A reader keeps what it holds.
    assert_eq!(old.search_text("alpha", &all(), 9).unwrap().len(), 1);
    assert_eq!(old.search_vectors(&[1.0, 0.0, 0.0, 0.0], &all(), 9, kernel()).unwrap().len(), 2);

    store.clear().unwrap();
    assert_eq!(store.snapshot().stats().chunks, 1, "what is there answers until the next commit");
    store.commit().unwrap();
    assert_eq!(store.snapshot().stats().chunks, 0);
    assert!(store.files().unwrap().is_empty());
    // `clear` keeps the embeddings; only `clear_embedding_cache` deletes them.
    assert!(store.cached(&space(4), &[key("beta")]).unwrap()[0].is_some());
    assert!(store.clear_embedding_cache().unwrap() > 0);
    assert_eq!(store.cached(&space(4), &[key("beta")]).unwrap(), [None]);
    put(&mut store, "c.rs", "after", &[]);
    store.commit().unwrap();
    assert_eq!(paths(&store, "after"), ["c.rs"]);
    store.verify().unwrap();
}

#[test]
fn pending_shrinks_as_vectors_arrive_and_the_cache_remembers() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    put(&mut store, "b.rs", "two", &[]);
    put(&mut store, "a.rs", "one", &[]);
    assert!(store.pending().unwrap().is_empty(), "not committed yet");
    store.commit().unwrap();
    store.set_space(&space(3)).unwrap();
    let pending = store.pending().unwrap();
    assert_eq!(pending.iter().map(|file| file.rel.as_str()).collect::<Vec<_>>(), ["a.rs", "b.rs"]);
    let first = &pending[0].chunks[0];
    store.put_vectors(&[(first.chunk_id, first.key, &[0.0, 3.0, 4.0])]).unwrap();
    store.put_vectors(&[(first.chunk_id, first.key, &[9.0, 0.0, 0.0])]).unwrap(); // has one already
    store.put_vectors(&[(999, first.key, &[9.0, 0.0, 0.0])]).unwrap(); // no such chunk
    assert_eq!(store.pending().unwrap().len(), 1);
    store.commit().unwrap();
    assert_eq!(store.pending().unwrap().len(), 1);
    let found = store.snapshot().search_vectors(&[0.0, 3.0, 4.0], &all(), 5, kernel()).unwrap();
    assert_eq!(found.len(), 1);
    assert!((found[0].1 - 1.0).abs() < 1e-3);

    let cached = store.cached(&space(3), &[key("one"), key("two")]).unwrap();
    assert!(cached[1].is_none());
    assert!((cached[0].as_ref().unwrap()[2] - 0.8).abs() < 1e-3, "unit length");
    let other = Space { id: "other".into(), dim: 3 };
    assert_eq!(store.cached(&other, &[key("one")]).unwrap(), [None], "spaces never mix");

    embed(&mut store, |_| vec![1.0, 1.0, 1.0]);
    store.commit().unwrap();
    assert!(store.pending().unwrap().is_empty());

    // Another space: everything is pending again, and the old vectors are gone with the commit.
    store.set_space(&other).unwrap();
    assert_eq!(store.pending().unwrap().len(), 2);
    assert_eq!(store.snapshot().stats().vectors, 2);
    store.commit().unwrap();
    assert_eq!(store.snapshot().stats().vectors, 0);
    assert_eq!(store.snapshot().space(), Some(other));
    assert_eq!(store.pending().unwrap().len(), 2);
    store.verify().unwrap();
}

/// Vectors computed while their file changed must not be stored for the file's next version.
#[test]
fn a_vector_of_a_replaced_chunk_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    store.set_space(&space(2)).unwrap();
    put(&mut store, "early.rs", "one", &[]);
    put(&mut store, "late.rs", "two", &[]);
    store.commit().unwrap();
    let ids: Vec<u64> = store.pending().unwrap().iter().map(|file| file.chunks[0].chunk_id).collect();
    store.put_vectors(&[(ids[0], key("one"), &[1.0, 0.0])]).unwrap();
    put(&mut store, "early.rs", "three", &[]); // after its vector was put
    put(&mut store, "late.rs", "four", &[]); // before its vector is put
    store.put_vectors(&[(ids[1], key("two"), &[1.0, 0.0])]).unwrap();
    store.commit().unwrap();
    assert_eq!(store.snapshot().stats().vectors, 0);
    assert_eq!(store.pending().unwrap().len(), 2);
    store.verify().unwrap();
}

#[test]
fn vectors_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    put(&mut store, "a.rs", "one", &[]);
    store.commit().unwrap();
    let id = 0;
    assert!(matches!(store.put_vectors(&[(id, [0; 32], &[1.0])]), Err(Error::Shape { .. })), "no space yet");
    store.set_space(&space(3)).unwrap();
    assert!(matches!(store.put_vectors(&[(id, [0; 32], &[1.0, 2.0])]), Err(Error::Shape { .. })));
    assert!(matches!(store.put_vectors(&[(id, [0; 32], &[f32::NAN, 2.0, 1.0])]), Err(Error::NotFinite { .. })));
    assert!(matches!(store.put_vectors(&[(id, [0; 32], &[0.0; 3])]), Err(Error::NotFinite { .. })));
    assert_eq!(embed(&mut store, |_| vec![1.0, 2.0, 3.0]), 1, "a refused vector must not take the place");
    store.commit().unwrap();
    assert!(matches!(store.snapshot().search_vectors(&[1.0], &all(), 3, kernel()), Err(Error::Shape { .. })));
}

#[test]
fn an_empty_index_answers_with_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for snapshot in [store.snapshot(), Store::open_read_only(dir.path()).unwrap()] {
        assert!(snapshot.search_text("x", &all(), 5).unwrap().is_empty());
        assert!(snapshot.search_vectors(&[1.0], &all(), 5, kernel()).unwrap().is_empty());
        assert!(snapshot.search_definitions("x", &all(), 5).unwrap().is_empty());
        assert_eq!(snapshot.chunks(&[1]).unwrap(), [None]);
    }
    assert!(store.pending().unwrap().is_empty());
    store.verify().unwrap();
    assert!(matches!(Store::open_read_only(&dir.path().join("absent")), Err(Error::Io { .. })));
}

#[test]
fn filters_apply_before_the_best_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    store.set_space(&space(2)).unwrap();
    // Ninety-nine better answers outside the filter, for text (shorter) and for vectors (nearer).
    for i in 0..99 {
        put(&mut store, &format!("vendor/v{i}.js"), "needle", &[]);
    }
    put(&mut store, "src/far.rs", "needle in much more hay than all of the others had around it", &[]);
    store.commit().unwrap();
    embed(&mut store, |id| if id < 99 { vec![1.0, id as f32 / 1000.0] } else { vec![0.0, 1.0] });
    store.commit().unwrap();
    let snapshot = store.snapshot();
    let globs = |globs: &[&str]| Filter { globs: globs.iter().map(|g| g.to_string()).collect(), ..Filter::default() };
    let language = Filter { languages: vec!["rs".into()], ..Filter::default() };
    for filter in [globs(&["src/"]), globs(&["!vendor"]), language.clone()] {
        let text = snapshot.search_text("needle", &filter, 1).unwrap();
        let vectors = snapshot.search_vectors(&[1.0, 0.0], &filter, 1, kernel()).unwrap();
        assert_eq!((text[0].0, vectors[0].0), (99, 99), "{filter:?}");
        assert_eq!(snapshot.search_text("needle", &filter, 50).unwrap().len(), 1);
    }
    let none = Filter { languages: vec!["rs".into()], ..globs(&["vendor/"]) };
    assert!(snapshot.search_text("needle", &none, 5).unwrap().is_empty());
    assert!(snapshot.search_vectors(&[1.0, 0.0], &none, 5, kernel()).unwrap().is_empty());
    assert!(snapshot.search_text("needle", &globs(&["a["]), 5).is_err(), "a glob that is not one");
}

#[test]
fn int8_with_rescoring_finds_what_brute_force_finds() {
    let (seed, n, dim, k) = (0x9E37_79B9_7F4A_7C15, 2000, 96, 10);
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    let vectors: Vec<Vec<f32>> = (0..n).map(|_| random.vector(dim)).collect();
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    store.set_space(&space(dim)).unwrap();
    let texts: Vec<String> = (0..n).map(|i| format!("word{i}")).collect();
    let chunks: Vec<NewChunk> = texts.iter().map(|text| chunk(text, &[])).collect();
    store.put_file("a.rs", "rs", record("all"), &chunks).unwrap();
    store.commit().unwrap();
    embed(&mut store, |id| vectors[id as usize].clone());
    store.commit().unwrap();
    let snapshot = store.snapshot();
    let unit = |v: &[f32]| -> Vec<f32> {
        let norm = v.iter().map(|x| x * x).sum::<f32>().sqrt();
        v.iter().map(|x| x / norm).collect()
    };
    let (mut hits, n_queries) = (0, 50);
    for _ in 0..n_queries {
        let query = random.vector(dim);
        let q = unit(&query);
        let cosine = |v: &Vec<f32>| -> f32 { unit(v).iter().zip(&q).map(|(a, b)| a * b).sum() };
        let mut exact: Vec<(f32, u64)> = vectors.iter().zip(0..).map(|(v, id)| (cosine(v), id)).collect();
        exact.sort_by(|a, b| b.0.total_cmp(&a.0));
        let found = snapshot.search_vectors(&query, &all(), k, kernel()).unwrap();
        assert_eq!(found.len(), k);
        for (score, id) in &exact[..k] {
            if let Some((_, cosine)) = found.iter().find(|(found, _)| found == id) {
                assert!((cosine - score).abs() < 1e-3);
                hits += 1;
            }
        }
    }
    let recall = hits as f32 / (k * n_queries) as f32;
    println!("recall {recall}");
    assert!(recall >= 0.99, "{recall}");
}

/// Many small commits with replacements: segments are merged, and never more than a handful stay.
#[test]
fn segments_merge_and_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    store.set_space(&space(8)).unwrap();
    let seed = 0xD1B5_4A32_D192_ED03;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    for round in 0..40 {
        for _ in 0..3 {
            let file = random.next() % 90;
            put(&mut store, &format!("f{file}.rs"), &format!("round{round} file{file}"), &[]);
        }
        store.commit().unwrap();
        embed(&mut store, |id| vec![id as f32, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0]);
        store.commit().unwrap();
        let stats = store.snapshot().stats();
        assert_eq!(stats.chunks, stats.vectors, "round {round}");
        assert_eq!(stats.files, stats.chunks);
        store.verify().unwrap();
    }
    let n = store.snapshot().stats().vectors as usize;
    let found = store.snapshot().search_vectors(&[1.0; 8], &all(), 100, kernel()).unwrap();
    assert_eq!(found.len(), n);
    let n_segments = files_in(&dir.path().join("vectors"), "vec").len();
    assert!(n_segments <= 9, "{n_segments} segment files: at most eight, and one more of the previous generation");
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.snapshot().search_vectors(&[1.0; 8], &all(), 100, kernel()).unwrap(), found);
}

#[test]
fn one_owner_many_readers() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(Error::IndexLocked { .. })));
    put(&mut store, "a.rs", "first", &[]);
    store.commit().unwrap();

    let (path, stop) = (dir.path().to_path_buf(), Arc::new(AtomicBool::new(false)));
    let (handle, stopped) = (store.reader(), stop.clone());
    let reading = std::thread::spawn(move || {
        let (mut last, mut n_opened) = (0, 0);
        while !stopped.load(Ordering::Relaxed) {
            let snapshot = Store::open_read_only(&path).unwrap();
            assert!(snapshot.generation >= last, "generations only grow");
            last = snapshot.generation;
            n_opened += 1;
            // Generation g was committed with g files: text and manifest must agree.
            assert_eq!(snapshot.stats().files, snapshot.generation);
            assert_eq!(snapshot.stats().chunks, snapshot.generation);
            assert!(handle.snapshot().generation + 1 >= snapshot.generation);
        }
        n_opened
    });
    for i in 2..40 {
        put(&mut store, &format!("f{i}.rs"), "later", &[]);
        store.commit().unwrap();
        assert_eq!(Store::open_read_only(dir.path()).unwrap().generation, i);
    }
    stop.store(true, Ordering::Relaxed);
    assert!(reading.join().unwrap() > 0);
    drop(store);
    Store::open(dir.path()).expect("the lock goes with its holder");
}

/// A read-only tree: no lock file, no directory may be made.
#[cfg(unix)]
#[test]
fn opens_from_a_read_only_directory() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    put(&mut store, "a.rs", "first", &[]);
    store.commit().unwrap();
    drop(store);
    for name in [".tantivy-meta.lock", ".tantivy-writer.lock"] {
        let _ = std::fs::remove_file(dir.path().join("text").join(name));
    }
    let set = |mode| {
        for part in ["", "text", "vectors"] {
            std::fs::set_permissions(dir.path().join(part), std::fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    set(0o555);
    let snapshot = Store::open_read_only(dir.path());
    let n_locks = files_in(&dir.path().join("text"), "lock").len();
    set(0o755);
    assert_eq!(snapshot.unwrap().search_text("first", &all(), 5).unwrap().len(), 1);
    assert_eq!(n_locks, 0, "root may write anywhere, so look at what was written");
}

#[test]
fn a_missing_format_number_is_not_guessed() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path()).unwrap());
    std::fs::remove_file(dir.path().join("format")).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(Error::IndexFormat { found: 0, .. })));
}

fn sample(dir: &Path) {
    let mut store = Store::open(dir).unwrap();
    store.set_space(&space(4)).unwrap();
    for i in 0..20 {
        put(&mut store, &format!("f{i}.rs"), &format!("common word{i}"), &[]);
    }
    store.commit().unwrap();
    embed(&mut store, |id| vec![1.0, id as f32, 2.0, 3.0]);
    store.commit().unwrap();
}

fn files_in(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|e| e == extension)).collect()
}

#[test]
fn damage_is_found_and_named() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let segment = files_in(&dir.path().join("vectors"), "vec").remove(0);
    let manifest = dir.path().join("vectors").join("gen-2.json");
    let flip = |path: &Path, at: usize| {
        // Over a new file, not in place: a mapped file is never rewritten.
        let mut bytes = std::fs::read(path).unwrap();
        bytes[at] ^= 0x20;
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let damaged = |e: &Error, path: &Path| matches!(e, Error::IndexDamaged { path: found, .. } if found == path);

    // One bit in each section: 20 padded int8 rows, scales, f16 rows, ids. Opens, and `verify` finds it.
    for at in [64 + 5, 64 + 1280 + 3, 64 + 1280 + 128 + 9, 64 + 1280 + 128 + 192 + 17] {
        flip(&segment, at);
        let store = Store::open(dir.path()).unwrap();
        assert!(damaged(&store.verify().unwrap_err(), &segment), "byte {at}");
        drop(store);
        flip(&segment, at);
    }
    Store::open(dir.path()).unwrap().verify().unwrap();

    // Truncated, missing: `open` finds it.
    let good = std::fs::read(&segment).unwrap();
    std::fs::remove_file(&segment).unwrap();
    assert!(damaged(&Store::open(dir.path()).err().unwrap(), &segment));
    std::fs::write(&segment, &good[..good.len() - 1]).unwrap();
    assert!(damaged(&Store::open(dir.path()).err().unwrap(), &segment));
    assert!(damaged(&Store::open_read_only(dir.path()).err().unwrap(), &segment));
    std::fs::write(&segment, &good).unwrap();

    flip(&manifest, 10);
    assert!(damaged(&Store::open(dir.path()).err().unwrap(), &manifest));
    flip(&manifest, 10);

    // A bit in a full-text file.
    for extension in ["store", "idx", "fast", "term"] {
        let file = files_in(&dir.path().join("text"), extension).remove(0);
        flip(&file, 3);
        let found = Store::open(dir.path()).and_then(|store| store.verify());
        assert!(matches!(found, Err(Error::IndexDamaged { .. })), "{extension}: {found:?}");
        flip(&file, 3);
    }
    Store::open(dir.path()).unwrap().verify().unwrap();
}

/// A damaged cache is moved aside. When it is lost or old, the file table is read off the full-text index.
#[test]
fn a_damaged_or_lost_cache_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let path = dir.path().join("cache.redb");
    let good = std::fs::read(&path).unwrap();
    type Damage = fn(&[u8]) -> Vec<u8>;
    let damages: [(&str, Damage); 5] = [
        ("no magic", |good| [b"garbage!", &good[8..]].concat()),
        ("garbage", |good| vec![0xA5; good.len()]),
        ("truncated", |good| good[..good.len() / 2].to_vec()),
        ("short", |_| b"redb".to_vec()),
        ("empty", |_| Vec::new()),
    ];
    for (name, damage) in damages {
        std::fs::write(&path, damage(&good)).unwrap();
        let mut store = Store::open(dir.path()).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let files = store.files().unwrap();
        assert_eq!(files.len(), 20, "{name}");
        assert_eq!((files["f3.rs"].stat, files["f3.rs"].n_chunks), (Stat::UNKNOWN, 1), "{name}");
        assert_eq!(files["f3.rs"].hash, key("common word3"));
        store.touch_file("f3.rs", record("common word3"));
        assert_eq!(store.commit().unwrap(), 2, "a touch makes no generation");
        assert_eq!(store.files().unwrap()["f3.rs"].stat.mtime_ns, 1);
        assert_eq!(paths(&store, "word7")[0], "f7.rs");
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(Store::open(dir.path()).unwrap().files().unwrap().len(), 20);
}
