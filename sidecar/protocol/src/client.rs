//! Many requests in flight on one connection.
//!
//! A reader task hands frames to the callers that wait for their ids; a writer task sends. When the connection
//! ends, every waiter fails at once. Nothing here starts a daemon: that is the edge's business
//! (`sidecar/start.js` for Node, `sidecar/src/start.rs` for the command line).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::codec::{self, Envelope, Kind, MAX_TEXTS_BODY, Preamble, Purpose};
use crate::connection::{self, Body, Connection, FrameReader, FrameWriter, Payload, Transport};
use crate::endpoint::Endpoint;
use crate::message::{Code, EmbedTiming, Fault, Priority, Progress, Request, Response, TextKind, Vectors};

/// How long a daemon may take to accept and introduce itself.
const GREETING: Duration = Duration::from_secs(5);

/// Longer than a deadline by this much is not waited: the daemon should have answered `TIMEOUT` itself.
const DEADLINE_GRACE: Duration = Duration::from_millis(250);

/// A daemon that owes an answer and says nothing for this long is asked whether it is still there,
const ASK_AFTER: Duration = Duration::from_secs(10);
/// and taken to be stopped when it does not answer that for this long. Pings are answered beside all work.
const GIVE_UP_AFTER: Duration = Duration::from_secs(20);

/// How long an older daemon may take to finish and leave. Longer than its own limit.
const HAND_OVER: Duration = Duration::from_secs(15);

/// A port may belong to anybody by now, and the answer of a daemon of ours is never far away.
const TCP_GREETING: Duration = Duration::from_secs(2);

/// How to embed.
#[derive(Clone, Copy, Debug)]
pub struct EmbedOptions {
    /// What the texts are to the model.
    pub kind: TextKind,
    /// Who waits for the answer.
    pub priority: Priority,
    /// See [`Request::Embed`].
    pub parse_specials: bool,
    /// See [`Request::Embed`].
    pub or_hash: bool,
    /// For the whole call.
    pub deadline: Option<Duration>,
}

/// A final answer.
#[derive(Debug)]
pub struct Reply {
    /// The message.
    pub response: Response,
    /// Rows of vectors, for [`Response::Vectors`].
    pub rows: Vec<f32>,
}

/// A connection that is ready for requests. Cheap to clone; closed when the last clone is dropped.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    outbox: mpsc::Sender<Outgoing>,
    number: u64,
    version: String,
    transport: Transport,
    peer_pid: Option<u32>,
}

struct Outgoing {
    kind: Kind,
    id: u64,
    control: Vec<u8>,
    payload: Payload,
}

struct Shared {
    waiting: Mutex<HashMap<u64, Waiter>>,
    next_id: AtomicU64,
    /// No new requests: the daemon is leaving or gone.
    over: AtomicBool,
    /// The daemon said that it is leaving.
    farewell: AtomicBool,
    /// Frames that came.
    heard: AtomicU64,
    /// A request was put in.
    asked: Notify,
    /// The connection has ended.
    gone: AtomicBool,
}

struct Waiter {
    answer: oneshot::Sender<Result<Reply, Fault>>,
    progress: Option<watch::Sender<Progress>>,
}

/// Takes its request back when the caller stops waiting.
struct Ticket<'a> {
    client: &'a Client,
    id: u64,
    done: bool,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if !self.done && self.client.shared.lock().remove(&self.id).is_some() {
            let cancel = Outgoing { kind: Kind::Cancel, id: self.id, control: Vec::new(), payload: Payload::None };
            // A full outbox means the daemon does not read; the end of the connection will tell it then.
            let _ = self.client.outbox.try_send(cancel);
        }
    }
}

impl Client {
    /// Connects, greets and says hello. `who` is shown in the daemon's status.
    ///
    /// [`Code::DaemonNotRunning`] means that nobody was there and nothing was asked: start one and try again.
    pub async fn connect(endpoint: &Endpoint, who: &str) -> Result<Self, Fault> {
        let opened = tokio::time::timeout(GREETING, open(endpoint, false)).await.map_err(|_| unresponsive())?;
        Self::over(opened?.0, who).await
    }

