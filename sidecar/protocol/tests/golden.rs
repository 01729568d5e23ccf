//! The exact bytes of every message. What a released version sends must be readable by all later ones.
//!
//! A changed line here breaks every version that is already installed. Append lines; change none.

mod support;

use offheap_protocol::codec::{
    self, Envelope, Error, HEADER_BYTES, Header, Kind, MAX_BODY, MAX_CONTROL, Preamble, Purpose,
};
use offheap_protocol::message::{
    CacheStatus, Case, ClientStatus, Contribution, Coverage, CutOff, EmbedTiming, Fresh, Hit, IdleStatus, IndexReport,
    IndexStatus, Latency, LoadStatus, ModelStatus, Phase, Priority, Progress, Request, RequestCounts, Response,
    SearchMode, SearchReport, SearchRequest, SkipCount, SkippedFile, Span, StatusReport, SymbolMatch, TextKind,
    Vectors, WatchStatus,
};
use offheap_protocol::{Code, Fault};
use support::{HELD, PEAK};

/// Every type that is sent as a control part.
#[derive(Clone, Debug, PartialEq)]
enum Message {
    Request(Envelope),
    Response(Response),
    Progress(Progress),
    Fault(Fault),
}

impl Message {
    fn encode(&self) -> Vec<u8> {
        match self {
            Message::Request(message) => codec::encode(message),
            Message::Response(message) => codec::encode(message),
            Message::Progress(message) => codec::encode(message),
            Message::Fault(message) => codec::encode(message),
        }
        .expect("golden messages are small")
    }

    /// Decodes bytes as the same type of message as `self`.
    fn decode_alike(&self, bytes: &[u8]) -> Result<Message, Error> {
        Ok(match self {
            Message::Request(_) => Message::Request(codec::decode(bytes)?),
            Message::Response(_) => Message::Response(codec::decode(bytes)?),
            Message::Progress(_) => Message::Progress(codec::decode(bytes)?),
            Message::Fault(_) => Message::Fault(codec::decode(bytes)?),
        })
    }

    fn variant(&self) -> &'static str {
        match self {
            Message::Request(envelope) => request_name(&envelope.request),
            Message::Response(response) => response_name(response),
            Message::Progress(progress) => phase_name(&progress.phase),
            Message::Fault(_) => "Fault",
        }
    }
}

/// Defines a `match` that does not compile once the enum gets a new variant, and the list of the names of all variants, each of
/// which must have a golden line.
macro_rules! variants {
    ($name:ident, $all:ident, $type:ty, $($pattern:pat => $text:literal,)+) => {
        const $all: &[&str] = &[$($text),+];
        fn $name(value: &$type) -> &'static str {
            match value { $($pattern => $text,)+ }
        }
    };
}

variants! { request_name, REQUESTS, Request,
    Request::Hello { .. } => "Request::Hello",
    Request::Ping => "Request::Ping",
    Request::Embed { .. } => "Request::Embed",
    Request::Index { .. } => "Request::Index",
    Request::Search(_) => "Request::Search",
    Request::Status => "Request::Status",
    Request::ClearCache { .. } => "Request::ClearCache",
    Request::Shutdown => "Request::Shutdown",
}
variants! { response_name, RESPONSES, Response,
    Response::Hello { .. } => "Response::Hello",
    Response::Pong => "Response::Pong",
    Response::Vectors(_) => "Response::Vectors",
    Response::Indexed(_) => "Response::Indexed",
    Response::Found(_) => "Response::Found",
    Response::Status(_) => "Response::Status",
    Response::Cleared { .. } => "Response::Cleared",
    Response::Leaving => "Response::Leaving",
}
variants! { phase_name, PHASES, Phase,
    Phase::Scan => "Progress/Scan",
    Phase::Text => "Progress/Text",
    Phase::Embed => "Progress/Embed",
    Phase::Done => "Progress/Done",
}
variants! { mode_name, MODES, SearchMode,
    SearchMode::Hybrid => "Hybrid",
    SearchMode::Semantic => "Semantic",
    SearchMode::Text => "Text",
    SearchMode::Regex => "Regex",
    SearchMode::Symbol => "Symbol",
}
variants! { kind_name, KINDS, Kind,
    Kind::Request => "Request",
    Kind::Response => "Response",
    Kind::Fault => "Fault",
    Kind::Progress => "Progress",
    Kind::Cancel => "Cancel",
    Kind::GoingAway => "GoingAway",
}

