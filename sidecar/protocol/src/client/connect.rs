//! From an endpoint to a connection that is ready for requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use super::Client;
use super::frames::{receive, send};
use super::keepalive::ping_while_waiting;
use super::shared::{Reply, Shared, unresponsive};
use crate::codec::{Preamble, Purpose};
use crate::connection::{self, Connection, Payload, Transport};
use crate::endpoint::Endpoint;
use crate::message::{Code, Fault, Request, Response};

/// How long a daemon may take to accept a connection and answer the preamble, and again to answer Hello.
const GREETING: Duration = Duration::from_secs(5);

/// How long an older daemon may take to finish and exit. Longer than the limit that it sets itself.
const HAND_OVER: Duration = Duration::from_secs(15);

/// How long the answer to a preamble may take on a TCP port that may belong to another program by now.
const TCP_GREETING: Duration = Duration::from_secs(2);

/// Frames that wait to be sent; a call with more waits.
const OUTBOX_FRAMES: usize = 64;

impl Client {
    /// Connects to the daemon at `endpoint` and exchanges preambles and Hello. `who` is the caller's name and version, e.g.
    /// "offheap-node 0.1.0".
    ///
    /// Errors: [`Code::DaemonNotRunning`] where no daemon is there and nothing was asked, so that a daemon can be started and
    /// the call repeated; [`Code::SocketsRefused`], [`Code::DaemonUnresponsive`], [`Code::ClientTooOld`],
    /// [`Code::DaemonTooOld`], [`Code::Forbidden`], [`Code::Protocol`].
    pub async fn connect(endpoint: &Endpoint, who: &str) -> Result<Self, Fault> {
        let opened = tokio::time::timeout(GREETING, open(endpoint, false)).await.map_err(|_| unresponsive())?;
        Self::say_hello(opened?.0, who).await
    }

    /// Like [`connect`](Self::connect), for a caller that may start a daemon: a daemon of an older version is asked to exit
    /// first.
    ///
    /// Errors: those of `connect`. [`Code::DaemonNotRunning`] also means that an older daemon has exited.
    pub async fn connect_or_replace(endpoint: &Endpoint, who: &str) -> Result<Self, Fault> {
        let opened = tokio::time::timeout(GREETING, open(endpoint, true)).await.map_err(|_| unresponsive())?;
        let (connection, theirs) = opened?;
        let ours = Preamble::ours();
        let common = ours.common(&theirs).is_some();
        if !ours.is_newer_than(&theirs) {
            return if common { Self::say_hello(connection, who).await } else { Err(other_version(&theirs)) };
        }
        drop(connection);
        match hand_over(endpoint).await? {
            true => Err(Fault::new(
                Code::DaemonNotRunning,
                format!("the daemon of version {} stopped to make room for this newer version", theirs.build_name()),
            )),
            // The daemon refused, or another client has replaced it meanwhile. An older daemon is better than an error.
            false if common => Self::connect(endpoint, who).await,
            false => Err(Fault::new(Code::DaemonNotRunning, "another version of the daemon was started meanwhile")),
        }
    }

    /// Runs `command` as a private daemon, which speaks the protocol on its standard input and output and exits when the
    /// last clone of this client is dropped. `who` as in [`connect`](Self::connect).
    ///
    /// Errors: [`Code::DaemonStartFailed`], [`Code::DaemonUnresponsive`].
    pub async fn standalone(command: std::process::Command, who: &str) -> Result<Self, Fault> {
        let program = command.get_program().to_string_lossy().into_owned();
        let failed = |why: String| Fault::new(Code::DaemonStartFailed, format!("cannot run `{program}`: {why}"));
        let mut connection = connection::private_child(command).await.map_err(|error| failed(error.to_string()))?;
        let greeted = tokio::time::timeout(GREETING, connection.greet(Purpose::Talk)).await;
        let theirs = greeted.map_err(|_| unresponsive())?.map_err(|error| failed(error.to_string()))?;
        if Preamble::ours().common(&theirs).is_none() {
            return Err(failed("it speaks another protocol".to_owned()).hint("install offheap again"));
        }
        Self::say_hello(connection, who).await
    }

