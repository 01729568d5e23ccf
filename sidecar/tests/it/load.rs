//! Many peers at once, some of them greedy, slow or stuck: the others do not notice.
//!
//! What is asserted is the order of answers, never a time. Linux tells what is unread in a socket and what memory is our own.

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
    by_hand, code_of, control, embed, expect_closed, frame, greeted, hello, next, ping, raw, texts, warm,
};
use crate::support::{Guard, PATIENCE, World, block_on, client, grow, model, status_of};

/// A daemon of our own, with this world's variables: a starter would pass on only some of them.
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
    daemon_of(World::new(), variables)
}

fn daemon_of(mut world: World, variables: &[(&str, &str)]) -> Daemon {
    for (name, value) in variables {
        world.set(name, value);
    }
    let (project, model) = (world.project().to_path_buf(), model());
    let mut command = world.command(["daemon", "--project"]);
    command.arg(project).arg("--model-dir").arg(model.parent().expect("a file lies somewhere"));
    let mut process = Guard(command.spawn().expect("the program starts"));
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().expect("piped")).read_line(&mut line).expect("it says something");
    assert!(line.contains("ready"), "{line}");
    Daemon { world, _process: process }
}

async fn until(client: &Client, what: &str, condition: impl Fn(&StatusReport) -> bool) -> StatusReport {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = status_of(client).await;
        if condition(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} until {what}: {status:?}");
    }
}

async fn send(connection: &mut Connection, id: u64, request: Request, body: Vec<u8>) {
    let payload = if body.is_empty() { Payload::None } else { Payload::Bytes(body) };
    connection.writer.send(Kind::Request, id, &control(request), &payload).await.expect("it reads");
}

/// Answers that came before that of a ping that is sent now.
async fn answered_so_far(connection: &mut Connection) -> usize {
    const PING: u64 = 1 << 40;
    send(connection, PING, Request::Ping, Vec::new()).await;
    let mut n = 0;
    while next(connection).await.header.id != PING {
        n += 1;
    }
    n
}

async fn call(client: &Client, request: Request, body: Vec<u8>) -> Result<Response, Fault> {
    let payload = if body.is_empty() { Payload::None } else { Payload::Bytes(body) };
    client.call(request, payload, Some(PATIENCE), None).await.map(|reply| reply.response)
}

fn search(query: &str, mode: SearchMode, globs: &[&str]) -> Request {
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
    })
}

/// Requests that one connection may have in work.
const IN_FLIGHT: u64 = 64;

#[test]
fn one_client_s_texts_do_not_hold_up_another_s() {
    let daemon = daemon(&[]);
    block_on(async {
        let observer = warm(&daemon).await;
        for priority in [Priority::Bulk, Priority::Interactive] {
            let mut greedy = by_hand(&daemon).await;
            for id in 2..2 + IN_FLIGHT {
                let (request, body) = embed(&texts(30, 60), priority);
                send(&mut greedy, id, request, body).await;
            }
            until(&observer, "the greedy one's texts wait", |status| status.queued > 1_200).await;
            let (request, body) = embed(&["just one".to_owned()], priority);
            call(&client(&daemon).await, request, body).await.expect("it answers");
            let before = answered_so_far(&mut greedy).await;
            // First come, first served would have answered all of them before.
            assert!(before < IN_FLIGHT as usize / 2, "{before} of {IN_FLIGHT} were answered before the one");
            drop(greedy);
            until(&observer, "its work is dropped", |status| status.queued == 0).await;
        }
    });
}

/// A crowd of questions used to stop whatever was bulk for as long as it lasted.
#[test]
fn questions_do_not_stop_bulk_work() {
    let daemon = daemon(&[]);
    block_on(async {
        let observer = warm(&daemon).await;
        let mut greedy = by_hand(&daemon).await;
        for id in 2..2 + IN_FLIGHT {
            // Short ones, so that the thirty-second comes when the batch has no room for a long text.
            let (request, body) = embed(&texts(60, 8), Priority::Interactive);
            send(&mut greedy, id, request, body).await;
        }
        until(&observer, "many questions wait", |status| status.queued > 2_000).await;
        let (request, body) = embed(&texts(3, 200), Priority::Bulk);
        call(&client(&daemon).await, request, body).await.expect("it answers");
        let before = answered_so_far(&mut greedy).await;
        assert!(before < IN_FLIGHT as usize / 2, "{before} of {IN_FLIGHT} were answered before the bulk work");
        drop(greedy);
        until(&observer, "its work is dropped", |status| status.queued == 0).await;
    });
}

