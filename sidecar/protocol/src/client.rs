//! Many requests in flight on one connection.
//!
//! A reader task hands frames to the callers that wait for their ids; a writer task sends. When the connection
//! ends, every waiter fails at once. Nothing here starts a daemon: that is the edge's business
//! (`index.js` for Node, `sidecar/src/start.rs` for the command line).

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::codec::{self, Envelope, Kind, MAX_TEXTS_BODY};
use crate::connection::{self, Body, Connection, FrameReader, FrameWriter, Payload};
use crate::endpoint::Endpoint;
use crate::message::{Code, EmbedTiming, Fault, Priority, Progress, Request, Response, TextKind, Vectors};

/// How long a daemon may take to accept and introduce itself.
const GREETING: Duration = Duration::from_secs(5);

/// Longer than a deadline by this much, the daemon is taken to be stuck: it should have answered `TIMEOUT` itself.
const DEADLINE_GRACE: Duration = Duration::from_millis(250);

/// How to embed.
#[derive(Clone, Copy, Debug)]
pub struct EmbedOptions {
    /// What the texts are to the model.
    pub kind: TextKind,
    /// Who waits for the answer.
    pub priority: Priority,
    /// See [`Request::Embed`].
    pub parse_specials: bool,
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
    version: String,
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
        let unresponsive = || {
            Fault::new(Code::DaemonUnresponsive, format!("the daemon did not answer within {GREETING:?}"))
                .hint("look for a stopped or stuck `offheap` process and end it")
        };
        let connection = tokio::time::timeout(GREETING, open(endpoint)).await.map_err(|_| unresponsive())??;
        let Connection { reader, writer } = connection;
        let (outbox, inbox) = mpsc::channel(64);
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            next_id: AtomicU64::new(1),
            over: AtomicBool::new(false),
            gone: AtomicBool::new(false),
        });
        // By `Drop`: a runtime that is shut down drops its tasks, and those who wait must hear of that too.
        let end = End(shared.clone());
        tokio::spawn(async move {
            // Either end is the end: the daemon left, or the last `Client` was dropped.
            tokio::select! {
                () = write(writer, inbox) => {}
                () = read(reader, end.0.clone()) => {}
            }
        });
        let mut client = Client { shared, outbox, version: String::new() };
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

    /// False once the daemon is leaving or gone: connect anew for further requests.
    pub fn is_usable(&self) -> bool {
        !self.shared.over.load(Ordering::Acquire)
    }

    /// True once the daemon's end of the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.gone.load(Ordering::Acquire)
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
        let work = async {
            let outgoing = Outgoing { kind: Kind::Request, id, control, payload };
            self.outbox.send(outgoing).await.map_err(|_| lost())?;
            answered.await.unwrap_or_else(|_| Err(lost()))
        };
        let outcome = match deadline {
            None => work.await,
            Some(deadline) => match tokio::time::timeout(deadline + DEADLINE_GRACE, work).await {
                Ok(outcome) => outcome,
                Err(_) => return Err(Fault::new(Code::Timeout, format!("no answer within {deadline:?}"))),
            },
        };
        ticket.done = true;
        outcome
    }

    /// Vectors for texts, in order: large requests travel as several, two of them in flight at a time.
    pub async fn embed(&self, texts: Vec<String>, options: EmbedOptions) -> Result<(Vectors, Vec<f32>), Fault> {
        let EmbedOptions { kind, priority, parse_specials, deadline } = options;
        // One deadline for the call, however many requests it becomes.
        let until = deadline.map(|deadline| tokio::time::Instant::now() + deadline);
        let mut parts = split(texts)?.into_iter();
        let mut merged: Option<(Vectors, Vec<f32>)> = None;
        let call = |part: Option<Part>| async {
            let Some((lengths, body)) = part else { return Ok(None) };
            let request = Request::Embed { lengths, kind, priority, parse_specials };
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
        self.over.store(true, Ordering::Release);
        self.gone.store(true, Ordering::Release);
        for (_, waiter) in self.lock().drain() {
            let _ = waiter.answer.send(Err(lost()));
        }
    }
}

async fn open(endpoint: &Endpoint) -> Result<Connection, Fault> {
    let mut connection = connection::connect(endpoint).await.map_err(|error| {
        if error.kind() == io::ErrorKind::PermissionDenied {
            return Fault::new(Code::Forbidden, format!("cannot use `{}`: {error}", endpoint.socket().display()));
        }
        Fault::new(Code::DaemonNotRunning, format!("no daemon answers at `{}`", endpoint.socket().display()))
    })?;
    connection.greet().await.map_err(|error| match error {
        // It left between accepting and greeting, or the connection never came about (full backlog).
        connection::Error::Io(_) => Fault::new(Code::DaemonNotRunning, "the daemon left while we connected"),
        connection::Error::Foreign => Fault::new(Code::Forbidden, error.to_string()),
        other => Fault::new(Code::Protocol, other.to_string())
            .hint("stop the other version with its own `offheap stop`, or update this one"),
    })?;
    Ok(connection)
}

async fn write(mut writer: FrameWriter, mut inbox: mpsc::Receiver<Outgoing>) {
    while let Some(Outgoing { kind, id, control, payload }) = inbox.recv().await {
        if writer.send(kind, id, &control, &payload).await.is_err() {
            break;
        }
    }
}

async fn read(mut reader: FrameReader, shared: Arc<Shared>) {
    // A clean end, a broken connection and a malformed frame are the same to those who wait: no answer came.
    while let Ok(Some(frame)) = reader.next(true).await {
        let id = frame.header.id;
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

fn unexpected(response: &Response) -> Fault {
    let name = format!("{response:?}");
    let name = name.split([' ', '(']).next().unwrap_or_default();
    Fault::new(Code::Protocol, format!("the daemon answered with `{name}`, which is not an answer to this request"))
}