    /// The same, for a caller that may start a daemon: an older one is asked to leave first, which is then
    /// [`Code::DaemonNotRunning`] as well.
    pub async fn connect_or_replace(endpoint: &Endpoint, who: &str) -> Result<Self, Fault> {
        let opened = tokio::time::timeout(GREETING, open(endpoint, true)).await.map_err(|_| unresponsive())?;
        let (connection, theirs) = opened?;
        let ours = Preamble::ours();
        let common = ours.common(&theirs).is_some();
        if !ours.is_newer_than(&theirs) {
            return if common { Self::over(connection, who).await } else { Err(other_version(&theirs)) };
        }
        drop(connection);
        match hand_over(endpoint).await? {
            true => Err(Fault::new(
                Code::DaemonNotRunning,
                format!("the daemon, offheap {}, left for this newer version", theirs.build_name()),
            )),
            // It does not want to, or somebody else was faster. Talking is better than insisting.
            false if common => Self::connect(endpoint, who).await,
            false => Err(Fault::new(Code::DaemonNotRunning, "another version took the endpoint meanwhile")),
        }
    }

    /// A private daemon: `command` speaks the protocol on its standard streams and ends with this client.
    pub async fn standalone(command: std::process::Command, who: &str) -> Result<Self, Fault> {
        let program = command.get_program().to_string_lossy().into_owned();
        let failed = |why: String| Fault::new(Code::DaemonStartFailed, format!("cannot run `{program}`: {why}"));
        let mut connection = connection::private_child(command).await.map_err(|error| failed(error.to_string()))?;
        let greeted = tokio::time::timeout(GREETING, connection.greet(Purpose::Talk)).await;
        let theirs = greeted.map_err(|_| unresponsive())?.map_err(|error| failed(error.to_string()))?;
        if Preamble::ours().common(&theirs).is_none() {
            return Err(failed("it speaks another protocol".to_owned()).hint("install offheap again"));
        }
        Self::over(connection, who).await
    }