/// Lines that take a regular expression long: an automaton of that pattern has more states than fit.
fn slow_files(world: &World) {
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

const SLOW: &str = "a[ab]{120}(?:ab|ba){40}";

#[test]
fn one_client_s_greps_do_not_take_every_thread() {
    let daemon = daemon(&[]);
    slow_files(&daemon);
    block_on(async {
        let observer = client(&daemon).await;
        let mut greedy = by_hand(&daemon).await;
        for id in 2..2 + IN_FLIGHT {
            send(&mut greedy, id, search(SLOW, SearchMode::Regex, &["slow/**"]), Vec::new()).await;
        }
        let busy = until(&observer, "it greps", |status| status.load.working > 0).await;
        assert!(busy.load.working <= 4, "{busy:?}");
        let others: Vec<_> = (0..10)
            .map(|_| {
                let endpoint = daemon.endpoint();
                tokio::spawn(async move {
                    let client = Client::connect(&endpoint, "it").await.expect("a daemon runs");
                    call(&client, search("needle", SearchMode::Regex, &["quick/**"]), Vec::new()).await
                })
            })
            .collect();
        for other in others {
            match other.await.expect("no task fails").expect("it answers") {
                Response::Found(found) => assert_eq!(found.hits.len(), 1),
                response => panic!("{response:?}"),
            }
        }
        ping(&observer).await;
        let before = answered_so_far(&mut greedy).await;
        assert!(before < IN_FLIGHT as usize / 2, "{before} of {IN_FLIGHT} were answered before the ten");
        drop(greedy);
        let status = until(&observer, "its work is dropped", |status| status.load.working == 0).await;
        assert!(status.load.requests.search >= 10, "{status:?}");
    });
}

#[test]
fn half_a_frame_is_cut_off_and_silence_between_frames_is_not() {
    let daemon = daemon(&[("OFFHEAP_STALL_MS", "300")]);
    block_on(async {
        let mut idle = by_hand(&daemon).await;
        let (request, body) = embed(&["half".to_owned()], Priority::Bulk);
        let whole = frame(Kind::Request, 2, &control(request), &body);
        let cuts = [1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 2, whole.len() - 1];
        let stuck = cuts.map(|cut| {
            let mut stream = greeted(&daemon);
            stream.write_all(&hello()).expect("it reads");
            let answer = read_frame(&mut stream);
            assert_eq!((answer.kind, answer.id), (Kind::Response, 1));
            stream.write_all(&whole[..cut]).expect("it reads");
            stream
        });
        for (stream, cut) in stuck.into_iter().zip(cuts) {
            expect_closed(stream, &format!("{cut} bytes of a frame"));
        }
        // It was silent for longer than all of them.
        send(&mut idle, 2, Request::Status, Vec::new()).await;
        let frame = next(&mut idle).await;
        let Ok(Response::Status(status)) = codec::decode(&frame.control) else { panic!("not a status") };
        assert_eq!(status.load.cut_off.slow_sender, cuts.len() as u64, "{status:?}");
    });
}

/// A byte now and then is as good as silence: it holds a frame's memory just as long.
#[test]
fn a_trickle_is_cut_off() {
    let daemon = daemon(&[("OFFHEAP_STALL_MS", "300")]);
    let mut stream = greeted(&daemon);
    stream.write_all(&hello()).expect("it reads");
    read_frame(&mut stream);
    let (request, _) = embed(&["x".repeat(4000)], Priority::Bulk);
    let began = Instant::now();
    let slowly = frame(Kind::Request, 2, &control(request), "x".repeat(4000).as_bytes());
    let sent = slowly.iter().take_while(|byte| {
        std::thread::sleep(Duration::from_millis(5));
        stream.write_all(&[**byte]).is_ok()
    });
    // All of it would take twenty seconds.
    assert!(sent.count() < slowly.len(), "{:?}", began.elapsed());
    expect_closed(stream, "a trickle");
}

fn read_frame(stream: &mut UnixStream) -> Header {
    let mut head = [0; HEADER_BYTES];
    stream.read_exact(&mut head).expect("an answer");
    let header = Header::decode(&head).expect("ours");
    let mut rest = vec![0; (header.control + header.body) as usize];
    stream.read_exact(&mut rest).expect("an answer");
    header
}

/// Waits until the peer has read everything: what is written next comes to it on its own.
fn until_read(stream: &UnixStream) {
    crate::support::until("the peer has read it", || {
        let mut unread: libc::c_int = 0;
        // SAFETY: the descriptor is open, and the request writes one int.
        let outcome = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut unread) };
        assert_eq!(outcome, 0, "{}", std::io::Error::last_os_error());
        (unread == 0).then_some(())
    });
}