fn request(deadline_ms: u32, request: Request) -> Message {
    Message::Request(Envelope { deadline_ms, request })
}

fn progress(phase: Phase, done: u64, total: u64, elapsed_ms: u64, path: &str) -> Message {
    Message::Progress(Progress { phase, done, total, elapsed_ms, path: path.into() })
}

fn search(mode: SearchMode, fresh: Fresh, explain: bool, case: Case, context: u32) -> Message {
    request(
        250,
        Request::Search(SearchRequest {
            query: "read a file".into(),
            mode,
            limit: 10,
            globs: vec!["src/**".into(), "!**/test".into()],
            languages: vec!["rust".into()],
            fresh,
            explain,
            case,
            context,
            folder: "web".into(),
        }),
    )
}

/// Every message with its bytes in hexadecimal. Spaces separate fields.
#[rustfmt::skip] // a table
fn golden() -> Vec<(Message, &'static str)> {
    vec![
        (request(5000, Request::Hello { client: "offheap-node 0.1.0".into() }),
            "fb8813 00 126f6666686561702d6e6f646520302e312e30"),
        (request(0, Request::Ping),
            "00 01"),
        (request(0, Request::Embed { lengths: vec![5, 0, 70_000], kind: TextKind::Document, priority: Priority::Bulk, parse_specials: false, or_hash: true }),
            "00 02 030500fc70110100 00 01 00 01"),
        (request(1, Request::Embed { lengths: vec![], kind: TextKind::Query, priority: Priority::Interactive, parse_specials: true, or_hash: false }),
            "01 02 00 01 00 01 00"),
        (request(0, Request::Index { rebuild: true, force: false }),
            "00 03 01 00"),
        (search(SearchMode::Hybrid, Fresh::StaleOk, false, Case::Smart, 0),
            "fa 04 0b7265616420612066696c65 00 0a 02067372632f2a2a08212a2a2f74657374 010472757374 00 00 00 00 03776562"),
        (search(SearchMode::Semantic, Fresh::Wait { ms: 2000 }, true, Case::Smart, 0),
            "fa 04 0b7265616420612066696c65 01 0a 02067372632f2a2a08212a2a2f74657374 010472757374 01fbd007 01 00 00 03776562"),
        (search(SearchMode::Text, Fresh::Wait { ms: 0 }, false, Case::Smart, 0),
            "fa 04 0b7265616420612066696c65 02 0a 02067372632f2a2a08212a2a2f74657374 010472757374 0100 00 00 00 03776562"),
        (search(SearchMode::Regex, Fresh::StaleOk, false, Case::Sensitive, 2),
            "fa 04 0b7265616420612066696c65 03 0a 02067372632f2a2a08212a2a2f74657374 010472757374 00 00 01 02 03776562"),
        (search(SearchMode::Symbol, Fresh::StaleOk, true, Case::Insensitive, 300),
            "fa 04 0b7265616420612066696c65 04 0a 02067372632f2a2a08212a2a2f74657374 010472757374 00 01 02 fb2c01 03776562"),
        (request(10_000, Request::Status),
            "fb1027 05"),
        (request(0, Request::ClearCache { stored: true }),
            "00 06 01"),
        (request(u32::MAX, Request::Shutdown),
            "fcffffffff 07"),
        (Message::Response(Response::Hello { version: "0.1.0".into(), max_body: MAX_BODY }),
            "00 05302e312e30 fc00000004"),
        (Message::Response(Response::Pong),
            "01"),
        (Message::Response(Response::Vectors(Vectors {
            dim: 384, tokens: vec![7, 512], truncated: vec![false, true], space: "mini:0123456789abcdef".into(),
            timing: EmbedTiming { queue_us: 12, tokenise_us: 250, model_us: 251 }, degraded: Some("why".into()),
        })),
            "02 fb8001 0207fb0002 020001 156d696e693a30313233343536373839616263646566 0c fa fbfb00 0103776879"),
        (Message::Response(Response::Indexed(IndexReport {
            generation: 3, files: 2, files_changed: 1, files_removed: 300, skipped: vec![SkippedFile { path: "a.bin".into(), reason: "binary".into() }],
            chunks: 9, vectors: 8, embedded: 7, reused: 6, tokens: 70_000, text_ms: 5, total_ms: 1 << 40, skipped_total: 1, foreign: true,
            skipped_by_reason: vec![SkipCount { reason: "binary".into(), files: 1 }], text_only: 2,
        })),
            "03 03 02 01 fb2c01 0105612e62696e0662696e617279 09 08 07 06 fc70110100 05 fd0000000000010000 01 01 010662696e61727901 02"),
        (Message::Response(Response::Found(SearchReport {
            hits: vec![Hit {
                path: "src/a.rs".into(), first_line: 1, last_line: 20, score: 0.5, language: "rust".into(),
                scope: "mod a > fn b".into(), symbols: vec!["b".into()], text: "fn b() {}".into(), stale: true,
                why: vec![Contribution { name: "bm25".into(), value: 2.0 }],
                symbol: Some(SymbolMatch { name: "b".into(), kind: "function".into(), line: 3, fit: "exact".into() }),
                matches: vec![Span { line: 3, start: 4, end: 5 }],
            }],
            mode: "hybrid".into(), degraded: Some("why".into()), space: None, generation: 4,
            coverage: Coverage { files: 9, chunks: 5, vectors: 6, fresh: true, pending_files: Some(251), text_only: 3, skipped_by_reason: vec![SkipCount { reason: "binary".into(), files: 2 }] },
            truncated: true, wait_us: 10, embed_us: 7, search_us: 8, read_only: true, unmatched: vec!["x/**".into()],
        })),
            "04 01 087372632f612e7273 01 14 0000003f 0472757374 0c6d6f642061203e20666e2062 010162 09666e20622829207b7d 01 0104626d323500000040 01016208 66756e6374696f6e 03 056578616374 01030405 06687962726964 0103776879 00 04 09 05 06 01 01fbfb00 03 010662696e61727902 01 0a 07 08 01 0104782f2a2a"),
        (Message::Response(Response::Status(Box::new(StatusReport {
            version: "0.1.0".into(), pid: 4242, uptime_ms: 1, project: Some("/p".into()),
            model: Some(ModelStatus {
                name: "mini".into(), architecture: "bert".into(), quantisation: "Q8_0".into(), dim: 384, context_length: 512,
                fingerprint: "ab".into(), path: "/m.gguf".into(), kernel: "avx2".into(), threads: 2,
            }),
            index: Some(IndexStatus {
                generation: 1, files: 2, chunks: 3, vectors: 4, bytes: 5, text_only: 6,
                skipped_by_reason: vec![SkipCount { reason: "binary".into(), files: 7 }], text_search: true, vector_search: false,
            }),
            indexing: true, connections: 1, requests: 2, faults: 3, queued: 4, anon_bytes: Some(5), file_bytes: None,
            watch: Some(WatchStatus { state: "off".into(), folders: 3, pending: Some(2), busy: true, problem: Some("why".into()) }),
            transport: "tcp".into(), starts: 3, crashes: 1, read_only: true,
            load: LoadStatus {
                waiting_bytes: 65_536, working: 2, requests: RequestCounts { embed: 1, search: 2, index: 3, other: 300 },
                cancelled: 4, timed_out: 5, overloaded: 6,
                embed: Latency { p50_us: 1, p90_us: 2, p99_us: 4, max_us: 5, buckets: vec![1, 0, 251] }, search: Latency::default(),
                cut_off: CutOff { malformed: 7, slow_reader: 8, slow_sender: 9 }, evictions: 10,
            },
            idle: IdleStatus { last_use_ms: Some(1), unload_in_ms: None, leave_in_ms: Some(251) },
            embedding_cache: CacheStatus { hits: 11, misses: 12 },
            clients: vec![ClientStatus { name: "app".into(), connections: 2 }],
        }))),
            "05 05302e312e30 fb9210 01 01022f70 01 046d696e69 0462657274 0451385f30 fb8001 fb0002 026162 072f6d2e67677566 0461767832 02 01 01 02 03 04 05 06 010662696e61727907 01 00 01 01 02 03 04 0105 00 01 036f6666 03 0102 01 0103776879 03746370 03 01 01 fc00000100 02 010203fb2c01 04 05 06 0102040503 0100fbfb00 0000000000 070809 0a 0101 00 01fbfb00 0b 0c 01 03617070 02"),
        (Message::Response(Response::Cleared { embeddings: 65_536 }),
            "06 fc00000100"),
        (Message::Response(Response::Leaving),
            "07"),
        (progress(Phase::Scan, 0, 0, 0, ""),
            "00 00 00 00 00"),
        (progress(Phase::Text, 1, 2, 251, "src/é.rs"),
            "01 01 02 fbfb00 097372632fc3a92e7273"),
        (progress(Phase::Embed, 32, 65_535, 65_536, "a"),
            "02 20 fbffff fc00000100 0161"),
        (progress(Phase::Done, u64::MAX, u64::MAX, 1 << 32, ""),
            "03 fdffffffffffffffff fdffffffffffffffff fd0000000001000000 00"),
        (Message::Fault(Fault { code: Code::Closed, message: "the client was closed".into(), hint: "connect anew".into() }),
            "1b 1574686520636c69656e742077617320636c6f736564 0c636f6e6e65637420616e6577"),
    ]
}

