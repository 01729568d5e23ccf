//! One connection: greet, then read frames and answer them, many at a time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use offheap_protocol::codec::{self, Envelope, Kind};
use offheap_protocol::connection::{Body, Connection, Error, FrameWriter, Payload, Welcome};
use offheap_protocol::message::{Priority, Progress, Request};
use offheap_protocol::{Code, Fault};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::config;
use crate::daemon::limits::{self, Peer, Waiting};
use crate::daemon::metrics::{Cut, Sort};
use crate::daemon::requests::{Call, Daemon};
use crate::failpoint;
use crate::log::log;

/// A peer that connects and does not introduce itself is cut off after this long.
const GREETING: Duration = Duration::from_secs(5);
/// Requests of one connection that are worked on at the same time; further ones wait.
const MAX_IN_FLIGHT: usize = 64;
/// Of these, bulk ones.
const MAX_BULK_IN_FLIGHT: usize = MAX_IN_FLIGHT - 16;
/// What a connection's requests may hold until their answers are written, in KiB; beyond it no frame is read, not even a
/// Cancel, and the peer hears an empty Progress now and then instead.
const BUDGET_KIB: usize = 2 * (codec::MAX_BODY as usize >> 10);
/// What its answers may hold, in KiB: work is not begun while those that it has not taken leave no room for another.
const ANSWERS_KIB: usize = 16 << 10;
/// Of these, those of bulk requests.
const BULK_ANSWERS_KIB: usize = ANSWERS_KIB / 4 * 3;
/// How often a peer whose frames are not read is told that it is not forgotten.
const PATIENCE_PLEASE: Duration = Duration::from_millis(200);
/// Progress frames: at most this often, and at least this often while nothing changes.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
const HEARTBEAT: Duration = Duration::from_secs(5);

struct Outgoing {
    kind: Kind,
    id: u64,
    control: Vec<u8>,
    payload: Payload,
    /// None for what no request asked for.
    _held: Option<Arc<Held>>,
}

/// A request's part of what its connection may hold, until the work has ended and the answer is written.
struct Held {
    _request: OwnedSemaphorePermit,
    /// From when the work begins.
    answer: OnceLock<Vec<OwnedSemaphorePermit>>,
    _in_flight: InFlight,
}

