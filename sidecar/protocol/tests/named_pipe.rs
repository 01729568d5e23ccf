//! Named pipes between two ends of one user. `npm/scripts/windows.mjs` runs this under wine.
#![cfg(windows)]

use std::io;
use std::os::windows::io::AsHandle;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use offheap_protocol::codec::Purpose;
use offheap_protocol::connection::named_pipe::{self, Listener, Stream};
use offheap_protocol::connection::{self, Accept, Transport, Welcome};
use offheap_protocol::windows::{Descriptor, pipe_owner, user};
use offheap_protocol::{Client, Code, Endpoint};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn name(what: &str) -> PathBuf {
    PathBuf::from(format!(r"\\.\pipe\offheap-test-{}-{what}", std::process::id()))
}

/// Runs `work` on one thread, as the daemon does, for at most 30 seconds.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(30), work).await.expect("no wait without end") })
}

async fn pair(listener: &Listener, name: &PathBuf) -> (Stream, Stream) {
    let (server, client) = tokio::join!(listener.accept(), named_pipe::connect(name));
    (server.expect("accepted"), client.expect("connected"))
}

#[test]
fn the_descriptor_that_was_set_is_the_one_on_the_pipe() {
    block_on(async {
        let name = name("descriptor");
        let listener = Listener::bind(name.clone()).expect("a fresh name");
        let (server, client) = pair(&listener, &name).await;
        for end in [server.as_handle(), client.as_handle()] {
            let (owner, descriptor) = pipe_owner(end).expect("readable by its user");
            assert_eq!(owner, user().expect("known"));
            let text = descriptor.text().expect("printable");
            // The system may write full access in the form it has for files.
            let text = text.replace(";;FA;;;", ";;GA;;;").replace(";;0x1f01ff;;;", ";;GA;;;");
            assert_eq!(text, Descriptor::private().expect("well formed").text().expect("printable"));
        }
    });
}

#[test]
fn both_ends_are_the_same_user() {
    block_on(async {
        let name = name("peer");
        let listener = Listener::bind(name.clone()).expect("a fresh name");
        let (server, client) = pair(&listener, &name).await; // `connect` has checked the server
        (&client).write_all(b"who is this?").await.expect("sent");
        let mut bytes = [0; 12];
        (&server).read_exact(&mut bytes).await.expect("received");
        assert!(server.peer_is_us().expect("known after a read"));
        for end in [&server, &client] {
            assert_eq!(end.peer_pid(), Some(std::process::id()));
        }
    });
}

#[test]
fn bytes_arrive_in_both_directions_at_once_and_an_end_is_an_end() {
    block_on(async {
        let name = name("bytes");
        let listener = Listener::bind(name.clone()).expect("a fresh name");
        let (server, client) = pair(&listener, &name).await;
        let sent: Vec<u8> = (0..3_000_001u32).map(|i| (i * 7) as u8).collect();
        let echo = async {
            let mut bytes = vec![0; 10_000];
            let mut whole = 0;
            loop {
                let n = (&server).read(&mut bytes).await.expect("readable");
                if n == 0 {
                    break whole;
                }
                whole += n;
                (&server).write_all(&bytes[..n]).await.expect("writable");
                if whole == sent.len() {
                    break whole;
                }
            }
        };
        let write = async { (&client).write_all(&sent).await.expect("writable") };
        let read = async {
            let mut back = vec![0; sent.len()];
            (&client).read_exact(&mut back).await.expect("all of it");
            back
        };
        let (whole, (), back) = tokio::join!(echo, write, read);
        assert_eq!(whole, sent.len());
        assert!(back == sent, "other bytes came back");
        // What was written before the pipe was closed can still be read.
        (&server).write_all(b"bye").await.expect("writable");
        drop(server);
        let mut rest = Vec::new();
        (&client).read_to_end(&mut rest).await.expect("an end, no error");
        assert_eq!(rest, b"bye");
        assert!((&client).write_all(b"x").await.is_err() || (&client).write_all(b"x").await.is_err());
    });
}

