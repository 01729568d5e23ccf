//! Two versions on one machine: a newer client replaces an older daemon, once; never the other way.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use offheap_engine::store::Store;
use offheap_protocol::codec::{Preamble, Purpose};

use crate::support::{PATIENCE, World, alive, block_on, client, daemon, status_of, until};

fn build(version: &str, proto: (u16, u16), purpose: Purpose) -> Preamble {
    let mut build = [0; 16];
    build[..version.len()].copy_from_slice(version.as_bytes());
    Preamble { proto_min: proto.0, proto_max: proto.1, purpose, build }
}

/// Sends the preamble of a build, and gives the daemon's preamble.
fn introduce(world: &World, preamble: &Preamble) -> (UnixStream, Option<Preamble>) {
    let mut stream = UnixStream::connect(world.endpoint().socket()).expect("a daemon listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.write_all(&preamble.encode()).expect("it reads");
    let mut bytes = [0; Preamble::BYTES];
    let answer = stream.read_exact(&mut bytes).ok().and_then(|()| Preamble::decode(&bytes));
    (stream, answer)
}

fn world() -> World {
    let world = World::new();
    assert_eq!(world.run(&["init"]).code, Some(0));
    world
}

#[test]
fn a_newer_client_gets_the_endpoint() {
    // With the same protocol, and with one that this build does not speak: only the preamble is needed.
    for proto in [(1, 1), (7, 9)] {
        let world = world();
        let pid = world.start();
        let (mut stream, answer) = introduce(&world, &build("9.9.9", proto, Purpose::HandOver));
        assert_eq!(answer.expect("an answer").purpose, Purpose::HandOver);
        assert_eq!(stream.read(&mut [0; 8]).expect("a clean end"), 0, "nothing follows but the end");
        until("the older one is gone", || (!alive(pid)).then_some(()));
        assert!(!world.endpoint().socket().exists());
        assert_ne!(world.start(), pid, "the endpoint is free");
    }
}

#[test]
fn a_client_that_is_not_newer_does_not() {
    let world = world();
    let pid = world.start();
    let same = Preamble::ours();
    for asker in [
        build("0.0.1", (1, 1), Purpose::HandOver),
        build("not a version", (1, 1), Purpose::HandOver),
        build("9.9.9", (0, 0), Purpose::HandOver),
        Preamble { purpose: Purpose::HandOver, ..same },
    ] {
        let (_stream, answer) = introduce(&world, &asker);
        assert_eq!(answer.expect("an answer").purpose, Purpose::Talk, "{}", asker.build_name());
    }
    assert_eq!(world.status()["pid"], pid);
}

/// The running daemon serves older clients, equal ones, and newer ones that do not ask for the endpoint.
#[test]
fn versions_that_alternate_do_not_push_each_other_out() {
    let world = world();
    let pid = world.start();
    for round in 0..100 {
        let version = ["0.0.9", "0.1.0", "0.1.1-beta.1"][round % 3];
        let purpose = if round % 2 == 0 { Purpose::HandOver } else { Purpose::Talk };
        let newer = version == "0.1.1-beta.1";
        let asks = if newer { Purpose::Talk } else { purpose };
        let (_stream, answer) = introduce(&world, &build(version, (1, 1), asks));
        assert_eq!(answer.expect("an answer").purpose, Purpose::Talk);
        block_on(async { assert_eq!(status_of(&client(&world).await).await.pid, pid) });
    }
}

/// A stand-in for a daemon of another version: holds the lock, sends its preamble, hands over when asked.
struct Other {
    stop: Arc<AtomicBool>,
    hand_overs: Arc<AtomicUsize>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Other {
    fn start(world: &World, preamble: Preamble) -> Other {
        let endpoint = world.endpoint();
        endpoint.prepare_dir().expect("the runtime directory");
        let lock = std::fs::File::options().create(true).append(true).open(endpoint.lock()).expect("a lock file");
        lock.try_lock().expect("the lock is free");
        let _ = std::fs::remove_file(endpoint.socket());
        let listener = UnixListener::bind(endpoint.socket()).expect("a socket");
        listener.set_nonblocking(true).expect("a socket");
        let (stop, hand_overs) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (over, count) = (stop.clone(), hand_overs.clone());
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let Ok((mut stream, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                };
                stream.set_nonblocking(false).expect("a socket");
                stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
                let mut bytes = [0; Preamble::BYTES];
                if stream.read_exact(&mut bytes).is_err() {
                    continue;
                }
                let theirs = Preamble::decode(&bytes).expect("offheap asks");
                let asked = theirs.purpose == Purpose::HandOver;
                let granted = asked && theirs.is_newer_than(&preamble);
                let purpose = if granted { Purpose::HandOver } else { Purpose::Talk };
                let _ = stream.write_all(&Preamble { purpose, ..preamble }.encode());
                if asked {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                if granted {
                    // As a real daemon: first the socket is removed, then lock and connection are closed together.
                    let _ = std::fs::remove_file(endpoint.socket());
                    break;
                }
            }
            drop(lock);
        });
        Other { stop, hand_overs, thread: Some(thread) }
    }

    fn asked(&self) -> usize {
        self.hand_overs.load(Ordering::Relaxed)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}

#[test]
fn an_older_daemon_is_replaced_by_commands_that_start_one() {
    for proto in [(1, 1), (0, 0)] {
        let world = world();
        let other = Other::start(&world, build("0.0.9", proto, Purpose::Talk));
        // `status` and `stop` must not replace it.
        let _ = world.run(&["status", "--json"]);
        let _ = world.run(&["stop", "--json"]);
        assert_eq!(other.asked(), 0);
        assert_eq!(world.json(&["start", "--json"])["started"], true);
        assert_eq!(other.asked(), 1, "once");
        assert_eq!(world.status()["version"], env!("CARGO_PKG_VERSION"));
    }
}

#[test]
fn an_older_protocol_is_named_where_nothing_may_be_replaced() {
    let world = world();
    let _other = Other::start(&world, build("0.0.9", (0, 0), Purpose::Talk));
    let error = world.fault(&["status"], 1, "DAEMON_TOO_OLD");
    assert!(error["message"].as_str().expect("text").contains("0.0.9"), "{error}");
}

#[test]
fn a_newer_daemon_is_left_alone() {
    let world = world();
    let other = Other::start(&world, build("9.9.9", (2, 3), Purpose::Talk));
    for _ in 0..5 {
        for command in [["start"].as_slice(), &["embed", "x"], &["status"]] {
            let error = world.fault(command, 1, "CLIENT_TOO_OLD");
            assert!(error["message"].as_str().expect("text").contains("9.9.9"), "{error}");
            assert!(!error["hint"].as_str().expect("text").is_empty());
        }
    }
    assert_eq!(other.asked(), 0);
}

/// A daemon that hands over answers the requests in flight before it ends.
#[test]
fn what_is_in_flight_is_answered() {
    let world = world();
    let (mut guard, _) = daemon(&world);
    block_on(async {
        let busy = client(&world).await;
        let texts = (0..60).map(|i| format!("text {i} {}", "parse the header ".repeat(20))).collect();
        let options = offheap_protocol::EmbedOptions {
            kind: offheap_protocol::message::TextKind::Document,
            priority: offheap_protocol::message::Priority::Bulk,
            parse_specials: false,
            or_hash: false,
            deadline: None,
        };
        let work = busy.embed(texts, options);
        let ask = async {
            // The hand-over comes after the request has arrived.
            while status_of(&client(&world).await).await.queued == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let asking = build("9.9.9", (1, 1), Purpose::HandOver);
            let (_stream, answer) = introduce(&world, &asking);
            assert_eq!(answer.expect("an answer").purpose, Purpose::HandOver);
        };
        let (vectors, ()) = tokio::join!(work, ask);
        assert_eq!(vectors.expect("answered").0.tokens.len(), 60);
        assert!(!busy.is_usable() && !busy.has_crashed());
    });
    assert!(guard.wait().success());
}

/// The bytes that version 0.1.0 sends. Every later build must answer them, or refuse them as the protocol says. The file is never
/// generated again; a later release adds a file of its own.
#[test]
fn the_conversation_of_0_1_0_is_answered() {
    let world = world();
    world.start();
    let text = include_str!("conversation-0.1.0.hex");
    let hex: String = text.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace).collect();
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal")).collect();
    let mut stream = UnixStream::connect(world.endpoint().socket()).expect("a daemon listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.write_all(&bytes).expect("it reads");
    let mut preamble = [0; Preamble::BYTES];
    stream.read_exact(&mut preamble).expect("it answers");
    assert!(Preamble::decode(&preamble).is_some());
    let mut answers = std::collections::BTreeMap::new();
    while answers.len() < 4 {
        let mut header = [0; offheap_protocol::codec::HEADER_BYTES];
        stream.read_exact(&mut header).expect("a frame for each request");
        let header = offheap_protocol::codec::Header::decode(&header).expect("a frame");
        let mut rest = vec![0; (header.control + header.body) as usize];
        stream.read_exact(&mut rest).expect("a whole frame");
        answers.insert(header.id, (header.kind, rest[0], header.body));
    }
    use offheap_protocol::codec::Kind::Response;
    // Responses to Hello, Ping, Embed of one text (384 floats) and Status.
    assert_eq!(answers[&1], (Response, 0, 0));
    assert_eq!(answers[&2], (Response, 1, 0));
    assert_eq!(answers[&3], (Response, 2, 384 * 4));
    assert_eq!(answers[&4], (Response, 5, 0));
}

/// Nobody has to run `offheap index` after an update: the first search has the daemon bring the index up to date, without
/// loading the model, with the watch on and off. A run that somebody starts does the same.
#[test]
fn an_index_of_an_earlier_build_is_brought_up_to_date_in_the_background() {
    for (watch, by_search) in [("0", true), ("1", true), ("0", false)] {
        let mut world = World::new();
        world.set("OFFHEAP_WATCH", watch);
        world.write("src/orders.py", "def 获取用户订单列表(用户):\n    return 用户.订单\n");
        world.write("src/geometry.rs", "pub fn circle_area(radius: f64) -> f64 {\n    radius\n}\n");
        let first = world.json(&["index", "--json"]);
        assert_eq!(world.run(&["stop"]).code, Some(0));
        let mut store = Store::open(world.place()).expect("nobody owns it");
        store.pretend_earlier_content().expect("it is whole");
        let outdated = store.commit().expect("it can be written");
        drop(store);
        let read = || Store::open_read_only(world.place()).expect("it is whole");
        assert!(!read().is_current());

        if by_search {
            let found = world.json(&["search", "--json", "--mode", "text", "circle_area"]);
            assert_eq!(found["hits"][0]["path"], "src/geometry.rs", "the old generation answers");
            until("the index is of this build", || read().is_current().then_some(()));
            let status = world.status();
            assert!(status["model"].is_null(), "no model was loaded: {status}");
        } else {
            let report = world.json(&["index", "--json"]);
            assert_eq!((&report["embedded"], &report["reused"]), (&0.into(), &first["chunks"]), "{report}");
        }
        let now = read();
        assert!(now.is_current() && now.generation > outdated);
        assert_eq!(now.stats().vectors, now.stats().chunks);
        let found = world.json(&["search", "--json", "--mode", "text", "订单"]);
        assert_eq!(found["hits"][0]["path"], "src/orders.py", "{found}");
        assert!(found["degraded"].is_null(), "{found}");
    }
}

/// A process that cannot own the index answers from the generation that is there, and says what it may lack.
#[test]
fn a_reader_of_an_index_of_an_earlier_build_says_so() {
    let world = World::new();
    world.write("src/orders.py", "def 获取用户订单列表(用户):\n    return 用户.订单\n");
    world.json(&["index", "--json"]);
    assert_eq!(world.run(&["stop"]).code, Some(0));
    let mut owner = Store::open(world.place()).expect("nobody owns it");
    owner.pretend_earlier_content().expect("it is whole");
    owner.commit().expect("it can be written");
    let found = world.json(&["search", "--json", "--mode", "text", "订单"]);
    assert_eq!((&found["hits"][0]["path"], &found["readOnly"]), (&"src/orders.py".into(), &true.into()), "{found}");
    assert!(found["degraded"].as_str().is_some_and(|why| why.contains("an earlier version")), "{found}");
    let ascii = world.json(&["search", "--json", "--mode", "text", "return"]);
    assert!(ascii["degraded"].is_null(), "nothing is missing there: {ascii}");
    drop(owner);
}
