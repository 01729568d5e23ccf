//! Peers that send malformed frames, stall, cancel or disconnect: only their own connection ends.

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

/// A connection on which the test writes bytes.
pub fn raw_stream(world: &World) -> UnixStream {
    let stream = UnixStream::connect(world.endpoint().socket()).expect("a daemon runs");
    stream.set_read_timeout(Some(PATIENCE)).expect("supported");
    stream
}

/// A connection on which both preambles have been exchanged.
pub fn stream_after_preamble(world: &World) -> UnixStream {
    let mut stream = raw_stream(world);
    stream.write_all(&Preamble::ours().encode()).expect("the daemon reads");
    stream.read_exact(&mut [0; Preamble::BYTES]).expect("the daemon answers");
    stream
}

/// The bytes of one frame.
pub fn frame(kind: Kind, id: u64, control: &[u8], body: &[u8]) -> Vec<u8> {
    let header = Header { kind, id, control: control.len() as u32, body: body.len() as u32 };
    [&header.encode(), control, body].concat()
}

/// The control part of a request's frame.
pub fn encoded_request(request: Request) -> Vec<u8> {
    codec::encode(&Envelope { deadline_ms: 0, request }).expect("small")
}

/// The frame that introduces a client.
pub fn hello_frame() -> Vec<u8> {
    frame(Kind::Request, 1, &encoded_request(Request::Hello { client: "raw".into() }), &[])
}

/// Waits until the daemon closes this connection, without having sent a frame. Returns how long that took.
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

/// `n` different texts.
pub fn sample_texts(n: usize, words: usize) -> Vec<String> {
    (0..n).map(|i| (0..words).map(|w| format!("{} ", (i * 31 + w * 17) % 1009)).collect()).collect()
}

/// An embedding request and its body.
pub fn embed_request(texts: &[String], priority: Priority) -> (Request, Vec<u8>) {
    let lengths = texts.iter().map(|text| text.len() as u32).collect();
    let request = Request::Embed { lengths, kind: TextKind::Document, priority, parse_specials: false, or_hash: false };
    (request, texts.concat().into_bytes())
}

/// Returns how long the daemon took to answer.
pub async fn ping(client: &Client) -> Duration {
    let asked = Instant::now();
    let reply = client.call(Request::Ping, Payload::None, Some(PATIENCE), None).await.expect("the daemon answers");
    assert_eq!(reply.response, Response::Pong);
    asked.elapsed()
}

#[test]
fn only_the_connections_of_malformed_peers_are_closed() {
    let world = world();
    let send = |what: &str, greet: bool, bytes: &[u8]| {
        let mut stream = if greet { stream_after_preamble(&world) } else { raw_stream(&world) };
        let _ = stream.write_all(bytes); // the daemon may close the connection during the write
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
        let valid_client = client(&world).await;
        let mut foreign = Preamble::ours();
        (foreign.proto_min, foreign.proto_max) = (900, 901);
        send("HTTP", false, b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: x\r\n\r\n");
        send("garbage for a preamble", false, &garbage);
        send("a protocol of the future", false, &foreign.encode());
        send("garbage for a frame", true, &garbage);
        send("a giant control part", true, &announce(u32::MAX, 0));
        send("a giant body", true, &announce(0, u32::MAX));
        send("just over the limits", true, &announce(MAX_CONTROL + 1, MAX_BODY + 1));
        send("no hello", true, &frame(Kind::Request, 1, &encoded_request(Request::Ping), &[]));
        send("an unknown request", true, &frame(Kind::Request, 1, &[0, 250], &[]));
        send("a hello with something behind it", true, &frame(Kind::Request, 1, &[0, 0, 1, b'x', 9], &[]));
        send("a string that claims to be long", true, &frame(Kind::Request, 1, &[0, 0, 252, 255, 255, 63, 0], &[]));
        send("a daemon's frame", true, &frame(Kind::Response, 1, &[1], &[]));
        ping(&valid_client).await;
        // Peers that disconnect in the middle of a frame do no harm either.
        for cut in [0, 1, HEADER_BYTES - 1, HEADER_BYTES, hello_frame().len() - 1] {
            let mut stream = stream_after_preamble(&world);
            stream.write_all(&hello_frame()[..cut]).expect("the daemon reads");
        }
        drop(raw_stream(&world));
        ping(&valid_client).await;
        ping(&client(&world).await).await;
        let status = status_of(&valid_client).await;
        assert_eq!(status.faults, 0, "none of that was a request");
    });
}