#[test]
fn a_conversation_may_be_cut_anywhere() {
    let daemon = daemon(&[]);
    block_on(async {
        let observer = warm(&daemon).await;
        let (request, body) = embed(&["cut".to_owned()], Priority::Interactive);
        let whole = [
            Preamble::ours().encode().to_vec(),
            hello(),
            frame(Kind::Request, 2, &control(Request::Ping), &[]),
            frame(Kind::Request, 3, &control(request), &body),
        ]
        .concat();
        for cut in 1..whole.len() {
            let mut stream = raw(&daemon);
            stream.write_all(&whole[..cut]).expect("it reads");
            until_read(&stream);
            stream.write_all(&whole[cut..]).expect("it reads");
            stream.read_exact(&mut [0; Preamble::BYTES]).expect("it answers");
            let mut answers: Vec<_> =
                (0..3).map(|_| read_frame(&mut stream)).map(|head| (head.id, head.kind)).collect();
            answers.sort_by_key(|(id, _)| *id);
            assert_eq!(answers, [(1, Kind::Response), (2, Kind::Response), (3, Kind::Response)], "cut at {cut}");
        }
        assert_eq!(status_of(&observer).await.faults, 0);
    });
}

#[test]
fn length_bombs_cost_nothing() {
    const PEERS: usize = 64;
    let daemon = daemon(&[]);
    block_on(async {
        let observer = client(&daemon).await;
        let before = status_of(&observer).await.anon_bytes.expect("Linux tells");
        // Frames that announce the most they may, and stop.
        let announcing: Vec<UnixStream> = (0..PEERS)
            .map(|i| {
                let mut stream = greeted(&daemon);
                stream.write_all(&hello()).expect("it reads");
                let body_only = i % 2 == 0;
                let header = Header {
                    kind: Kind::Request,
                    id: 2,
                    control: if body_only { 2 } else { MAX_CONTROL },
                    body: MAX_BODY,
                };
                let begun = [&header.encode()[..], &control(Request::Ping), &[0; 100]].concat();
                stream.write_all(&begun).expect("it reads");
                until_read(&stream);
                stream
            })
            .collect();
        let grown = |status: StatusReport| status.anon_bytes.expect("Linux tells").saturating_sub(before);
        let announced = grown(until(&observer, "all are connected", |status| status.connections > PEERS as u32).await);
        drop(announcing);
        // Whole frames whose control part holds lengths far beyond its end.
        for inner in [1 << 12, 1 << 22, u64::from(MAX_CONTROL) - 16, 1 << 31, 1 << 62] {
            for variant in [0, 2, 4] {
                let mut stream = greeted(&daemon);
                let bomb = [&[0, variant, 253][..], &u64::to_le_bytes(inner), &[0; 64]].concat();
                let hello = if variant == 0 { Vec::new() } else { hello() };
                stream.write_all(&[hello, frame(Kind::Request, 2, &bomb, &[])].concat()).expect("it reads");
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest); // a reset is an end too
                assert!(rest.len() < 100, "{inner} {variant}: answered with {rest:?}");
            }
        }
        let status = until(&observer, "all have left", |status| status.connections == 1).await;
        assert_eq!(status.load.cut_off.malformed, 15, "{status:?}");
        let decoded = grown(status);
        assert!(announced < 16 << 20 && decoded < 16 << 20, "announced: {announced} bytes, decoded: {decoded} bytes");
    });
}

/// Asks for eight large answers and reads none of them.
async fn stalled(daemon: &World) -> Connection {
    let mut stalled = by_hand(daemon).await;
    for id in 2..10 {
        let (request, body) = large_answer();
        send(&mut stalled, id, request, body).await;
    }
    stalled
}

