//! The frame reader over a real socket: intact and damaged conversations, and how much memory they take.
#![cfg(unix)]

mod support;

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use offheap_protocol::codec::{self, Envelope, HEADER_BYTES, Header, Kind, MAX_BODY, MAX_CONTROL};
use offheap_protocol::connection::{Accept, Body, Connection, Error, Frame};
use offheap_protocol::message::{Priority, Progress, TextKind};
use offheap_protocol::{Code, Endpoint, Fault, Request, Response};
use support::{HELD, PEAK};

/// Most bytes allocated beyond the bytes that were sent: two steps of a growing buffer and the reader's own buffer.
const OVERHEAD: usize = 512 << 10;

fn frame(kind: Kind, id: u64, control: &[u8], body: &[u8]) -> Vec<u8> {
    let header = Header { kind, id, control: control.len() as u32, body: body.len() as u32 };
    [&header.encode(), control, body].concat()
}

/// One frame of each kind. The length of each body is a multiple of four, so that it can be read as floats.
fn frames() -> Vec<Vec<u8>> {
    let encode = |request| codec::encode(&Envelope { deadline_ms: 300, request }).expect("small");
    let embed = Request::Embed {
        lengths: vec![4, 4],
        kind: TextKind::Query,
        priority: Priority::Interactive,
        parse_specials: true,
        or_hash: false,
    };
    let cleared = Response::Cleared { embeddings: 1 << 40 };
    vec![
        frame(Kind::Request, 1, &encode(Request::Hello { client: "test".into() }), &[]),
        frame(Kind::Request, 2, &encode(embed), b"fourfour"),
        frame(Kind::Response, 3, &codec::encode(&cleared).expect("small"), &[0; 400]),
        frame(Kind::Fault, 4, &codec::encode(&Fault::new(Code::Timeout, "late")).expect("small"), &[]),
        frame(Kind::Progress, 5, &codec::encode(&Progress::default()).expect("small"), &[]),
        frame(Kind::Cancel, 2, &[], &[]),
        frame(Kind::GoingAway, 0, &[], &[]),
    ]
}

struct Daemon {
    accept: Accept,
    endpoint: Endpoint,
    _dir: tempfile::TempDir,
}

impl Daemon {
    async fn new() -> Self {
        let mut builder = tempfile::Builder::new();
        builder.prefix("oh-").permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let dir = builder.tempdir_in("/tmp").expect("temporary directory");
        let endpoint = Endpoint::under(dir.path().to_path_buf(), None).expect("short");
        Daemon { accept: Accept::bind(&endpoint).await.expect("sockets are allowed"), endpoint, _dir: dir }
    }

    async fn connected(&self) -> (UnixStream, Connection) {
        let peer = UnixStream::connect(self.endpoint.socket()).expect("we listen");
        (peer, self.accept.accept().await.expect("it connected"))
    }

    /// Sends bytes and closes the socket; gives the frames that were read and how reading ended.
    async fn read(&self, sent: &[u8], floats: bool) -> (Vec<Frame>, Result<(), Error>) {
        let (mut peer, mut connection) = self.connected().await;
        peer.write_all(sent).expect("the socket has room");
        drop(peer);
        let mut frames = Vec::new();
        loop {
            match connection.reader.next(floats).await {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return (frames, Ok(())),
                Err(error) => return (frames, Err(error)),
            }
        }
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop").block_on(work)
}

#[test]
fn a_conversation_comes_out_as_it_went_in() {
    block_on(async {
        let daemon = Daemon::new().await;
        let sent = frames();
        for floats in [false, true] {
            let (read, end) = daemon.read(&sent.concat(), floats).await;
            assert!(end.is_ok(), "{end:?}");
            let again: Vec<Vec<u8>> = read
                .iter()
                .map(|read| {
                    let body = match &read.body {
                        Body::None => Vec::new(),
                        Body::Bytes(bytes) => bytes.clone(),
                        Body::Floats(rows) => rows.iter().flat_map(|x| x.to_le_bytes()).collect(),
                    };
                    frame(read.header.kind, read.header.id, &read.control, &body)
                })
                .collect();
            assert_eq!(again, sent);
        }
    });
}

#[test]
fn damaged_frames_neither_panic_nor_allocate_wildly() {
    const SEED: u64 = 0x0FF_4EA9;
    let mut random = SEED;
    let mut below = |n: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % n as u64) as usize
    };
    block_on(async {
        let daemon = Daemon::new().await;
        let frames = frames();
        let (mut whole, mut broken) = (0, 0);
        for round in 0..4_000 {
            let n = 1 + below(4);
            let mut sent: Vec<u8> = (0..n).flat_map(|_| frames[below(frames.len())].clone()).collect();
            for _ in 0..=below(3) {
                let at = below(sent.len());
                sent[at] = if below(3) == 0 { below(256) as u8 } else { sent[at] ^ (1 << below(8)) };
            }
            if below(4) == 0 {
                sent.truncate(below(sent.len()));
            }
            let before = HELD.get();
            PEAK.set(before);
            let (read, end) = daemon.read(&sent, below(2) == 1).await;
            let peak = (PEAK.get() - before) as usize;
            // Floats are read in steps of a megabyte: only clients read them, and only from a daemon of the same user.
            assert!(peak <= OVERHEAD + (2 << 20), "seed {SEED:#x}, round {round}: {peak} bytes");
            for frame in read {
                assert!(frame.header.control <= MAX_CONTROL && frame.header.body <= MAX_BODY);
                whole += 1;
            }
            broken += usize::from(end.is_err());
        }
        assert!(whole > 1_000 && broken > 1_000, "{whole} frames were read, {broken} conversations broke");
    });
}

#[test]
fn memory_grows_with_what_arrives_not_with_the_announced_length() {
    block_on(async {
        let daemon = Daemon::new().await;
        for (control, body) in [(MAX_CONTROL, 0), (0, MAX_BODY), (MAX_CONTROL, MAX_BODY)] {
            let header = Header { kind: Kind::Request, id: 1, control, body };
            let sent = [&header.encode()[..], &[0; 100]].concat();
            let before = HELD.get();
            PEAK.set(before);
            let (read, end) = daemon.read(&sent, false).await;
            assert!(read.is_empty() && matches!(end, Err(Error::Io(_))), "{end:?}");
            let peak = (PEAK.get() - before) as usize;
            assert!(peak <= OVERHEAD, "{control} + {body}: {peak} bytes");
        }
    });
}

#[test]
fn the_time_limit_holds_within_a_frame_only() {
    block_on(async {
        let daemon = Daemon::new().await;
        let (mut peer, mut connection) = daemon.connected().await;
        connection.reader.stall_after(Duration::from_millis(50));
        let whole = frame(Kind::Cancel, 7, &[], &[]);
        // Silence between frames, longer than the limit.
        let silence = tokio::time::timeout(Duration::from_millis(200), connection.reader.next(false)).await;
        assert!(silence.is_err(), "{silence:?}");
        peer.write_all(&whole).expect("it reads");
        let read = connection.reader.next(false).await.expect("a frame").expect("not the end");
        assert_eq!(read.header.id, 7);
        peer.write_all(&whole[..HEADER_BYTES - 1]).expect("it reads");
        match connection.reader.next(false).await {
            Err(Error::Io(error)) => assert_eq!(error.kind(), std::io::ErrorKind::TimedOut),
            other => panic!("{other:?}"),
        }
    });
}
