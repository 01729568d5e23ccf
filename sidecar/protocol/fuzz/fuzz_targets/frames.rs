//! The frame reader over a real socket: no panic, no hang, no frame beyond the limits, no more bytes than were sent.
//!
//! The first byte of the input chooses whether bodies are read as floats or as bytes.
#![no_main]

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use offheap_protocol::Endpoint;
use offheap_protocol::codec::{HEADER_BYTES, MAX_BODY, MAX_CONTROL};
use offheap_protocol::connection::{Accept, Body};
use tokio::runtime::Runtime;

/// Most bytes of one input: a socket buffers as many without a reader.
const MAX_INPUT: usize = 64 << 10;

struct Daemon {
    runtime: Runtime,
    accept: Accept,
    endpoint: Endpoint,
}

thread_local! {
    static DAEMON: Daemon = {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
        let dir = std::env::temp_dir().join(format!("oh-fuzz-{}", std::process::id()));
        let endpoint = Endpoint::under(dir, None).expect("a short path");
        endpoint.prepare_dir().expect("writable");
        let _ = std::fs::remove_file(endpoint.socket());
        let accept = runtime.block_on(Accept::bind(&endpoint)).expect("sockets are allowed");
        Daemon { runtime, accept, endpoint }
    };
}

fuzz_target!(|bytes: &[u8]| {
    let Some((floats, sent)) = bytes.split_first() else { return };
    let sent = &sent[..sent.len().min(MAX_INPUT)];
    DAEMON.with(|daemon| daemon.runtime.block_on(conversation(daemon, floats % 2 == 1, sent)));
});

async fn conversation(daemon: &Daemon, floats: bool, sent: &[u8]) {
    let mut peer = UnixStream::connect(daemon.endpoint.socket()).expect("we listen");
    let mut connection = daemon.accept.accept().await.expect("it connected");
    connection.reader.stall_after(Duration::from_secs(5));
    peer.write_all(sent).expect("the socket has room");
    drop(peer);
    let mut read = 0;
    while let Ok(Some(frame)) = connection.reader.next(floats).await {
        assert!(frame.header.control <= MAX_CONTROL && frame.header.body <= MAX_BODY);
        assert_eq!(frame.control.len(), frame.header.control as usize);
        let body = match &frame.body {
            Body::None => 0,
            Body::Bytes(bytes) => bytes.len(),
            Body::Floats(rows) => rows.len() * 4,
        };
        assert_eq!(body, frame.header.body as usize);
        read += HEADER_BYTES + frame.control.len() + body;
        assert!(read <= sent.len(), "more was read than sent");
    }
    drop(connection);
    // Tokio frees the registration of a closed socket when it polls, which a runtime that never waits does not do: without
    // this, the process grows by 256 bytes a run.
    tokio::task::yield_now().await;
}