/// Memory for a body is allocated as its bytes arrive, not when its length is announced.
#[cfg(target_os = "linux")]
#[test]
fn an_announced_body_allocates_no_memory() {
    let world = world();
    block_on(async {
        let observer = client(&world).await;
        let before = status_of(&observer).await.anon_bytes.expect("known on Linux");
        let peers: Vec<UnixStream> = (0..16)
            .map(|_| {
                let mut stream = stream_after_preamble(&world);
                stream.write_all(&hello_frame()).expect("the daemon reads");
                let header = Header { kind: Kind::Request, id: 2, control: MAX_CONTROL, body: MAX_BODY };
                stream.write_all(&header.encode()).expect("the daemon reads");
                stream.write_all(&[0; 100]).expect("the daemon reads");
                stream
            })
            .collect();
        let deadline = Instant::now() + PATIENCE;
        while status_of(&observer).await.connections < 17 {
            assert!(Instant::now() < deadline, "not all are connected");
        }
        let grown = status_of(&observer).await.anon_bytes.expect("known on Linux").saturating_sub(before);
        assert!(grown < 16 * (2 << 20), "16 peers that announce 68 MB each cost {grown} bytes");
        drop(peers);
    });
}

#[test]
fn silent_peers_are_cut_off() {
    let world = world();
    // All are opened at once, because the daemon waits five seconds for each.
    let silent = raw_stream(&world);
    let mut half_preamble = raw_stream(&world);
    half_preamble.write_all(&Preamble::ours().encode()[..20]).expect("the daemon reads");
    let no_hello = stream_after_preamble(&world);
    let mut half_hello = stream_after_preamble(&world);
    half_hello.write_all(&hello_frame()[..27]).expect("the daemon reads");
    let mut waited = Duration::ZERO;
    for (what, stream) in [
        ("silence", silent),
        ("half a preamble", half_preamble),
        ("a preamble and no hello", no_hello),
        ("a preamble and half a hello", half_hello),
    ] {
        waited += expect_closed(stream, what);
    }
    assert!(waited < Duration::from_secs(30), "{waited:?}");
    block_on(async { ping(&client(&world).await).await });
}

#[test]
fn the_daemon_keeps_deadlines() {
    let world = world();
    block_on(async {
        let client = client(&world).await;
        let (request, body) = embed_request(&sample_texts(2_000, 100), Priority::Bulk);
        let deadline = Some(Duration::from_millis(1));
        let outcome = client.call(request, Payload::Bytes(body), deadline, None).await;
        let fault = outcome.expect_err("the deadline is too short");
        // The daemon's message; the client's own timeout has another one.
        assert_eq!(fault, Fault::new(Code::Timeout, "no answer within 1 ms"));
        ping(&client).await;
        // The daemon drops the work.
        let deadline = Instant::now() + PATIENCE;
        while status_of(&client).await.queued > 0 {
            assert!(Instant::now() < deadline, "the daemon still works on a request that timed out");
        }
        let options = EmbedOptions {
            kind: TextKind::Query,
            priority: Priority::Interactive,
            parse_specials: false,
            or_hash: false,
            deadline: Some(PATIENCE),
        };
        assert_eq!(
            client.embed(vec!["still here".into()], options).await.expect("the daemon still answers").0.dim,
            384
        );
    });
}