    /// Starts the tasks of a connection whose preambles were exchanged, and sends Hello.
    async fn say_hello(connection: Connection, who: &str) -> Result<Self, Fault> {
        let (transport, peer_pid) = (connection.transport(), connection.peer_pid());
        let Connection { reader, writer, .. } = connection;
        let (outbox, inbox) = mpsc::channel(OUTBOX_FRAMES);
        let shared = Arc::new(Shared::new());
        let end = EndOnDrop(shared.clone());
        let pings = outbox.downgrade();
        tokio::spawn(async move {
            // The first to return ends the connection.
            tokio::select! {
                () = send(writer, inbox) => {}
                () = receive(reader, end.0.clone()) => {}
                () = ping_while_waiting(&end.0, pings) => {}
            }
        });
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let mut client = Client { shared, outbox, number, version: String::new(), transport, peer_pid };
        let hello = Request::Hello { client: who.to_owned() };
        match client.call(hello, Payload::None, Some(GREETING), None).await {
            Ok(Reply { response: Response::Hello { version, .. }, .. }) => client.version = version,
            Ok(other) => return Err(other.response.unexpected()),
            Err(fault) if matches!(fault.code, Code::DaemonLost | Code::Leaving) => return Err(stopped()),
            Err(fault) if fault.code == Code::Timeout => return Err(unresponsive()),
            Err(fault) => return Err(fault),
        }
        Ok(client)
    }
}

/// Ends a connection when its task does. By `Drop`, because a runtime that is shut down drops its tasks, and calls that
/// wait must fail then too.
struct EndOnDrop(Arc<Shared>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Connects and exchanges preambles; gives the connection and the daemon's preamble. Fails where there is no common protocol,
/// unless the caller may replace the daemon.
async fn open(endpoint: &Endpoint, may_replace: bool) -> Result<(Connection, Preamble), Fault> {
    let (connection, theirs) = greet(endpoint, Purpose::Talk, may_replace).await?;
    match Preamble::ours().common(&theirs) {
        None if !may_replace => Err(other_version(&theirs)),
        _ => Ok((connection, theirs)),
    }
}

/// The fault where nothing was asked yet, because the daemon exited between accepting the connection and answering.
fn stopped() -> Fault {
    Fault::new(Code::DaemonNotRunning, "the daemon stopped while this client was connecting")
}

/// The fault for a daemon that shares no protocol with this build.
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

/// Connects and exchanges preambles; gives the connection and the daemon's preamble.
///
/// A TCP port file may be stale and its port reused: an unexpected answer counts as "not running" if the lock is free. With
/// `may_start` it always does, because a daemon that is started looks at the lock itself.
async fn greet(endpoint: &Endpoint, purpose: Purpose, may_start: bool) -> Result<(Connection, Preamble), Fault> {
    if endpoint.dir().exists() {
        endpoint.prepare_dir()?; // refuses a directory that other users control
    }
    let mut connection = connection::connect(endpoint).await.map_err(|error| cannot_connect(endpoint, &error))?;
    let may_be_stale = connection.transport() == Transport::Tcp && (may_start || is_unlocked(endpoint));
    let greeting = connection.greet(purpose);
    let greeted = match may_be_stale {
        true => tokio::time::timeout(TCP_GREETING, greeting).await.map_err(|_| not_running(endpoint))?,
        false => greeting.await,
    };
    let theirs = greeted.map_err(|error| match error {
        // Also where the connection was never accepted, because the backlog was full.
        connection::Error::Io(_) => stopped(),
        _ if may_be_stale => not_running(endpoint),
        connection::Error::Foreign => Fault::new(Code::Forbidden, error.to_string()),
        other => Fault::new(Code::Protocol, other.to_string())
            .hint("another program listens there; set OFFHEAP_RUNTIME_DIR to a directory of its own"),
    })?;
    Ok((connection, theirs))
}

fn cannot_connect(endpoint: &Endpoint, error: &std::io::Error) -> Fault {
    if connection::is_refusal(error) {
        return Fault::new(Code::SocketsRefused, format!("cannot use `{}`: {error}", endpoint.socket().display()))
            .hint("allow local sockets in that directory, or set OFFHEAP_RUNTIME_DIR to one where they are allowed");
    }
    if error.get_ref().is_some_and(|inner| inner.is::<connection::Error>()) {
        return Fault::new(Code::Forbidden, error.to_string());
    }
    not_running(endpoint)
}

fn not_running(endpoint: &Endpoint) -> Fault {
    Fault::new(Code::DaemonNotRunning, format!("no daemon answers at `{}`", endpoint.socket().display()))
}

/// Whether no daemon holds the endpoint's lock. Takes it for a moment only, and shared, so that a daemon that starts is not
/// kept out.
fn is_unlocked(endpoint: &Endpoint) -> bool {
    std::fs::File::open(endpoint.lock()).is_ok_and(|lock| lock.try_lock_shared().is_ok())
}

/// Asks an older daemon to exit and waits until it has; `false` where it refuses.
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
