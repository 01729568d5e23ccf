//! Changes are seen while a daemon watches: also those that keep size and time, and those of many files at once.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::support::{World, finish};

/// A world whose daemon watches the project, which holds `a.txt`, `b.txt` and `dir/c.txt`.
fn watched() -> World {
    let mut world = World::new();
    world.unset("OFFHEAP_WATCH");
    world.set("OFFHEAP_WATCH", "1");
    for (rel, word) in [("a.txt", "apple"), ("b.txt", "berry"), ("dir/c.txt", "cedar")] {
        put(&world.project().join(rel), word);
    }
    world.json(&["index", "--json"]);
    assert_eq!(found(&world, "apple"), ["a.txt"]);
    world
}

fn put(path: &Path, word: &str) {
    fs::create_dir_all(path.parent().expect("inside")).expect("made");
    fs::write(path, format!("{word}\n")).expect("written");
    File::options().write(true).open(path).expect("there").set_modified(old()).expect("a time");
}

/// The time that all files have: what an archive gives them.
fn old() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1)
}

/// The files that have a word, once everything that changed is indexed.
fn found(world: &World, word: &str) -> Vec<String> {
    let done = world.run(&["search", "--json", "--no-text", "--mode", "text", "-n", "1000", "--wait", "60000", word]);
    assert!(matches!(done.code, Some(0 | 3)), "{done:?}");
    let answer = done.json();
    assert_eq!(answer["coverage"]["fresh"], true, "{answer}");
    let hits = answer["hits"].as_array().expect("hits").iter();
    let mut paths: Vec<String> = hits.map(|hit| hit["path"].as_str().expect("text").to_owned()).collect();
    paths.sort();
    paths
}

/// Changes files one way after the other; after each, what is there is found, and what is gone is not.
fn change_everything(world: &World) {
    let path = |rel: &str| world.project().join(rel);
    let outside = world.home().join("outside");
    // `cp -p`, and `rsync --inplace -t`.
    put(&path("a.txt"), "zebra");
    assert_eq!((found(world, "zebra"), found(world, "apple")), (vec!["a.txt".into()], vec![]));
    // An editor that saves by renaming, and `rsync -t`.
    put(&outside.join("new"), "lemon");
    fs::rename(outside.join("new"), path("a.txt")).expect("one disk");
    assert_eq!((found(world, "lemon"), found(world, "zebra")), (vec!["a.txt".into()], vec![]));
    // Two files change places.
    fs::rename(path("a.txt"), path("x.txt")).expect("one folder");
    fs::rename(path("b.txt"), path("a.txt")).expect("one folder");
    fs::rename(path("x.txt"), path("b.txt")).expect("one folder");
    assert_eq!((found(world, "lemon"), found(world, "berry")), (vec!["b.txt".into()], vec!["a.txt".into()]));
    // A file is made again.
    fs::remove_file(path("a.txt")).expect("there");
    put(&path("a.txt"), "mango");
    assert_eq!((found(world, "mango"), found(world, "berry")), (vec!["a.txt".into()], vec![]));
    // A folder leaves, another takes its place, the first comes back under another name.
    put(&outside.join("other/c.txt"), "olive");
    fs::rename(path("dir"), outside.join("old")).expect("one disk");
    fs::rename(outside.join("other"), path("dir")).expect("one disk");
    assert_eq!((found(world, "olive"), found(world, "cedar")), (vec!["dir/c.txt".into()], vec![]));
    fs::rename(outside.join("old"), path("deep")).expect("one disk");
    put(&path("deep/c.txt"), "grape");
    assert_eq!((found(world, "grape"), found(world, "cedar")), (vec!["deep/c.txt".into()], vec![]));
}

#[test]
fn a_watching_daemon_sees_every_change() {
    let world = watched();
    assert_eq!(world.status()["watch"]["state"], "watching");
    change_everything(&world);
}

#[test]
fn an_archive_of_many_old_files_is_seen() {
    const FILES: usize = 2_000;
    let world = watched();
    for round in ["first", "other"] {
        for i in 0..FILES {
            put(&world.project().join(format!("unpacked/{}/{i}.txt", i % 40)), &format!("{round} kiwi{i}"));
        }
        assert_eq!(found(&world, round).len(), 1_000, "the limit of hits");
        let last = found(&world, &format!("kiwi{}", FILES - 1));
        assert!(last.iter().any(|rel| rel.ends_with("/1999.txt")), "the others have a part of the word");
    }
    assert_eq!(found(&world, "first"), [""; 0]);
    fs::remove_dir_all(world.project().join("unpacked")).expect("there");
    assert_eq!(found(&world, "other"), [""; 0]);
}

#[test]
fn a_switch_of_branches_is_seen() {
    let world = watched();
    let git = |args: &[&str]| {
        let set = ["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false"];
        let mut command = world.environment("git", set.iter().chain(args));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let done = finish(command, b"");
        assert_eq!(done.code, Some(0), "{args:?}: {done:?}");
    };
    git(&["init", "-q", "-b", "main"]);
    for branch in ["plum", "quince"] {
        git(&["checkout", "-q", "--orphan", branch]);
        (0..300).for_each(|i| put(&world.project().join(format!("many/{i}.txt")), branch));
        git(&["add", "-A", "many"]);
        git(&["commit", "-q", "-m", branch]);
    }
    for (branch, other) in [("plum", "quince"), ("quince", "plum"), ("plum", "quince")] {
        git(&["checkout", "-q", branch]);
        assert_eq!((found(&world, branch).len(), found(&world, other).len()), (300, 0), "{branch}");
    }
}

/// Where the system has no watches left, the tree is looked at instead.
#[test]
#[expect(clippy::print_stderr, reason = "a test that could not run says so")]
fn a_polling_daemon_sees_every_change() {
    let world = watched();
    world.run(&["stop"]);
    // A user namespace has limits of its own; where none may be made, nothing can be tested.
    let limited = "echo 1 > /proc/sys/user/max_inotify_watches && exec \"$@\"";
    let offheap = crate::support::bin();
    let args = ["-U", "-r", "sh", "-c", limited, "sh", offheap.to_str().expect("UTF-8"), "start", "--json"];
    let mut command = world.environment("unshare", args);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let done = finish(command, b"");
    if done.code != Some(0) {
        eprintln!("not tested, because no user namespace can be made: {}", done.stderr);
        return;
    }
    found(&world, "apple");
    let status = world.status();
    assert_eq!(status["watch"]["state"], "polling", "{status}");
    change_everything(&world);
    let _: Value = status;
}