    /// Says hello over a connection whose preambles were exchanged.
    async fn over(connection: Connection, who: &str) -> Result<Self, Fault> {
        let (transport, peer_pid) = (connection.transport(), connection.peer_pid());
        let Connection { reader, writer, .. } = connection;
        let (outbox, inbox) = mpsc::channel(64);
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            next_id: AtomicU64::new(1),
            over: AtomicBool::new(false),
            farewell: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            heard: AtomicU64::new(0),
            asked: Notify::new(),
        });
        // By `Drop`: a runtime that is shut down drops its tasks, and those who wait must hear of that too.
        let end = End(shared.clone());
        let pings = outbox.downgrade();
        tokio::spawn(async move {
            // Each end is the end: the daemon left or hangs, or the last `Client` was dropped.
            tokio::select! {
                () = write(writer, inbox) => {}
                () = read(reader, end.0.clone()) => {}
                () = watch_over(&end.0, pings) => {}
            }
        });
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let mut client = Client { shared, outbox, number, version: String::new(), transport, peer_pid };
        let hello = Request::Hello { client: who.to_owned() };
        match client.call(hello, Payload::None, Some(GREETING), None).await {
            Ok(Reply { response: Response::Hello { version, .. }, .. }) => client.version = version,
            Ok(other) => return Err(unexpected(&other.response)),
            // Still nothing was asked: the daemon left between accepting and answering.
            Err(fault) if matches!(fault.code, Code::DaemonLost | Code::Leaving) => {
                return Err(Fault::new(Code::DaemonNotRunning, "the daemon left while we connected"));
            }
            Err(fault) if fault.code == Code::Timeout => return Err(unresponsive()),
            Err(fault) => return Err(fault),
        }
        Ok(client)
    }

    /// The daemon's version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Tells this connection from every other of this process.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How the daemon is reached.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The daemon's process, where the system tells. Of this very connection: what a file says could be outdated.
    pub fn peer_pid(&self) -> Option<u32> {
        self.peer_pid
    }

    /// False once the daemon is leaving or gone: connect anew for further requests.
    pub fn is_usable(&self) -> bool {
        !self.shared.over.load(Ordering::Acquire)
    }

    /// True once the daemon's end of the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.gone.load(Ordering::Acquire)
    }

    /// True when the daemon's end went without a farewell: it crashed or was killed.
    pub fn has_crashed(&self) -> bool {
        self.is_closed() && !self.shared.farewell.load(Ordering::Acquire)
    }

    /// Asks the daemon to stop working on everything that was asked on this connection. The answers still come:
    /// mostly [`Code::Cancelled`].
    pub fn cancel_all(&self) {
        let ids: Vec<u64> = self.shared.lock().keys().copied().collect();
        for id in ids {
            let cancel = Outgoing { kind: Kind::Cancel, id, control: Vec::new(), payload: Payload::None };
            let _ = self.outbox.try_send(cancel);
        }
    }

    /// Asks one thing and waits. Dropping the future cancels the request in the daemon.
    pub async fn call(
        &self,
        request: Request,
        payload: Payload,
        deadline: Option<Duration>,
        progress: Option<watch::Sender<Progress>>,
    ) -> Result<Reply, Fault> {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let deadline_ms = deadline.map_or(0, |d| u32::try_from(d.as_millis()).unwrap_or(u32::MAX).max(1));
        let control = codec::encode(&Envelope { deadline_ms, request })
            .map_err(|error| Fault::new(Code::TooLarge, format!("the request is too large: {error}")))?;
        let (answer, answered) = oneshot::channel();
        self.shared.lock().insert(id, Waiter { answer, progress });
        let mut ticket = Ticket { client: self, id, done: false };
        // Looked at after the waiter is in: `end` sets `over` first, then fails every waiter it finds.
        if !self.is_usable() {
            return Err(lost());
        }
        self.shared.asked.notify_one();
        let heard = self.shared.heard.load(Ordering::Relaxed);
        let work = async {
            let outgoing = Outgoing { kind: Kind::Request, id, control, payload };
            self.outbox.send(outgoing).await.map_err(|_| lost())?;
            answered.await.unwrap_or_else(|_| Err(lost()))
        };
        let outcome = match deadline {
            None => work.await,
            Some(deadline) => match tokio::time::timeout(deadline + DEADLINE_GRACE, work).await {
                Ok(outcome) => outcome,
                // Not even its own word that the time is over, nor anything else since then.
                Err(_) if self.shared.heard.load(Ordering::Relaxed) == heard => return Err(unresponsive()),
                Err(_) => return Err(Fault::new(Code::Timeout, format!("no answer within {deadline:?}"))),
            },
        };
        ticket.done = true;
        outcome
    }

    /// Vectors for texts, in order: large requests travel as several, two of them in flight at a time.
    pub async fn embed(&self, texts: Vec<String>, options: EmbedOptions) -> Result<(Vectors, Vec<f32>), Fault> {
        let EmbedOptions { kind, priority, parse_specials, or_hash, deadline } = options;
        // One deadline for the call, however many requests it becomes.
        let until = deadline.map(|deadline| tokio::time::Instant::now() + deadline);
        let mut parts = split(texts)?.into_iter();
        let mut merged: Option<(Vectors, Vec<f32>)> = None;
        let call = |part: Option<Part>| async {
            let Some((lengths, body)) = part else { return Ok(None) };
            let request = Request::Embed { lengths, kind, priority, parse_specials, or_hash };
            let left = until.map(|until| until.saturating_duration_since(tokio::time::Instant::now()));
            let reply = self.call(request, Payload::Bytes(body), left, None).await?;
            match reply.response {
                Response::Vectors(vectors) => Ok(Some((vectors, reply.rows))),
                other => Err(unexpected(&other)),
            }
        };
        loop {
            let (first, second) = (parts.next(), parts.next());
            if first.is_none() {
                break;
            }
            let (first, second) = tokio::try_join!(call(first), call(second))?;
            for part in [first, second].into_iter().flatten() {
                match &mut merged {
                    None => merged = Some(part),
                    Some((vectors, rows)) => append(vectors, rows, part)?,
                }
            }
        }
        merged.ok_or_else(|| Fault::new(Code::InvalidArgument, "no texts were given"))
    }
}

/// Texts per request: small enough that a cancel or another caller's request is seen between two of them.
const TEXTS_PER_REQUEST: usize = 256;

/// One request's texts: their lengths, and their bytes end to end.
type Part = (Vec<u32>, Vec<u8>);

/// Lengths and bodies of requests that are small enough to interleave with others.
fn split(texts: Vec<String>) -> Result<Vec<Part>, Fault> {
    let mut parts: Vec<Part> = Vec::new();
    for (i, text) in texts.into_iter().enumerate() {
        if text.len() > codec::MAX_BODY as usize {
            let limit = codec::MAX_BODY;
            return Err(Fault::new(Code::TooLarge, format!("text {i} has {} bytes, the limit is {limit}", text.len())));
        }
        let fits =
            |(lengths, body): &Part| lengths.len() < TEXTS_PER_REQUEST && body.len() + text.len() <= MAX_TEXTS_BODY;
        if !parts.last().is_some_and(fits) {
            parts.push(Default::default());
        }
        let (lengths, body) = parts.last_mut().expect("one was pushed");
        lengths.push(text.len() as u32);
        body.extend_from_slice(text.as_bytes());
    }
    Ok(parts)
}

