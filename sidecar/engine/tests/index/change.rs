//! An index run sees every change of a file, also one that leaves size and time as they were, and reads no file whose
//! content is known.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use offheap_engine::Error;
use offheap_engine::disk::{Stat, Tree};
use offheap_engine::index::{self, Host, Phase, Report, Settings};
use offheap_engine::store::{FileRecord, Filter, Space, Store};
use offheap_engine::walk::{self, WalkRules};

/// Counts texts; every vector is the same.
#[derive(Default)]
struct Counter(usize);

impl Host for Counter {
    type Error = Error;

    fn space(&mut self) -> Result<Space, Error> {
        Ok(Space { id: "test".into(), dim: 2 })
    }

    fn embed(&mut self, texts: Vec<String>) -> Result<(Vec<f32>, u64), Error> {
        self.0 += texts.len();
        Ok(([1.0, 0.0].repeat(texts.len()), 0))
    }

    fn progress(&mut self, _: Phase, _: u64, _: u64, _: &str) {}

    fn committed(&mut self, _: &Store) {}

    fn cancelled(&self) -> bool {
        false
    }
}

/// A project, and its index elsewhere.
struct Project {
    root: tempfile::TempDir,
    store: Store,
    _index: tempfile::TempDir,
}

impl Project {
    fn new(files: &[(&str, &str)]) -> Project {
        let (root, index) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = Store::open(index.path()).unwrap();
        let project = Project { root, store, _index: index };
        files.iter().for_each(|(rel, text)| project.write(rel, text));
        project
    }

    fn path(&self, rel: &str) -> std::path::PathBuf {
        self.root.path().join(rel)
    }

    fn write(&self, rel: &str, text: &str) {
        fs::create_dir_all(self.path(rel).parent().unwrap()).unwrap();
        fs::write(self.path(rel), text).unwrap();
    }

    fn set_time(&self, rel: &str, time: SystemTime) {
        File::options().write(true).open(self.path(rel)).unwrap().set_modified(time).unwrap();
    }

    fn run(&mut self) -> (Report, usize) {
        let mut host = Counter::default();
        let tree = Tree::open(self.root.path()).unwrap();
        let report = index::run(&mut self.store, &tree, &Settings::default(), &mut host).unwrap();
        (report, host.0)
    }

    /// Makes the index trust all files, as if they had been read long after they were written.
    fn age(&mut self) {
        let tree = Tree::open(self.root.path()).unwrap();
        let known = self.store.files().unwrap();
        for file in walk::walk(&tree, &WalkRules::default(), &|| false).unwrap().files {
            let record = FileRecord { stat: file.stat, ..known[&file.rel].clone() };
            self.store.touch_file(&file.rel, record);
        }
        self.store.commit().unwrap();
        self.wait_for_the_clock();
    }

    /// Returns once the file system gives another time to what is written now than to what was written before.
    fn wait_for_the_clock(&self) {
        let elsewhere = tempfile::tempdir_in(self.root.path().parent().unwrap()).unwrap();
        let probe = elsewhere.path().join("probe");
        let now = || {
            fs::write(&probe, "").unwrap();
            fs::metadata(&probe).unwrap().modified().unwrap()
        };
        let before = now();
        while now() == before {
            std::thread::yield_now();
        }
    }

    fn finds(&self, word: &str) -> Vec<String> {
        let snapshot = self.store.snapshot();
        let found = snapshot.search_text(word, &Filter::default(), 100).unwrap();
        let ids: Vec<u64> = found.into_iter().map(|(id, _)| id).collect();
        let mut paths: Vec<String> =
            snapshot.chunks(&ids).unwrap().into_iter().map(|chunk| chunk.unwrap().rel).collect();
        paths.sort();
        paths
    }

    fn is_trusted(&self, rel: &str) -> bool {
        self.store.files().unwrap()[rel].stat != Stat::UNKNOWN
    }
}

const FILES: &[(&str, &str)] = &[("a.txt", "apple\n"), ("b.txt", "berry\n"), ("dir/c.txt", "cedar\n")];

/// Times that archives, build tools and people give to files.
fn times() -> Vec<SystemTime> {
    let seconds = |n| UNIX_EPOCH + Duration::from_secs(n);
    vec![UNIX_EPOCH, seconds(1), seconds(315_532_800), seconds(1_600_000_000), seconds(4_102_444_800)]
}

/// A way to give `a.txt` and others another content of the same size and time.
type Way = fn(&Project, SystemTime);

/// Names of files and the word that each has in the end.
type Words = &'static [(&'static str, &'static str)];