#[test]
fn a_missing_pipe_fails_at_once_and_the_wait_for_a_busy_one_can_be_ended() {
    block_on(async {
        let name = name("busy");
        let missing = named_pipe::connect(&name).await.err().expect("no such pipe");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let listener = Listener::bind(name.clone()).expect("a fresh name");
        let _first = named_pipe::connect(&name).await.expect("taken without being accepted");
        let start = Instant::now();
        let second = tokio::time::timeout(Duration::from_millis(300), named_pipe::connect(&name)).await;
        assert!(second.is_err(), "a second instance was free");
        assert!(start.elapsed() < Duration::from_secs(3));
        // A client that waits gets the next instance.
        let (accepted, second) = tokio::join!(listener.accept(), named_pipe::connect(&name));
        accepted.expect("the first");
        second.expect("the second");
    });
}

#[test]
fn clients_that_come_and_go_do_not_stop_the_listener() {
    block_on(async {
        let name = name("gone");
        let listener = Listener::bind(name.clone()).expect("a fresh name");
        for _ in 0..5 {
            drop(named_pipe::connect(&name).await.expect("there is an instance"));
            // The listener accepts the closed client or skips it; either way there is a new instance afterwards.
            let _ = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        }
        let mut accepting = std::pin::pin!(listener.accept());
        for _ in 0..10 {
            // Dropping the future loses no client.
            let _ = tokio::time::timeout(Duration::from_millis(1), &mut accepting).await.map(|stream| stream.is_ok());
            accepting.set(listener.accept());
        }
        let (server, client) = tokio::join!(accepting, named_pipe::connect(&name));
        let (server, client) = (server.expect("accepted"), client.expect("connected"));
        (&server).write_all(b"x").await.expect("alive");
        assert_eq!((&client).read_u8().await.expect("alive"), b'x');
    });
}

#[test]
fn many_clients_at_once_are_all_accepted() {
    block_on(async {
        let name = name("many");
        let listener = Listener::bind(name.clone()).expect("a fresh name");
        let clients: Vec<_> = (0..40u8)
            .map(|i| {
                let name = name.clone();
                tokio::spawn(async move {
                    let stream = named_pipe::connect(&name).await.expect("waits its turn");
                    (&stream).write_u8(i).await.expect("alive");
                    (&stream).read_u8().await.expect("alive")
                })
            })
            .collect();
        for _ in 0..40 {
            let stream = listener.accept().await.expect("accepted");
            tokio::spawn(async move {
                let i = (&stream).read_u8().await.expect("alive");
                (&stream).write_u8(i + 1).await.expect("alive");
            });
        }
        for (i, client) in clients.into_iter().enumerate() {
            assert_eq!(client.await.expect("no panic") as usize, i + 1);
        }
    });
}

#[test]
fn a_second_listener_is_refused() {
    block_on(async {
        let name = name("second");
        let _first = Listener::bind(name.clone()).expect("a fresh name");
        match Listener::bind(name) {
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::AddrInUse),
            // Wine 8 ignores FILE_FLAG_FIRST_PIPE_INSTANCE; daemons rely on the lock file.
            Ok(_) => assert!(std::env::var_os("WINEPREFIX").is_some(), "the system let two listen"),
        }
    });
}

#[test]
fn preambles_are_exchanged_over_the_pipe_of_each_runtime_directory() {
    let (one, other) = (tempfile::tempdir().expect("temporary"), tempfile::tempdir().expect("temporary"));
    let at = |dir: &tempfile::TempDir| Endpoint::under(dir.path().join("run"), None).expect("any length");
    let (here, there) = (at(&one), at(&other));
    assert_ne!(here.socket(), there.socket());
    here.prepare_dir().expect("private");
    block_on(async {
        let accept = Accept::bind(&here).await.expect("a fresh name");
        assert_eq!(accept.transport(), Transport::Local);
        let (server, client) = tokio::join!(accept.accept(), connection::connect(&here));
        let (mut server, mut client) = (server.expect("accepted"), client.expect("connected"));
        let (welcome, theirs) = tokio::join!(server.welcome(), client.greet(Purpose::Talk));
        assert!(matches!(welcome.expect("the same user"), Welcome::Talk(_)));
        theirs.expect("a daemon of the same user");
        assert_eq!(client.peer_pid(), Some(std::process::id()));
        let fault = Client::connect(&there, "test").await.err().expect("no daemon");
        assert_eq!(fault.code, Code::DaemonNotRunning);
    });
}
