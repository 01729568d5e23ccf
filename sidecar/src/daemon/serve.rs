//! One connection: greets the peer, then reads frames and starts the work that they ask for, many requests at a time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use offheap_protocol::codec::{self, Envelope, Kind};
use offheap_protocol::connection::{Body, Connection, Error, Frame, FrameReader, FrameWriter, Welcome};
use offheap_protocol::message::Request;
use tokio::sync::{mpsc, watch};

use super::answer::{Incoming, answer};
use super::clients::Connected;
use super::limits::{self, Peer};
use super::metrics::DropReason;
use super::permits::{Held, MAX_IN_FLIGHT, Outgoing, Permits};
use super::state::{Daemon, InFlight};
use crate::log::{self, Origin, debug, info, warn};
use crate::{UNPOISONED, config, failpoint};

/// A peer that connects and does not introduce itself within this time is dropped.
const GREETING: Duration = Duration::from_secs(5);

/// The cancellation flag of each request in flight, by request number.
type CancelFlags = Arc<Mutex<HashMap<u64, Arc<AtomicBool>>>>;

/// Why a connection ends.
enum End {
    /// The peer closed it, or takes no answers any more.
    Closed,
    /// The daemon drops it, for the reason that is counted and the one that is logged.
    Dropped(DropReason, String),
}

impl End {
    fn malformed(why: impl std::fmt::Display) -> Self {
        End::Dropped(DropReason::Malformed, format!("a connection is closed: {why}"))
    }
}

/// One connection's side of the daemon.
struct Session {
    daemon: Arc<Daemon>,
    peer: Arc<Peer>,
    permits: Arc<Permits>,
    cancel_flags: CancelFlags,
    outbox: mpsc::Sender<Outgoing>,
    /// The peer's name is counted, from its `Hello` on.
    connected: Option<Connected>,
    /// When a peer that has not is dropped.
    hello_by: tokio::time::Instant,
    leaving: watch::Receiver<bool>,
    /// The peer was told that the daemon is leaving.
    has_told_leaving: bool,
}

/// Serves a connection until its peer leaves, misbehaves, or the daemon leaves.
pub async fn serve(daemon: Arc<Daemon>, connection: Connection) {
    let peer = daemon.limits.connection();
    let origin = Origin { connection: peer.id, request: None };
    log::traced(origin, serve_peer(daemon, peer, connection)).await;
}

async fn serve_peer(daemon: Arc<Daemon>, peer: Arc<Peer>, mut connection: Connection) {
    if !greet(&daemon, &mut connection).await {
        return;
    }
    failpoint::pass("greeted");
    daemon.connections.fetch_add(1, Ordering::Relaxed);
    let Connection { mut reader, writer, .. } = connection;
    reader.stall_after(config::stall());
    let (outbox, inbox) = mpsc::channel::<Outgoing>(MAX_IN_FLIGHT);
    let origin = Origin { connection: peer.id, request: None };
    let writing = tokio::spawn(log::traced(origin, write(daemon.clone(), writer, inbox)));
    let mut session = Session {
        peer,
        permits: Arc::new(Permits::new()),
        cancel_flags: CancelFlags::default(),
        outbox,
        connected: None,
        hello_by: tokio::time::Instant::now() + GREETING,
        leaving: daemon.leaving.subscribe(),
        has_told_leaving: false,
        daemon: daemon.clone(),
    };
    let end = loop {
        let step = match session.next_frame(&mut reader).await {
            Ok(frame) => session.handle(frame).await,
            Err(end) => Err(end),
        };
        if let Err(end) = step {
            break end;
        }
    };
    if let End::Dropped(reason, why) = end {
        daemon.metrics.connection_dropped(reason);
        warn!("{why}");
    }
    // The answers to what is still in flight have no reader.
    session.cancel_flags.lock().expect(UNPOISONED).values().for_each(|flag| flag.store(true, Ordering::Relaxed));
    drop(session);
    let _ = writing.await;
    daemon.connections.fetch_sub(1, Ordering::Relaxed);
}

/// Exchanges the preambles. Says whether the peer and this daemon can talk.
async fn greet(daemon: &Daemon, connection: &mut Connection) -> bool {
    match tokio::time::timeout(GREETING, connection.welcome()).await {
        Ok(Ok(Welcome::Talk(_version))) => return true,
        Ok(Ok(Welcome::HandOver)) => {
            info!("a newer version takes over");
            daemon.begin_leaving();
            connection.end_of_peer().await; // the peer takes the end of this connection for the daemon's
        }
        Ok(Err(error)) => {
            if matches!(error, Error::NotOffheap) {
                daemon.metrics.connection_dropped(DropReason::Malformed);
            }
            warn!("a peer was refused: {error}");
        }
        Err(_) => {
            daemon.metrics.connection_dropped(DropReason::SlowSender);
            warn!("a peer sent no preamble in 5 s");
        }
    }
    false
}

