//! Whatever interrupts a commit, the next open finds the generation before it or the one it made, whole.

use std::sync::{Arc, Mutex};

use offheap_engine::store::{Step, Store};

use crate::play::{check_survivor, copy_dir, copy_moment, play, rendered, undisturbed};

const STEPS: [Step; 7] =
    [Step::Segment, Step::Manifest, Step::Prepare, Step::CommitPoint, Step::Cache, Step::Publish, Step::Garbage];

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
            copy_moment(&from, &to.join(format!("{step:?}")));
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
/// commit wanted too, and every later commit failed (found by `kill.rs`).
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