fn append(vectors: &mut Vectors, rows: &mut Vec<f32>, (more, more_rows): (Vectors, Vec<f32>)) -> Result<(), Fault> {
    if more.space != vectors.space {
        // The model was swapped between two parts: never hand out a mixture.
        return Err(Fault::new(Code::DaemonLost, "the model changed within the request"));
    }
    vectors.tokens.extend(more.tokens);
    vectors.truncated.extend(more.truncated);
    let (a, b) = (vectors.timing, more.timing);
    vectors.timing = EmbedTiming {
        queue_us: a.queue_us.max(b.queue_us),
        tokenise_us: a.tokenise_us + b.tokenise_us,
        model_us: a.model_us + b.model_us,
    };
    rows.extend_from_slice(&more_rows);
    Ok(())
}

/// The connection's task, from start to end.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Waiter>> {
        self.waiting.lock().expect("no code that panics runs under this lock")
    }

    /// Fails everybody that still waits.
    fn end(&self) {
        self.gone.store(true, Ordering::Release);
        self.fail(&lost());
    }

    fn fail(&self, fault: &Fault) {
        self.over.store(true, Ordering::Release);
        for (_, waiter) in self.lock().drain() {
            let _ = waiter.answer.send(Err(fault.clone()));
        }
    }
}

/// A connection whose preambles were exchanged, and the daemon's. Without a common protocol only a caller that may replace
/// the daemon gets it.
async fn open(endpoint: &Endpoint, may_replace: bool) -> Result<(Connection, Preamble), Fault> {
    let (connection, theirs) = greet(endpoint, Purpose::Talk, may_replace).await?;
    match Preamble::ours().common(&theirs) {
        None if !may_replace => Err(other_version(&theirs)),
        _ => Ok((connection, theirs)),
    }
}

fn other_version(theirs: &Preamble) -> Fault {
    let ours = Preamble::ours();
    let newer = theirs.is_newer_than(&ours);
    let fault = Fault::new(
        if newer { Code::ClientTooOld } else { Code::DaemonTooOld },
        format!(
            "the daemon is offheap {} and speaks protocol {} to {}, this is {} with {} to {}",
            theirs.build_name(),
            theirs.proto_min,
            theirs.proto_max,
            ours.build_name(),
            ours.proto_min,
            ours.proto_max
        ),
    );
    fault.hint(if newer {
        "another package on this machine uses a newer offheap: update this one, or stop the daemon with the newer `offheap stop`"
    } else {
        "the next call that may start a daemon replaces it; or stop it with its own `offheap stop`"
    })
}

/// Whoever is found behind a port that is not ours to know is nobody where the lock is free: the file that names the port is
/// left over then. `may_start`: nobody in any case; the start meets the lock.
async fn greet(endpoint: &Endpoint, purpose: Purpose, may_start: bool) -> Result<(Connection, Preamble), Fault> {
    if endpoint.dir().exists() {
        endpoint.prepare_dir()?; // never talk through a directory that others control
    }
    let nobody =
        || Fault::new(Code::DaemonNotRunning, format!("no daemon answers at `{}`", endpoint.socket().display()));
    let mut connection = connection::connect(endpoint).await.map_err(|error| {
        if connection::is_refusal(&error) {
            return Fault::new(Code::SocketsRefused, format!("cannot use `{}`: {error}", endpoint.socket().display()))
                .hint(
                    "allow local sockets in that directory, or set OFFHEAP_RUNTIME_DIR to one where they are allowed",
                );
        }
        if error.get_ref().is_some_and(|inner| inner.is::<connection::Error>()) {
            return Fault::new(Code::Forbidden, error.to_string());
        }
        nobody()
    })?;
    let doubtful = connection.transport() == Transport::Tcp && (may_start || is_free(endpoint));
    let greeting = connection.greet(purpose);
    let greeted = match doubtful {
        true => tokio::time::timeout(TCP_GREETING, greeting).await.map_err(|_| nobody())?,
        false => greeting.await,
    };
    let theirs = greeted.map_err(|error| match error {
        // It left between accepting and greeting, or the connection never came about (full backlog).
        connection::Error::Io(_) => Fault::new(Code::DaemonNotRunning, "the daemon left while we connected"),
        _ if doubtful => nobody(),
        connection::Error::Foreign => Fault::new(Code::Forbidden, error.to_string()),
        other => Fault::new(Code::Protocol, other.to_string())
            .hint("something else listens there; set OFFHEAP_RUNTIME_DIR to a directory of its own"),
    })?;
    Ok((connection, theirs))
}

