//! Which directory is a project, what is not indexed without being asked twice, and where the daemon's files are.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{Done, World, daemon_as, finish};

fn world() -> World {
    let world = World::new();
    world.write("a.py", "def alpha():\n    return 1\n");
    world
}

fn run_in(world: &World, dir: &Path, args: &[&str]) -> Done {
    let mut command = world.command(args);
    command.current_dir(dir);
    finish(command, b"")
}

#[track_caller]
fn error_of(done: &Done) -> Value {
    assert_eq!(done.code, Some(1), "{done:?}");
    done.json()["error"].clone()
}

/// A home directory was indexed without a word, and then answered for every project below.
#[test]
fn a_home_directory_is_indexed_only_with_force() {
    let world = world();
    let home = world.home().canonicalize().expect("exists");
    for args in [&["index", "--json"][..], &["index", "--rebuild", "--json"], &["init", "--json"]] {
        let error = error_of(&run_in(&world, &home, args));
        assert_eq!(error["code"], "NEEDS_FORCE", "{args:?}: {error}");
        assert!(error["message"].as_str().expect("text").contains("home directory"), "{error}");
        assert!(error["hint"].as_str().expect("text").contains("--force"), "{error}");
        assert!(!home.join(".offheap").exists(), "nothing is made");
    }
    for root in ["/", "/proc", "/tmp"] {
        let error = error_of(&run_in(&world, Path::new(root), &["index", "--json"]));
        assert_eq!(error["code"], "NEEDS_FORCE", "{root}: {error}");
    }
    assert_eq!(run_in(&world, &home, &["init", "--force", "--json"]).code, Some(0));
    let report = run_in(&world, &home, &["index", "--force", "--json"]);
    assert_eq!((report.code, &report.json()["files"]), (Some(0), &1.into()), "{report:?}");
    let again = error_of(&run_in(&world, &home, &["index", "--json"]));
    assert!(again["hint"].as_str().expect("text").contains(".offheap"), "how to be rid of it: {again}");
    assert_eq!(run_in(&world, &home, &["search", "--json", "alpha"]).json()["hits"][0]["path"], "project/a.py");
    // What lies below is not answered from there, with or without a repository.
    for make_repository in [false, true] {
        if make_repository {
            std::fs::create_dir(world.project().join(".git")).expect("fresh");
        }
        let error = error_of(&run_in(&world, world.project(), &["search", "--json", "alpha"]));
        assert_eq!(error["code"], "NO_INDEX", "{error}");
        assert!(error["hint"].as_str().expect("text").contains(home.to_str().expect("UTF-8")), "{error}");
    }
    assert_eq!(world.json(&["index", "--json"])["project"], world.project().to_str().expect("UTF-8"));
    assert_eq!(world.json(&["search", "--json", "alpha"])["hits"][0]["path"], "a.py");
    assert_eq!(run_in(&world, &home, &["stop"]).code, Some(0));
}

#[test]
fn a_repository_is_its_own_project() {
    let world = world();
    world.json(&["index", "--json"]);
    for (name, is_file) in [("repository", false), ("worktree", true)] {
        world.write(&format!("{name}/src/b.py"), "def beta():\n    return 2\n");
        let top = world.project().join(name);
        match is_file {
            true => std::fs::write(top.join(".git"), "gitdir: /nowhere\n").expect("writable"),
            false => std::fs::create_dir(top.join(".git")).expect("fresh"),
        }
        let error = error_of(&run_in(&world, &top.join("src"), &["search", "--json", "beta"]));
        assert_eq!(error["code"], "NO_INDEX", "{error}");
        // An index run below the top is about the whole repository.
        let report = run_in(&world, &top.join("src"), &["index", "--json"]).json();
        assert_eq!(report["project"], top.to_str().expect("UTF-8"), "{report}");
        let found = run_in(&world, &top.join("src"), &["search", "--json", "beta"]).json();
        assert_eq!(found["hits"][0]["path"], "src/b.py", "{found}");
        assert_eq!(run_in(&world, &top, &["stop"]).code, Some(0));
    }
    // A plain folder belongs to the project around it.
    world.write("plain/c.py", "def gamma():\n    return 3\n");
    world.json(&["index", "--json"]);
    let found = run_in(&world, &world.project().join("plain"), &["search", "--json", "gamma"]).json();
    assert_eq!(found["hits"][0]["path"], "plain/c.py", "{found}");
}