const WAYS: &[(&str, Way, Words)] = &[
    (
        "cp -p over it",
        |project, time| {
            project.write("a.txt", "zebra\n");
            project.set_time("a.txt", time);
        },
        &[("zebra", "a.txt"), ("apple", "")],
    ),
    (
        "tar x, rsync -t, an editor that saves by renaming",
        |project, time| {
            project.write("new", "zebra\n");
            project.set_time("new", time);
            fs::rename(project.path("new"), project.path("a.txt")).unwrap();
        },
        &[("zebra", "a.txt"), ("apple", "")],
    ),
    (
        "delete and make again",
        |project, time| {
            fs::remove_file(project.path("a.txt")).unwrap();
            project.write("a.txt", "zebra\n");
            project.set_time("a.txt", time);
        },
        &[("zebra", "a.txt"), ("apple", "")],
    ),
    (
        "two files change places",
        |project, _| {
            fs::rename(project.path("a.txt"), project.path("x")).unwrap();
            fs::rename(project.path("b.txt"), project.path("a.txt")).unwrap();
            fs::rename(project.path("x"), project.path("b.txt")).unwrap();
        },
        &[("berry", "a.txt"), ("apple", "b.txt")],
    ),
    (
        "another folder takes the place of one",
        |project, time| {
            project.write("other/c.txt", "zebra\n");
            project.set_time("other/c.txt", time);
            fs::rename(project.path("dir"), project.path("old")).unwrap();
            fs::rename(project.path("other"), project.path("dir")).unwrap();
        },
        &[("zebra", "dir/c.txt"), ("cedar", "old/c.txt")],
    ),
];

#[cfg(unix)] // on Windows a folder does not tell when a file changed: what `cp -p` wrote over is not seen there
#[test]
fn a_change_that_keeps_size_and_time_is_seen() {
    for time in times() {
        for (name, way, expected) in WAYS {
            let mut project = Project::new(FILES);
            FILES.iter().for_each(|(rel, _)| project.set_time(rel, time));
            assert_eq!(project.run().0.files_changed, 3);
            project.age();
            way(&project, time);
            project.run();
            for (word, path) in *expected {
                let found = project.finds(word);
                assert_eq!(found, path.split_terminator(' ').collect::<Vec<_>>(), "{name}, {time:?}: {word}");
            }
        }
    }
}

/// The clock of a file system ticks every few milliseconds: a file that is read and changed within a tick has the same
/// number, size and times before and after.
#[test]
fn a_change_within_a_tick_of_the_clock_is_seen() {
    let mut project = Project::new(&[("a.txt", "round 0\n")]);
    for round in 1..=20 {
        project.run();
        assert!(!project.is_trusted("a.txt"), "it was read right after it changed");
        project.write("a.txt", &format!("round {}\n", round % 10));
        assert_eq!(project.run().0.files_changed, 1, "round {round}");
    }
}

#[test]
fn an_equal_content_makes_no_generation_and_no_vector() {
    let mut project = Project::new(FILES);
    let (first, embedded) = project.run();
    assert_eq!((first.files_changed, embedded), (3, 3));
    project.age();
    let before = project.store.files().unwrap();
    project.write("a.txt", "apple\n");
    fs::rename(project.path("b.txt"), project.path("x")).unwrap();
    fs::copy(project.path("x"), project.path("b.txt")).unwrap();
    fs::remove_file(project.path("x")).unwrap();
    let (second, embedded) = project.run();
    assert_eq!((second.files_changed, second.files_removed, embedded), (0, 0, 0));
    assert_eq!(second.generation, first.generation);
    assert!(!project.is_trusted("a.txt") && project.is_trusted("dir/c.txt"));
    let hashes = |files: std::collections::BTreeMap<String, FileRecord>| -> Vec<[u8; 32]> {
        files.into_values().map(|record| record.hash).collect()
    };
    assert_eq!(hashes(before), hashes(project.store.files().unwrap()));
}

/// This crate's own sources are older than a tick, and nothing else here is.
#[test]
fn a_file_that_has_settled_is_read_once() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/walk");
    let tree = Tree::open(&sources).unwrap();
    let index = tempfile::tempdir().unwrap();
    let mut store = Store::open(index.path()).unwrap();
    let run = |store: &mut Store| {
        let mut host = Counter::default();
        index::run(store, &tree, &Settings::default(), &mut host).unwrap()
    };
    assert!(run(&mut store).files_changed > 0);
    let known = store.files().unwrap();
    assert!(known.values().all(|record| record.stat != Stat::UNKNOWN), "{known:?}");
    // What is not read cannot be found to differ.
    for (rel, record) in &known {
        store.touch_file(rel, FileRecord { hash: [7; 32], ..record.clone() });
    }
    store.commit().unwrap();
    assert_eq!(run(&mut store).files_changed, 0);
    store.touch_file("mod.rs", FileRecord { hash: [7; 32], stat: Stat::UNKNOWN, ..known["mod.rs"].clone() });
    store.commit().unwrap();
    assert_eq!(run(&mut store).files_changed, 1);
}