/// Whether no daemon holds the endpoint's lock. Looked at in passing, and shared, so that nobody who starts is kept out.
fn is_free(endpoint: &Endpoint) -> bool {
    std::fs::File::open(endpoint.lock()).is_ok_and(|lock| lock.try_lock_shared().is_ok())
}

/// Asks an older daemon to leave and waits until it has; `false` where it does not.
async fn hand_over(endpoint: &Endpoint) -> Result<bool, Fault> {
    let asking = async {
        let (mut connection, answer) = greet(endpoint, Purpose::HandOver, true).await?;
        let granted = answer.purpose == Purpose::HandOver;
        if granted {
            connection.end_of_peer().await;
        }
        Ok(granted)
    };
    tokio::time::timeout(HAND_OVER, asking).await.map_err(|_| unresponsive())?
}

/// Returns when a daemon that owes an answer is not there any more although its connection is.
async fn watch_over(shared: &Shared, outbox: mpsc::WeakSender<Outgoing>) {
    let heard = || shared.heard.load(Ordering::Relaxed);
    loop {
        shared.asked.notified().await;
        while !shared.lock().is_empty() {
            let before = heard();
            tokio::time::sleep(ASK_AFTER).await;
            if heard() != before || shared.lock().is_empty() {
                continue;
            }
            let ping = Envelope { deadline_ms: 0, request: Request::Ping };
            let control = codec::encode(&ping).expect("a ping is small");
            let Some(sender) = outbox.upgrade() else { return };
            let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
            // A full outbox says the same: nothing is read there.
            let _ = sender.try_send(Outgoing { kind: Kind::Request, id, control, payload: Payload::None });
            drop(sender);
            tokio::time::sleep(GIVE_UP_AFTER).await;
            if heard() == before && !shared.lock().is_empty() {
                shared.fail(&unresponsive());
                return;
            }
        }
    }
}

async fn write(mut writer: FrameWriter, mut inbox: mpsc::Receiver<Outgoing>) {
    while let Some(Outgoing { kind, id, control, payload }) = inbox.recv().await {
        if writer.send(kind, id, &control, &payload).await.is_err() {
            // What the daemon sent before it left, a farewell perhaps, is still to be read; the reader meets the end.
            std::future::pending::<()>().await;
        }
    }
}

async fn read(mut reader: FrameReader, shared: Arc<Shared>) {
    // A clean end, a broken connection and a malformed frame are the same to those who wait: no answer came.
    while let Ok(Some(frame)) = reader.next(true).await {
        let id = frame.header.id;
        shared.heard.fetch_add(1, Ordering::Relaxed);
        let outcome = match frame.header.kind {
            Kind::Progress => {
                if let (Ok(progress), Some(waiter)) = (codec::decode(&frame.control), shared.lock().get(&id))
                    && let Some(sender) = &waiter.progress
                {
                    sender.send_replace(progress);
                }
                continue;
            }
            Kind::GoingAway => {
                // What is in flight will still be answered.
                shared.farewell.store(true, Ordering::Release);
                shared.over.store(true, Ordering::Release);
                continue;
            }
            Kind::Response => codec::decode(&frame.control).map(|response| {
                let rows = match frame.body {
                    Body::Floats(rows) => rows,
                    _ => Vec::new(),
                };
                Ok(Reply { response, rows })
            }),
            Kind::Fault => codec::decode::<Fault>(&frame.control).map(Err),
            Kind::Request | Kind::Cancel => break,
        };
        let outcome = outcome.unwrap_or_else(|error| Err(Fault::new(Code::Protocol, error.to_string())));
        if let Some(waiter) = shared.lock().remove(&id) {
            let _ = waiter.answer.send(outcome);
        }
    }
}

fn lost() -> Fault {
    Fault::new(Code::DaemonLost, "the connection to the daemon broke")
}

fn unresponsive() -> Fault {
    Fault::new(Code::DaemonUnresponsive, "the daemon accepts connections and does not answer")
        .hint("it may be stopped (SIGSTOP, a debugger) or stuck; `offheap restart --force` ends it and starts another")
}

fn unexpected(response: &Response) -> Fault {
    let name = format!("{response:?}");
    let name = name.split([' ', '(']).next().unwrap_or_default();
    Fault::new(Code::Protocol, format!("the daemon answered with `{name}`, which is not an answer to this request"))
}
