//! The life of a daemon: start, shared use, crash, shutdown.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Guard, World, daemon, finish, signal, until};

fn mode(path: impl AsRef<std::path::Path>) -> u32 {
    std::fs::symlink_metadata(path).expect("exists").permissions().mode() & 0o777
}

#[test]
fn start_starts_once() {
    let world = World::new();
    world.run(&["init"]);
    let first = world.json(&["start", "--json"]);
    let project = world.project().to_str().expect("UTF-8");
    assert_eq!(first, json!({ "running": true, "started": true, "version": "0.1.0", "project": project }));
    assert_eq!(world.json(&["start", "--json"])["started"], false);
    let text = world.run(&["start"]);
    assert_eq!((text.code, text.stdout.as_str()), (Some(0), "Already running.\n"));
    // A directory inside the project belongs to the same project.
    world.write("deep/er/file", "");
    let mut below = world.command(["status", "--json"]);
    below.current_dir(world.project().join("deep/er"));
    assert_eq!(finish(below, b"").json()["project"], project);
    assert_eq!(world.run(&["stop"]).stdout, "Stopped.\n");
    assert_eq!(world.run(&["stop"]).code, Some(3));
    assert_eq!(world.json(&["start", "--json"])["started"], true);
}

#[test]
fn eight_concurrent_starts_make_one_daemon() {
    let world = World::new();
    world.run(&["init"]);
    let starters: Vec<Guard> =
        (0..8).map(|_| Guard(world.command(["start", "--json"]).spawn().expect("starts"))).collect();
    let answers: Vec<Value> = starters
        .into_iter()
        .map(|mut starter| {
            let status = starter.wait();
            let (mut out, mut err) = (String::new(), String::new());
            starter.0.stdout.take().expect("piped").read_to_string(&mut out).expect("UTF-8");
            starter.0.stderr.take().expect("piped").read_to_string(&mut err).expect("UTF-8");
            assert!(status.success(), "{status}: {out}{err}");
            serde_json::from_str(&out).expect("JSON")
        })
        .collect();
    assert_eq!(answers.iter().filter(|answer| answer["started"] == true).count(), 1, "{answers:?}");
    #[cfg(target_os = "linux")]
    {
        let pid = world.status()["pid"].as_u64().expect("a daemon runs") as u32;
        // Daemons that lost the race exit.
        until("one daemon is left", || (world.daemons() == [pid]).then_some(()));
    }
}

#[test]
fn a_killed_daemon_is_replaced() {
    let world = World::new();
    world.run(&["init"]);
    let first = world.start();
    signal(first, libc::SIGKILL);
    // A killed daemon leaves its socket behind; nothing listens on it.
    until("the daemon is gone", || world.status().is_null().then_some(()));
    assert!(world.endpoint().socket().exists());
    let vector = world.json(&["embed", "--json", "hello"]);
    assert_eq!(vector["dim"], 384);
    assert_ne!(world.start(), first);
}

#[test]
fn a_stale_socket_does_not_prevent_a_start() {
    for stale in ["socket", "file"] {
        let world = World::new();
        world.run(&["init"]);
        let path = world.endpoint().socket();
        match stale {
            "socket" => drop(std::os::unix::net::UnixListener::bind(&path).expect("nothing exists there")),
            _ => std::fs::write(&path, "").expect("nothing exists there"),
        }
        assert_eq!(world.run(&["status"]).code, Some(3), "{stale}");
        assert_eq!(world.json(&["start", "--json"])["started"], true, "{stale}");
        assert_eq!(mode(path), 0o600);
    }
}

#[test]
fn status_and_stop_start_nothing() {
    let world = World::new();
    world.run(&["init"]);
    for command in ["status", "stop"] {
        let done = world.run(&[command]);
        assert_eq!((done.code, done.stdout.as_str()), (Some(3), "No daemon is running here.\n"), "{done:?}");
        assert_eq!(done.stderr, "");
        assert_eq!(world.run(&[command, "--json"]).code, Some(3));
    }
    assert_eq!(std::fs::read_dir(world.run_dir()).expect("exists").count(), 0, "no file is made, not even a lock file");
}