/// The names of all codes, by their number on the wire. Append what is appended to `Code`.
const CODES: &[&str] = &[
    "INTERNAL",
    "INVALID_ARGUMENT",
    "TOO_LARGE",
    "CANCELLED",
    "TIMEOUT",
    "OVERLOADED",
    "LEAVING",
    "NO_PROJECT",
    "NO_INDEX",
    "INDEX_BUSY",
    "INDEX_LOCKED",
    "INDEX_DAMAGED",
    "INDEX_FORMAT",
    "MODEL_NOT_FOUND",
    "MODEL_DAMAGED",
    "MODEL_UNSUPPORTED",
    "MODEL_FAILED",
    "CONFIG_INVALID",
    "DISK_FULL",
    "IO",
    "DAEMON_NOT_RUNNING",
    "DAEMON_START_FAILED",
    "DAEMON_LOST",
    "DAEMON_UNRESPONSIVE",
    "PROTOCOL",
    "FORBIDDEN",
    "SIDECAR_NOT_FOUND",
    "CLOSED",
    "CLIENT_TOO_OLD",
    "DAEMON_TOO_OLD",
    "SOCKETS_REFUSED",
    "POISONED",
    "UNSAFE_PATH",
    "INDEX_FOREIGN",
    "NEEDS_FORCE",
];

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_message_has_its_golden_bytes() {
    let mut wrong = String::new();
    for (message, bytes) in golden() {
        let encoded = message.encode();
        if encoded != unhex(bytes) {
            wrong +=
                &format!("{}\n  expected {}\n  encoded  {}\n", message.variant(), hex(&unhex(bytes)), hex(&encoded));
        }
        assert_eq!(message.decode_alike(&encoded).expect("our own"), message);
    }
    assert!(wrong.is_empty(), "the wire changed:\n{wrong}");
}

