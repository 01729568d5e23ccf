//! Many peers at once, some of which send too much, send slowly or do not read: the requests of the others are answered.
//!
//! The tests assert the order of answers, not durations. They need Linux, which reports unread bytes of a socket and the memory
//! of a process.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use offheap_protocol::codec::{self, HEADER_BYTES, Header, Kind, MAX_BODY, MAX_CONTROL, Preamble};
use offheap_protocol::connection::{Connection, Payload};
use offheap_protocol::message::{
    Case, Fresh, Priority, Request, Response, SearchMode, SearchRequest, StatusReport, TextKind,
};
use offheap_protocol::{Client, Code, Fault};

use crate::socket::{
    client_with_loaded_model, embed_request, encoded_request, expect_closed, fault_code, frame, frame_connection,
    hello_frame, next_frame, ping, raw_stream, sample_texts, stream_after_preamble,
};
use crate::support::{Guard, PATIENCE, World, block_on, client, grow, model, status_of};

/// A daemon that the test starts itself, because a daemon that a command starts gets only some environment variables.
struct Daemon {
    world: World,
    _process: Guard,
}

impl std::ops::Deref for Daemon {
    type Target = World;
    fn deref(&self) -> &World {
        &self.world
    }
}

fn daemon(variables: &[(&str, &str)]) -> Daemon {
    daemon_for(World::new(), variables)
}

fn daemon_for(mut world: World, variables: &[(&str, &str)]) -> Daemon {
    for (name, value) in variables {
        world.set(name, value);
    }
    let (project, model) = (world.project().to_path_buf(), model());
    let mut command = world.command(["daemon", "--project"]);
    command.arg(project).arg("--model-dir").arg(model.parent().expect("a file is in a directory"));
    let mut process = Guard(command.spawn().expect("the program starts"));
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().expect("piped"))
        .read_line(&mut line)
        .expect("the daemon prints its ready line");
    assert!(line.contains("ready"), "{line}");
    Daemon { world, _process: process }
}

/// Asks for the daemon's status until it meets a condition.
async fn until_status(client: &Client, what: &str, condition: impl Fn(&StatusReport) -> bool) -> StatusReport {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = status_of(client).await;
        if condition(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} until {what}: {status:?}");
    }
}

async fn send_request(connection: &mut Connection, id: u64, request: Request, body: Vec<u8>) {
    let payload = if body.is_empty() { Payload::None } else { Payload::Bytes(body) };
    connection.writer.send(Kind::Request, id, &encoded_request(request), &payload).await.expect("the daemon reads");
}

/// Sends a ping and counts the answers that arrive before the ping's.
async fn answers_before_ping(connection: &mut Connection) -> usize {
    const PING: u64 = 1 << 40;
    send_request(connection, PING, Request::Ping, Vec::new()).await;
    let mut n = 0;
    while next_frame(connection).await.header.id != PING {
        n += 1;
    }
    n
}

async fn call(client: &Client, request: Request, body: Vec<u8>) -> Result<Response, Fault> {
    let payload = if body.is_empty() { Payload::None } else { Payload::Bytes(body) };
    client.call(request, payload, Some(PATIENCE), None).await.map(|reply| reply.response)
}

fn search_request(query: &str, mode: SearchMode, globs: &[&str]) -> Request {
    Request::Search(SearchRequest {
        query: query.into(),
        mode,
        limit: 10,
        globs: globs.iter().map(|glob| (*glob).to_owned()).collect(),
        languages: Vec::new(),
        fresh: Fresh::StaleOk,
        explain: false,
        case: Case::Sensitive,
        context: 0,
        folder: String::new(),
    })
}

/// The number of requests that one connection may have in flight.
const IN_FLIGHT: u64 = 64;

#[test]
fn one_client_s_texts_do_not_delay_another_s() {
    let daemon = daemon(&[]);
    block_on(async {
        let observer = client_with_loaded_model(&daemon).await;
        for priority in [Priority::Bulk, Priority::Interactive] {
            let mut busy_peer = frame_connection(&daemon).await;
            for id in 2..2 + IN_FLIGHT {
                let (request, body) = embed_request(&sample_texts(30, 60), priority);
                send_request(&mut busy_peer, id, request, body).await;
            }
            until_status(&observer, "the busy peer's texts wait", |status| status.queued > 1_200).await;
            let (request, body) = embed_request(&["just one".to_owned()], priority);
            call(&client(&daemon).await, request, body).await.expect("the daemon answers");
            let before = answers_before_ping(&mut busy_peer).await;
            // In the order of arrival, all of them would be answered first.
            assert!(before < IN_FLIGHT as usize / 2, "{before} of {IN_FLIGHT} were answered before the single text");
            drop(busy_peer);
            until_status(&observer, "the work of the disconnected peer is dropped", |status| status.queued == 0).await;
        }
    });
}