#[test]
fn sigterm_and_sigint_shut_a_daemon_down_cleanly() {
    for (name, number) in [("SIGTERM", libc::SIGTERM), ("SIGINT", libc::SIGINT)] {
        let world = World::new();
        let (mut daemon, ready) = daemon(&world);
        assert!(ready["ready"].is_object(), "{ready}");
        let endpoint = world.endpoint();
        assert!(endpoint.socket().exists());
        signal(daemon.0.id(), number);
        assert!(daemon.wait().success(), "{name}");
        assert!(!endpoint.socket().exists(), "{name}: the socket is removed");
        assert!(endpoint.lock().exists(), "{name}: the lock file is kept");
    }
}

#[test]
fn an_idle_daemon_exits() {
    let mut world = World::new();
    world.run(&["init"]);
    world.set("OFFHEAP_TTL_MS", "200");
    let started = Instant::now();
    world.json(&["start", "--json"]);
    let socket = world.endpoint().socket();
    until("the daemon exits", || (!socket.exists()).then_some(()));
    assert!(started.elapsed() >= Duration::from_millis(200));
    world.set("OFFHEAP_TTL_MS", "60000");
    assert_eq!(world.json(&["start", "--json"])["started"], true);
}

/// An idle daemon that may not exit closes the model and the index. Status requests do not delay that.
#[test]
fn an_idle_daemon_that_stays_closes_the_model_and_the_index() {
    let mut world = World::new();
    world.run(&["init"]);
    world.write(".offheap/config.json", r#"{"daemon":{"auto_shutdown_on_idle":false}}"#);
    world.write("a.py", "def alpha():\n    return 1\n");
    world.set("OFFHEAP_TTL_MS", "300");
    let pid = world.start();
    world.json(&["index", "--json"]);
    world.json(&["search", "--json", "alpha"]);
    let lock = || {
        std::fs::File::options().append(true).open(world.data().join("owner.lock")).expect("the file exists").try_lock()
    };
    assert!(lock().is_err(), "the index is open");
    until("the model and the index are closed, in spite of status requests", || {
        let status = world.status();
        assert_eq!(status["pid"], pid);
        assert_eq!(status["index"]["files"], 1, "the status request reads the index");
        (status["model"].is_null() && status["load"]["evictions"].as_u64() > Some(0) && lock().is_ok()).then_some(())
    });
    for _ in 0..3 {
        world.status();
        assert!(lock().is_ok(), "a status request does not keep the index open");
    }
    world.json(&["embed", "--json", "x"]);
    assert_eq!(world.status()["pid"], pid, "the next use loads the model again");
}

#[test]
fn other_users_cannot_open_the_runtime_directory() {
    let world = World::new();
    world.write("a.rs", "fn a() {}\n");
    world.json(&["index", "--json"]);
    world.json(&["stop", "--json"]);
    // A new runtime directory gets the right mode whatever the umask is.
    let dir = world.run_dir().join("new/run");
    let shell = "umask 000; OFFHEAP_RUNTIME_DIR=\"$1\" \"$2\" start --json";
    let program = crate::support::bin();
    let program = program.to_str().expect("UTF-8");
    let made = finish(world.environment("/bin/sh", ["-c", shell, "sh", dir.to_str().expect("UTF-8"), program]), b"");
    assert_eq!(made.code, Some(0), "{made:?}");
    assert_eq!(mode(&dir), 0o700);
    for entry in std::fs::read_dir(&dir).expect("exists").flatten() {
        assert_eq!(mode(entry.path()), 0o600, "{}", entry.path().display());
    }
    let stop = "OFFHEAP_RUNTIME_DIR=\"$1\" \"$2\" stop";
    let stopped = finish(world.environment("/bin/sh", ["-c", stop, "sh", dir.to_str().expect("UTF-8"), program]), b"");
    assert_eq!(stopped.code, Some(0), "{stopped:?}");

    std::fs::set_permissions(world.run_dir(), PermissionsExt::from_mode(0o755)).expect("owned by this user");
    for command in [&["start"][..], &["embed", "x"], &["status"], &["stop"], &["search", "x"]] {
        let error = world.fault(command, 1, "FORBIDDEN");
        assert!(error["hint"].as_str().expect("text").contains("OFFHEAP_RUNTIME_DIR"), "{error}");
    }
    let (mut refused, line) = daemon(&world);
    assert_eq!(line["error"]["code"], "FORBIDDEN", "{line}");
    assert_eq!(refused.wait().code(), Some(1));
}

/// Programs that clean temporary directories remove files that look unused.
#[test]
fn a_daemon_whose_runtime_files_are_removed_is_replaced() {
    let world = World::new();
    world.run(&["init"]);
    let first = world.start();
    // The socket alone is removed: the daemon makes it again, and a client waits for that.
    std::fs::remove_file(world.endpoint().socket()).expect("the file exists");
    assert_eq!(world.json(&["start", "--json"])["started"], false);
    assert_eq!(world.status()["pid"], first);
    // All files are removed: a second daemon makes new ones, which the exit of the first leaves alone.
    for entry in std::fs::read_dir(world.run_dir()).expect("exists").flatten() {
        std::fs::remove_file(entry.path()).expect("owned by this user");
    }
    let second = world.start();
    assert_ne!(second, first);
    signal(first, libc::SIGTERM);
    until("the first daemon has exited", || (!crate::support::alive(first)).then_some(()));
    assert_eq!(world.status()["pid"], second);
    assert_eq!(world.status()["crashes"], 0);
    // A daemon exits without a signal when all its files are removed, because no client can find it.
    for entry in std::fs::read_dir(world.run_dir()).expect("exists").flatten() {
        std::fs::remove_file(entry.path()).expect("owned by this user");
    }
    until("the second daemon has exited", || (!crate::support::alive(second)).then_some(()));
}

#[test]
fn restart_keeps_the_daemon_when_the_configuration_forbids_a_start() {
    let world = World::new();
    world.run(&["init"]);
    let pid = world.start();
    for config in [r#"{"daemon":{"enabled":false}}"#, "{"] {
        world.write(".offheap/config.json", config);
        world.fault(&["restart"], 1, "CONFIG_INVALID");
        world.fault(&["restart", "--force"], 1, "CONFIG_INVALID");
    }
    assert_eq!(world.status()["pid"], pid);
}

/// The mode of the runtime directory keeps other users out. The daemon also checks the user of each peer: here the modes let
/// the other user in.
#[cfg(target_os = "linux")]
#[test]
fn another_user_is_refused_by_the_daemon() {
    use std::io::Write;
    if !crate::support::is_root() {
        return; // only root can act as another user
    }
    let world = World::new();
    world.run(&["init"]);
    let pid = world.start();
    let socket = world.endpoint().socket();
    let home = std::fs::metadata(world.run_dir()).expect("exists").permissions();
    std::fs::set_permissions(world.run_dir(), PermissionsExt::from_mode(0o711)).expect("owned by this user");
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o666)).expect("owned by this user");
    let answer = std::thread::spawn(move || {
        // SAFETY: the bare system call changes the credentials of this thread only, which ends soon.
        assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, -1, 65_534, -1) }, 0);
        let mut stream = std::os::unix::net::UnixStream::connect(socket).expect("the modes allow it");
        stream.set_read_timeout(Some(crate::support::PATIENCE)).expect("a socket");
        let _ = stream.write_all(&offheap_protocol::codec::Preamble::ours().encode());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    });
    assert_eq!(answer.join().expect("the thread does not panic"), b"", "the daemon sends nothing, not even a preamble");
    std::fs::set_permissions(world.run_dir(), home).expect("owned by this user");
    assert_eq!(world.status()["pid"], pid);
}

