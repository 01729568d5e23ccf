//! Fallbacks where the system refuses sockets: loopback TCP, private daemons over pipes, reading another daemon's index. Linux
//! only, where a test can forbid sockets to a command.

use std::io::{Read, Write};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Done, World, filter_calls, finish, grow, until};

/// What a sandbox allows.
#[derive(Clone, Copy)]
enum Sandbox {
    /// Loopback TCP, but no local sockets.
    Tcp,
    /// No sockets at all, only pipes.
    Pipes,
}

/// Makes `socket` fail with EPERM for the families that the sandbox forbids, in the command and all its children.
fn confine(command: &mut Command, sandbox: Sandbox) {
    let op = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let answer = libc::BPF_RET | libc::BPF_K;
    let inet = if matches!(sandbox, Sandbox::Pipes) { 0 } else { 9 };
    let program = [
        op(load, 0, 0, 0), // the call's number
        op(equal, libc::SYS_socket as u32, 0, 5),
        op(load, 16, 0, 0), // its first argument
        op(equal, libc::AF_UNIX as u32, 2, 0),
        op(equal, libc::AF_INET as u32 + inet * 1000, 1, 0),
        op(equal, libc::AF_INET6 as u32 + inet * 1000, 0, 1),
        op(answer, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32, 0, 0),
        op(answer, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    filter_calls(command, program.to_vec());
}

fn run(world: &World, sandbox: Sandbox, args: &[&str]) -> Done {
    let mut command = world.command(args);
    confine(&mut command, sandbox);
    finish(command, b"")
}

#[track_caller]
fn json(world: &World, sandbox: Sandbox, args: &[&str]) -> Value {
    let done = run(world, sandbox, args);
    assert_eq!(done.code, Some(0), "{args:?}: {done:?}");
    done.json()
}

fn world() -> World {
    let world = World::new();
    assert_eq!(world.run(&["init"]).code, Some(0));
    world.write("a.py", "def alpha():\n    return 1\n");
    world
}

fn tcp_file(world: &World) -> std::path::PathBuf {
    world.endpoint().tcp_file()
}

#[test]
fn without_local_sockets_the_daemon_is_reached_over_tcp() {
    let world = world();
    json(&world, Sandbox::Tcp, &["index", "--json"]);
    let status = json(&world, Sandbox::Tcp, &["status", "--json"]);
    assert_eq!(status["transport"], "tcp");
    // Commands outside of the sandbox reach the same daemon.
    assert_eq!(world.status()["pid"], status["pid"]);
    assert_eq!(world.json(&["search", "--json", "alpha"])["hits"][0]["path"], "a.py");
    assert!(!world.endpoint().socket().exists());
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(tcp_file(&world)).expect("there").permissions());
    assert_eq!(mode & 0o777, 0o600);
    let doctor = json(&world, Sandbox::Tcp, &["doctor", "--json"]);
    let sockets =
        doctor["checks"].as_array().expect("a list").iter().find(|check| check["check"] == "sockets").cloned();
    assert_eq!(sockets.expect("a check")["state"], "warning");
    assert_eq!(run(&world, Sandbox::Tcp, &["stop"]).code, Some(0));
    assert!(!tcp_file(&world).exists(), "nothing is left");
}

/// Every user of the machine, and every web page in a browser, can connect to a loopback port.
#[test]
fn without_the_secret_a_client_gets_no_answer() {
    let world = world();
    json(&world, Sandbox::Tcp, &["start", "--json"]);
    let file: Value = serde_json::from_slice(&std::fs::read(tcp_file(&world)).expect("there")).expect("JSON");
    let port = file["port"].as_u64().expect("a port") as u16;
    let key: Vec<u8> = serde_json::from_value(file["key"].clone()).expect("bytes");
    let mut wrong = key.clone();
    wrong[31] ^= 1;
    let preamble = offheap_protocol::codec::Preamble::ours().encode().to_vec();
    let get = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: a browser\r\n\r\n".to_vec();
    for (what, bytes) in [("a wrong key", [wrong, preamble.clone()].concat()), ("a preamble", preamble), ("HTTP", get)]
    {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
        stream.write_all(&bytes).expect("written");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{what}: {answer:?}");
    }
    // A listener that does not know the daemon's half of the secret gets no request.
    assert_eq!(run(&world, Sandbox::Tcp, &["stop"]).code, Some(0));
    let liar = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut forged = file;
    forged["port"] = liar.local_addr().expect("bound").port().into();
    std::fs::write(tcp_file(&world), forged.to_string()).expect("writable");
    std::fs::set_permissions(tcp_file(&world), std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("ours");
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = liar.accept().expect("a client");
        let _ = stream.write_all(&[7; 64]);
        let mut seen = Vec::new();
        let _ = stream.read_to_end(&mut seen);
        seen
    });
    let done = run(&world, Sandbox::Tcp, &["status", "--json"]);
    assert_eq!((done.code, done.json()["running"].as_bool()), (Some(3), Some(false)), "{done:?}");
    assert_eq!(thread.join().expect("ended"), key, "the liar saw the key and no request");
}