/// Regression test: bulk work got no turn while interactive texts waited.
#[test]
fn interactive_texts_do_not_stop_bulk_work() {
    let daemon = daemon(&[]);
    block_on(async {
        let observer = client_with_loaded_model(&daemon).await;
        let mut busy_peer = frame_connection(&daemon).await;
        for id in 2..2 + IN_FLIGHT {
            // The texts are short, so that the turn of bulk work comes when a batch has no room left for a long text.
            let (request, body) = embed_request(&sample_texts(60, 8), Priority::Interactive);
            send_request(&mut busy_peer, id, request, body).await;
        }
        until_status(&observer, "many interactive texts wait", |status| status.queued > 2_000).await;
        let (request, body) = embed_request(&sample_texts(3, 200), Priority::Bulk);
        call(&client(&daemon).await, request, body).await.expect("the daemon answers");
        let before = answers_before_ping(&mut busy_peer).await;
        assert!(before < IN_FLIGHT as usize / 2, "{before} of {IN_FLIGHT} were answered before the bulk work");
        drop(busy_peer);
        until_status(&observer, "the work of the disconnected peer is dropped", |status| status.queued == 0).await;
    });
}

/// Writes lines in which [`SLOW_PATTERN`] takes long: its automaton has more states than fit into the limit.
fn write_slow_files(world: &World) {
    let mut noise: u64 = 42;
    let mut line = || -> String {
        let letters = std::iter::repeat_with(|| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if noise >> 63 == 0 { 'a' } else { 'b' }
        });
        letters.take(400).chain(['\n']).collect()
    };
    for i in 0..16 {
        world.write(&format!("slow/{i:02}.txt"), (0..1_000).map(|_| line()).collect::<String>());
    }
    world.write("quick/needle.txt", "a needle\n");
}

const SLOW_PATTERN: &str = "a[ab]{120}(?:ab|ba){40}";

#[test]
fn one_client_s_regex_searches_do_not_take_every_thread() {
    let daemon = daemon(&[]);
    write_slow_files(&daemon);
    block_on(async {
        let observer = client(&daemon).await;
        let mut busy_peer = frame_connection(&daemon).await;
        for id in 2..2 + IN_FLIGHT {
            send_request(&mut busy_peer, id, search_request(SLOW_PATTERN, SearchMode::Regex, &["slow/**"]), Vec::new())
                .await;
        }
        let busy = until_status(&observer, "a search runs", |status| status.load.working > 0).await;
        assert!(busy.load.working <= 4, "{busy:?}");
        let others: Vec<_> = (0..10)
            .map(|_| {
                let endpoint = daemon.endpoint();
                tokio::spawn(async move {
                    let client = Client::connect(&endpoint, "it").await.expect("a daemon runs");
                    call(&client, search_request("needle", SearchMode::Regex, &["quick/**"]), Vec::new()).await
                })
            })
            .collect();
        for other in others {
            match other.await.expect("no task fails").expect("the daemon answers") {
                Response::Found(found) => assert_eq!(found.hits.len(), 1),
                response => panic!("{response:?}"),
            }
        }
        ping(&observer).await;
        let before = answers_before_ping(&mut busy_peer).await;
        assert!(before < IN_FLIGHT as usize / 2, "{before} of {IN_FLIGHT} were answered before the ten searches");
        drop(busy_peer);
        let status =
            until_status(&observer, "the work of the disconnected peer is dropped", |status| status.load.working == 0)
                .await;
        assert!(status.load.requests.search >= 10, "{status:?}");
    });
}