#[test]
fn no_variant_is_without_a_golden_line() {
    let golden = golden();
    let lines: Vec<&str> = golden.iter().map(|(message, _)| message.variant()).collect();
    for name in REQUESTS.iter().chain(RESPONSES).chain(PHASES).chain(&["Fault"]) {
        assert!(lines.contains(name), "{name} has no golden line");
    }
    let modes: Vec<&str> = golden
        .iter()
        .filter_map(|(message, _)| match message {
            Message::Request(Envelope { request: Request::Search(search), .. }) => Some(mode_name(&search.mode)),
            _ => None,
        })
        .collect();
    MODES.iter().for_each(|mode| assert!(modes.contains(mode), "mode {mode} has no golden line"));
}

#[test]
fn codes_keep_their_numbers() {
    let names: Vec<&str> = Code::TABLE.iter().map(|(_, name, _)| *name).collect();
    assert_eq!(names, CODES);
    for (at, (code, name, _)) in Code::TABLE.iter().enumerate() {
        assert_eq!(code.as_str(), *name);
        assert_eq!(hex(&codec::encode(&Fault::new(*code, "")).expect("small")), format!("{at:02x}0000"), "{name}");
    }
    let after_last = [CODES.len() as u8, 0, 0];
    assert!(codec::decode::<Fault>(&after_last).is_err(), "an unknown code is an error");
}

