//! The note of an orderly stop, the check after a kill, rebuilding, and the embeddings that are kept.

use std::path::Path;
use std::time::Instant;

use offheap_engine::Error;
use offheap_engine::store::{FileRecord, NewChunk, Space, Store};

use crate::play::{CHILD_DIR, Random, child, copy_dir, play, rendered};

fn files_in(dir: &Path, extension: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|e| e == extension)).collect()
}

#[test]
fn an_orderly_stop_is_noted_and_a_kill_is_not() {
    let (dir, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut store = Store::open(dir.path()).unwrap();
    assert!(!store.was_unclean(), "nothing was there");
    play(&mut store, 1).unwrap();
    copy_dir(dir.path(), killed.path()); // the disk as a kill now would leave it
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert!(!store.was_unclean());
    drop(store); // read only, wrote nothing
    let mut store = Store::open(dir.path()).unwrap();
    assert!(!store.was_unclean());
    play(&mut store, 2).unwrap();
    assert!(!dir.path().join("clean").exists(), "not while it is written");
    drop(store);
    assert!(!Store::open(dir.path()).unwrap().was_unclean());

    let store = Store::open(killed.path()).unwrap();
    assert!(store.was_unclean());
    drop(store);
    let store = Store::open(killed.path()).unwrap();
    assert!(store.was_unclean(), "no check has passed since");
    store.check().run(&|| true).unwrap();
    assert!(store.was_unclean(), "the check was stopped");
    store.check().run(&|| false).unwrap();
    assert!(!store.was_unclean());
    drop(store);
    assert!(!Store::open(killed.path()).unwrap().was_unclean());
}

/// Damage that the check finds is remembered, and the rebuilt index needs no model.
#[test]
fn what_a_check_finds_is_remembered_until_the_index_is_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    play(&mut store, 1).unwrap();
    play(&mut store, 2).unwrap();
    drop(store);
    std::fs::remove_file(dir.path().join("clean")).unwrap();
    let segment = files_in(&dir.path().join("vectors"), "vec").remove(0);
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[64] ^= 1;
    std::fs::remove_file(&segment).unwrap(); // a mapped file is never rewritten
    std::fs::write(&segment, bytes).unwrap();

    let store = Store::open(dir.path()).unwrap();
    assert!(store.was_unclean());
    let is_it = |e: &Error| matches!(e, Error::IndexDamaged { path, problem } if *path == segment && problem.contains("checksum"));
    assert!(is_it(&store.check().run(&|| false).unwrap_err()));
    drop(store);
    assert!(is_it(&Store::open(dir.path()).err().unwrap()));
    assert!(is_it(&Store::open_read_only(dir.path()).err().unwrap()));

    let (mut store, why) = Store::open_or_rebuild(dir.path(), false).unwrap();
    assert!(is_it(&why.unwrap()));
    assert_eq!(store.snapshot().generation, 0);
    assert!(store.files().unwrap().is_empty(), "every file is to be read again");
    let space = Space { id: "test-0".into(), dim: 8 };
    let cached = store.cached(&space, &[[0; 32], [1; 32], [9; 32]]).unwrap();
    assert_eq!(cached.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false]);
    play(&mut store, 1).unwrap();
    drop(store);
    let (store, why) = Store::open_or_rebuild(dir.path(), false).unwrap();
    assert!(why.is_none());
    assert!(!rendered(&store.snapshot()).is_empty());
    store.verify().unwrap();
}

/// A rebuild that is killed half-way is begun again by the next one.
#[test]
fn a_rebuild_can_be_interrupted_anywhere() {
    let whole = tempfile::tempdir().unwrap();
    let mut store = Store::open(whole.path()).unwrap();
    play(&mut store, 1).unwrap();
    drop(store);
    for part in ["format", "text", "vectors", "clean", "readers"] {
        let dir = tempfile::tempdir().unwrap();
        copy_dir(whole.path(), dir.path());
        std::fs::write(dir.path().join("damaged"), "\nbeing rebuilt\n").unwrap();
        let path = dir.path().join(part);
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap()
        } else {
            std::fs::remove_file(path).unwrap()
        }
        assert!(matches!(Store::open(dir.path()), Err(Error::IndexDamaged { .. })), "{part}");
        let (mut store, why) = Store::open_or_rebuild(dir.path(), false).unwrap();
        assert!(why.is_some(), "{part}");
        assert_eq!(play(&mut store, 1).unwrap(), 1, "{part}");
    }
}