/// Little work, but 256 rows: equal texts are computed once.
fn large_answer() -> (Request, Vec<u8>) {
    embed(&vec!["the same".to_owned(); 256], Priority::Interactive)
}

#[test]
fn a_reader_that_stalls_is_alone_with_it() {
    let daemon = daemon(&[("OFFHEAP_STALL_MS", "400")]);
    block_on(async {
        let observer = warm(&daemon).await;
        let _stalled = stalled(&daemon).await;
        let other = client(&daemon).await;
        for i in 0..20 {
            let (request, body) = embed(&[format!("text {i}")], Priority::Interactive);
            call(&other, request, body).await.expect("it answers");
            ping(&other).await;
        }
        let status = until(&observer, "it is cut off", |status| status.load.cut_off.slow_reader > 0).await;
        assert_eq!(status.load.cut_off.slow_reader, 1, "{status:?}");
        until(&observer, "it is gone", |status| status.connections == 2).await;
        ping(&other).await;
    });
}

#[test]
fn answers_that_nobody_takes_are_few() {
    // Answers of 256 texts each: so many have room.
    const ANSWERS: u64 = 32;
    let daemon = daemon(&[("OFFHEAP_STALL_MS", "3600000")]);
    block_on(async {
        let observer = warm(&daemon).await;
        let before = status_of(&observer).await;
        let mut stalled = by_hand(&daemon).await;
        for id in 2..2 + 3 * ANSWERS {
            let (request, body) = large_answer();
            send(&mut stalled, id, request, body).await;
        }
        let done = |status: &StatusReport| status.load.requests.embed - before.load.requests.embed;
        until(&observer, "there is no more room", |status| done(status) >= ANSWERS).await;
        // Others' work is done meanwhile, and nothing more of its own but what a socket takes.
        for i in 0..20 {
            let (request, body) = embed(&[format!("text {i}")], Priority::Interactive);
            call(&observer, request, body).await.expect("it answers");
        }
        let status = status_of(&observer).await;
        assert!(done(&status) <= ANSWERS + 20 + 2, "{status:?}");
        let grown = |status: &StatusReport| status.anon_bytes.expect("Linux tells");
        let grown = grown(&status).saturating_sub(grown(&before));
        assert!(grown < 48 << 20, "{grown} bytes");
        // Once it reads, the rest is done.
        for _ in 0..3 * ANSWERS {
            assert_eq!(next(&mut stalled).await.header.kind, Kind::Response);
        }
    });
}

