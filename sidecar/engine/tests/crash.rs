//! Whatever interrupts a commit, the next open finds the generation before it or the one it made, whole.

#![allow(clippy::print_stdout)] // seeds and figures of a run

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use offheap_engine::kernel::Kernel;
use offheap_engine::store::{FileRecord, Filter, NewChunk, Snapshot, Space, Step, Store};

const STEPS: [Step; 7] =
    [Step::Segment, Step::Manifest, Step::Prepare, Step::CommitPoint, Step::Cache, Step::Publish, Step::Garbage];
const N_FILES: u64 = 6;

fn space() -> Space {
    Space { id: "crash-test".into(), dim: 8 }
}

fn kernel() -> &'static Kernel {
    offheap_engine::kernel::choose(None).expect("portable always runs")
}

/// Puts round `round` of every file, the vectors of the round before, and commits: generation = round.
fn play(store: &mut Store, round: u64) -> offheap_engine::Result<u64> {
    store.set_space(&space())?;
    for file in store.pending()? {
        for chunk in file.chunks {
            let vector: Vec<f32> = (0..8).map(|i| (chunk.chunk_id % (i + 2)) as f32 + 0.5).collect();
            store.put_vectors(&[(chunk.chunk_id, chunk.key, &vector)])?;
        }
    }
    // One file in two is rewritten in each round, so that dead rows, merges and survivors all occur.
    for file in (0..N_FILES).filter(|file| round == 1 || (file + round).is_multiple_of(2)) {
        let text = format!("round{round} file{file}");
        let record = FileRecord { hash: [round as u8; 32], size: round, mtime_ns: 1, n_chunks: 1 };
        let chunk = NewChunk {
            bytes: 0..round,
            first_line: 1,
            last_line: 1,
            scope: "",
            symbols: vec![],
            text: &text,
            key: [file as u8; 32],
        };
        store.put_file(&format!("f{file}.rs"), "rust", record, &[chunk])?;
    }
    store.commit()
}

/// Everything that a generation answers, as one text: two equal texts are two equal generations.
fn rendered(snapshot: &Snapshot) -> String {
    let all = Filter::default();
    let mut out = format!("generation {}\n", snapshot.generation);
    let stats = snapshot.stats();
    out += &format!("{} files, {} chunks, {} vectors\n", stats.files, stats.chunks, stats.vectors);
    for file in 0..N_FILES {
        for (id, _) in snapshot.search_text(&format!("file{file}"), &all, 50).unwrap() {
            let chunk = snapshot.chunks(&[id]).unwrap().remove(0).unwrap();
            out += &format!("text {id} {} {:?} {:?}\n", chunk.rel, chunk.bytes, chunk.key[0]);
        }
    }
    for (id, cosine) in snapshot.search_vectors(&[1.0; 8], &all, 50, kernel()).unwrap() {
        out += &format!("vector {id} {cosine:.4}\n");
    }
    out
}

/// The generations 0 to `n`, from an index that nothing interrupted.
fn undisturbed(n: u64) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let mut generations = vec![rendered(&store.snapshot())];
    for round in 1..=n {
        assert_eq!(play(&mut store, round).unwrap(), round);
        generations.push(rendered(&store.snapshot()));
    }
    generations
}

