//! What peers send, by mistake or on purpose: the guilty connection ends, the others do not notice.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use offheap_protocol::codec::{self, Envelope, HEADER_BYTES, Header, Kind, MAX_BODY, MAX_CONTROL, Preamble, Purpose};
use offheap_protocol::connection::{self, Connection, Frame, Payload};
use offheap_protocol::message::{Priority, Request, Response, TextKind};
use offheap_protocol::{Client, Code, EmbedOptions, Fault};

use crate::support::{PATIENCE, World, block_on, client, status_of};

fn world() -> World {
    let world = World::new();
    world.run(&["init"]);
    world.start();
    world
}

/// A peer that writes bytes.
pub fn raw(world: &World) -> UnixStream {
    let stream = UnixStream::connect(world.endpoint().socket()).expect("a daemon runs");
    stream.set_read_timeout(Some(PATIENCE)).expect("supported");
    stream
}

/// The same behind both preambles.
pub fn greeted(world: &World) -> UnixStream {
    let mut stream = raw(world);
    stream.write_all(&Preamble::ours().encode()).expect("it reads");
    stream.read_exact(&mut [0; Preamble::BYTES]).expect("it answers");
    stream
}

pub fn frame(kind: Kind, id: u64, control: &[u8], body: &[u8]) -> Vec<u8> {
    let header = Header { kind, id, control: control.len() as u32, body: body.len() as u32 };
    [&header.encode(), control, body].concat()
}

pub fn control(request: Request) -> Vec<u8> {
    codec::encode(&Envelope { deadline_ms: 0, request }).expect("small")
}

pub fn hello() -> Vec<u8> {
    frame(Kind::Request, 1, &control(Request::Hello { client: "raw".into() }), &[])
}

/// The daemon ends this connection, without a frame.
#[track_caller]
pub fn expect_closed(mut stream: UnixStream, what: &str) -> Duration {
    let waited = Instant::now();
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {}
        Err(error) => panic!("{what}: still open after {PATIENCE:?} ({error})"),
    }
    assert!(rest.len() <= Preamble::BYTES, "{what}: answered with {rest:?}");
    waited.elapsed()
}

pub fn texts(n: usize, words: usize) -> Vec<String> {
    (0..n).map(|i| (0..words).map(|w| format!("{} ", (i * 31 + w * 17) % 1009)).collect()).collect()
}

pub fn embed(texts: &[String], priority: Priority) -> (Request, Vec<u8>) {
    let lengths = texts.iter().map(|text| text.len() as u32).collect();
    let request = Request::Embed { lengths, kind: TextKind::Document, priority, parse_specials: false, or_hash: false };
    (request, texts.concat().into_bytes())
}

pub async fn ping(client: &Client) -> Duration {
    let asked = Instant::now();
    let reply = client.call(Request::Ping, Payload::None, Some(PATIENCE), None).await.expect("it answers");
    assert_eq!(reply.response, Response::Pong);
    asked.elapsed()
}

#[test]
fn malformed_peers_are_cut_off_alone() {
    let world = world();
    let send = |what: &str, greet: bool, bytes: &[u8]| {
        let mut stream = if greet { greeted(&world) } else { raw(&world) };
        let _ = stream.write_all(bytes); // it may hang up while we still write
        expect_closed(stream, what);
    };
    let announce = |control: u32, body: u32| {
        let mut head = [0; HEADER_BYTES];
        head.copy_from_slice(&frame(Kind::Request, 1, &[], &[]));
        head[16..20].copy_from_slice(&control.to_le_bytes());
        head[20..24].copy_from_slice(&body.to_le_bytes());
        head
    };
    let mut noise: u32 = 42;
    let garbage: Vec<u8> = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 24) as u8
    })
    .take(1 << 16)
    .collect();
    block_on(async {
        let innocent = client(&world).await;
        let mut foreign = Preamble::ours();
        (foreign.proto_min, foreign.proto_max) = (900, 901);
        send("HTTP", false, b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: x\r\n\r\n");
        send("garbage for a preamble", false, &garbage);
        send("a protocol of the future", false, &foreign.encode());
        send("garbage for a frame", true, &garbage);
        send("a giant control part", true, &announce(u32::MAX, 0));
        send("a giant body", true, &announce(0, u32::MAX));
        send("just over the limits", true, &announce(MAX_CONTROL + 1, MAX_BODY + 1));
        send("no hello", true, &frame(Kind::Request, 1, &control(Request::Ping), &[]));
        send("an unknown request", true, &frame(Kind::Request, 1, &[0, 250], &[]));
        send("a hello with something behind it", true, &frame(Kind::Request, 1, &[0, 0, 1, b'x', 9], &[]));
        send("a string that claims to be long", true, &frame(Kind::Request, 1, &[0, 0, 252, 255, 255, 63, 0], &[]));
        send("a daemon's frame", true, &frame(Kind::Response, 1, &[1], &[]));
        ping(&innocent).await;
        // Those that leave within a frame are no trouble either.
        for cut in [0, 1, HEADER_BYTES - 1, HEADER_BYTES, hello().len() - 1] {
            let mut stream = greeted(&world);
            stream.write_all(&hello()[..cut]).expect("it reads");
        }
        drop(raw(&world));
        ping(&innocent).await;
        ping(&client(&world).await).await;
        let status = status_of(&innocent).await;
        assert_eq!(status.faults, 0, "none of that was a request");
    });
}

