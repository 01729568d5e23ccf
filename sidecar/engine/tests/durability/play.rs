//! A project that changes from round to round, and what each of its generations answers.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use offheap_engine::kernel::{self, Kernel};
use offheap_engine::store::{FileRecord, Filter, NewChunk, Snapshot, Space, Store};

const N_FILES: u64 = 6;
const DIM: usize = 8;

/// The vector space changes every 13 rounds, as when another model is chosen.
fn space(round: u64) -> Space {
    Space { id: format!("test-{}", round / 13 % 2), dim: DIM }
}

pub fn kernel() -> &'static Kernel {
    kernel::choose(None).expect("portable always runs")
}

/// Puts round `round` of every file, the vectors of the round before, and commits: generation = round.
pub fn play(store: &mut Store, round: u64) -> offheap_engine::Result<u64> {
    if round.is_multiple_of(29) {
        store.clear()?;
        return store.commit();
    }
    let space = space(round);
    store.set_space(&space)?;
    for chunk in store.pending()?.into_iter().flat_map(|file| file.chunks) {
        let vector: Vec<f32> = (0..DIM as u64).map(|i| (chunk.chunk_id % (i + 2)) as f32 + 0.5).collect();
        store.put_vectors(&[(chunk.chunk_id, chunk.key, &vector)])?;
    }
    if round.is_multiple_of(11) {
        store.remove_file(&format!("f{}.rs", round % N_FILES))?;
    }
    // One file in two is rewritten in each round, so that dead rows, merges and survivors all occur.
    for file in (0..N_FILES).filter(|file| round == 1 || (file + round).is_multiple_of(2)) {
        let text = format!("round{round} file{file}");
        let record = FileRecord { hash: [round as u8; 32], n_chunks: 1, ..FileRecord::default() };
        let chunk = NewChunk {
            bytes: 0..round,
            first_line: 1,
            last_line: 1,
            languages: vec![],
            scope: "",
            symbols: vec![],
            text: &text,
            key: [file as u8; 32],
        };
        store.put_file(&format!("f{file}.rs"), "rust", record, &[chunk])?;
    }
    let generation = store.commit()?;
    if round.is_multiple_of(5) {
        store.release_writer()?; // waits for the full-text merges
    }
    Ok(generation)
}

/// Everything that a generation answers, as one text: two equal texts are two equal generations.
pub fn rendered(snapshot: &Snapshot) -> String {
    let all = Filter::default();
    let mut out = format!("generation {}\n", snapshot.generation);
    let stats = snapshot.stats();
    out += &format!("{} files, {} chunks, {} vectors\n", stats.files, stats.chunks, stats.vectors);
    for file in 0..N_FILES {
        // In order of id: scores depend on when the full-text segments were merged.
        let mut found = snapshot.search_text(&format!("file{file}"), &all, 50).unwrap();
        found.sort_unstable_by_key(|&(id, _)| id);
        for (id, _) in found {
            let chunk = snapshot.chunks(&[id]).unwrap().remove(0).unwrap();
            out += &format!("text {id} {} {:?} {:?}\n", chunk.rel, chunk.bytes, chunk.key[0]);
        }
    }
    let mut found = snapshot.search_vectors(&[1.0; DIM], &all, 50, kernel()).unwrap();
    found.sort_unstable_by_key(|&(id, _)| id);
    for (id, cosine) in found {
        out += &format!("vector {id} {cosine:.4}\n");
    }
    out
}

/// The generations of an index that nothing interrupts, made as they are asked for.
pub struct Model {
    _dir: tempfile::TempDir,
    store: Store,
    generations: Vec<String>,
}

impl Model {
    pub fn new() -> Model {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let generations = vec![rendered(&store.snapshot())];
        Model { _dir: dir, store, generations }
    }

    pub fn generation(&mut self, n: u64) -> &str {
        while self.generations.len() as u64 <= n {
            let round = self.generations.len() as u64;
            assert_eq!(play(&mut self.store, round).unwrap(), round);
            self.generations.push(rendered(&self.store.snapshot()));
        }
        &self.generations[n as usize]
    }
}

/// The generations 0 to `n`.
pub fn undisturbed(n: u64) -> Vec<String> {
    let mut model = Model::new();
    (0..=n).map(|i| model.generation(i).to_owned()).collect()
}

/// Opens what a crash left; it must be whole, and its next rounds must be those of an undisturbed index.
pub fn check_survivor(dir: &Path, generations: &[String], name: &str) -> u64 {
    let beside = Store::open_read_only(dir).unwrap_or_else(|e| panic!("{name}: {e:?}"));
    assert_eq!(rendered(&beside), generations[beside.generation as usize], "{name}");
    let mut store = Store::open(dir).unwrap_or_else(|e| panic!("{name}: {e:?}"));
    store.verify().unwrap_or_else(|e| panic!("{name}: {e:?}"));
    let found = store.snapshot().generation;
    assert_eq!(found, beside.generation, "{name}");
    assert_eq!(store.files().unwrap().len() as u64, store.snapshot().stats().files, "{name}");
    for round in found + 1..(found + 3).min(generations.len() as u64) {
        assert_eq!(play(&mut store, round).unwrap(), round, "{name}");
        assert_eq!(rendered(&store.snapshot()), generations[round as usize], "{name}: a round after the crash");
        store.verify().unwrap_or_else(|e| panic!("{name}: {e:?}"));
    }
    found
}

/// Copies an index that is in use, as a kill at one moment would leave it: tantivy's merges go on beside, so the copy counts
/// only when the text index names the same files after it as before.
pub fn copy_moment(from: &Path, to: &Path) {
    let meta = || std::fs::read(from.join("text/meta.json")).ok();
    loop {
        let before = meta();
        copy_dir(from, to);
        if before == meta() {
            return;
        }
        std::fs::remove_dir_all(to).unwrap();
    }
}

pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else if let Err(e) = std::fs::copy(entry.path(), &target) {
            // tantivy's merge thread may collect a file that was just listed.
            assert_eq!(e.kind(), std::io::ErrorKind::NotFound);
        }
    }
}

/// xorshift; the tests print their seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Environment variable that tells a test of this program that it runs as a child, and on which directory.
pub const CHILD_DIR: &str = "OFFHEAP_TEST_CHILD_DIR";

/// Runs the test `name` of this program in another process.
pub fn child(name: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--include-ignored"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}
