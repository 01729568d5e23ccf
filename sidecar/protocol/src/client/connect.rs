//! From an endpoint to a connection that is ready for requests.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use super::Client;
use super::frames::{read, write};
use super::keepalive::watch_over;
use super::shared::{Reply, Shared, unexpected, unresponsive};
use crate::codec::{Preamble, Purpose};
use crate::connection::{self, Connection, Payload, Transport};
use crate::endpoint::Endpoint;
use crate::message::{Code, Fault, Request, Response};

/// How long a daemon may take to accept and introduce itself.
const GREETING: Duration = Duration::from_secs(5);

/// How long an older daemon may take to finish and leave. Longer than its own limit.
const HAND_OVER: Duration = Duration::from_secs(15);

/// A port may belong to anybody by now, and the answer of a daemon of ours is never far away.
const TCP_GREETING: Duration = Duration::from_secs(2);

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
}

/// The connection's task, from start to end.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end();
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
