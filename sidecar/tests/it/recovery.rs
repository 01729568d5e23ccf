//! A daemon is killed at each of many points: the next call succeeds, and the index passes verification.

use std::time::Duration;

use offheap_engine::store::Store;

use crate::support::{World, daemon_as, grow, signal};

/// Every point at which `failpoint.rs` can kill the daemon, and the command that makes the daemon reach it.
const POINTS: &[(&str, &[&str])] = &[
    ("lock", &[]),
    ("bind", &[]),
    ("ready", &[]),
    ("greeted", &["status"]),
    ("request", &["status"]),
    ("reply", &["search", "--mode", "text", "word7"]),
    ("replied", &["search", "--mode", "text", "word7"]),
    ("load", &["embed", "x"]),
    ("loaded", &["embed", "x"]),
    ("batch", &["embed", "x"]),
    ("batched", &["embed", "x"]),
    ("search", &["search", "word7"]),
    ("index", &["index"]),
    ("commit-segment", &["index"]),
    ("commit-manifest", &["index"]),
    ("commit-prepare", &["index"]),
    ("commit-point", &["index"]),
    ("commit-cache", &["index"]),
    ("commit-publish", &["index"]),
    ("commit-garbage", &["index"]),
    // The second commit of an index run, which adds the vectors.
    ("commit-point:2", &["index"]),
    ("commit-cache:2", &["index"]),
    ("leave", &["stop"]),
    ("drained", &["stop"]),
];

fn rounds() -> usize {
    std::env::var("OFFHEAP_TEST_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// Kills a daemon at a point; checks that the next call succeeds and that the index is intact.
fn kill_at(world: &World, point: &str, command: &[&str], round: usize) {
    // New files, so that every round has something to commit.
    for i in 0..4 {
        world.write(
            &format!("src/new{i}.py"),
            format!("def fresh_{round}_{i}():\n    return '{point} {round} {i} word7'\n"),
        );
    }
    let (mut guard, ready) = daemon_as(world, |command| _ = command.env("OFFHEAP_DIE_AT", point));
    if !command.is_empty() {
        assert!(ready.is_object(), "{point}: {ready}");
        // The command line starts another daemon and sends the request again.
        let done = world.run(command);
        let may_fail = ["status", "stop"].contains(&command[0]); // these commands start no daemon
        assert!(done.code == Some(0) || may_fail, "{point}: {done:?}");
    }
    let status = guard.wait();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(libc::SIGKILL),
        "the daemon is killed at {point}"
    );
    let hits = world.json(&["search", "--json", "--mode", "text", "word7"]);
    assert!(!hits["hits"].as_array().expect("hits").is_empty(), "{point}: {hits}");
    assert_eq!(world.run(&["stop"]).code, Some(0), "{point}");
    // Reads and checks every file of the index.
    let store = Store::open(world.place()).unwrap_or_else(|error| panic!("{point}: {error}"));
    store.verify().unwrap_or_else(|error| panic!("{point}: {error}"));
}

fn world() -> World {
    let world = World::new();
    world.run(&["init"]);
    grow(&world, 6);
    world.write("src/seven.py", "def seven():\n    return 'word7'\n");
    world.json(&["index", "--json"]);
    assert_eq!(world.run(&["stop"]).code, Some(0));
    world
}

/// Runs once per point; `OFFHEAP_TEST_ROUNDS=20` makes it 20 times.
#[test]
fn after_a_kill_at_any_point_the_next_call_succeeds() {
    let world = world();
    for round in 0..rounds() {
        for (point, command) in POINTS {
            kill_at(&world, point, command, round);
        }
    }
}

/// A daemon that was stopped by a signal does not answer: commands report that, and only `restart --force` kills it.
#[test]
fn an_unresponsive_daemon_is_reported_and_killed_by_force_only() {
    let world = World::new();
    world.run(&["init"]);
    let pid = world.start();
    signal(pid, libc::SIGSTOP);
    let error = world.fault(&["restart"], 1, "DAEMON_UNRESPONSIVE");
    assert!(error["hint"].as_str().expect("text").contains("--force"), "{error}");
    // `doctor` reports the same and starts no other daemon.
    let doctor = world.run(&["doctor", "--json"]);
    assert_eq!(doctor.code, Some(1));
    let checks = doctor.json()["checks"].clone();
    let daemon =
        checks.as_array().expect("a list").iter().find(|check| check["check"] == "daemon").expect("one").clone();
    assert!(
        daemon["state"] == "problem" && daemon["detail"].as_str().expect("text").contains("DAEMON_UNRESPONSIVE"),
        "{daemon}"
    );
    let answer = world.json(&["restart", "--force", "--json"]);
    assert_eq!(answer["killed"], pid);
    let status = world.status();
    assert_ne!(status["pid"], pid);
    assert_eq!((&status["starts"], &status["crashes"]), (&2.into(), &1.into()));
    // `--force` does not kill a daemon that answers.
    let pid = status["pid"].as_u64().expect("a number") as u32;
    let restarted = world.json(&["restart", "--force", "--json"]);
    assert_eq!(restarted["killed"], serde_json::Value::Null, "{pid} answered");
    let status = world.status();
    assert_eq!(status["crashes"], 1);
    // A daemon that continues before the client's timeout is kept.
    let pid = status["pid"].as_u64().expect("a number") as u32;
    signal(pid, libc::SIGSTOP);
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        signal(pid, libc::SIGCONT);
    });
    assert_eq!(world.status()["pid"], pid);
}

#[test]
fn restart_replaces_the_daemon() {
    let world = World::new();
    world.run(&["init"]);
    let pid = world.start();
    assert_eq!(world.json(&["restart", "--json"])["killed"], serde_json::Value::Null);
    let status = world.status();
    assert_ne!(status["pid"], pid);
    assert_eq!((&status["starts"], &status["crashes"]), (&2.into(), &0.into()));
    assert_eq!(world.run(&["stop"]).code, Some(0));
    assert_eq!(world.run(&["restart"]).stdout, "Restarted.\n", "restart starts a daemon where none runs");
}