#[test]
fn a_peer_is_cut_off_within_a_frame_but_not_between_frames() {
    let daemon = daemon(&[("OFFHEAP_STALL_MS", "300")]);
    block_on(async {
        let mut idle = frame_connection(&daemon).await;
        let (request, body) = embed_request(&["half".to_owned()], Priority::Bulk);
        let whole = frame(Kind::Request, 2, &encoded_request(request), &body);
        let cuts = [1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 2, whole.len() - 1];
        let stuck = cuts.map(|cut| {
            let mut stream = stream_after_preamble(&daemon);
            stream.write_all(&hello_frame()).expect("the daemon reads");
            let answer = read_frame(&mut stream);
            assert_eq!((answer.kind, answer.id), (Kind::Response, 1));
            stream.write_all(&whole[..cut]).expect("the daemon reads");
            stream
        });
        for (stream, cut) in stuck.into_iter().zip(cuts) {
            expect_closed(stream, &format!("{cut} bytes of a frame"));
        }
        // This connection was silent for longer than the others.
        send_request(&mut idle, 2, Request::Status, Vec::new()).await;
        let frame = next_frame(&mut idle).await;
        let Ok(Response::Status(status)) = codec::decode(&frame.control) else { panic!("not a status") };
        assert_eq!(status.load.cut_off.slow_sender, cuts.len() as u64, "{status:?}");
    });
}

/// A peer that sends a frame slowly holds the frame's memory as long as one that stops.
#[test]
fn a_peer_that_sends_a_frame_too_slowly_is_cut_off() {
    let daemon = daemon(&[("OFFHEAP_STALL_MS", "300")]);
    let mut stream = stream_after_preamble(&daemon);
    stream.write_all(&hello_frame()).expect("the daemon reads");
    read_frame(&mut stream);
    let (request, _) = embed_request(&["x".repeat(4000)], Priority::Bulk);
    let began = Instant::now();
    let slowly = frame(Kind::Request, 2, &encoded_request(request), "x".repeat(4000).as_bytes());
    let sent = slowly.iter().take_while(|byte| {
        std::thread::sleep(Duration::from_millis(5));
        stream.write_all(&[**byte]).is_ok()
    });
    // The whole frame would take twenty seconds.
    assert!(sent.count() < slowly.len(), "{:?}", began.elapsed());
    expect_closed(stream, "a slow sender");
}

fn read_frame(stream: &mut UnixStream) -> Header {
    let mut head = [0; HEADER_BYTES];
    stream.read_exact(&mut head).expect("an answer");
    let header = Header::decode(&head).expect("a valid header");
    let mut rest = vec![0; (header.control + header.body) as usize];
    stream.read_exact(&mut rest).expect("an answer");
    header
}

/// Waits until the peer has read everything, so that it receives the next bytes in a separate read.
fn until_read(stream: &UnixStream) {
    crate::support::until("the peer has read everything", || {
        let mut unread: libc::c_int = 0;
        // SAFETY: the descriptor is open, and the request writes one int.
        let outcome = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut unread) };
        assert_eq!(outcome, 0, "{}", std::io::Error::last_os_error());
        (unread == 0).then_some(())
    });
}

#[test]
fn a_conversation_may_be_split_at_any_byte() {
    let daemon = daemon(&[]);
    block_on(async {
        let observer = client_with_loaded_model(&daemon).await;
        let (request, body) = embed_request(&["cut".to_owned()], Priority::Interactive);
        let whole = [
            Preamble::ours().encode().to_vec(),
            hello_frame(),
            frame(Kind::Request, 2, &encoded_request(Request::Ping), &[]),
            frame(Kind::Request, 3, &encoded_request(request), &body),
        ]
        .concat();
        for cut in 1..whole.len() {
            let mut stream = raw_stream(&daemon);
            stream.write_all(&whole[..cut]).expect("the daemon reads");
            until_read(&stream);
            stream.write_all(&whole[cut..]).expect("the daemon reads");
            stream.read_exact(&mut [0; Preamble::BYTES]).expect("the daemon answers");
            let mut answers: Vec<_> =
                (0..3).map(|_| read_frame(&mut stream)).map(|head| (head.id, head.kind)).collect();
            answers.sort_by_key(|(id, _)| *id);
            assert_eq!(answers, [(1, Kind::Response), (2, Kind::Response), (3, Kind::Response)], "cut at {cut}");
        }
        assert_eq!(status_of(&observer).await.faults, 0);
    });
}