/// A tree of a million files was indexed without a question.
#[test]
fn a_very_large_tree_is_indexed_only_with_force() {
    let world = world();
    for i in 0..5 {
        world.write(&format!("data/{i}.py"), format!("def f{i}():\n    return {i}\n"));
    }
    let (_daemon, _) = daemon_as(&world, |command| {
        command.env("OFFHEAP_MAX_TREE_FILES", "3");
    });
    let fault = world.fault(&["index"], 1, "NEEDS_FORCE");
    let (message, hint) = (fault["message"].as_str().expect("text"), fault["hint"].as_str().expect("text"));
    assert!(message.contains("`data/`") && message.contains("nothing was indexed"), "{fault}");
    assert!(hint.contains(".offheapignore") && hint.contains("--force"), "{fault}");
    assert!(!world.project().join(".offheap").exists(), "nothing is made");
    world.write(".offheapignore", "/data/\n");
    assert_eq!(world.json(&["index", "--json"])["files"], 2, "a.py and the ignore file");
    std::fs::remove_file(world.project().join(".offheapignore")).expect("there");
    world.fault(&["index"], 1, "NEEDS_FORCE");
    assert_eq!(world.json(&["index", "--json", "--force"])["files"], 6);
    assert_eq!(world.json(&["search", "--json", "f4"])["hits"][0]["path"], "data/4.py");
}

/// A command without the runtime directory of its world. It only asks, so that nothing is made in the machine's real one.
fn asks(world: &World, prepare: impl FnOnce(&mut Command)) -> Done {
    let mut command = world.command(["status"]);
    command.env_remove("OFFHEAP_RUNTIME_DIR");
    prepare(&mut command);
    finish(command, b"")
}

#[cfg(unix)]
#[test]
fn a_runtime_directory_that_cannot_be_used_is_passed_over_and_named_once() {
    use std::os::unix::fs::{PermissionsExt, chown};

    use crate::support::is_root;

    let world = world();
    let dir = world.home().join("run");
    let with = |dir: &Path| {
        asks(&world, |command| {
            command.env("XDG_RUNTIME_DIR", dir);
        })
    };
    let mut cases = vec![world.home().join("missing"), world.home().join("x".repeat(90))];
    std::fs::create_dir(&dir).expect("fresh");
    if is_root() {
        chown(&dir, Some(12345), None).expect("root may");
        cases.push(dir.clone());
    } else {
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o500)).expect("ours");
        cases.push(dir.clone());
    }
    for case in cases {
        let done = with(&case);
        assert_eq!(done.code, Some(3), "{done:?}");
        assert_eq!(done.stderr.matches("XDG_RUNTIME_DIR").count(), 1, "{done:?}");
    }
    assert_eq!(std::fs::read_dir(&dir).expect("listed").count(), 0, "nothing is made there");
    assert!(!asks(&world, |_| {}).stderr.contains("XDG_RUNTIME_DIR"));
}

/// After `sudo -E`, the environment names directories of the user.
#[cfg(unix)]
#[test]
fn root_leaves_nothing_in_a_users_directory() {
    use std::os::unix::fs::chown;

    use crate::support::is_root;

    if !is_root() {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "skipped: only root can play another user");
        return;
    }
    let world = world();
    let home = world.home().join("other");
    std::fs::create_dir(&home).expect("fresh");
    chown(&home, Some(12345), Some(12345)).expect("root may");
    let mut command = world.command(["start", "--json"]);
    command.env("OFFHEAP_RUNTIME_DIR", home.join("run"));
    let error = error_of(&finish(command, b""));
    assert_eq!(error["code"], "FORBIDDEN", "{error}");
    assert!(error["message"].as_str().expect("text").contains("12345"), "{error}");
    let mut command = world.command(["index", "--json"]);
    command.env("HOME", &home).env("XDG_STATE_HOME", home.join("state")).env("XDG_CACHE_HOME", home.join("cache"));
    let done = finish(command, b"");
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(std::fs::read_dir(&home).expect("listed").count(), 0);
}