#[test]
fn a_file_that_others_could_have_written_is_no_door() {
    let world = world();
    world.start();
    world.run(&["stop"]);
    std::fs::write(tcp_file(&world), "garbage").expect("writable");
    std::fs::set_permissions(tcp_file(&world), std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("ours");
    assert_eq!(run(&world, Sandbox::Tcp, &["stop"]).code, Some(3));
    assert_eq!(json(&world, Sandbox::Tcp, &["embed", "--json", "x"])["dim"], 384);
    // A stopped daemon can be killed over TCP, too.
    let pid = world.status()["pid"].as_u64().expect("a number") as u32;
    crate::support::signal(pid, libc::SIGSTOP);
    assert_eq!(json(&world, Sandbox::Tcp, &["restart", "--force", "--json"])["killed"], pid);
}

/// A command that meets a daemon shutting down waits for the next shared one; it runs no private daemon.
#[test]
fn a_command_waits_for_the_successor_of_a_tcp_daemon() {
    let world = world();
    json(&world, Sandbox::Tcp, &["index", "--json"]);
    for _ in 0..5 {
        let mut stop = world.command(["stop"]);
        confine(&mut stop, Sandbox::Tcp);
        let mut stopping = crate::support::Guard(stop.spawn().expect("starts"));
        let done = run(&world, Sandbox::Tcp, &["search", "--json", "alpha"]);
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(!done.stderr.contains("private"), "{done:?}");
        stopping.wait();
    }
}

#[test]
fn without_any_sockets_a_private_daemon_does_it() {
    let world = world();
    let done = run(&world, Sandbox::Pipes, &["index", "--json"]);
    assert_eq!((done.code, done.json()["files"].as_u64()), (Some(0), Some(1)), "{done:?}");
    assert!(done.stderr.contains("private daemon"), "{done:?}");
    assert_eq!(json(&world, Sandbox::Pipes, &["search", "--json", "alpha"])["hits"][0]["path"], "a.py");
    let embedded = json(&world, Sandbox::Pipes, &["embed", "--json", "x"]);
    assert_eq!(embedded["dim"], 384);
    let shared = world.json(&["embed", "--json", "x"]);
    assert_eq!(embedded["vectors"], shared["vectors"], "the same vector as from a shared daemon");
    until("private daemons end with their command", || {
        let left = world.daemons().into_iter().filter(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.windows(7).any(|part| part == b"--stdio"))
        });
        (left.count() == 0).then_some(())
    });
}

/// A private daemon in a sandbox searches the index that a daemon outside of it owns; its answers say `readOnly`.
#[test]
fn a_private_daemon_reads_what_another_owns() {
    let world = world();
    world.json(&["index", "--json"]);
    let found = json(&world, Sandbox::Pipes, &["search", "--json", "alpha"]);
    assert_eq!((&found["hits"][0]["path"], &found["readOnly"]), (&json!("a.py"), &json!(true)));
    let done = run(&world, Sandbox::Pipes, &["index", "--json"]);
    assert_eq!(done.json()["error"]["code"], "INDEX_LOCKED", "{done:?}");
    // The owner still answers.
    assert_eq!(world.json(&["search", "--json", "alpha"])["readOnly"], false);
}

