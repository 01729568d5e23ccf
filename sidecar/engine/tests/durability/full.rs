//! A full disk: a typed error, the last generation answers, and with space the next run completes.
//!
//! Without root the limit of a file's size stands in: what a process writes beyond it fails with EFBIG. A real full file
//! system is in the ignored test.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use offheap_engine::Error;
use offheap_engine::store::{FileRecord, NewChunk, Store};

use crate::play::{CHILD_DIR, Model, child, copy_dir, play, rendered};

/// Files of the index, without their numbers, that a write failed on.
type Failed = BTreeSet<String>;

fn name_of(error: &Error) -> String {
    let text = match error {
        Error::Io { path, .. } => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        other => other.to_string(),
    };
    // A full-text file begins with its segment's 32 digits.
    let name = match text.split_once('.') {
        Some((segment, rest)) if segment.len() == 32 => rest,
        _ => &text,
    };
    name.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// Plays `round` on a full disk, gives back what failed, and then on one with space.
fn play_full(store: &mut Store, round: u64, model: &mut Model, make_full: impl Fn(bool)) -> Option<String> {
    model.generation(round); // made now: the limit is the whole process's
    make_full(true);
    let outcome = play(store, round);
    let failed = outcome.as_ref().err().map(name_of);
    if let Err(e) = &outcome {
        assert!(e.is_disk_full(), "round {round}: {e:?}");
    }
    // Whether the disk is full or not, the committed generation answers, for the owner and for another reader.
    let found = store.snapshot().generation;
    assert!(found == round || (found + 1 == round && outcome.is_err()), "round {round}: {found}");
    assert_eq!(rendered(&store.snapshot()), model.generation(found), "round {round}: {failed:?}");
    make_full(false);
    if found < round {
        assert_eq!(play(store, round).unwrap(), round, "after {failed:?}");
    }
    assert_eq!(rendered(&store.snapshot()), model.generation(round), "round {round}, after {failed:?}");
    store.verify().unwrap();
    failed
}

/// Not a test: runs in a process of its own, because its limits hold for a whole process.
#[test]
#[ignore = "a child process of the tests beside it"]
fn owner_under_limits() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let dir = Path::new(&dir);
    let mut model = Model::new();
    let mut failed = Failed::new();
    // SAFETY: no handler of ours runs; a write beyond the limit shall fail instead of ending the process.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let limit = |bytes: Option<u64>| {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: both calls get a valid structure of their own.
        unsafe {
            assert_eq!(libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit), 0);
            limit.rlim_cur = bytes.map_or(limit.rlim_max, |bytes| bytes as libc::rlim_t);
            assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
        }
    };
    let mut store = Store::open(&dir.join("data")).unwrap();
    let limits = [0, 50, 120, 170, 250, 400, 600, 900, 1_300, 2_000, 3_500, 5_000, 9_000, 1 << 22];
    for (round, bytes) in (1..).zip(limits.into_iter().cycle().take(3 * limits.len())) {
        failed.extend(play_full(&mut store, round, &mut model, |full| limit(full.then_some(bytes))));
    }
    limit(None);
    drop(store);
    let failed: Vec<String> = failed.into_iter().collect();
    std::fs::write(dir.join("failed"), failed.join("\n")).unwrap();
}

#[test]
fn a_write_that_fails_at_any_stage_is_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    assert!(child("full::owner_under_limits", dir.path()).wait().unwrap().success());
    let failed = std::fs::read_to_string(dir.path().join("failed")).unwrap();
    println!("writes failed on: {}", failed.replace('\n', ", "));
    for name in ["seg-.tmp", "gen-.json.tmp", "meta.json.tmp", "term", "embedding cache"] {
        assert!(failed.lines().any(|line| line == name), "nothing failed on {name}: {failed}");
    }
}

/// `cargo test -p offheap-engine --test durability -- --ignored --nocapture a_full_file_system`, as root: mounts a
/// small tmpfs.
#[test]
#[ignore = "needs root"]
fn a_full_file_system() {
    let dir = tempfile::tempdir().unwrap();
    let run = |program: &str, args: &[&str]| {
        let status = Command::new(program).args(args).arg(dir.path()).status().unwrap();
        assert!(status.success(), "{program}: {status}");
    };
    run("mount", &["-t", "tmpfs", "-o", "size=8m", "tmpfs"]);
    let outcome = std::panic::catch_unwind(|| fill_up_again_and_again(dir.path()));
    run("umount", &[]);
    println!("writes failed on: {:?}", outcome.unwrap());
}

fn fill_up_again_and_again(dir: &Path) -> Failed {
    let (data, filler) = (dir.join("data"), dir.join("filler"));
    let mut model = Model::new();
    let mut failed = Failed::new();
    // All but `left` bytes, to the page; 0 bytes left are 0.
    let fill = |left: Option<u64>| {
        let _ = std::fs::remove_file(&filler);
        if let Some(left) = left {
            let mut file = std::fs::File::create(&filler).unwrap();
            while std::io::Write::write(&mut file, &[1; 4096]).is_ok_and(|n| n == 4096) {}
            let len = file.metadata().unwrap().len();
            file.set_len(len.saturating_sub(left)).unwrap();
        }
    };
    let mut store = Store::open(&data).unwrap();
    for round in 1..=80 {
        let left = round % 40 * 4096;
        failed.extend(play_full(&mut store, round, &mut model, |full| fill(full.then_some(left))));
    }
    // A large change: the full-text writer meets the end on a thread of its own.
    let text: String = (0..200_000).map(|i| format!("word{i} ")).collect();
    fill(Some(100_000));
    let record = FileRecord { hash: [1; 32], n_chunks: 1, ..FileRecord::default() };
    let chunk = NewChunk {
        bytes: 0..1,
        first_line: 1,
        last_line: 1,
        languages: vec![],
        scope: "",
        symbols: vec![],
        text: &text,
        key: [1; 32],
    };
    let put =
        store.put_file("large.rs", "rust", record.clone(), std::slice::from_ref(&chunk)).and_then(|_| store.commit());
    let error = put.unwrap_err();
    assert!(error.is_disk_full(), "{error:?}");
    failed.insert(format!("{} of a large change", name_of(&error)));
    assert_eq!(rendered(&store.snapshot()), model.generation(80));
    // The next owner opens the index on a full disk: the committed generation answers.
    drop(store);
    fill(Some(0));
    let beside = tempfile::tempdir().unwrap();
    copy_dir(&data, beside.path());
    assert_eq!(rendered(&Store::open_read_only(&data).unwrap()), model.generation(80));
    let store = Store::open(&data).unwrap_or_else(|e| panic!("on a full disk: {e:?}"));
    assert_eq!(rendered(&store.snapshot()), model.generation(80));
    drop(store);
    fill(None);
    let mut store = Store::open(&data).unwrap();
    store.put_file("large.rs", "rust", record, &[chunk]).unwrap();
    store.commit().unwrap();
    store.verify().unwrap();
    failed
}