/// Opens what a crash left; it must be whole, and its next rounds must be those of an undisturbed index.
fn check_survivor(dir: &Path, generations: &[String], name: &str) -> u64 {
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

fn copy_dir(from: &Path, to: &Path) {
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

/// The disk as it is between any two steps of a commit is what a kill there leaves.
#[test]
fn a_kill_between_any_two_steps_leaves_a_whole_generation() {
    let generations = undisturbed(14);
    for round in [1, 2, 5, 10, 11, 12] {
        let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut store = Store::open(dir.path()).unwrap();
        for earlier in 1..round {
            play(&mut store, earlier).unwrap();
        }
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (from, to, steps) = (dir.path().to_path_buf(), copies.path().to_path_buf(), seen.clone());
        store.on_step(move |step| {
            copy_dir(&from, &to.join(format!("{step:?}")));
            steps.lock().unwrap().push(step);
            Ok(())
        });
        play(&mut store, round).unwrap();
        assert_eq!(*seen.lock().unwrap(), STEPS);
        for (i, step) in STEPS.into_iter().enumerate() {
            let name = format!("round {round}, before {step:?}");
            let found = check_survivor(&copies.path().join(format!("{step:?}")), &generations, &name);
            assert_eq!(found, if i <= 3 { round - 1 } else { round }, "{name}");
        }
    }
}

/// A step that fails (disk full) leaves the running store at a whole generation, and the same changes then go through.
#[test]
fn a_failing_step_leaves_a_store_that_works() {
    let generations = undisturbed(14);
    for round in [1, 2, 11] {
        for (i, fails) in STEPS.into_iter().enumerate() {
            let name = format!("round {round}, {fails:?} fails");
            let dir = tempfile::tempdir().unwrap();
            let mut store = Store::open(dir.path()).unwrap();
            for earlier in 1..round {
                play(&mut store, earlier).unwrap();
            }
            let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
            store.on_step(move |step| if step == fails { Err(full()) } else { Ok(()) });
            assert!(play(&mut store, round).is_err(), "{name}");
            store.on_step(|_| Ok(()));
            let now = if i <= 3 { round - 1 } else { round };
            assert_eq!(rendered(&store.snapshot()), generations[now as usize], "{name}");
            for later in now + 1..=round + 1 {
                assert_eq!(play(&mut store, later).unwrap(), later, "{name}");
                assert_eq!(rendered(&store.snapshot()), generations[later as usize], "{name}");
            }
            store.verify().unwrap();
            drop(store);
            check_survivor(dir.path(), &generations, &name);
        }
    }
}

/// A kill inside tantivy's commit, after its files and before `meta.json`, once left a deletion file whose name the next
/// commit wanted too, and every later commit failed (found by `kill_9_at_random_moments`).
#[test]
fn a_kill_inside_the_text_commit_leaves_a_store_that_works() {
    let generations = undisturbed(14);
    for round in [2, 3, 5, 11] {
        let (dir, left) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut store = Store::open(dir.path()).unwrap();
        for earlier in 1..round {
            play(&mut store, earlier).unwrap();
        }
        drop(store);
        copy_dir(dir.path(), left.path());
        let meta = std::fs::read(dir.path().join("text/meta.json")).unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let (from, to) = (dir.path().to_path_buf(), left.path().to_path_buf());
        store.on_step(move |step| {
            if step == Step::Cache {
                for part in ["text", "vectors"] {
                    copy_dir(&from.join(part), &to.join(part));
                }
            }
            Ok(())
        });
        play(&mut store, round).unwrap();
        std::fs::write(left.path().join("text/meta.json"), meta).unwrap();
        let found = check_survivor(left.path(), &generations, &format!("round {round}"));
        assert_eq!(found, round - 1);
    }
}

const KILLED_DIR: &str = "OFFHEAP_TEST_KILLED_DIR";
const N_ROUNDS: u64 = 60;

/// Not a test: what `kill_9_at_random_moments` runs in another process and kills.
#[test]
fn child_that_is_killed() {
    let Some(dir) = std::env::var_os(KILLED_DIR) else { return };
    let mut store = Store::open(Path::new(&dir)).unwrap();
    for round in store.snapshot().generation + 1..=N_ROUNDS {
        play(&mut store, round).unwrap();
    }
}

#[test]
fn kill_9_at_random_moments() {
    let generations = undisturbed(N_ROUNDS + 3);
    let seed: u64 = 0x2545_F491_4F6C_DD1D;
    println!("seed {seed:#x}");
    let mut state = seed;
    let (mut n_kills, mut n_grown) = (0, 0);
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path()).unwrap());
    let mut last = 0;
    while last < N_ROUNDS && n_kills < 60 {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_is_killed", "--quiet"])
            .env(KILLED_DIR, dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Not a wait for something: the moment of the kill is what is random here.
        std::thread::sleep(Duration::from_micros(5_000 + (state >> 33) % 60_000));
        child.kill().unwrap();
        child.wait().unwrap();
        n_kills += 1;

        let beside = Store::open_read_only(dir.path()).unwrap();
        assert_eq!(rendered(&beside), generations[beside.generation as usize], "kill {n_kills}");
        let store = Store::open(dir.path()).unwrap();
        store.verify().unwrap();
        let found = store.snapshot().generation;
        assert!(found >= last, "kill {n_kills}: a committed generation was lost");
        n_grown += u64::from(found > last);
        last = found;
    }
    println!("{n_kills} kills, {n_grown} found a new generation, {last} rounds");
    assert!(n_grown > 0, "every child was killed before it did anything");
    check_survivor(dir.path(), &generations, "after all kills");
}