/// A length is only believed as its bytes arrive.
#[cfg(target_os = "linux")]
#[test]
fn an_announced_body_costs_nothing() {
    let world = world();
    block_on(async {
        let observer = client(&world).await;
        let before = status_of(&observer).await.anon_bytes.expect("Linux tells");
        let peers: Vec<UnixStream> = (0..16)
            .map(|_| {
                let mut stream = greeted(&world);
                stream.write_all(&hello()).expect("it reads");
                let header = Header { kind: Kind::Request, id: 2, control: MAX_CONTROL, body: MAX_BODY };
                stream.write_all(&header.encode()).expect("it reads");
                stream.write_all(&[0; 100]).expect("it reads");
                stream
            })
            .collect();
        let deadline = Instant::now() + PATIENCE;
        while status_of(&observer).await.connections < 17 {
            assert!(Instant::now() < deadline, "not all are connected");
        }
        let grown = status_of(&observer).await.anon_bytes.expect("Linux tells").saturating_sub(before);
        assert!(grown < 16 * (2 << 20), "16 peers that announce 68 MB each cost {grown} bytes");
        drop(peers);
    });
}

#[test]
fn silent_peers_are_cut_off() {
    let world = world();
    // All at once, because each takes the greeting's five seconds.
    let silent = raw(&world);
    let mut half = raw(&world);
    half.write_all(&Preamble::ours().encode()[..20]).expect("it reads");
    let wordless = greeted(&world);
    let mut stammering = greeted(&world);
    stammering.write_all(&hello()[..27]).expect("it reads");
    let mut late = Duration::ZERO;
    for (what, stream) in [
        ("silence", silent),
        ("half a preamble", half),
        ("a preamble and no hello", wordless),
        ("a preamble and half a hello", stammering),
    ] {
        late += expect_closed(stream, what);
    }
    assert!(late < Duration::from_secs(30), "{late:?}");
    block_on(async { ping(&client(&world).await).await });
}

#[test]
fn the_daemon_keeps_deadlines() {
    let world = world();
    block_on(async {
        let client = client(&world).await;
        let (request, body) = embed(&texts(2_000, 100), Priority::Bulk);
        let deadline = Some(Duration::from_millis(1));
        let outcome = client.call(request, Payload::Bytes(body), deadline, None).await;
        let fault = outcome.expect_err("nothing is that fast");
        // The daemon's own words, not the client's that gave up on it.
        assert_eq!(fault, Fault::new(Code::Timeout, "no answer within 1 ms"));
        ping(&client).await;
        // And it drops the work.
        let deadline = Instant::now() + PATIENCE;
        while status_of(&client).await.queued > 0 {
            assert!(Instant::now() < deadline, "it still works for nobody");
        }
        let options = EmbedOptions {
            kind: TextKind::Query,
            priority: Priority::Interactive,
            parse_specials: false,
            or_hash: false,
            deadline: Some(PATIENCE),
        };
        assert_eq!(client.embed(vec!["still here".into()], options).await.expect("it goes on").0.dim, 384);
    });
}