/// Of two daemons for one project, one owns the index; the other sees every commit made before its search.
#[test]
fn a_reader_beside_the_owner_sees_every_commit() {
    let world = world();
    world.json(&["index", "--json"]);
    let reader = World::beside(&world);
    let find = |word: &str| {
        let found = reader.json(&["search", "--json", "--mode", "text", word]);
        assert_eq!(found["readOnly"], true, "{found}");
        found["hits"][0]["path"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(find("alpha"), "a.py");
    for round in 0..8 {
        let word = format!("needle{round}");
        world.write(&format!("b{round}.py"), format!("def {word}():\n    return 1\n"));
        world.json(&["index", "--json"]);
        assert_eq!(find(&word), format!("b{round}.py"), "committed before the question");
    }
    assert_eq!(reader.status()["readOnly"], true);
    // The reader answers while the owner indexes.
    grow(&world, 60);
    let mut indexing = crate::support::Guard(world.command(["index", "--json"]).spawn().expect("starts"));
    let mut seen = 0;
    while indexing.0.try_wait().expect("our child").is_none() {
        assert_eq!(find("needle3"), "b3.py");
        seen += 1;
    }
    assert!(seen > 0, "some questions came while it was indexed");
    assert!(find("function_59").ends_with("file059.py"));
}

/// A reader becomes the owner after the owner has ended.
#[test]
fn a_reader_becomes_the_owner() {
    let world = world();
    world.json(&["index", "--json"]);
    let reader = World::beside(&world);
    assert_eq!(reader.json(&["search", "--json", "--mode", "text", "alpha"])["readOnly"], true);
    assert_eq!(world.run(&["stop"]).code, Some(0));
    until("it owns the index", || {
        let found = reader.json(&["search", "--json", "--mode", "text", "alpha"]);
        assert_eq!(found["hits"][0]["path"], "a.py");
        (found["readOnly"] == false).then_some(())
    });
    assert_eq!(reader.status()["readOnly"], false);
    // The former owner's next daemon is now the reader.
    assert_eq!(world.json(&["search", "--json", "--mode", "text", "alpha"])["readOnly"], true);
}

/// A killed daemon left its port file, and another program now listens at that port.
#[test]
fn a_port_that_another_program_took_is_no_obstacle() {
    let world = world();
    let pid = {
        json(&world, Sandbox::Tcp, &["start", "--json"]);
        world.status()["pid"].as_u64().expect("a number") as u32
    };
    crate::support::signal(pid, libc::SIGKILL);
    until("it is gone", || (!crate::support::alive(pid)).then_some(()));
    let mut file: Value = serde_json::from_slice(&std::fs::read(tcp_file(&world)).expect("left over")).expect("JSON");
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    file["port"] = other.local_addr().expect("bound").port().into();
    std::fs::write(tcp_file(&world), file.to_string()).expect("writable");
    std::thread::spawn(move || {
        // It answers the first connection, and is silent on the second.
        for talks in [true, false] {
            let Ok((mut stream, _)) = other.accept() else { return };
            if talks {
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            } else {
                std::thread::sleep(Duration::from_secs(30));
            }
        }
    });
    assert_eq!(json(&world, Sandbox::Tcp, &["embed", "--json", "x"])["dim"], 384);
    assert_ne!(world.status()["pid"], pid);
}

#[test]
fn hashed_vectors_where_no_model_loads() {
    use offheap_protocol::message::{Priority, TextKind};
    let mut world = world();
    world.unset("OFFHEAP_MODEL_DIR");
    world.set("OFFHEAP_MODEL", "/no/such/model.gguf");
    world.start();
    let options = |or_hash| offheap_protocol::EmbedOptions {
        kind: TextKind::Document,
        priority: Priority::Interactive,
        parse_specials: false,
        or_hash,
        deadline: None,
    };
    crate::support::block_on(async {
        let client = crate::support::client(&world).await;
        let fault = client.embed(vec!["x".to_owned()], options(false)).await.expect_err("not asked for");
        assert_eq!(fault.code, offheap_protocol::Code::ModelNotFound);
        let texts = vec!["open the file".to_owned(), String::new()];
        let (vectors, rows) = client.embed(texts, options(true)).await.expect("asked for");
        assert_eq!((vectors.space.as_str(), vectors.dim, rows.len()), ("hash-v1", 384, 768));
        assert!(vectors.degraded.expect("said").contains("MODEL_NOT_FOUND"));
    });
    // Hashed vectors are never indexed.
    let report = world.run(&["index", "--json"]);
    assert_ne!(report.code, Some(0), "{report:?}");
    let found = world.json(&["search", "--json", "alpha"]);
    assert_eq!((&found["mode"], &found["space"]), (&json!("text"), &Value::Null));
}