#[test]
fn false_lengths_allocate_no_memory() {
    const PEERS: usize = 64;
    let daemon = daemon(&[]);
    block_on(async {
        let observer = client(&daemon).await;
        let before = status_of(&observer).await.anon_bytes.expect("known on Linux");
        // Frames that announce the largest allowed lengths, and stop.
        let announcing: Vec<UnixStream> = (0..PEERS)
            .map(|i| {
                let mut stream = stream_after_preamble(&daemon);
                stream.write_all(&hello_frame()).expect("the daemon reads");
                let body_only = i % 2 == 0;
                let header = Header {
                    kind: Kind::Request,
                    id: 2,
                    control: if body_only { 2 } else { MAX_CONTROL },
                    body: MAX_BODY,
                };
                let begun = [&header.encode()[..], &encoded_request(Request::Ping), &[0; 100]].concat();
                stream.write_all(&begun).expect("the daemon reads");
                until_read(&stream);
                stream
            })
            .collect();
        let grown = |status: StatusReport| status.anon_bytes.expect("known on Linux").saturating_sub(before);
        let announced =
            grown(until_status(&observer, "all are connected", |status| status.connections > PEERS as u32).await);
        drop(announcing);
        // Complete frames whose control part contains lengths far beyond its end.
        for inner in [1 << 12, 1 << 22, u64::from(MAX_CONTROL) - 16, 1 << 31, 1 << 62] {
            for variant in [0, 2, 4] {
                let mut stream = stream_after_preamble(&daemon);
                let false_length = [&[0, variant, 253][..], &u64::to_le_bytes(inner), &[0; 64]].concat();
                let hello = if variant == 0 { Vec::new() } else { hello_frame() };
                stream
                    .write_all(&[hello, frame(Kind::Request, 2, &false_length, &[])].concat())
                    .expect("the daemon reads");
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest); // a reset ends the connection, too
                assert!(rest.len() < 100, "{inner} {variant}: answered with {rest:?}");
            }
        }
        let status = until_status(&observer, "all have disconnected", |status| status.connections == 1).await;
        assert_eq!(status.load.cut_off.malformed, 15, "{status:?}");
        let decoded = grown(status);
        assert!(announced < 16 << 20 && decoded < 16 << 20, "announced: {announced} bytes, decoded: {decoded} bytes");
    });
}

/// A connection that asks for eight large answers and reads none of them.
async fn stalled_reader(daemon: &World) -> Connection {
    let mut stalled = frame_connection(daemon).await;
    for id in 2..10 {
        let (request, body) = request_with_large_answer();
        send_request(&mut stalled, id, request, body).await;
    }
    stalled
}

/// A request for 256 rows that takes little work, because equal texts are computed once.
fn request_with_large_answer() -> (Request, Vec<u8>) {
    embed_request(&vec!["the same".to_owned(); 256], Priority::Interactive)
}

#[test]
fn a_peer_that_does_not_read_is_cut_off_and_delays_no_one_else() {
    let daemon = daemon(&[("OFFHEAP_STALL_MS", "400")]);
    block_on(async {
        let observer = client_with_loaded_model(&daemon).await;
        let _stalled = stalled_reader(&daemon).await;
        let other = client(&daemon).await;
        for i in 0..20 {
            let (request, body) = embed_request(&[format!("text {i}")], Priority::Interactive);
            call(&other, request, body).await.expect("the daemon answers");
            ping(&other).await;
        }
        let status =
            until_status(&observer, "the stalled reader is cut off", |status| status.load.cut_off.slow_reader > 0)
                .await;
        assert_eq!(status.load.cut_off.slow_reader, 1, "{status:?}");
        until_status(&observer, "its connection is closed", |status| status.connections == 2).await;
        ping(&other).await;
    });
}

