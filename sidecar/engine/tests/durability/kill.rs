//! kill -9 of the owner at random moments of opening, indexing, committing and merging.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use offheap_engine::store::Store;

use crate::play::{CHILD_DIR, Model, Random, child, play, rendered};

/// Rounds of one child: more than it can finish before it is killed.
const N_ROUNDS: u64 = 500;

/// Not a test: the process that is killed. It logs which commits it begins, and which have returned.
#[test]
#[ignore = "a child process of the tests beside it"]
fn owner_that_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let dir = Path::new(&dir);
    let mut log = OpenOptions::new().append(true).create(true).open(dir.join("log")).unwrap();
    let mut store = Store::open(&dir.join("data")).unwrap();
    let first = store.snapshot().generation + 1;
    for round in first..first + N_ROUNDS {
        writeln!(log, "begin {round}").unwrap();
        play(&mut store, round).unwrap();
        writeln!(log, "done {round}").unwrap();
    }
}

/// The last numbers that the child wrote after `word`.
fn last(log: &str, word: &str) -> u64 {
    let mut numbers = log.lines().filter_map(|line| line.strip_prefix(word)?.trim().parse().ok());
    numbers.next_back().unwrap_or(0)
}

fn kill_at_random_moments(n_kills: u64, seed: u64) {
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    let mut model = Model::new();
    let (mut n_opening, mut n_between, mut n_acknowledged, mut n_unclean, mut n_generations) = (0, 0, 0, 0, 0);
    let mut dir = tempfile::tempdir().unwrap();
    for kill in 1..=n_kills {
        if kill % 50 == 0 {
            dir = tempfile::tempdir().unwrap(); // also the first commits of an index
        }
        let (data, log_path) = (dir.path().join("data"), dir.path().join("log"));
        drop(File::create(&log_path).unwrap());
        let before = Store::open_read_only(&data).map_or(0, |snapshot| snapshot.generation);
        let mut child = child("kill::owner_that_is_killed", dir.path());
        // Not a wait for something: the moment of the kill is what is random here.
        std::thread::sleep(Duration::from_micros(2_000 + random.below(300_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        let log = std::fs::read_to_string(&log_path).unwrap();
        let (begun, done) = (last(&log, "begin").max(before), last(&log, "done").max(before));

        if !data.join("format").exists() {
            n_opening += 1; // killed before it made anything
            continue;
        }
        // The lock went with the process; what is left is a generation that may be there, and all of it.
        let mut store = Store::open(&data).unwrap_or_else(|e| panic!("kill {kill}: {e:?}"));
        let found = store.snapshot().generation;
        assert!((done..=begun).contains(&found), "kill {kill}: {found}, acknowledged {done}, begun {begun}");
        assert_eq!(rendered(&store.snapshot()), model.generation(found), "kill {kill}");
        assert_eq!(rendered(&Store::open_read_only(&data).unwrap()), model.generation(found), "kill {kill}");
        assert_eq!(store.files().unwrap().len() as u64, store.snapshot().stats().files, "kill {kill}");
        n_unclean += u64::from(store.was_unclean());
        store.check().run(&|| false).unwrap_or_else(|e| panic!("kill {kill}: {e:?}"));
        assert!(!store.was_unclean());
        match (log.is_empty(), found > done) {
            (true, _) => n_opening += 1,
            (_, true) => n_between += 1,
            (_, false) => n_acknowledged += 1,
        }
        n_generations += found - before;
        // The next run completes.
        assert_eq!(play(&mut store, found + 1).unwrap(), found + 1, "kill {kill}");
        assert_eq!(rendered(&store.snapshot()), model.generation(found + 1), "kill {kill}");
    }
    println!(
        "{n_kills} kills: {n_opening} while it opened, {n_between} after a commit point and before its caller heard of \
         it, {n_acknowledged} elsewhere; {n_unclean} left an index to be checked; {n_generations} generations committed"
    );
    assert!(n_generations > 0, "every child was killed before it did anything");
}

#[test]
fn every_kill_leaves_a_committed_generation() {
    kill_at_random_moments(20, 0x2545_F491_4F6C_DD1D);
}

/// `cargo test -p offheap-engine --test durability -- --ignored --nocapture kill_9_two_hundred_times`;
/// `OFFHEAP_TEST_SEED` chooses the moments.
#[test]
#[ignore = "a minute of kills"]
fn kill_9_two_hundred_times() {
    let seed = std::env::var("OFFHEAP_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    kill_at_random_moments(200, seed.unwrap_or(0x9E37_79B9_7F4A_7C15));
}