/// Connected and introduced, frame by frame.
pub async fn by_hand(world: &World) -> Connection {
    let mut connection = connection::connect(&world.endpoint()).await.expect("a daemon runs");
    connection.greet(Purpose::Talk).await.expect("it is ours");
    let hello = control(Request::Hello { client: "by hand".into() });
    connection.writer.send(Kind::Request, 1, &hello, &Payload::None).await.expect("it reads");
    let frame = next(&mut connection).await;
    assert_eq!((frame.header.kind, frame.header.id), (Kind::Response, 1));
    connection
}

pub async fn next(connection: &mut Connection) -> Frame {
    let frame = tokio::time::timeout(PATIENCE, connection.reader.next(true)).await.expect("it answers in time");
    frame.expect("a frame").expect("the connection lives")
}

#[track_caller]
pub fn code_of(frame: &Frame) -> Code {
    assert_eq!(frame.header.kind, Kind::Fault, "{:?}", frame.header);
    codec::decode::<Fault>(&frame.control).expect("a fault").code
}

/// Loads the model, so that what follows measures something else.
pub async fn warm(world: &World) -> Client {
    let client = client(world).await;
    let (request, body) = embed(&["warm".to_owned()], Priority::Interactive);
    client.call(request, Payload::Bytes(body), None, None).await.expect("the model works");
    client
}

#[test]
fn a_cancelled_request_ends_at_once() {
    let world = world();
    block_on(async {
        let observer = warm(&world).await;
        let mut connection = by_hand(&world).await;
        let (request, body) = embed(&texts(4_000, 200), Priority::Bulk);
        connection.writer.send(Kind::Request, 2, &control(request), &Payload::Bytes(body)).await.expect("it reads");
        let deadline = Instant::now() + PATIENCE;
        while status_of(&observer).await.queued == 0 {
            assert!(Instant::now() < deadline, "the work never began");
        }
        let cancelled = Instant::now();
        connection.writer.send(Kind::Cancel, 2, &[], &Payload::None).await.expect("it reads");
        let frame = next(&mut connection).await;
        assert_eq!((code_of(&frame), frame.header.id), (Code::Cancelled, 2));
        // A micro-batch or two, not the minute that all of it takes.
        assert!(cancelled.elapsed() < Duration::from_secs(5), "{:?}", cancelled.elapsed());
        // The connection goes on, and an unknown id is no offence.
        connection.writer.send(Kind::Cancel, 99, &[], &Payload::None).await.expect("it reads");
        connection.writer.send(Kind::Request, 3, &control(Request::Ping), &Payload::None).await.expect("it reads");
        let frame = next(&mut connection).await;
        assert_eq!((frame.header.kind, frame.header.id), (Kind::Response, 3));
    });
}

/// A Cancel that came in the same read as its request used to be looked up before the request was known, and lost.
#[test]
fn a_cancel_right_behind_its_request_is_seen() {
    let world = world();
    block_on(async {
        warm(&world).await;
        let mut stream = greeted(&world);
        let (request, body) = embed(&texts(4_000, 200), Priority::Bulk);
        let request = frame(Kind::Request, 2, &control(request), &body);
        let both = [hello(), request, frame(Kind::Cancel, 2, &[], &[])].concat();
        stream.write_all(&both).expect("it reads");
        let asked = Instant::now();
        let mut answers = Vec::new();
        for _ in 0..2 {
            let mut head = [0; HEADER_BYTES];
            stream.read_exact(&mut head).expect("an answer");
            let header = Header::decode(&head).expect("ours");
            let mut rest = vec![0; (header.control + header.body) as usize];
            stream.read_exact(&mut rest).expect("an answer");
            answers.push((header.id, header.kind));
        }
        answers.sort_by_key(|(id, _)| *id);
        assert_eq!(answers, [(1, Kind::Response), (2, Kind::Fault)]);
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    });
}