/// A connection after the hello, on which the test sends and reads single frames.
pub async fn frame_connection(world: &World) -> Connection {
    let mut connection = connection::connect(&world.endpoint()).await.expect("a daemon runs");
    connection.greet(Purpose::Talk).await.expect("the preambles fit");
    let hello = encoded_request(Request::Hello { client: "by hand".into() });
    connection.writer.send(Kind::Request, 1, &hello, &Payload::None).await.expect("the daemon reads");
    let frame = next_frame(&mut connection).await;
    assert_eq!((frame.header.kind, frame.header.id), (Kind::Response, 1));
    connection
}

/// The next frame that the daemon sends.
pub async fn next_frame(connection: &mut Connection) -> Frame {
    let frame = tokio::time::timeout(PATIENCE, connection.reader.next(true)).await.expect("the daemon answers in time");
    frame.expect("a valid frame").expect("the connection is open")
}

/// The code of a frame that must be a fault.
#[track_caller]
pub fn fault_code(frame: &Frame) -> Code {
    assert_eq!(frame.header.kind, Kind::Fault, "{:?}", frame.header);
    codec::decode::<Fault>(&frame.control).expect("a fault").code
}

/// A client, after an embedding request that loads the model.
pub async fn client_with_loaded_model(world: &World) -> Client {
    let client = client(world).await;
    let (request, body) = embed_request(&["warm".to_owned()], Priority::Interactive);
    client.call(request, Payload::Bytes(body), None, None).await.expect("the model works");
    client
}

/// A connection whose bulk request, number 2, is being worked on.
async fn connection_with_bulk_work(world: &World, observer: &Client) -> Connection {
    let mut connection = frame_connection(world).await;
    let (request, body) = embed_request(&sample_texts(4_000, 200), Priority::Bulk);
    let (control, payload) = (encoded_request(request), Payload::Bytes(body));
    connection.writer.send(Kind::Request, 2, &control, &payload).await.expect("the daemon reads");
    let deadline = Instant::now() + PATIENCE;
    while status_of(observer).await.queued == 0 {
        assert!(Instant::now() < deadline, "the work did not begin");
    }
    connection
}

#[test]
fn a_cancelled_request_ends_at_once() {
    let world = world();
    block_on(async {
        let observer = client_with_loaded_model(&world).await;
        let mut connection = connection_with_bulk_work(&world, &observer).await;
        let cancelled = Instant::now();
        connection.writer.send(Kind::Cancel, 2, &[], &Payload::None).await.expect("the daemon reads");
        let frame = next_frame(&mut connection).await;
        assert_eq!((fault_code(&frame), frame.header.id), (Code::Cancelled, 2));
        // At most two micro-batches are finished; the whole request would take a minute.
        assert!(cancelled.elapsed() < Duration::from_secs(5), "{:?}", cancelled.elapsed());
        // The connection stays open, and cancelling an unknown id is no error.
        connection.writer.send(Kind::Cancel, 99, &[], &Payload::None).await.expect("the daemon reads");
        connection
            .writer
            .send(Kind::Request, 3, &encoded_request(Request::Ping), &Payload::None)
            .await
            .expect("the daemon reads");
        let frame = next_frame(&mut connection).await;
        assert_eq!((frame.header.kind, frame.header.id), (Kind::Response, 3));
    });
}

/// Regression test: a Cancel that arrived in the same read as its request was looked up before the request was registered, and
/// lost.
#[test]
fn a_cancel_directly_after_its_request_is_honoured() {
    let world = world();
    block_on(async {
        client_with_loaded_model(&world).await;
        let mut stream = stream_after_preamble(&world);
        let (request, body) = embed_request(&sample_texts(4_000, 200), Priority::Bulk);
        let request = frame(Kind::Request, 2, &encoded_request(request), &body);
        let both = [hello_frame(), request, frame(Kind::Cancel, 2, &[], &[])].concat();
        stream.write_all(&both).expect("the daemon reads");
        let asked = Instant::now();
        let mut answers = Vec::new();
        for _ in 0..2 {
            let mut head = [0; HEADER_BYTES];
            stream.read_exact(&mut head).expect("an answer");
            let header = Header::decode(&head).expect("a valid header");
            let mut rest = vec![0; (header.control + header.body) as usize];
            stream.read_exact(&mut rest).expect("an answer");
            answers.push((header.id, header.kind));
        }
        answers.sort_by_key(|(id, _)| *id);
        assert_eq!(answers, [(1, Kind::Response), (2, Kind::Fault)]);
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    });
}