/// One file whose chunk has content `n`.
fn put(store: &mut Store, n: u8) {
    let record = FileRecord { hash: [n; 32], n_chunks: 1, ..FileRecord::default() };
    let text = format!("content{n}");
    let chunk = NewChunk {
        bytes: 0..1,
        first_line: 1,
        last_line: 1,
        languages: vec![],
        scope: "",
        symbols: vec![],
        text: &text,
        key: [n; 32],
    };
    store.put_file("a.rs", "rust", record, &[chunk]).unwrap();
    store.commit().unwrap();
    for chunk in store.pending().unwrap().into_iter().flat_map(|file| file.chunks) {
        store.put_vectors(&[(chunk.chunk_id, chunk.key, &[1.0, f32::from(n)])]).unwrap();
    }
    store.commit().unwrap();
}

#[test]
fn the_embeddings_used_longest_ago_go_first_and_living_ones_never() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let space = Space { id: "test".into(), dim: 2 };
    store.set_space(&space).unwrap();
    store.keep_spare_embeddings(8);
    let kept = |store: &Store| -> Vec<u8> {
        let keys: Vec<[u8; 32]> = (0..40).map(|n| [n; 32]).collect();
        let found = store.cached(&space, &keys).unwrap();
        (0..40).filter(|&n| found[usize::from(n)].is_some()).collect()
    };
    (0..10).for_each(|n| put(&mut store, n));
    store.release_writer().unwrap();
    assert_eq!(kept(&store).len(), 10, "one is in the index, nine are spare: that is not yet an eighth too many");
    put(&mut store, 2); // a branch switch: used again
    put(&mut store, 10);
    store.release_writer().unwrap();
    assert_eq!(kept(&store), [2, 3, 4, 5, 6, 7, 8, 9, 10].map(|n| n), "0 and 1 were used longest ago");
    put(&mut store, 11);
    store.keep_spare_embeddings(0);
    store.release_writer().unwrap();
    assert_eq!(kept(&store), [11], "what the index holds stays");
    store.verify().unwrap();
    drop(store);
    assert_eq!(kept(&Store::open(dir.path()).unwrap()), [11]);
}

const ROWS: redb::TableDefinition<&[u8], &[u8]> = redb::TableDefinition::new("rows");

/// Not a test: fills a cache of 100,000 rows in commits of 4,096, tells how long those took, and dies.
#[test]
#[ignore = "a child process of the measurement below"]
fn cache_owner_that_dies() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let dir = Path::new(&dir);
    let quick = dir.join("quick").exists();
    let db = redb::Database::builder().set_cache_size(4 << 20).create(dir.join("cache.redb")).unwrap();
    let mut random = Random(7);
    let mut took = Vec::new();
    // The last commits are small, as those of an edited file are.
    for n_rows in std::iter::repeat_n(4_096, 25).chain(std::iter::repeat_n(10, 20)) {
        let started = Instant::now();
        let mut write = db.begin_write().unwrap();
        write.set_quick_repair(quick);
        {
            let mut table = write.open_table(ROWS).unwrap();
            for _ in 0..n_rows {
                let key: Vec<u8> = (0..5).flat_map(|_| random.below(u64::MAX).to_le_bytes()).collect();
                table.insert(key.as_slice(), [7u8; 776].as_slice()).unwrap();
            }
        }
        write.commit().unwrap();
        took.push(started.elapsed().as_micros());
    }
    let mean = |took: &[u128]| took.iter().sum::<u128>() / took.len() as u128;
    std::fs::write(dir.join("took"), format!("{} {}", mean(&took[..25]), mean(&took[25..]))).unwrap();
    std::process::abort();
}

/// What `set_quick_repair` in `store/cache.rs` costs and gives:
/// `cargo test -p offheap-engine --test durability -- --ignored --nocapture measure_opening_a_large_cache`
#[test]
#[ignore = "a measurement"]
fn measure_opening_a_large_cache_after_a_kill() {
    for quick in [false, true, false, true] {
        let dir = tempfile::tempdir().unwrap();
        if quick {
            std::fs::write(dir.path().join("quick"), b"").unwrap();
        }
        child("upkeep::cache_owner_that_dies", dir.path()).wait().unwrap();
        let path = dir.path().join("cache.redb");
        let size = std::fs::metadata(&path).unwrap().len();
        let started = Instant::now();
        let db = redb::Database::builder().set_cache_size(4 << 20).create(&path).unwrap();
        let opened = started.elapsed();
        drop(db);
        let started = Instant::now();
        drop(redb::Database::builder().set_cache_size(4 << 20).create(&path).unwrap());
        println!(
            "quick_repair {quick}: {size} bytes, opened in {opened:?} (after an orderly stop {:?}); mean commit of 4096 \
             rows, of 10 rows, in us: {}",
            started.elapsed(),
            std::fs::read_to_string(dir.path().join("took")).unwrap()
        );
    }
}