/// The log contains neither queries nor indexed text nor names of files.
#[test]
fn the_log_is_rotated_and_contains_no_text_of_users() {
    let world = World::new();
    world.run(&["init"]);
    let log = world.endpoint().log();
    std::fs::write(&log, "x".repeat((1 << 20) - 100) + "\n").expect("writable");
    std::fs::set_permissions(&log, PermissionsExt::from_mode(0o600)).expect("owned by this user");
    world.write("secret_name.py", "def xyzzy_secret():\n    return 'plugh'\n");
    world.json(&["index", "--json"]);
    world.json(&["search", "--json", "xyzzy_secret"]);
    world.json(&["embed", "--json", "plugh and xyzzy"]);
    world.run(&["search", "--mode", "regex", "xyzzy("]);
    for _ in 0..3 {
        world.json(&["restart", "--json"]);
    }
    let older = log.with_extension("log.1");
    let (now, before) =
        (std::fs::read_to_string(&log).expect("the file exists"), std::fs::read_to_string(&older).expect("rotated"));
    assert!(now.len() < 10_000 && before.len() >= 1 << 20, "{} and {}", now.len(), before.len());
    assert_eq!((mode(&log), mode(&older)), (0o600, 0o600));
    for word in ["xyzzy", "plugh", "secret_name"] {
        assert!(!now.contains(word) && !before.contains(word), "{word} is in the log");
    }
}

