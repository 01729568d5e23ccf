//! One request from its frame to its answer: waits for its permits, runs, reports progress, is encoded.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use offheap_protocol::codec::{self, Envelope, Kind};
use offheap_protocol::connection::Payload;
use offheap_protocol::message::{Priority, Progress, Request, Response, SearchMode};
use offheap_protocol::{Code, Fault};
use tokio::sync::{mpsc, watch};

use super::limits::{self, Peer, Waiting};
use super::metrics::RequestKind;
use super::permits::{Held, Outgoing, Permits};
use super::requests::Call;
use super::state::Daemon;
use crate::log::{self, Origin, debug, error};

/// Progress frames come at most this often.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// Progress frames come at least this often, also while nothing changes.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// A request as it was read.
pub struct Incoming {
    /// Its number, chosen by the client.
    pub id: u64,
    /// The connection that it came from.
    pub peer: Arc<Peer>,
    /// The request and its deadline.
    pub envelope: Envelope,
    /// What followed the message.
    pub body: Vec<u8>,
    /// Set when the client cancels it or is gone.
    pub cancelled: Arc<AtomicBool>,
    /// When it was read.
    pub began: Instant,
    /// Its texts are counted as waiting, or the fault that says that too many wait.
    pub admitted: Result<Waiting, Fault>,
    /// What it holds until its answer is written.
    pub held: Arc<Held>,
}

/// Does what a request asks and sends the answer or the fault.
///
/// `forget` is called when the work has ended and before its answer is sent: from then on the request's number is free.
pub async fn answer(
    daemon: Arc<Daemon>,
    incoming: Incoming,
    permits: Arc<Permits>,
    outbox: mpsc::Sender<Outgoing>,
    forget: impl FnOnce(),
) {
    let Incoming { id, peer, envelope, body, cancelled, began, admitted, held } = incoming;
    let kind = RequestKind::of(&envelope.request);
    let name = name(&envelope.request);
    debug!("{name} begins");
    let (progress, watching) = watch::channel(Progress::default());
    let call = Call { peer, request: envelope.request, body, cancelled: cancelled.clone(), progress };
    let outcome = if *daemon.leaving.borrow() && !is_answered_while_leaving(&call.request) {
        Err(Fault::new(Code::Leaving, "the daemon is leaving"))
    } else {
        let working = run(daemon.clone(), call, admitted, permits, held.clone());
        let working = with_progress(working, watching, id, &outbox);
        within(envelope.deadline_ms, working, &cancelled).await
    };
    forget();
    log_end(name, &outcome, began.elapsed());
    daemon.metrics.answered(kind, outcome.as_ref().err(), began.elapsed());
    if outcome.is_err() {
        daemon.faults.fetch_add(1, Ordering::Relaxed);
    }
    if let Some(outgoing) = encode(id, outcome) {
        let _ = outbox.send(Outgoing { held: Some(held), ..outgoing }).await;
    }
}

/// What a request is called in the log: what it does, and nothing of what it asks.
fn name(request: &Request) -> &'static str {
    match request {
        Request::Hello { .. } => "hello",
        Request::Ping => "ping",
        Request::Embed { priority: Priority::Interactive, .. } => "embed",
        Request::Embed { priority: Priority::Bulk, .. } => "embed, bulk",
        Request::Index { rebuild: false, .. } => "index",
        Request::Index { rebuild: true, .. } => "index, rebuilding",
        Request::Search(search) => match search.mode {
            SearchMode::Hybrid => "search, hybrid",
            SearchMode::Semantic => "search, semantic",
            SearchMode::Text => "search, text",
            SearchMode::Regex => "search, regex",
            SearchMode::Symbol => "search, symbol",
        },
        Request::Status => "status",
        Request::ClearCache { .. } => "clear cache",
        Request::Shutdown => "shutdown",
    }
}

fn log_end(name: &str, outcome: &Result<(Response, Payload), Fault>, took: Duration) {
    let ms = took.as_secs_f64() * 1e3;
    match outcome {
        Ok(_) => debug!("{name} ends after {ms:.1} ms: ok"),
        // A bug of ours, whoever asked.
        Err(fault) if fault.code == Code::Internal => error!("{name} ends after {ms:.1} ms: {}", fault.code),
        Err(fault) => debug!("{name} ends after {ms:.1} ms: {}", log::Masked(fault)),
    }
}