#[test]
fn unread_answers_are_limited() {
    // The number of answers of 256 rows each that fit into the limit of unread bytes.
    const ANSWERS: u64 = 32;
    let daemon = daemon(&[("OFFHEAP_STALL_MS", "3600000")]);
    block_on(async {
        let observer = client_with_loaded_model(&daemon).await;
        let before = status_of(&observer).await;
        let mut stalled = frame_connection(&daemon).await;
        for id in 2..2 + 3 * ANSWERS {
            let (request, body) = request_with_large_answer();
            send_request(&mut stalled, id, request, body).await;
        }
        let done = |status: &StatusReport| status.load.requests.embed - before.load.requests.embed;
        until_status(&observer, "the limit is reached", |status| done(status) >= ANSWERS).await;
        // Other clients' requests are answered; of the stalled reader's, only as many as fit into the socket's buffer.
        for i in 0..20 {
            let (request, body) = embed_request(&[format!("text {i}")], Priority::Interactive);
            call(&observer, request, body).await.expect("the daemon answers");
        }
        let status = status_of(&observer).await;
        assert!(done(&status) <= ANSWERS + 20 + 2, "{status:?}");
        let grown = |status: &StatusReport| status.anon_bytes.expect("known on Linux");
        let grown = grown(&status).saturating_sub(grown(&before));
        assert!(grown < 48 << 20, "{grown} bytes");
        // When it reads, the remaining requests are answered.
        for _ in 0..3 * ANSWERS {
            assert_eq!(next_frame(&mut stalled).await.header.kind, Kind::Response);
        }
    });
}

#[test]
fn a_request_beyond_the_limit_of_waiting_text_is_refused() {
    let daemon = daemon(&[("OFFHEAP_MAX_WAITING_BYTES", "100000")]);
    block_on(async {
        let client = client_with_loaded_model(&daemon).await;
        let (request, body) = embed_request(&["x".repeat(100_001)], Priority::Bulk);
        let fault = call(&client, request, body).await.expect_err("more than the limit");
        assert_eq!(fault.code, Code::Overloaded, "{fault}");
        let (request, body) = embed_request(&["x".repeat(50_000)], Priority::Bulk);
        call(&client, request, body).await.expect("less than the limit");
        // The rows for this many texts do not fit into a frame.
        let lengths = vec![0; (16 << 10) + 1];
        let request = Request::Embed {
            lengths,
            kind: TextKind::Query,
            priority: Priority::Bulk,
            parse_specials: true,
            or_hash: false,
        };
        assert_eq!(call(&client, request, Vec::new()).await.map_err(|fault| fault.code), Err(Code::TooLarge));
        let status = status_of(&client).await;
        assert_eq!((status.load.overloaded, status.load.waiting_bytes), (1, 0), "{status:?}");
    });
}

#[test]
fn the_status_counts_requests_and_outcomes() {
    let daemon = daemon(&[]);
    block_on(async {
        let client = client_with_loaded_model(&daemon).await;
        call(&client, Request::Index { rebuild: false, force: false }, Vec::new()).await.expect("the daemon answers");
        let answer = call(&client, search_request("x", SearchMode::Regex, &[]), Vec::new()).await;
        assert!(matches!(answer, Ok(Response::Found(_))), "{answer:?}");
        let (request, body) = embed_request(&sample_texts(2_000, 100), Priority::Bulk);
        let late = client.call(request, Payload::Bytes(body), Some(Duration::from_millis(1)), None).await;
        assert_eq!(late.map(|reply| reply.response).map_err(|fault| fault.code), Err(Code::Timeout));
        let mut other = frame_connection(&daemon).await;
        let (request, body) = embed_request(&sample_texts(4_000, 200), Priority::Bulk);
        send_request(&mut other, 2, request, body).await;
        other.writer.send(Kind::Cancel, 2, &[], &Payload::None).await.expect("the daemon reads");
        assert_eq!(fault_code(&next_frame(&mut other).await), Code::Cancelled);
        let load = status_of(&client).await.load;
        let requests = load.requests;
        assert_eq!((requests.embed, requests.search, requests.index), (3, 1, 1), "{load:?}");
        assert!(requests.other >= 2, "{load:?}");
        assert_eq!((load.timed_out, load.cancelled, load.overloaded), (1, 1, 0), "{load:?}");
        // Latencies are recorded for successful requests only.
        assert_eq!(
            (load.embed.buckets.iter().sum::<u64>(), load.search.buckets.iter().sum::<u64>()),
            (1, 1),
            "{load:?}"
        );
        assert!(load.embed.p50_us > 0 && load.embed.p50_us <= load.embed.max_us, "{load:?}");
    });
}

