//! A daemon that dies at any point is a retry, not an outage, and what it committed is whole.

use std::time::Duration;

use offheap_engine::store::Store;

use crate::support::{World, daemon_as, grow, signal};

/// Every point where `failpoint.rs` can end the daemon, and the command that gets it there.
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
    // The second commit of a run: the vectors.
    ("commit-point:2", &["index"]),
    ("commit-cache:2", &["index"]),
    ("leave", &["stop"]),
    ("drained", &["stop"]),
];

fn rounds() -> usize {
    std::env::var("OFFHEAP_TEST_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// A daemon is killed at a point; the next call succeeds at once, and the index is whole.
fn strike(world: &World, point: &str, command: &[&str], round: usize) {
    // Something to commit, in several commits, whatever was indexed before.
    for i in 0..4 {
        world.write(
            &format!("src/new{i}.py"),
            format!("def fresh_{round}_{i}():\n    return '{point} {round} {i} word7'\n"),
        );
    }
    let (mut guard, ready) = daemon_as(world, |command| _ = command.env("OFFHEAP_DIE_AT", point));
    if !command.is_empty() {
        assert!(ready.is_object(), "{point}: {ready}");
        // The command line asks again by itself, on a daemon that it starts: that is the next call.
        let done = world.run(command);
        let may_fail = ["status", "stop"].contains(&command[0]); // these start nothing
        assert!(done.code == Some(0) || may_fail, "{point}: {done:?}");
    }
    let status = guard.wait();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGKILL), "{point} is passed");
    let hits = world.json(&["search", "--json", "--mode", "text", "word7"]);
    assert!(!hits["hits"].as_array().expect("hits").is_empty(), "{point}: {hits}");
    assert_eq!(world.run(&["stop"]).code, Some(0), "{point}");
    // Every byte of it, as its owner finds it.
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

/// `OFFHEAP_TEST_ROUNDS=20` for the long form.
#[test]
fn a_kill_at_every_point_is_a_retry() {
    let world = world();
    for round in 0..rounds() {
        for (point, command) in POINTS {
            strike(&world, point, command, round);
        }
    }
}

/// A stopped daemon is no reason to wait for ever, and none to be killed unasked.
#[test]
fn a_stopped_daemon_is_told_and_ended_by_force_only() {
    let world = World::new();
    world.run(&["init"]);
    let pid = world.start();
    signal(pid, libc::SIGSTOP);
    let error = world.fault(&["restart"], 1, "DAEMON_UNRESPONSIVE");
    assert!(error["hint"].as_str().expect("text").contains("--force"), "{error}");
    // Nobody else makes itself owner meanwhile, and what is told is what is.
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
    // Force is for those that do not answer.
    let pid = status["pid"].as_u64().expect("a number") as u32;
    let polite = world.json(&["restart", "--force", "--json"]);
    assert_eq!(polite["killed"], serde_json::Value::Null, "{pid} answered");
    let status = world.status();
    assert_eq!(status["crashes"], 1);
    // One that goes on in time is as it was.
    let pid = status["pid"].as_u64().expect("a number") as u32;
    signal(pid, libc::SIGSTOP);
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        signal(pid, libc::SIGCONT);
    });
    assert_eq!(world.status()["pid"], pid);
}

#[test]
fn restart_by_request() {
    let world = World::new();
    world.run(&["init"]);
    let pid = world.start();
    assert_eq!(world.json(&["restart", "--json"])["killed"], serde_json::Value::Null);
    let status = world.status();
    assert_ne!(status["pid"], pid);
    assert_eq!((&status["starts"], &status["crashes"]), (&2.into(), &0.into()));
    assert_eq!(world.run(&["stop"]).code, Some(0));
    assert_eq!(world.run(&["restart"]).stdout, "Restarted.\n", "where none runs it is a start");
}
