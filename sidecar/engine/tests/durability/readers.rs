//! Readers in other threads and processes while the owner commits and collects.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use offheap_engine::store::Store;

use crate::play::{CHILD_DIR, child, play, rendered};

/// Opens, searches and compares for as long as `go_on`; gives each generation that it saw and what that answered.
fn read(data: &Path, mut go_on: impl FnMut() -> bool) -> (u64, HashMap<u64, String>) {
    let mut seen: HashMap<u64, String> = HashMap::new();
    let held = Store::open_read_only(data).unwrap();
    let first = rendered(&held);
    let (mut last, mut n_opened) = (held.generation, 0);
    while go_on() {
        let snapshot = Store::open_read_only(data).unwrap_or_else(|e| panic!("after {n_opened}: {e:?}"));
        assert!(snapshot.generation >= last, "generations only grow: {} after {last}", snapshot.generation);
        last = snapshot.generation;
        n_opened += 1;
        let now = rendered(&snapshot);
        let before = seen.entry(last).or_insert_with(|| now.clone());
        assert_eq!(*before, now, "a generation answers the same each time");
    }
    assert_eq!(rendered(&held), first, "what is held stays, whatever was collected since");
    (n_opened, seen)
}

/// Not a test: a reader in a process of its own. It ends when the file `stop` is there.
#[test]
#[ignore = "a child process of the tests beside it"]
fn reader_process() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let dir = Path::new(&dir);
    let (n_opened, seen) = read(&dir.join("data"), || !dir.join("stop").exists());
    let mut out = std::fs::File::create(dir.join(format!("seen-{}", std::process::id()))).unwrap();
    writeln!(out, "{n_opened}").unwrap();
    for (generation, answers) in seen {
        writeln!(out, "{generation} {}", answers.replace('\n', "|")).unwrap();
    }
}

/// The owner commits round after round for as long as `go_on` says, while readers of both kinds look.
fn read_while_writing(n_threads: usize, n_processes: usize, mut go_on: impl FnMut(u64) -> bool) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut store = Store::open(&data).unwrap();
    play(&mut store, 1).unwrap();
    let mut written = HashMap::from([(1, rendered(&store.snapshot()))]);
    let stop = AtomicBool::new(false);
    let processes: Vec<_> = (0..n_processes).map(|_| child("readers::reader_process", dir.path())).collect();
    let (n_opened, seen) = std::thread::scope(|scope| {
        let read = || read(&data, || !stop.load(Ordering::Relaxed));
        let threads: Vec<_> = (0..n_threads).map(|_| scope.spawn(read)).collect();
        let mut round = 1;
        while go_on(round) {
            round += 1;
            assert_eq!(play(&mut store, round).unwrap(), round);
            written.insert(round, rendered(&store.snapshot()));
        }
        stop.store(true, Ordering::Relaxed);
        std::fs::write(dir.path().join("stop"), b"").unwrap();
        let (mut n_opened, mut seen) = (0, Vec::new());
        for thread in threads {
            let (n, generations) = thread.join().unwrap();
            n_opened += n;
            seen.extend(generations);
        }
        (n_opened, seen)
    });
    let mut n_beside = 0;
    for mut process in processes {
        let id = process.id();
        assert!(process.wait().unwrap().success(), "a reader failed");
        let text = std::fs::read_to_string(dir.path().join(format!("seen-{id}"))).unwrap();
        let mut lines = text.lines();
        n_beside += lines.next().unwrap().parse::<u64>().unwrap();
        for line in lines {
            let (generation, answers) = line.split_once(' ').unwrap();
            let expected = written[&generation.parse().unwrap()].replace('\n', "|");
            assert_eq!(answers, expected, "process {id}, generation {generation}");
        }
    }
    for (generation, answers) in &seen {
        assert_eq!(*answers, written[generation], "generation {generation}");
    }
    println!("{} generations; threads opened {n_opened}, processes {n_beside} times", written.len());
    assert!(n_threads == 0 || n_opened > 0);
    store.verify().unwrap();
    // Readers do not keep old files: after one more commit only the files of two generations are left.
    let next = store.snapshot().generation + 1;
    play(&mut store, next).unwrap();
    let n_left = std::fs::read_dir(data.join("vectors")).unwrap().count();
    assert!(n_left <= 2 + 2 * 9, "{n_left} files");
    assert_eq!(std::fs::read_dir(data.join("readers")).unwrap().count(), 0);
}

#[test]
fn readers_see_whole_generations_while_the_owner_writes() {
    read_while_writing(4, 0, |round| round < 25);
}

#[test]
fn other_processes_see_whole_generations_while_the_owner_writes() {
    read_while_writing(0, 3, |round| round < 25);
}

/// `cargo test -p offheap-engine --test durability -- --ignored --nocapture sixteen_readers`
#[test]
#[ignore = "a minute each"]
fn sixteen_readers_and_a_writer_for_a_minute() {
    let started = Instant::now();
    read_while_writing(16, 0, |_| started.elapsed() < Duration::from_secs(60));
}

/// `cargo test -p offheap-engine --test durability -- --ignored --nocapture sixteen_reader_processes`
#[test]
#[ignore = "a minute each"]
fn sixteen_reader_processes_and_a_writer_for_a_minute() {
    let started = Instant::now();
    read_while_writing(0, 16, |_| started.elapsed() < Duration::from_secs(60));
}