#[test]
fn too_much_text_at_once_is_refused_and_little_is_not() {
    let daemon = daemon(&[("OFFHEAP_MAX_WAITING_BYTES", "100000")]);
    block_on(async {
        let client = warm(&daemon).await;
        let (request, body) = embed(&["x".repeat(100_001)], Priority::Bulk);
        let fault = call(&client, request, body).await.expect_err("more than may wait");
        assert_eq!(fault.code, Code::Overloaded, "{fault}");
        let (request, body) = embed(&["x".repeat(50_000)], Priority::Bulk);
        call(&client, request, body).await.expect("it is little");
        // Rows for so many texts would not fit a frame, however short they are.
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
fn what_was_done_is_counted() {
    let daemon = daemon(&[]);
    block_on(async {
        let client = warm(&daemon).await;
        call(&client, Request::Index { rebuild: false }, Vec::new()).await.expect("it answers");
        let answer = call(&client, search("x", SearchMode::Regex, &[]), Vec::new()).await;
        assert!(matches!(answer, Ok(Response::Found(_))), "{answer:?}");
        let (request, body) = embed(&texts(2_000, 100), Priority::Bulk);
        let late = client.call(request, Payload::Bytes(body), Some(Duration::from_millis(1)), None).await;
        assert_eq!(late.map(|reply| reply.response).map_err(|fault| fault.code), Err(Code::Timeout));
        let mut other = by_hand(&daemon).await;
        let (request, body) = embed(&texts(4_000, 200), Priority::Bulk);
        send(&mut other, 2, request, body).await;
        other.writer.send(Kind::Cancel, 2, &[], &Payload::None).await.expect("it reads");
        assert_eq!(code_of(&next(&mut other).await), Code::Cancelled);
        let load = status_of(&client).await.load;
        let requests = load.requests;
        assert_eq!((requests.embed, requests.search, requests.index), (3, 1, 1), "{load:?}");
        assert!(requests.other >= 2, "{load:?}");
        assert_eq!((load.timed_out, load.cancelled, load.overloaded), (1, 1, 0), "{load:?}");
        // Only what succeeded is a latency.
        assert_eq!(
            (load.embed.buckets.iter().sum::<u64>(), load.search.buckets.iter().sum::<u64>()),
            (1, 1),
            "{load:?}"
        );
        assert!(load.embed.p50_us > 0 && load.embed.p50_us <= load.embed.max_us, "{load:?}");
    });
}

/// Seconds of each part of a soak.
fn soak() -> Duration {
    let seconds = std::env::var("OFFHEAP_SOAK_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(60))
}

/// A figure of a soak, for who runs it.
fn print(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn quantile(sorted: &[Duration], q: f64) -> f64 {
    let at = ((sorted.len() as f64 * q) as usize).min(sorted.len() - 1);
    sorted[at].as_secs_f64() * 1e3
}

/// Sixteen connections with eight requests in flight each; how long each request took.
async fn crowd(daemon: &World, name: &str, time: Duration) -> Vec<Duration> {
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
                        1 => (search("function word", SearchMode::Text, &[]), Vec::new()),
                        _ => embed(
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
    print(&format!(
        "{name}: {} answers in {time:?}, p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
        all.len(),
        quantile(&all, 0.5),
        quantile(&all, 0.99),
        quantile(&all, 1.0)
    ));
    all
}

#[test]
#[ignore = "minutes; OFFHEAP_SOAK_SECONDS is the length of each of its two parts"]
fn soak_a_crowd_with_a_stalled_reader() {
    let world = World::new();
    grow(&world, 100);
    let daemon = daemon_of(world, &[("OFFHEAP_STALL_MS", "3600000")]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    runtime.block_on(async {
        let observer = warm(&daemon).await;
        call(&observer, Request::Index { rebuild: false }, Vec::new()).await.expect("it answers");
        crowd(&daemon, "warm-up", soak() / 6).await;
        let anon = async || status_of(&observer).await.anon_bytes.expect("Linux tells") as f64 / 1e6;
        let at_first = anon().await;
        let alone = crowd(&daemon, "without", soak()).await;
        let between = anon().await;
        let stalled = stalled(&daemon).await;
        let beside = crowd(&daemon, "with one stalled reader", soak()).await;
        let at_last = anon().await;
        drop(stalled);
        let status = status_of(&observer).await;
        print(&format!("RssAnon {at_first:.1} MB, then {between:.1} MB, then {at_last:.1} MB; load {:?}", status.load));
        assert_eq!(status.faults, 0);
        assert!(quantile(&beside, 0.99) <= 2.0 * quantile(&alone, 0.99), "others notice the stalled reader");
        assert!(between - at_first < 8.0 && at_last - between < 16.0, "memory is not flat");
    });
}

#[test]
#[ignore = "a minute"]
fn soak_a_thousand_searches() {
    let world = World::new();
    grow(&world, 200);
    let daemon = daemon_of(world, &[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    runtime.block_on(async {
        let client = warm(&daemon).await;
        call(&client, Request::Index { rebuild: false }, Vec::new()).await.expect("it answers");
        let modes = [SearchMode::Hybrid, SearchMode::Semantic, SearchMode::Text, SearchMode::Symbol, SearchMode::Regex];
        let search = async |i: usize| {
            let request = search(&format!("function_{} word{}", i % 200, i * 37 % 9973), modes[i % modes.len()], &[]);
            call(&client, request, Vec::new()).await.expect("it answers");
        };
        for i in 0..100 {
            search(i).await;
        }
        let before = status_of(&client).await.anon_bytes.expect("Linux tells");
        for i in 0..1_000 {
            search(i).await;
        }
        let status = status_of(&client).await;
        let grown = status.anon_bytes.expect("Linux tells") as i64 - before as i64;
        print(&format!(
            "1,000 searches: RssAnon {:.1} MB before, {grown} bytes more after; p99 {} us",
            before as f64 / 1e6,
            status.load.search.p99_us
        ));
        assert!(grown <= 5 << 20, "{grown} bytes");
    });
}