#[test]
fn the_preamble_never_changes() {
    let preamble =
        Preamble { proto_min: 1, proto_max: 0x0203, purpose: Purpose::Talk, build: *b"0.1.0-beta.1\0\0\0\0" };
    let bytes = "4f46464845415000 01 00 0100 0302 0000 302e312e302d626574612e3100000000";
    assert_eq!(hex(&preamble.encode()), hex(&unhex(bytes)));
    assert_eq!(Preamble::decode(&preamble.encode()), Some(preamble));
    let asks = Preamble { purpose: Purpose::HandOver, ..preamble };
    assert_eq!(asks.encode()[9], 1);
    assert_eq!(Preamble::decode(&asks.encode()), Some(asks));
    for at in 0..8 {
        let mut other = preamble.encode();
        other[at] ^= 1;
        assert_eq!(Preamble::decode(&other), None, "byte {at} is part of the name");
    }
}

#[test]
fn headers_have_their_golden_bytes() {
    // The numbers are literals here, because those of the enum must not change.
    let kinds = [
        (Kind::Request, "01"),
        (Kind::Response, "02"),
        (Kind::Fault, "03"),
        (Kind::Progress, "04"),
        (Kind::Cancel, "05"),
        (Kind::GoingAway, "06"),
    ];
    assert_eq!(kinds.map(|(kind, _)| kind_name(&kind)), KINDS, "a kind has no golden line");
    for (kind, number) in kinds {
        let header = Header { kind, id: 0x0102_0304_0506_0708, control: 0x0001_0203, body: 0x0302_0100 };
        let bytes = unhex(&format!("4f464850 {number} 00 0000 0807060504030201 03020100 00010203"));
        assert_eq!(hex(&header.encode()), hex(&bytes));
        assert_eq!(Header::decode(&bytes.try_into().expect("24 bytes")).expect("within limits"), header);
    }
}

#[test]
fn headers_over_the_limits_are_refused() {
    let decode = |control: u32, body: u32| {
        let header = Header { kind: Kind::Request, id: 1, control, body };
        Header::decode(&header.encode())
    };
    assert!(decode(MAX_CONTROL, MAX_BODY).is_ok());
    for (control, body) in [(MAX_CONTROL + 1, 0), (0, MAX_BODY + 1), (u32::MAX, u32::MAX)] {
        assert!(matches!(decode(control, body), Err(Error::FrameTooLarge { .. })), "{control} + {body}");
    }
    for kind in (0..=u8::MAX).filter(|kind| !(1..=6).contains(kind)) {
        let mut bytes = Header { kind: Kind::Request, id: 1, control: 0, body: 0 }.encode();
        bytes[4] = kind;
        assert!(matches!(Header::decode(&bytes), Err(Error::Kind(found)) if found == kind));
    }
}

