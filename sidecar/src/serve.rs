//! One connection: greet, then read frames and answer them, many at a time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use offheap_protocol::codec::{self, Envelope, Kind};
use offheap_protocol::connection::{Body, Connection, FrameWriter, Payload, Welcome};
use offheap_protocol::message::{Progress, Request};
use offheap_protocol::{Code, Fault};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::failpoint;
use crate::handler::{Call, Daemon};
use crate::log::log;

/// A peer that connects and does not introduce itself is cut off after this long.
const GREETING: Duration = Duration::from_secs(5);
/// A peer that does not take its answers is cut off after this long.
const SEND: Duration = Duration::from_secs(30);
/// Requests of one connection that are worked on at the same time; further ones wait.
const MAX_IN_FLIGHT: usize = 64;
/// What a connection's waiting requests may hold, in KiB; beyond it frames are not read. Cancels are read before that.
const BUDGET_KIB: usize = 2 * (codec::MAX_BODY as usize >> 10);
/// What a request costs beside its bytes.
const REQUEST_KIB: usize = 4;
/// Progress frames: at most this often, and at least this often while nothing changes.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
const HEARTBEAT: Duration = Duration::from_secs(5);

struct Outgoing {
    kind: Kind,
    id: u64,
    control: Vec<u8>,
    payload: Payload,
}

type Flags = Arc<Mutex<HashMap<u64, Arc<AtomicBool>>>>;

/// Serves a connection until its peer leaves, misbehaves, or the daemon leaves.
pub async fn serve(daemon: Arc<Daemon>, mut connection: Connection) {
    match tokio::time::timeout(GREETING, connection.welcome()).await {
        Ok(Ok(Welcome::Talk(_version))) => {}
        Ok(Ok(Welcome::HandOver)) => {
            log!("a newer version takes over");
            daemon.leaving.send_replace(true);
            // It takes the end of this connection for ours.
            return connection.end_of_peer().await;
        }
        Ok(Err(error)) => return log!("a peer was refused: {error}"),
        Err(_) => return log!("a peer did not introduce itself"),
    }
    failpoint::pass("greeted");
    daemon.connections.fetch_add(1, Ordering::Relaxed);
    let Connection { mut reader, writer, .. } = connection;
    let (outbox, inbox) = mpsc::channel::<Outgoing>(MAX_IN_FLIGHT);
    let writing = tokio::spawn(write(writer, inbox));
    let flags: Flags = Arc::default();
    let permits = Arc::new(Semaphore::new(MAX_IN_FLIGHT));
    let budget = Arc::new(Semaphore::new(BUDGET_KIB));
    let mut leaving = daemon.leaving.subscribe();
    let mut told = false;
    let mut greeted = false;
    let hello_by = tokio::time::Instant::now() + GREETING;
    'serve: loop {
        // One future per frame: dropping it half way would lose what it has read.
        let mut next = std::pin::pin!(reader.next(false));
        let frame = loop {
            tokio::select! {
                biased;
                () = async { drop(leaving.wait_for(|leaving| *leaving).await) }, if !told => {
                    told = true;
                    let _ = outbox.send(Outgoing { kind: Kind::GoingAway, id: 0, control: Vec::new(), payload: Payload::None }).await;
                }
                frame = &mut next => break frame,
                () = tokio::time::sleep_until(hello_by), if !greeted => {
                    log!("a peer did not say hello");
                    break 'serve;
                }
                // It does not take its answers: nothing that it asks can be answered any more.
                () = outbox.closed() => break 'serve,
            }
        };
        let frame = match frame {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            Err(error) => {
                log!("a connection is closed: {error}");
                break;
            }
        };
        match frame.header.kind {
            Kind::Cancel => {
                if let Some(flag) = flags.lock().expect(UNPOISONED).get(&frame.header.id) {
                    flag.store(true, Ordering::Relaxed);
                }
            }
            Kind::Request => {
                let envelope: Envelope = match codec::decode(&frame.control) {
                    Ok(envelope) => envelope,
                    Err(error) => {
                        log!("a connection is closed: {error}");
                        break;
                    }
                };
                if !greeted && !matches!(envelope.request, Request::Hello { .. }) {
                    log!("a connection is closed: its first request is not Hello");
                    break;
                }
                greeted = true;
                failpoint::pass("request");
                let body = match frame.body {
                    Body::Bytes(body) => body,
                    _ => Vec::new(),
                };
                // Known from here on, so that a Cancel right behind the request finds it.
                let id = frame.header.id;
                let cancelled = Arc::new(AtomicBool::new(false));
                match flags.lock().expect(UNPOISONED).entry(id) {
                    Entry::Vacant(free) => drop(free.insert(cancelled.clone())),
                    Entry::Occupied(_) => {
                        log!("a connection is closed: request id {id} is in use");
                        break;
                    }
                }
                let kib = REQUEST_KIB + (body.len() >> 10);
                let held = budget.clone().acquire_many_owned(kib as u32).await.expect("never closed");
                let asked = Asked { id, envelope, body, cancelled };
                let work = answer(daemon.clone(), asked, permits.clone(), outbox.clone(), flags.clone());
                tokio::spawn(async move {
                    work.await;
                    drop(held);
                });
            }
            _ => {
                log!("a connection is closed: a client sent {:?}", frame.header.kind);
                break;
            }
        }
    }
    // Nobody waits for these any more.
    flags.lock().expect(UNPOISONED).values().for_each(|flag| flag.store(true, Ordering::Relaxed));
    drop(outbox);
    let _ = writing.await;
    daemon.connections.fetch_sub(1, Ordering::Relaxed);
}