#[test]
fn the_ready_line_reports_the_outcome_of_the_start() {
    let world = World::new();
    let (daemon_, ready) = daemon(&world);
    assert_eq!(ready, json!({ "ready": { "pid": daemon_.0.id(), "version": "0.1.0" } }));
    let (mut second, line) = daemon(&world);
    assert_eq!(line, json!("already_running"));
    assert!(second.wait().success());
    world.write(".offheap/config.json", "{\"modle\": 1}");
    let other = World::beside(&world);
    let (mut third, line) = daemon(&other);
    assert_eq!(line["error"]["code"], "CONFIG_INVALID", "{line}");
    assert!(line["error"]["message"].as_str().expect("text").contains("modle"));
    assert_eq!(third.wait().code(), Some(1));
}

/// Regression test: the daemon inherited open descriptors of the shell that started it, among them the shell's pipe.
#[cfg(target_os = "linux")]
#[test]
fn the_daemon_inherits_no_descriptors() {
    let world = World::new();
    world.run(&["init"]);
    let shell = "exec \"$1\" start --json 3>&1 4>&2 5<&0 9>&1";
    let program = crate::support::bin();
    let mut command = world.environment("/bin/sh", ["-c", shell, "sh", program.to_str().expect("UTF-8")]);
    command.stdin(Stdio::piped());
    // `finish` returns only after every process has closed its ends of the pipes.
    assert_eq!(finish(command, b"x").json()["started"], true);
    let pid = world.status()["pid"].as_u64().expect("a daemon runs");
    let mut held = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).expect("owned by this user").flatten() {
        let number: u32 = entry.file_name().to_str().expect("a number").parse().expect("a number");
        let Ok(target) = std::fs::read_link(entry.path()) else { continue };
        held.push((number, target.to_string_lossy().into_owned()));
    }
    held.sort();
    let at = |number: u32| held.iter().find(|(n, _)| *n == number).map(|(_, target)| target.as_str());
    assert_eq!((at(0), at(1)), (Some("/dev/null"), Some("/dev/null")), "{held:?}");
    assert_eq!(at(2), world.endpoint().log().to_str(), "{held:?}");
    let is_inherited = |target: &str| ["pipe:", "/dev/pts", "/dev/tty"].iter().any(|kind| target.starts_with(kind));
    assert!(!held.iter().any(|(_, target)| is_inherited(target)), "{held:?}");
    let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).expect("owned by this user");
    assert_ne!(cwd, world.project(), "the daemon must not prevent the removal of the project");
}

#[test]
fn a_shell_that_captures_the_output_does_not_wait_for_the_daemon() {
    let world = World::new();
    world.run(&["init"]);
    let shell = "out=$(\"$1\" start); echo \"got $out\"";
    let program = crate::support::bin();
    let done = finish(world.environment("/bin/sh", ["-c", shell, "sh", program.to_str().expect("UTF-8")]), b"");
    assert_eq!(done.stdout, "got Started.\n", "{done:?}");
    assert!(!world.status().is_null(), "the daemon runs");
}

#[test]
fn two_daemons_cannot_write_one_index() {
    let world = World::new();
    world.write("a.py", "def alpha():\n    return 1\n");
    world.json(&["index", "--json"]);
    let other = World::beside(&world);
    let error = other.fault(&["index"], 1, "INDEX_LOCKED");
    assert!(error["hint"].as_str().expect("text").contains("OFFHEAP_RUNTIME_DIR"), "{error}");
    // The first daemon still answers, and after it has stopped, the second one can write.
    assert_eq!(world.json(&["search", "--json", "--mode", "text", "alpha"])["hits"][0]["path"], "a.py");
    assert_eq!(world.run(&["stop"]).code, Some(0));
    assert_eq!(other.json(&["index", "--json"])["files"], 1);
}
