//! Indexes that earlier builds wrote: opened, searched, continued, or refused by name.
//!
//! There is a fixture for each format that was left: `fixtures/index-format-1` was written by the last build of format 1.
//! Before a change of the layout, the present format's fixture is made and committed:
//! `cargo test -p offheap-engine --test durability -- --ignored make_fixture`. Then the number in `store/format.rs` grows, and a
//! step is added there.

use std::path::{Path, PathBuf};

use offheap_engine::Error;
use offheap_engine::store::{FileRecord, Filter, NewChunk, Space, Store};

use crate::play::{copy_dir, kernel};

const FILES: [(&str, &str, &[&str]); 4] = [
    ("src/config.rs", "fn parse_config(path: &Path) -> Config { read(path) }", &["parse_config"]),
    ("src/server.ts", "class HTTPServer { listen(port) {} }", &["HTTPServer", "listen"]),
    ("docs/guide.md", "How to listen on a port, and where the config is read from", &[]),
    ("src/gone.py", "def removed_later(): pass", &["removed_later"]),
];

fn fixture(format: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format!("index-format-{format}"))
}

fn key(text: &str) -> [u8; 32] {
    let mut key = [0u8; 32];
    text.bytes().enumerate().for_each(|(i, byte)| key[i % 32] = key[i % 32].wrapping_mul(31).wrapping_add(byte));
    key
}

/// A vector that depends on the content alone, as a model's does.
fn vector(key: &[u8; 32]) -> Vec<f32> {
    (0..8).map(|i| f32::from(key[i]) - 100.0).collect()
}

fn space() -> Space {
    Space { id: "fixture:8".into(), dim: 8 }
}

fn put(store: &mut Store, rel: &str, text: &str, symbols: &[&str]) {
    let record = FileRecord { hash: key(text), n_chunks: 1, ..FileRecord::default() };
    let chunk = NewChunk {
        bytes: 0..text.len() as u64,
        first_line: 1,
        last_line: 1,
        languages: vec![],
        scope: "mod",
        symbols: symbols.iter().map(|name| (*name, "function", 1)).collect(),
        text,
        key: key(text),
    };
    store.put_file(rel, "code", record, &[chunk]).unwrap();
}

/// Gives the pending chunks their vectors from the cache, else from the "model"; how many the model had to make.
fn fill(store: &mut Store) -> usize {
    store.set_space(&space()).unwrap();
    let mut n_computed = 0;
    for chunk in store.pending().unwrap().into_iter().flat_map(|file| file.chunks) {
        let cached = store.cached(&space(), &[chunk.key]).unwrap().remove(0);
        n_computed += usize::from(cached.is_none());
        let row = cached.unwrap_or_else(|| vector(&chunk.key));
        store.put_vectors(&[(chunk.chunk_id, chunk.key, &row)]).unwrap();
    }
    store.commit().unwrap();
    n_computed
}

/// The format number of an index.
fn format_of(dir: &Path) -> u32 {
    std::fs::read_to_string(dir.join("format")).unwrap().trim().parse().unwrap()
}

/// Writes the fixture of this build's format. Ignored: what is in the repository must stay what an old build wrote.
#[test]
#[ignore = "writes into the repository"]
fn make_fixture() {
    let made = tempfile::tempdir().unwrap();
    let mut store = Store::open(made.path()).unwrap();
    FILES.iter().for_each(|(rel, text, symbols)| put(&mut store, rel, text, symbols));
    store.commit().unwrap();
    fill(&mut store);
    store.remove_file("src/gone.py").unwrap(); // a dead row, and a deletion in the full text
    store.commit().unwrap();
    store.release_writer().unwrap();
    drop(store);
    // As small as redb goes: it lies in the repository.
    redb::Database::open(made.path().join("cache.redb")).unwrap().compact().unwrap();
    let format = format_of(made.path());
    assert!(!fixture(format).exists(), "format {format} has its fixture, and an old index cannot be made anew");
    copy_dir(made.path(), &fixture(format));
}

/// The paths that a word finds, in order.
fn paths(store: &Store, word: &str) -> Vec<String> {
    let snapshot = store.snapshot();
    let found = snapshot.search_text(word, &Filter::default(), 10).unwrap();
    let ids: Vec<u64> = found.into_iter().map(|(id, _)| id).collect();
    let mut paths: Vec<String> = snapshot.chunks(&ids).unwrap().into_iter().map(|chunk| chunk.unwrap().rel).collect();
    paths.sort();
    paths
}

/// What the fixture's project answers, its removed file being gone.
fn check_answers(store: &Store, n_more: u64) {
    let stats = store.snapshot().stats();
    assert_eq!((stats.files, stats.chunks, stats.vectors), (3 + n_more, 3 + n_more, 3 + n_more));
    assert_eq!(stats.space, Some(space()));
    assert_eq!(paths(store, "listen"), ["docs/guide.md", "src/server.ts"]);
    assert_eq!(paths(store, "removed_later"), [""; 0]);
    assert_eq!(store.snapshot().search_definitions("HTTPServer", &Filter::default(), 5).unwrap().len(), 1);
    for (rel, text, _) in &FILES[..3] {
        let found = store.snapshot().search_vectors(&vector(&key(text)), &Filter::default(), 1, kernel()).unwrap();
        let chunk = store.snapshot().chunks(&[found[0].0]).unwrap().remove(0).unwrap();
        assert_eq!(chunk.rel, *rel);
        assert!((found[0].1 - 1.0).abs() < 1e-3, "{rel}: {}", found[0].1);
        assert_eq!(store.files().unwrap()[*rel].hash, key(text));
    }
    store.verify().unwrap();
}