impl Session {
    /// Reads the next frame. Meanwhile tells the peer, once, when the daemon leaves, and ends the connection if the peer does
    /// not say `Hello` in time or takes no answers.
    async fn next_frame(&mut self, reader: &mut FrameReader) -> Result<Frame, End> {
        // One future for the frame: dropping it half way would lose what it has read.
        let mut next = std::pin::pin!(reader.next(false));
        let frame = loop {
            tokio::select! {
                biased;
                () = async { drop(self.leaving.wait_for(|leaving| *leaving).await) }, if !self.has_told_leaving => {
                    self.has_told_leaving = true;
                    let _ = self.outbox.send(Outgoing::plain(Kind::GoingAway, 0, Vec::new())).await;
                }
                frame = &mut next => break frame,
                () = tokio::time::sleep_until(self.hello_by), if self.connected.is_none() => {
                    return Err(End::Dropped(DropReason::SlowSender, "a peer sent no Hello in 5 s".to_owned()));
                }
                () = self.outbox.closed() => return Err(End::Closed),
            }
        };
        match frame {
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => Err(End::Closed),
            Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::TimedOut => {
                let why = "a peer stopped within a frame and is dropped".to_owned();
                Err(End::Dropped(DropReason::SlowSender, why))
            }
            Err(Error::Io(error)) => {
                info!("a connection is closed: {error}");
                Err(End::Closed)
            }
            Err(error) => Err(End::malformed(error)),
        }
    }

    async fn handle(&mut self, frame: Frame) -> Result<(), End> {
        match frame.header.kind {
            Kind::Cancel => {
                if let Some(flag) = self.cancel_flags.lock().expect(UNPOISONED).get(&frame.header.id) {
                    flag.store(true, Ordering::Relaxed);
                }
                Ok(())
            }
            Kind::Request => self.accept_request(frame).await,
            kind => Err(End::malformed(format_args!("a client sent {kind:?}"))),
        }
    }

    /// Takes in a request and starts its work. Waits while the connection's budget is used up.
    async fn accept_request(&mut self, frame: Frame) -> Result<(), End> {
        let envelope: Envelope = codec::decode(&frame.control).map_err(End::malformed)?;
        match (&self.connected, &envelope.request) {
            (Some(_), _) => {}
            (None, Request::Hello { client }) => {
                let connected = self.daemon.clients.add(client);
                debug!("a connection of {}", connected.name());
                self.connected = Some(connected);
            }
            (None, _) => return Err(End::malformed("its first request is not Hello")),
        }
        failpoint::pass("request");
        let mut body = match frame.body {
            Body::Bytes(body) => body,
            _ => Vec::new(),
        };
        let id = frame.header.id;
        let cancelled = self.add_cancel_flag(id)?;
        let began = Instant::now();
        let admitted = self.daemon.limits.admit(&self.peer, body.len());
        if admitted.is_err() {
            body = Vec::new();
        }
        let kib = limits::request_kib(body.len()) as u32;
        let Some(budget) = self.permits.budget(kib, id, &self.outbox).await else { return Err(End::Closed) };
        let held = Arc::new(Held::new(budget, InFlight::begin(&self.daemon, &envelope.request)));
        let incoming = Incoming { id, peer: self.peer.clone(), envelope, body, cancelled, began, admitted, held };
        let (daemon, permits) = (self.daemon.clone(), self.permits.clone());
        let (outbox, cancel_flags) = (self.outbox.clone(), self.cancel_flags.clone());
        let origin = Origin { connection: self.peer.id, request: Some(id) };
        tokio::spawn(log::traced(origin, async move {
            answer(daemon, incoming, permits, outbox, || {
                cancel_flags.lock().expect(UNPOISONED).remove(&id);
            })
            .await;
        }));
        Ok(())
    }

    /// Registers a request, so that a Cancel right behind it finds it.
    fn add_cancel_flag(&self, id: u64) -> Result<Arc<AtomicBool>, End> {
        match self.cancel_flags.lock().expect(UNPOISONED).entry(id) {
            Entry::Vacant(free) => Ok(free.insert(Arc::new(AtomicBool::new(false))).clone()),
            Entry::Occupied(_) => Err(End::malformed(format_args!("request id {id} is in use"))),
        }
    }
}

/// Writes answers until the session and its requests have ended, or the peer stops reading.
async fn write(daemon: Arc<Daemon>, mut writer: FrameWriter, mut inbox: mpsc::Receiver<Outgoing>) {
    let patience = config::stall();
    while let Some(Outgoing { kind, id, control, payload, held: _held }) = inbox.recv().await {
        failpoint::pass("reply");
        match tokio::time::timeout(patience, writer.send(kind, id, &control, &payload)).await {
            Ok(Ok(())) => failpoint::pass("replied"),
            Ok(Err(_)) => break, // the peer left
            Err(_) => {
                daemon.metrics.connection_dropped(DropReason::SlowReader);
                warn!("a peer does not read its answers and is dropped");
                break;
            }
        }
    }
}