/// The length of each part of a soak test.
fn soak_duration() -> Duration {
    let seconds = std::env::var("OFFHEAP_SOAK_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(60))
}

/// Prints a measurement.
fn report(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn quantile(sorted: &[Duration], q: f64) -> f64 {
    let at = ((sorted.len() as f64 * q) as usize).min(sorted.len() - 1);
    sorted[at].as_secs_f64() * 1e3
}

/// Runs sixteen connections with eight requests in flight each; returns the sorted durations of all requests.
async fn measure_crowd(daemon: &World, name: &str, time: Duration) -> Vec<Duration> {
    let over = Instant::now() + time;
    let mut tasks = Vec::new();
    for peer in 0..16 {
        let client = client(daemon).await;
        for lane in 0..8 {
            let client = client.clone();
            tasks.push(tokio::spawn(async move {
                let mut took = Vec::new();
                for round in 0.. {
                    if Instant::now() >= over {
                        break;
                    }
                    let (request, body) = match (lane + round) % 4 {
                        0 => (Request::Ping, Vec::new()),
                        1 => (search_request("function word", SearchMode::Text, &[]), Vec::new()),
                        _ => embed_request(
                            &[format!("a question of peer {peer} in lane {lane}, {round}")],
                            Priority::Interactive,
                        ),
                    };
                    let asked = Instant::now();
                    call(&client, request, body).await.expect("no request fails");
                    took.push(asked.elapsed());
                }
                took
            }));
        }
    }
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.expect("no request fails"));
    }
    all.sort();
    report(&format!(
        "{name}: {} answers in {time:?}, p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
        all.len(),
        quantile(&all, 0.5),
        quantile(&all, 0.99),
        quantile(&all, 1.0)
    ));
    all
}

#[test]
#[ignore = "takes minutes; OFFHEAP_SOAK_SECONDS is the length of each of its two parts"]
fn soak_many_clients_with_a_stalled_reader() {
    let world = World::new();
    grow(&world, 100);
    let daemon = daemon_for(world, &[("OFFHEAP_STALL_MS", "3600000")]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    runtime.block_on(async {
        let observer = client_with_loaded_model(&daemon).await;
        call(&observer, Request::Index { rebuild: false, force: false }, Vec::new()).await.expect("the daemon answers");
        measure_crowd(&daemon, "warm-up", soak_duration() / 6).await;
        let anon = async || status_of(&observer).await.anon_bytes.expect("known on Linux") as f64 / 1e6;
        let at_first = anon().await;
        let alone = measure_crowd(&daemon, "without a stalled reader", soak_duration()).await;
        let between = anon().await;
        let stalled = stalled_reader(&daemon).await;
        let beside = measure_crowd(&daemon, "with one stalled reader", soak_duration()).await;
        let at_last = anon().await;
        drop(stalled);
        let status = status_of(&observer).await;
        report(&format!(
            "RssAnon {at_first:.1} MB, then {between:.1} MB, then {at_last:.1} MB; load {:?}",
            status.load
        ));
        assert_eq!(status.faults, 0);
        assert!(quantile(&beside, 0.99) <= 2.0 * quantile(&alone, 0.99), "the stalled reader delays other peers");
        assert!(between - at_first < 8.0 && at_last - between < 16.0, "memory grows");
    });
}

#[test]
#[ignore = "takes a minute"]
fn soak_a_thousand_searches() {
    let world = World::new();
    grow(&world, 200);
    let daemon = daemon_for(world, &[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    runtime.block_on(async {
        let client = client_with_loaded_model(&daemon).await;
        call(&client, Request::Index { rebuild: false, force: false }, Vec::new()).await.expect("the daemon answers");
        let modes = [SearchMode::Hybrid, SearchMode::Semantic, SearchMode::Text, SearchMode::Symbol, SearchMode::Regex];
        let search = async |i: usize| {
            let request =
                search_request(&format!("function_{} word{}", i % 200, i * 37 % 9973), modes[i % modes.len()], &[]);
            call(&client, request, Vec::new()).await.expect("the daemon answers");
        };
        for i in 0..100 {
            search(i).await;
        }
        let before = status_of(&client).await.anon_bytes.expect("known on Linux");
        for i in 0..1_000 {
            search(i).await;
        }
        let status = status_of(&client).await;
        let grown = status.anon_bytes.expect("known on Linux") as i64 - before as i64;
        report(&format!(
            "1,000 searches: RssAnon {:.1} MB before, {grown} bytes more after; p99 {} us",
            before as f64 / 1e6,
            status.load.search.p99_us
        ));
        assert!(grown <= 5 << 20, "{grown} bytes");
    });
}