fn is_answered_while_leaving(request: &Request) -> bool {
    matches!(request, Request::Status | Request::Ping | Request::Shutdown)
}

/// Whether a request waits for no place: questions about the daemon itself do not queue behind work.
fn is_quick(request: &Request) -> bool {
    matches!(request, Request::Hello { .. } | Request::Ping | Request::Status | Request::Shutdown)
}

/// Waits for the request's permits and runs it, as a task of its own: a panic is this caller's fault only, and what the work
/// uses is free when the work has ended, not when the caller gives up.
async fn run(
    daemon: Arc<Daemon>,
    call: Call,
    admitted: Result<Waiting, Fault>,
    permits: Arc<Permits>,
    held: Arc<Held>,
) -> Result<(Response, Payload), Fault> {
    let waiting = admitted?;
    let place = if is_quick(&call.request) { Vec::new() } else { permits.place(&call.request).await };
    held.add_room(permits.room(&call.request).await);
    if call.cancelled.load(Ordering::Relaxed) {
        return Err(Fault::new(Code::Cancelled, "the request was cancelled"));
    }
    let used = (waiting, place, held);
    let origin = log::origin().unwrap_or(Origin { connection: call.peer.id, request: None });
    let work = async move {
        let _used = used;
        daemon.handle(call).await
    };
    let work = log::traced(origin, work);
    tokio::spawn(work).await.unwrap_or_else(|_| Err(limits::panicked()))
}

/// Waits for `working` until the request's deadline; 0 ms is no deadline.
async fn within<T>(
    deadline_ms: u32,
    working: impl Future<Output = Result<T, Fault>>,
    cancelled: &AtomicBool,
) -> Result<T, Fault> {
    if deadline_ms == 0 {
        return working.await;
    }
    tokio::time::timeout(Duration::from_millis(deadline_ms.into()), working).await.unwrap_or_else(|_| {
        cancelled.store(true, Ordering::Relaxed);
        Err(Fault::new(Code::Timeout, format!("no answer within {deadline_ms} ms")))
    })
}

/// The frame for an outcome. An answer that fits no frame becomes a fault.
fn encode(id: u64, outcome: Result<(Response, Payload), Fault>) -> Option<Outgoing> {
    let encoded = match outcome {
        Ok((response, payload)) => {
            codec::encode(&response).map(|control| Outgoing { payload, ..Outgoing::plain(Kind::Response, id, control) })
        }
        Err(fault) => codec::encode(&fault).map(|control| Outgoing::plain(Kind::Fault, id, control)),
    };
    let too_large = |error| {
        let fault = Fault::new(Code::TooLarge, format!("the answer is too large: {error}"));
        let control = codec::encode(&fault.hint("ask for less at once"));
        control.map(|control| Outgoing::plain(Kind::Fault, id, control))
    };
    encoded.or_else(too_large).ok()
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
    let mut is_over = false;
    let mut sent = Progress::default();
    loop {
        let changed = async {
            tokio::select! {
                changed = watching.changed(), if !is_over => { is_over |= changed.is_err(); }
                () = tokio::time::sleep(HEARTBEAT) => {}
            }
            tokio::time::sleep_until(last + PROGRESS_EVERY).await;
        };
        let done = tokio::select! {
            biased;
            done = &mut work => Some(done),
            () = changed => None,
        };
        // Only index runs report progress. Their last state is sent too, however short the run was.
        let progress = watching.borrow_and_update().clone();
        let is_due = done.is_none() || progress != sent;
        if is_due
            && progress != Progress::default()
            && let Ok(control) = codec::encode(&progress)
        {
            let _ = outbox.try_send(Outgoing::plain(Kind::Progress, id, control)); // a newer one follows a lost one
        }
        if let Some(done) = done {
            return done;
        }
        sent = progress;
        last = tokio::time::Instant::now();
    }
}
