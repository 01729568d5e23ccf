//! What the log and the file for bug reports hold, and what they never hold.

use std::path::Path;

use serde_json::Value;

use crate::support::{World, finish, is_root};

/// What a user writes: none of it may appear where others read.
const MARKERS: [&str; 6] = ["MARKERQUERY", "MARKERTEXT", "MARKERCONTENT", "MARKERGLOB", "MARKERMODEL", "MARKERKEY"];

fn log_of(world: &World) -> String {
    std::fs::read_to_string(world.endpoint().log()).expect("a daemon has run")
}

/// A session in which each marker goes its usual way through the daemon, and fails in some.
fn session(world: &World) {
    world.write("MARKERFILE.py", "def MARKERCONTENT():\n    return 'MARKERCONTENT'\n");
    world.write(".offheap/config.json", r#"{"index":{"exclude":["MARKERGLOB"]}}"#);
    world.json(&["index", "--json"]);
    for mode in ["hybrid", "text", "symbol", "regex"] {
        world.run(&["search", "MARKERQUERY", "--mode", mode]);
    }
    world.run(&["search", "MARKERQUERY(", "--mode", "regex"]);
    world.run(&["search", "x", "--glob", "MARKERGLOB[", "--language", "MARKERGLOB"]);
    world.json(&["embed", "--json", "MARKERTEXT"]);
    // The configuration is read anew by each run.
    for broken in
        [r#"{"MARKERKEY":1}"#, r#"{"index":{"exclude":["MARKERGLOB["]}}"#, r#"{"version":"MARKERKEY"}"#, "MARKERKEY"]
    {
        world.write(".offheap/config.json", broken);
        world.run(&["index"]);
        world.run(&["search", "MARKERQUERY", "--fresh"]);
    }
    world.write(".offheap/config.json", r#"{"model":"MARKERMODEL.gguf"}"#);
    world.run(&["restart"]);
    world.run(&["search", "MARKERQUERY"]);
    world.run(&["embed", "MARKERTEXT"]);
}

fn assert_no_marker(text: &str, whose: &str) {
    for marker in MARKERS {
        let line = text.lines().find(|line| line.contains(marker));
        assert_eq!(line, None, "{whose} has {marker}");
    }
}

#[test]
fn the_log_of_everything_holds_no_text_of_the_user() {
    let mut world = World::new();
    world.set("OFFHEAP_LOG", "debug");
    session(&world);
    world.run(&["stop"]);
    let log = log_of(&world);
    assert_no_marker(&log, "the log");
    for wanted in
        ["search, hybrid begins", "search, regex ends after", "INVALID_ARGUMENT", "index ends after", "embed begins"]
    {
        assert!(log.contains(wanted), "the log does not tell of `{wanted}`:\n{log}");
    }
    // Each line: time, level, origin, message. The lines of a request name it, and there are two at least.
    for line in log.lines() {
        let mut parts = line.splitn(3, ' ');
        let (time, level, rest) = (parts.next().unwrap_or_default(), parts.next(), parts.next().unwrap_or_default());
        assert!(time.len() == 24 && time.ends_with('Z') && time.as_bytes()[10] == b'T', "{line}");
        assert!(["error", "warn", "info", "debug"].map(Some).contains(&level), "{line}");
        if rest.contains(" begins") {
            let origin = rest.split(' ').next().expect("split gives one");
            assert!(origin.starts_with('[') && origin.contains('.') && origin.ends_with(']'), "{line}");
            let ends =
                log.lines().any(|other| other.contains(&format!(" {origin} ")) && other.contains(" ends after "));
            assert!(ends || rest.contains("shutdown"), "{line} has no end");
        }
    }
    // What the model thread and index runs do for a request belongs to it.
    assert!(
        log.lines().any(|line| line.contains("warn [") && line.contains("rebuil") || line.contains("loaded ")),
        "{log}"
    );
}

#[test]
fn a_level_decides_what_is_written_and_a_bad_one_is_told_once() {
    let mut world = World::new();
    world.run(&["init"]);
    world.start();
    world.run(&["stop"]);
    let usual = log_of(&world);
    assert!(usual.contains(" info ready: ") && !usual.contains(" debug "), "{usual}");

    world.set("OFFHEAP_LOG", "error");
    world.start();
    world.run(&["stop"]);
    assert_eq!(log_of(&world), usual, "nothing failed");

    world.set("OFFHEAP_LOG", "verbose");
    world.start();
    world.run(&["search", "x"]);
    world.run(&["stop"]);
    let log = log_of(&world);
    let told = log.matches("OFFHEAP_LOG is `verbose`, which is none of error, warn, info, debug; info is used").count();
    assert_eq!(told, 1, "{log}");
}

fn bundle(world: &World, file: &Path) -> Value {
    world.run(&["doctor", "--json", "--bundle", file.to_str().expect("UTF-8")]).json()
}

#[test]
fn a_bundle_tells_of_offheap_and_not_of_the_user() {
    let mut world = World::new();
    world.set("OFFHEAP_LOG", "debug");
    world.set("OFFHEAP_THREADS", "2");
    world.set("HF_TOKEN", "MARKERKEY");
    session(&world);
    let file = world.home().join("report.md");
    let report = bundle(&world, &file);
    assert_eq!(report["bundle"].as_str(), file.canonicalize().expect("written").to_str());
    assert!(report["problems"].as_u64() > Some(0), "the model is missing: {report}");
    let text = std::fs::read_to_string(&file).expect("written");
    assert_no_marker(&text, "the bundle");
    let home = world.home().canonicalize().expect("exists");
    for own in ["MARKERFILE", home.to_str().expect("UTF-8"), "HF_TOKEN=", "project/"] {
        assert!(!text.contains(own), "{own}:\n{text}");
    }
    for wanted in [
        "## Program",
        "## Environment",
        "## Configuration",
        "## Checks",
        "## Status",
        "## Index",
        "## Log",
        "OFFHEAP_THREADS=2",
        "HF_TOKEN is set, 9 bytes",
        "\"max_file_bytes\": ",
        "[MODEL_NOT_FOUND]",
        "\"uptimeMs\": ",
        "generation ",
        "vectors ",
        "ready: offheap ",
        "search, hybrid begins",
        "Read it before you send it",
    ] {
        assert!(text.contains(wanted), "no {wanted}:\n{text}");
    }
    // Nothing is overwritten.
    let again = world.fault(&["doctor", "--bundle", file.to_str().expect("UTF-8")], 1, "INVALID_ARGUMENT");
    assert!(again.to_string().contains("exists"), "{again}");
    assert_eq!(std::fs::read_to_string(&file).expect("there"), text);
}

#[test]
fn a_bundle_needs_no_daemon_and_no_index_and_a_place_to_be_written_to() {
    let world = World::new();
    world.run(&["init"]);
    world.write(".offheap/config.json", "no json");
    let done = world.run(&["doctor", "--bundle"]);
    let written = done.stdout.lines().find_map(|line| line.strip_prefix("Wrote ")).expect("it says where").to_owned();
    let text = std::fs::read_to_string(&written).expect("written");
    assert!(text.contains("cannot be used: CONFIG_INVALID") && text.contains("no status: "), "{text}");
    assert!(text.contains("none: no daemon has run here") && !text.contains("no json"), "{text}");
    assert!(world.daemons().is_empty(), "doctor starts none");

    let nowhere = world.home().join("not/there.md");
    world.fault(&["doctor", "--bundle", nowhere.to_str().expect("UTF-8")], 1, "IO");
    if !is_root() {
        world.fault(&["doctor", "--bundle", "/there.md"], 1, "IO");
    }
    // Outside of any project.
    let mut outside = world.command(["doctor", "--bundle", "outside.md"]);
    outside.current_dir(world.home());
    assert!(finish(outside, b"").stdout.contains("Wrote "), "no project is needed");
}