const UNPOISONED: &str = "no code that panics runs under this lock";

async fn write(mut writer: FrameWriter, mut inbox: mpsc::Receiver<Outgoing>) {
    while let Some(Outgoing { kind, id, control, payload }) = inbox.recv().await {
        failpoint::pass("reply");
        match tokio::time::timeout(SEND, writer.send(kind, id, &control, &payload)).await {
            Ok(Ok(())) => failpoint::pass("replied"),
            Ok(Err(_)) => break, // the peer left
            Err(_) => {
                log!("a peer does not read its answers and is cut off");
                break;
            }
        }
    }
}

/// Counts a request in and out, whatever becomes of it.
struct InFlight(Arc<Daemon>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
        self.0.requests.fetch_add(1, Ordering::Relaxed);
    }
}

/// One request, as it was read.
struct Asked {
    id: u64,
    envelope: Envelope,
    body: Vec<u8>,
    cancelled: Arc<AtomicBool>,
}

async fn answer(
    daemon: Arc<Daemon>,
    asked: Asked,
    permits: Arc<Semaphore>,
    outbox: mpsc::Sender<Outgoing>,
    flags: Flags,
) {
    let Asked { id, envelope, body, cancelled } = asked;
    daemon.in_flight.fetch_add(1, Ordering::AcqRel);
    let counted = InFlight(daemon.clone());
    let (progress, watching) = watch::channel(Progress::default());
    let leaving =
        *daemon.leaving.borrow() && !matches!(envelope.request, Request::Status | Request::Ping | Request::Shutdown);
    let outcome = if leaving {
        Err(Fault::new(Code::Leaving, "the daemon is leaving"))
    } else {
        // Who only asks how things are does not queue behind work.
        let quick =
            matches!(envelope.request, Request::Hello { .. } | Request::Ping | Request::Status | Request::Shutdown);
        let call = Call { request: envelope.request, body, cancelled: cancelled.clone(), progress };
        let handling = async {
            let _permit = if quick { None } else { permits.acquire_owned().await.ok() };
            if call.cancelled.load(Ordering::Relaxed) {
                return Err(Fault::new(Code::Cancelled, "the request was cancelled"));
            }
            // A task of its own, so that a panic is this caller's fault only.
            let daemon = daemon.clone();
            tokio::spawn(async move { daemon.handle(call).await })
                .await
                .unwrap_or_else(|_| Err(Fault::new(Code::Internal, "the request failed inside; others are unharmed")))
        };
        let handling = with_progress(handling, watching, id, &outbox);
        match envelope.deadline_ms {
            0 => handling.await,
            ms => match tokio::time::timeout(Duration::from_millis(ms.into()), handling).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    cancelled.store(true, Ordering::Relaxed);
                    Err(Fault::new(Code::Timeout, format!("no answer within {ms} ms")))
                }
            },
        }
    };
    flags.lock().expect(UNPOISONED).remove(&id);
    let outgoing = match outcome {
        Ok((response, payload)) => {
            codec::encode(&response).map(|control| Outgoing { kind: Kind::Response, id, control, payload })
        }
        Err(fault) => {
            daemon.faults.fetch_add(1, Ordering::Relaxed);
            codec::encode(&fault).map(|control| Outgoing { kind: Kind::Fault, id, control, payload: Payload::None })
        }
    };
    let outgoing = outgoing.or_else(|error| {
        let fault =
            Fault::new(Code::TooLarge, format!("the answer is too large: {error}")).hint("ask for less at once");
        codec::encode(&fault).map(|control| Outgoing { kind: Kind::Fault, id, control, payload: Payload::None })
    });
    if let Ok(outgoing) = outgoing {
        let _ = outbox.send(outgoing).await;
    }
    drop(counted);
}

/// Sends progress while `work` runs: the newest, not every one.
async fn with_progress<T>(
    work: impl Future<Output = T>,
    mut watching: watch::Receiver<Progress>,
    id: u64,
    outbox: &mpsc::Sender<Outgoing>,
) -> T {
    let mut work = std::pin::pin!(work);
    let mut last = tokio::time::Instant::now() - PROGRESS_EVERY;
    let mut over = false;
    let mut sent = Progress::default();
    loop {
        let changed = async {
            tokio::select! {
                changed = watching.changed(), if !over => { over |= changed.is_err(); }
                () = tokio::time::sleep(HEARTBEAT) => {}
            }
            tokio::time::sleep_until(last + PROGRESS_EVERY).await;
        };
        let done = tokio::select! {
            biased;
            done = &mut work => Some(done),
            () = changed => None,
        };
        // Only index runs report. The last state is sent too, however short the run was.
        let progress = watching.borrow_and_update().clone();
        let news = done.is_none() || progress != sent;
        if news
            && progress != Progress::default()
            && let Ok(control) = codec::encode(&progress)
        {
            // A lost frame is followed by a newer one.
            let _ = outbox.try_send(Outgoing { kind: Kind::Progress, id, control, payload: Payload::None });
        }
        if let Some(done) = done {
            return done;
        }
        sent = progress;
        last = tokio::time::Instant::now();
    }
}