#[test]
fn every_truncation_is_an_error() {
    for (message, bytes) in golden() {
        let bytes = unhex(bytes);
        for len in 0..bytes.len() {
            let cut = message.decode_alike(&bytes[..len]);
            assert!(cut.is_err(), "{} cut to {len} of {} bytes decodes: {cut:?}", message.variant(), bytes.len());
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(matches!(message.decode_alike(&longer), Err(Error::Trailing(1))), "{}", message.variant());
    }
}

#[test]
fn damaged_bytes_neither_panic_nor_allocate_wildly() {
    const SEED: u64 = 0x0FF_4EA9;
    let mut random = SEED;
    let mut below = |n: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % n as u64) as usize
    };
    let golden: Vec<(Message, Vec<u8>)> = golden().into_iter().map(|(m, bytes)| (m, unhex(bytes))).collect();
    let mut survived = 0;
    for round in 0..50_000 {
        let (message, bytes) = &golden[below(golden.len())];
        let mut bytes = bytes.clone();
        for _ in 0..=below(3) {
            let at = below(bytes.len());
            // Flips a bit, or writes a marker of a long integer, which makes a huge length.
            bytes[at] = if below(4) == 0 { 251 + below(5) as u8 } else { bytes[at] ^ (1 << below(8)) };
        }
        let (outcome, peak) = allocated(|| message.decode_alike(&bytes));
        survived += u32::from(outcome.is_ok());
        let limit = 2 * MAX_CONTROL as usize;
        assert!(peak <= limit, "seed {SEED:#x}, round {round}: {peak} bytes allocated for {}", hex(&bytes));

        let mut head = Header { kind: Kind::Request, id: 7, control: 9, body: 11 }.encode();
        head[below(HEADER_BYTES)] ^= 1 << below(8);
        if let Ok(header) = Header::decode(&head) {
            assert!(header.control <= MAX_CONTROL && header.body <= MAX_BODY);
        }
        let mut preamble = Preamble::ours().encode();
        preamble[below(Preamble::BYTES)] ^= 1 << below(8);
        let _ = Preamble::decode(&preamble);
    }
    // A changed number or letter may give another valid message. If none or all did, the test would test nothing.
    assert!((1_000..49_000).contains(&survived), "{survived} of 50000 still decode");
}

/// The table of codes in `README.md` is that of this build.
#[test]
fn the_readme_lists_the_codes() {
    let readme = include_str!("../README.md");
    let section = readme.split("\n## Error codes\n").nth(1).expect("a section `Error codes`");
    let section = section.split("\n## ").next().expect("split gives at least one");
    let rows: Vec<String> = section.lines().filter(|line| line.starts_with("| ")).skip(1).map(str::to_owned).collect();
    let expected: Vec<String> = Code::TABLE
        .iter()
        .enumerate()
        .map(|(at, (_, name, meaning))| format!("| {at} | `{name}` | {} |", meaning.trim()))
        .collect();
    assert_eq!(rows, expected, "the table should read:\n{}", expected.join("\n"));
}

/// The example frame in `README.md` is what this build sends.
#[test]
fn the_readme_example_is_the_wire() {
    let lines: Vec<&str> = include_str!("../README.md").lines().collect();
    let at = lines.iter().position(|line| line.starts_with("4f464850 01")).expect("an example frame");
    let [head, control, body] = [0, 1, 2].map(|i| unhex(lines[at + i].split("   ").next().expect("one part")));
    let embed = Request::Embed {
        lengths: vec![2],
        kind: TextKind::Document,
        priority: Priority::Bulk,
        parse_specials: false,
        or_hash: false,
    };
    assert_eq!(control, request(0, embed).encode());
    assert_eq!(body, b"hi");
    let header = Header { kind: Kind::Request, id: 2, control: control.len() as u32, body: 2 };
    assert_eq!(head, header.encode());
}

/// The limits and protocol versions that `README.md` states are those of this build.
#[test]
fn the_readme_states_the_limits() {
    let readme = include_str!("../README.md");
    use offheap_protocol::message::{PROTO_MAX, PROTO_MIN};
    for line in [
        format!("| control part | {} MiB |", MAX_CONTROL >> 20),
        format!("| body | {} MiB |", MAX_BODY >> 20),
        format!("| texts in one request, as the client splits them | {} MiB |", codec::MAX_TEXTS_BODY >> 20),
        format!("This build speaks protocol {PROTO_MIN} to {PROTO_MAX}."),
    ] {
        assert!(readme.contains(&line), "README.md does not say `{line}`");
    }
}

/// Runs `work`; gives its result and the most bytes that it held at a time.
fn allocated<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    PEAK.set(before);
    let out = work();
    (out, (PEAK.get() - before) as usize)
}