/// Sixty-four requests in work used to stop the reader, and with it every Cancel and the news that the peer had left.
#[test]
fn cancels_are_seen_behind_a_full_house() {
    let world = world();
    block_on(async {
        let observer = warm(&world).await;
        let mut connection = by_hand(&world).await;
        const N: u64 = 100;
        for id in 2..2 + N {
            let (request, body) = embed(&texts(100, 200), Priority::Bulk);
            connection
                .writer
                .send(Kind::Request, id, &control(request), &Payload::Bytes(body))
                .await
                .expect("it reads");
        }
        let asked = Instant::now();
        connection.writer.send(Kind::Request, 1_000, &control(Request::Ping), &Payload::None).await.expect("it reads");
        for id in 2..2 + N {
            connection.writer.send(Kind::Cancel, id, &[], &Payload::None).await.expect("it reads");
        }
        let mut done = 0;
        for _ in 0..=N {
            let frame = next(&mut connection).await;
            match frame.header.kind {
                Kind::Response => done += 1,
                _ => assert_eq!(code_of(&frame), Code::Cancelled),
            }
        }
        assert!(done <= 3, "the ping, and what was done just then: {done}");
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());

        // The same when the peer just goes.
        for id in 2..2 + N {
            let (request, body) = embed(&texts(100, 200), Priority::Bulk);
            connection
                .writer
                .send(Kind::Request, id, &control(request), &Payload::Bytes(body))
                .await
                .expect("it reads");
        }
        drop(connection);
        let left = Instant::now();
        while status_of(&observer).await.connections > 1 || status_of(&observer).await.queued > 0 {
            assert!(left.elapsed() < Duration::from_secs(10), "it works for a peer that left");
        }
    });
}

#[test]
fn a_peer_that_leaves_takes_its_work_along() {
    let world = world();
    block_on(async {
        let observer = warm(&world).await;
        let mut connection = by_hand(&world).await;
        let (request, body) = embed(&texts(4_000, 200), Priority::Bulk);
        connection.writer.send(Kind::Request, 2, &control(request), &Payload::Bytes(body)).await.expect("it reads");
        let deadline = Instant::now() + PATIENCE;
        while status_of(&observer).await.queued == 0 {
            assert!(Instant::now() < deadline, "the work never began");
        }
        // Meanwhile others are served: interactive texts pass the bulk.
        let (request, body) = embed(&["in between".to_owned()], Priority::Interactive);
        let asked = Instant::now();
        observer.call(request, Payload::Bytes(body), None, None).await.expect("it passes");
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        drop(connection);
        let left = Instant::now();
        while status_of(&observer).await.queued > 0 {
            assert!(left.elapsed() < Duration::from_secs(5), "it works for a peer that left");
        }
        ping(&observer).await;
    });
}

#[test]
fn many_requests_on_one_connection_are_all_answered() {
    let world = world();
    block_on(async {
        let client = client(&world).await;
        let one = |i: usize| {
            let client = client.clone();
            async move {
                let (request, payload) = match i % 4 {
                    0 => (Request::Ping, Payload::None),
                    1 => (Request::Status, Payload::None),
                    _ => {
                        let (request, body) = embed(&[format!("text {i}")], Priority::Interactive);
                        (request, Payload::Bytes(body))
                    }
                };
                let reply = client.call(request, payload, Some(PATIENCE), None).await.expect("it answers");
                match (i % 4, &reply.response) {
                    (0, Response::Pong) | (1, Response::Status(_)) => {}
                    (_, Response::Vectors(vectors)) => {
                        assert_eq!((vectors.tokens.len(), reply.rows.len()), (1, vectors.dim as usize));
                        let norm: f32 = reply.rows.iter().map(|x| x * x).sum();
                        assert!((norm - 1.0).abs() < 1e-3, "{i}: {norm}");
                    }
                    other => panic!("{other:?}"),
                }
            }
        };
        let tasks: Vec<_> = (0..300).map(|i| tokio::spawn(one(i))).collect();
        for task in tasks {
            task.await.expect("no task fails");
        }
        assert_eq!(status_of(&client).await.faults, 0);
    });
}

#[test]
fn an_id_in_use_is_an_offence() {
    let world = world();
    block_on(async {
        let observer = warm(&world).await;
        let mut stream = greeted(&world);
        let (request, body) = embed(&texts(200, 200), Priority::Bulk);
        let request = frame(Kind::Request, 2, &control(request), &body);
        stream.write_all(&[hello(), request.clone(), request].concat()).expect("it reads");
        // What was asked properly is answered before the end: the hello, and the first request as cancelled.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("the connection ends");
        assert!(rest.len() > HEADER_BYTES, "hello was answered");
        ping(&observer).await;
    });
}