impl Outgoing {
    /// A frame without a body.
    fn plain(kind: Kind, id: u64, control: Vec<u8>) -> Self {
        Outgoing { kind, id, control, payload: Payload::None, _held: None }
    }
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
        Ok(Err(error)) => {
            if matches!(error, Error::NotOffheap) {
                daemon.metrics.cut(Cut::Malformed);
            }
            return log!("a peer was refused: {error}");
        }
        Err(_) => {
            daemon.metrics.cut(Cut::SlowSender);
            return log!("a peer did not introduce itself");
        }
    }
    failpoint::pass("greeted");
    daemon.connections.fetch_add(1, Ordering::Relaxed);
    let peer = daemon.limits.connection();
    let Connection { mut reader, writer, .. } = connection;
    reader.stall_after(config::stall());
    let (outbox, inbox) = mpsc::channel::<Outgoing>(MAX_IN_FLIGHT);
    let writing = tokio::spawn(write(daemon.clone(), writer, inbox));
    let flags: Flags = Arc::default();
    let permits = Arc::new(Permits::new());
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
                    let _ = outbox.send(Outgoing::plain(Kind::GoingAway, 0, Vec::new())).await;
                }
                frame = &mut next => break frame,
                () = tokio::time::sleep_until(hello_by), if !greeted => {
                    daemon.metrics.cut(Cut::SlowSender);
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
            Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::TimedOut => {
                daemon.metrics.cut(Cut::SlowSender);
                log!("a peer stopped within a frame and is cut off");
                break;
            }
            Err(error) => {
                if !matches!(error, Error::Io(_)) {
                    daemon.metrics.cut(Cut::Malformed);
                }
                log!("a connection is closed: {error}");
                break;
            }
        };
        let malformed = |why: &dyn std::fmt::Display| {
            daemon.metrics.cut(Cut::Malformed);
            log!("a connection is closed: {why}");
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
                        malformed(&error);
                        break;
                    }
                };
                if !greeted && !matches!(envelope.request, Request::Hello { .. }) {
                    malformed(&"its first request is not Hello");
                    break;
                }
                greeted = true;
                failpoint::pass("request");
                let mut body = match frame.body {
                    Body::Bytes(body) => body,
                    _ => Vec::new(),
                };
                // Known from here on, so that a Cancel right behind the request finds it.
                let id = frame.header.id;
                let cancelled = Arc::new(AtomicBool::new(false));
                match flags.lock().expect(UNPOISONED).entry(id) {
                    Entry::Vacant(free) => drop(free.insert(cancelled.clone())),
                    Entry::Occupied(_) => {
                        malformed(&format_args!("request id {id} is in use"));
                        break;
                    }
                }
                let began = Instant::now();
                let admitted = daemon.limits.admit(&peer, body.len());
                if admitted.is_err() {
                    body = Vec::new();
                }
                let kib = limits::request_kib(body.len()) as u32;
                let Some(held) = budgeted(&budget, kib, id, &outbox).await else { break };
                let in_flight = InFlight::begin(&daemon, &envelope.request);
                let held = Arc::new(Held { _request: held, answer: OnceLock::new(), _in_flight: in_flight });
                let asked = Asked { id, peer: peer.clone(), envelope, body, cancelled, began, admitted, held };
                tokio::spawn(answer(daemon.clone(), asked, permits.clone(), outbox.clone(), flags.clone()));
            }
            kind => {
                malformed(&format_args!("a client sent {kind:?}"));
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

/// A request's part of its connection's budget, waited for. The peer, whose frames are not read meanwhile, hears that it is not
/// forgotten; `None` when it takes no answers any more.
async fn budgeted(
    budget: &Arc<Semaphore>,
    kib: u32,
    id: u64,
    outbox: &mpsc::Sender<Outgoing>,
) -> Option<OwnedSemaphorePermit> {
    let mut acquiring = std::pin::pin!(budget.clone().acquire_many_owned(kib));
    loop {
        tokio::select! {
            held = &mut acquiring => return held.ok(),
            () = outbox.closed() => return None,
            () = tokio::time::sleep(PATIENCE_PLEASE) => {
                let control = codec::encode(&Progress::default()).expect("small");
                let _ = outbox.try_send(Outgoing::plain(Kind::Progress, id, control));
            }
        }
    }
}

async fn write(daemon: Arc<Daemon>, mut writer: FrameWriter, mut inbox: mpsc::Receiver<Outgoing>) {
    let patience = config::stall();
    while let Some(Outgoing { kind, id, control, payload, _held }) = inbox.recv().await {
        failpoint::pass("reply");
        match tokio::time::timeout(patience, writer.send(kind, id, &control, &payload)).await {
            Ok(Ok(())) => failpoint::pass("replied"),
            Ok(Err(_)) => break, // the peer left
            Err(_) => {
                daemon.metrics.cut(Cut::SlowReader);
                log!("a peer does not read its answers and is cut off");
                break;
            }
        }
    }
}

/// Counts a request in when it is read and out when its answer is written, whatever becomes of it.
struct InFlight {
    daemon: Arc<Daemon>,
    /// It keeps the daemon from being idle.
    is_use: bool,
}

impl InFlight {
    fn begin(daemon: &Arc<Daemon>, request: &Request) -> InFlight {
        daemon.in_flight.fetch_add(1, Ordering::AcqRel);
        let is_use = !matches!(request, Request::Hello { .. } | Request::Status);
        if is_use {
            daemon.used();
        }
        InFlight { daemon: daemon.clone(), is_use }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.is_use {
            self.daemon.used();
        }
        self.daemon.in_flight.fetch_sub(1, Ordering::AcqRel);
        self.daemon.requests.fetch_add(1, Ordering::Relaxed);
    }
}

/// How many requests of one connection are worked on.
struct Permits {
    all: Arc<Semaphore>,
    /// Of them, bulk ones: a question must find a place beside a process's own bulk work.
    bulk: Arc<Semaphore>,
    /// KiB of answers, the same way.
    room: Arc<Semaphore>,
    bulk_room: Arc<Semaphore>,
}

impl Permits {
    fn new() -> Self {
        let semaphore = |n| Arc::new(Semaphore::new(n));
        Permits {
            all: semaphore(MAX_IN_FLIGHT),
            bulk: semaphore(MAX_BULK_IN_FLIGHT),
            room: semaphore(ANSWERS_KIB),
            bulk_room: semaphore(BULK_ANSWERS_KIB),
        }
    }

    /// A place, in the order of asking among requests of the same sort.
    async fn place(&self, request: &Request) -> Vec<OwnedSemaphorePermit> {
        Self::take(is_bulk(request).then_some((&self.bulk, 1)), (&self.all, 1)).await
    }

    /// Room for the answer, the same way.
    async fn room(&self, request: &Request) -> Vec<OwnedSemaphorePermit> {
        let kib = limits::answer_kib(request);
        let bulk = is_bulk(request).then_some((&self.bulk_room, kib.min(BULK_ANSWERS_KIB)));
        Self::take(bulk, (&self.room, kib.min(ANSWERS_KIB))).await
    }

    async fn take(bulk: Option<(&Arc<Semaphore>, usize)>, all: (&Arc<Semaphore>, usize)) -> Vec<OwnedSemaphorePermit> {
        let mut taken = Vec::with_capacity(2);
        for (semaphore, n) in bulk.into_iter().chain([all]) {
            taken.push(semaphore.clone().acquire_many_owned(n as u32).await.expect("never closed"));
        }
        taken
    }
}

fn is_bulk(request: &Request) -> bool {
    matches!(request, Request::Embed { priority: Priority::Bulk, .. })
}

/// One request, as it was read.
struct Asked {
    id: u64,
    peer: Arc<Peer>,
    envelope: Envelope,
    body: Vec<u8>,
    cancelled: Arc<AtomicBool>,
    began: Instant,
    /// Its texts are counted, or too many wait.
    admitted: Result<Waiting, Fault>,
    held: Arc<Held>,
}

async fn answer(
    daemon: Arc<Daemon>,
    asked: Asked,
    permits: Arc<Permits>,
    outbox: mpsc::Sender<Outgoing>,
    flags: Flags,
) {
    let Asked { id, peer, envelope, body, cancelled, began, admitted, held } = asked;
    let sort = Sort::of(&envelope.request);
    let (progress, watching) = watch::channel(Progress::default());
    let leaving =
        *daemon.leaving.borrow() && !matches!(envelope.request, Request::Status | Request::Ping | Request::Shutdown);
    let outcome = if leaving {
        Err(Fault::new(Code::Leaving, "the daemon is leaving"))
    } else {
        // Who only asks how things are does not queue behind work.
        let quick =
            matches!(envelope.request, Request::Hello { .. } | Request::Ping | Request::Status | Request::Shutdown);
        let call = Call { peer, request: envelope.request, body, cancelled: cancelled.clone(), progress };
        let handling = async {
            let waiting = admitted?;
            let place = if quick { Vec::new() } else { permits.place(&call.request).await };
            let _ = held.answer.set(permits.room(&call.request).await);
            if call.cancelled.load(Ordering::Relaxed) {
                return Err(Fault::new(Code::Cancelled, "the request was cancelled"));
            }
            // A task of its own, so that a panic is this caller's fault only. What the work uses is free when it has
            // ended, not when its caller gives up.
            let (daemon, used) = (daemon.clone(), (waiting, place, held.clone()));
            let work = async move {
                let _used = used;
                daemon.handle(call).await
            };
            tokio::spawn(work)
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
    daemon.metrics.answered(sort, outcome.as_ref().err(), began.elapsed());
    let outgoing = match outcome {
        Ok((response, payload)) => {
            codec::encode(&response).map(|control| Outgoing { payload, ..Outgoing::plain(Kind::Response, id, control) })
        }
        Err(fault) => {
            daemon.faults.fetch_add(1, Ordering::Relaxed);
            codec::encode(&fault).map(|control| Outgoing::plain(Kind::Fault, id, control))
        }
    };
    let outgoing = outgoing.or_else(|error| {
        let fault =
            Fault::new(Code::TooLarge, format!("the answer is too large: {error}")).hint("ask for less at once");
        codec::encode(&fault).map(|control| Outgoing::plain(Kind::Fault, id, control))
    });
    if let Ok(outgoing) = outgoing {
        let _ = outbox.send(Outgoing { _held: Some(held), ..outgoing }).await;
    }
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
            let _ = outbox.try_send(Outgoing::plain(Kind::Progress, id, control));
        }
        if let Some(done) = done {
            return done;
        }
        sent = progress;
        last = tokio::time::Instant::now();
    }
}
