//! How often a command retries when daemons crash. `cli/retry.rs` tests without a daemon which step follows which failure.

use std::process::Command;

use serde_json::Value;

use crate::support::{World, filter_calls, finish};

/// The operation at which the system kills a daemon.
#[derive(Clone, Copy)]
enum Crash {
    /// Listening on the socket, before the daemon is ready.
    Start,
    /// Mapping the model's file, during an embedding request.
    Embed,
}

/// Installs a seccomp filter in the command and its children that kills a process at a system call. Of these processes, only
/// daemons make the call.
fn crash_at(command: &mut Command, crash: Crash) {
    let op = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let answer = libc::BPF_RET | libc::BPF_K;
    // The filter's input has the call's number at 0 and its arguments, 8 bytes each, from 16. The fourth one of mmap has the flags.
    let (call, argument, value) = match crash {
        Crash::Start => (libc::SYS_listen, 0, None),
        Crash::Embed => (libc::SYS_mmap, 3, Some(libc::MAP_SHARED)),
    };
    let program = [
        op(load, 0, 0, 0),
        op(equal, call as u32, 0, 3),
        op(load, 16 + 8 * argument, 0, 0),
        op(if value.is_some() { equal } else { libc::BPF_JMP | libc::BPF_JA }, value.unwrap_or(0) as u32, 0, 1),
        op(answer, libc::SECCOMP_RET_KILL_PROCESS, 0, 0),
        op(answer, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    filter_calls(command, program.to_vec());
}

/// Runs a command whose daemons all crash at `at`; gives the error that it prints.
fn error_of(max_retries: u32, at: Crash, args: &[&str]) -> (World, Value) {
    let world = World::new();
    world.write(
        ".offheap/config.json",
        format!("{{\"daemon\":{{\"max_retries\":{max_retries},\"retry_delays_ms\":[1, 2]}}}}"),
    );
    let mut command = world.command(args.iter().chain(&["--json"]));
    crash_at(&mut command, at);
    let done = finish(command, b"");
    assert_eq!(done.code, Some(1), "{done:?}");
    let error = done.json()["error"].clone();
    (world, error)
}

fn message(error: &Value) -> &str {
    error["message"].as_str().expect("text")
}

#[test]
fn a_daemon_that_crashes_at_each_start_is_started_as_often_as_configured() {
    for (max_retries, times) in [(2, "crashed 3 times"), (5, "crashed 6 times")] {
        let (_world, error) = error_of(max_retries, Crash::Start, &["start"]);
        assert_eq!(error["code"], "DAEMON_START_FAILED");
        assert!(message(&error).contains(times) && message(&error).contains("SIGSYS"), "{max_retries}: {error}");
    }
    let (_world, error) = error_of(0, Crash::Start, &["start"]);
    assert!(!message(&error).contains("times") && message(&error).contains("SIGSYS"), "{error}");
}

/// After two crashes during one request, the request counts as the cause, however many retries are allowed.
#[test]
fn a_request_that_crashes_the_daemon_twice_is_not_sent_again() {
    let (world, error) = error_of(20, Crash::Embed, &["embed", "x"]);
    assert_eq!(error["code"], "POISONED", "{error}");
    assert!(message(&error).contains("crashed 2 times"), "{error}");
    world.start();
    assert_eq!((&world.status()["starts"], &world.status()["crashes"]), (&3.into(), &2.into()));
    assert_eq!(world.json(&["embed", "--json", "x"])["dim"], 384, "other requests are served");
}

#[test]
fn without_retries_a_lost_request_is_not_sent_again() {
    let (world, error) = error_of(0, Crash::Embed, &["embed", "x"]);
    assert_eq!(error["code"], "DAEMON_LOST", "{error}");
    world.start();
    assert_eq!(world.status()["crashes"], 1);
}