/// The index of every format there was becomes one of this build: emptied, its embeddings kept, filled again without
/// the model, continued, reopened.
#[test]
fn an_old_index_is_upgraded_and_goes_on() {
    let new = tempfile::tempdir().unwrap();
    drop(Store::open(new.path()).unwrap());
    for format in 1..format_of(new.path()) {
        assert!(
            fixture(format).exists(),
            "the fixture of format {format} is missing: it is made by the build that writes it"
        );
        let dir = tempfile::tempdir().unwrap();
        copy_dir(&fixture(format), dir.path());
        let mut store = Store::open(dir.path()).unwrap_or_else(|e| panic!("format {format}: {e:?}"));
        for (_, text, _) in FILES {
            let cached = store.cached(&space(), &[key(text)]).unwrap().remove(0);
            let (row, expected) = (cached.expect("it was embedded once"), vector(&key(text)));
            let norm = expected.iter().map(|x| x * x).sum::<f32>().sqrt();
            assert!(row.iter().zip(&expected).all(|(a, b)| (a - b / norm).abs() < 1e-3), "{text}");
        }
        refill(&mut store);
        put(&mut store, "src/new.rs", "fn added_by_this_build() {}", &["added_by_this_build"]);
        store.commit().unwrap();
        assert_eq!(fill(&mut store), 1);
        check_answers(&store, 1);
        drop(store);
        check_answers(&Store::open(dir.path()).unwrap(), 1);
        assert_eq!(Store::open_read_only(dir.path()).unwrap().stats().chunks, 4);
    }
}

/// What the next index run does with an emptied index.
fn refill(store: &mut Store) {
    assert_eq!((store.snapshot().generation, store.files().unwrap().len()), (0, 0), "emptied");
    FILES[..3].iter().for_each(|(rel, text, symbols)| put(store, rel, text, symbols));
    store.commit().unwrap();
    assert_eq!(fill(store), 0, "nothing is embedded again");
    check_answers(store, 0);
}

/// An upgrade that is killed anywhere is done again: the format number is written last.
#[test]
fn an_upgrade_can_be_interrupted() {
    let new = tempfile::tempdir().unwrap();
    copy_dir(&fixture(1), new.path());
    drop(Store::open(new.path()).unwrap());
    for gone in [&[][..], &["text"], &["vectors"], &["text", "vectors"]] {
        let dir = tempfile::tempdir().unwrap();
        copy_dir(&fixture(1), dir.path());
        std::fs::copy(new.path().join("cache.redb"), dir.path().join("cache.redb")).unwrap();
        gone.iter().for_each(|folder| std::fs::remove_dir_all(dir.path().join(folder)).unwrap());
        refill(&mut Store::open(dir.path()).unwrap());
    }
}

#[test]
fn another_format_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    copy_dir(&fixture(1), dir.path());
    let before = std::fs::read(dir.path().join("text/meta.json")).unwrap();
    // A reader must not upgrade.
    assert!(matches!(Store::open_read_only(dir.path()), Err(Error::IndexFormat { found: 1, .. })));
    let odd = [("", 0), ("one", 0), ("-1", 0), ("0", 0), ("\u{fffd}", 0)];
    for (text, number) in odd.into_iter().chain([("999\n", 999)]) {
        std::fs::write(dir.path().join("format"), text).unwrap();
        let is_it =
            |e: Error| matches!(e, Error::IndexFormat { found, expected, .. } if found == number && expected < 999);
        assert!(Store::open(dir.path()).err().is_some_and(is_it), "{text:?}");
        assert!(Store::open_read_only(dir.path()).err().is_some_and(is_it), "{text:?}");
        assert_eq!(std::fs::read(dir.path().join("text/meta.json")).unwrap(), before, "{text:?}: nothing was touched");
    }
    let newer = Store::open_or_rebuild(dir.path(), false);
    assert!(matches!(newer, Err(Error::IndexFormat { found: 999, .. })), "not without being told");
    assert_eq!(std::fs::read(dir.path().join("text/meta.json")).unwrap(), before, "nothing was touched");
    let (store, why) = Store::open_or_rebuild(dir.path(), true).unwrap();
    assert!(matches!(why, Some(Error::IndexFormat { .. })));
    assert_eq!(store.snapshot().generation, 0);
    assert_eq!(store.cached(&space(), &[key(FILES[0].1)]).unwrap(), [None], "what it meant is not known");
    drop(store);

    // A power cut may leave an empty format file: the index is rebuilt, and no embedding is lost.
    let dir = tempfile::tempdir().unwrap();
    copy_dir(&fixture(1), dir.path());
    refill(&mut Store::open(dir.path()).unwrap());
    for text in odd.map(|(text, _)| text) {
        std::fs::write(dir.path().join("format"), text).unwrap();
        let (mut store, why) = Store::open_or_rebuild(dir.path(), false).unwrap();
        assert!(matches!(why, Some(Error::IndexFormat { found: 0, .. })), "{text:?}");
        refill(&mut store);
    }
}