/// Regression test: at the limit of 64 requests in flight the daemon stopped reading, and noticed neither a Cancel nor the end
/// of the connection.
#[test]
fn cancels_are_honoured_at_the_limit_of_requests() {
    let world = world();
    block_on(async {
        let observer = client_with_loaded_model(&world).await;
        let mut connection = frame_connection(&world).await;
        const N: u64 = 100;
        for id in 2..2 + N {
            let (request, body) = embed_request(&sample_texts(100, 200), Priority::Bulk);
            connection
                .writer
                .send(Kind::Request, id, &encoded_request(request), &Payload::Bytes(body))
                .await
                .expect("the daemon reads");
        }
        let asked = Instant::now();
        connection
            .writer
            .send(Kind::Request, 1_000, &encoded_request(Request::Ping), &Payload::None)
            .await
            .expect("the daemon reads");
        for id in 2..2 + N {
            connection.writer.send(Kind::Cancel, id, &[], &Payload::None).await.expect("the daemon reads");
        }
        let mut done = 0;
        for _ in 0..=N {
            let frame = next_frame(&mut connection).await;
            match frame.header.kind {
                Kind::Response => done += 1,
                _ => assert_eq!(fault_code(&frame), Code::Cancelled),
            }
        }
        assert!(done <= 3, "{done} requests were finished in spite of the Cancel");
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());

        // A peer that disconnects instead has its requests dropped, too.
        for id in 2..2 + N {
            let (request, body) = embed_request(&sample_texts(100, 200), Priority::Bulk);
            connection
                .writer
                .send(Kind::Request, id, &encoded_request(request), &Payload::Bytes(body))
                .await
                .expect("the daemon reads");
        }
        drop(connection);
        let left = Instant::now();
        while status_of(&observer).await.connections > 1 || status_of(&observer).await.queued > 0 {
            assert!(left.elapsed() < Duration::from_secs(10), "the daemon works for a peer that disconnected");
        }
    });
}

#[test]
fn requests_of_a_peer_that_disconnects_are_dropped() {
    let world = world();
    block_on(async {
        let observer = client_with_loaded_model(&world).await;
        let connection = connection_with_bulk_work(&world, &observer).await;
        // Meanwhile another client's interactive text overtakes the bulk work.
        let (request, body) = embed_request(&["interactive".to_owned()], Priority::Interactive);
        let asked = Instant::now();
        observer.call(request, Payload::Bytes(body), None, None).await.expect("the daemon answers");
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        drop(connection);
        let left = Instant::now();
        while status_of(&observer).await.queued > 0 {
            assert!(left.elapsed() < Duration::from_secs(5), "the daemon works for a peer that disconnected");
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
                        let (request, body) = embed_request(&[format!("text {i}")], Priority::Interactive);
                        (request, Payload::Bytes(body))
                    }
                };
                let reply = client.call(request, payload, Some(PATIENCE), None).await.expect("the daemon answers");
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
fn reusing_the_id_of_a_request_in_flight_closes_the_connection() {
    let world = world();
    block_on(async {
        let observer = client_with_loaded_model(&world).await;
        let mut stream = stream_after_preamble(&world);
        let (request, body) = embed_request(&sample_texts(200, 200), Priority::Bulk);
        let request = frame(Kind::Request, 2, &encoded_request(request), &body);
        stream.write_all(&[hello_frame(), request.clone(), request].concat()).expect("the daemon reads");
        // Valid requests are answered before the connection ends: the hello, and the first request as cancelled.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("the connection ends");
        assert!(rest.len() > HEADER_BYTES, "the hello was answered");
        ping(&observer).await;
    });
}
