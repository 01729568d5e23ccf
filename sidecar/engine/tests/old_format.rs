//! Indexes that earlier builds wrote: opened, searched, continued, or refused by name.
//!
//! `fixtures/index-format-1` was written by the build that introduced format 1. When the layout changes, the number in
//! `store/files.rs` grows, a step is added to `store/upgrade.rs`, and a fixture of the new format joins this one:
//! `cargo test -p offheap-engine --test old_format -- --ignored make_fixture`.

use std::path::{Path, PathBuf};

use offheap_engine::store::{FileRecord, NewChunk, Space, Store};

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
    let record = FileRecord { hash: key(text), size: text.len() as u64, mtime_ns: 1, n_chunks: 1 };
    let chunk = NewChunk {
        bytes: 0..text.len() as u64,
        first_line: 1,
        last_line: 1,
        scope: "mod",
        symbols: symbols.iter().map(|name| (*name, "function")).collect(),
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
    let format: u32 = std::fs::read_to_string(made.path().join("format")).unwrap().trim().parse().unwrap();
    assert!(!fixture(format).exists(), "format {format} has its fixture, and an old index cannot be made anew");
    copy_dir(made.path(), &fixture(format));
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}
