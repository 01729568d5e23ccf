//! Connections between two processes, as whole frames.
//!
//! A connection runs over a local socket (a Unix domain socket or a Windows named pipe). Where the system refuses those, it
//! runs over loopback TCP with a secret, or over the standard streams of a private daemon. The files of `connection/` and
//! `client/` are the only ones that use tokio and interprocess.

mod frame;
mod local;
#[cfg(windows)]
pub mod named_pipe;
mod stdio;
mod tcp;

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::codec::{self, Preamble, Purpose};
use crate::endpoint::Endpoint;

pub use frame::{Body, Frame, FrameReader, FrameWriter, Payload};
pub use stdio::{private_child, standard_streams};

/// Why a connection failed. A peer that closes it between two frames is not an error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The transport failed, the peer closed the connection within a frame, or it took too long to complete one
    /// ([`io::ErrorKind::TimedOut`]).
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// The bytes are not a frame of this protocol.
    #[error(transparent)]
    Codec(#[from] codec::Error),
    /// The peer's first bytes are not a preamble.
    #[error("the peer is not offheap")]
    NotOffheap,
    /// There is no protocol version that both sides speak.
    #[error("the peer speaks protocol {theirs_min} to {theirs_max}, this build {ours_min} to {ours_max}")]
    Version {
        /// Oldest version that the peer speaks.
        theirs_min: u16,
        /// Newest version that the peer speaks.
        theirs_max: u16,
        /// Oldest version that this build speaks.
        ours_min: u16,
        /// Newest version that this build speaks.
        ours_max: u16,
    },
    /// A body that should be vectors has a length, bytes, that is not a multiple of four.
    #[error("a body of {0} bytes cannot be rows of 32-bit floats")]
    OddBody(u32),
    /// The peer runs as another user, or does not know the secret of a TCP connection.
    #[error("the peer runs as another user")]
    Foreign,
}

/// How two processes are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// The endpoint's Unix domain socket or named pipe.
    Local,
    /// Loopback TCP, where the system refuses local sockets.
    Tcp,
    /// The standard streams of a private daemon, where the system refuses TCP as well.
    Pipes,
}

impl Transport {
    /// The name in JSON, JavaScript and logs: "local", "tcp" or "standalone".
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Local => "local",
            Transport::Tcp => "tcp",
            Transport::Pipes => "standalone",
        }
    }
}

/// Both directions of one connection.
pub struct Connection {
    /// Reads the peer's frames.
    pub reader: FrameReader,
    /// Sends frames to the peer.
    pub writer: FrameWriter,
    transport: Transport,
    peer_pid: Option<u32>,
    /// Exchanged before the preambles; taken then.
    secret: Option<tcp::Secret>,
    /// The daemon's end of a named pipe, whose client is checked once something was read from it; taken then.
    #[cfg(windows)]
    unchecked: Option<std::sync::Arc<named_pipe::Stream>>,
}

/// Connects to the daemon at `endpoint`. Sends nothing yet.
///
/// Errors: those of the system, and [`Error::Foreign`] (inside) where another user listens there. [`is_refusal`] tells that
/// the system allows no such connections.
pub async fn connect(endpoint: &Endpoint) -> io::Result<Connection> {
    match local::connect(endpoint).await {
        Ok(connection) => Ok(connection),
        // The TCP file exists only while a daemon could not bind a local socket.
        Err(error) => tcp::connect(endpoint).await.unwrap_or(Err(error)),
    }
}

/// Whether an error of [`Accept::bind`] or [`connect`] says that the system allows no local sockets here, as some sandboxes
/// do.
pub fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, Unsupported};
    matches!(error.kind(), PermissionDenied | Unsupported) || local::is_unknown_family(error)
}

/// The listening side of an endpoint. Only the process that holds the endpoint's lock may have one.
pub enum Accept {
    /// Listens at the endpoint's Unix domain socket or named pipe.
    Local(local::Listener),
    /// Listens at a port of loopback TCP.
    Tcp(tcp::Listener),
}

impl Accept {
    /// Listens at `endpoint`, over TCP where the system refuses local sockets. A stale socket file must be removed before.
    pub async fn bind(endpoint: &Endpoint) -> io::Result<Self> {
        match local::Listener::bind(endpoint) {
            Ok(listener) => Ok(Accept::Local(listener)),
            // Not for a name that is in use: the lock excludes other daemons, so that error must be reported.
            Err(error) if is_refusal(&error) => tcp::Listener::bind(endpoint).await.map(Accept::Tcp).map_err(|_| error),
            Err(error) => Err(error),
        }
    }

    /// Waits for the next connection. [`Connection::welcome`] must follow.
    pub async fn accept(&self) -> io::Result<Connection> {
        match self {
            Accept::Local(listener) => listener.accept().await,
            Accept::Tcp(listener) => listener.accept().await,
        }
    }

    /// What kind of connection is accepted.
    pub fn transport(&self) -> Transport {
        match self {
            Accept::Local(_) => Transport::Local,
            Accept::Tcp(_) => Transport::Tcp,
        }
    }
}

/// What a client wants from the daemon, once preambles were exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Welcome {
    /// To exchange frames, in this version of the protocol.
    Talk(u16),
    /// To replace this daemon by a newer one; it was told that the daemon agrees. The daemon must exit and keep the connection
    /// open until then, because the end of the connection tells the client that the endpoint is free.
    HandOver,
}

impl Connection {
    fn new(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
        transport: Transport,
    ) -> Self {
        Connection {
            reader: FrameReader::new(reader),
            writer: FrameWriter::new(writer),
            transport,
            peer_pid: None,
            secret: None,
            #[cfg(windows)]
            unchecked: None,
        }
    }

    /// How the two processes are connected.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The process id of the peer; `None` where the system does not tell. Over TCP, a client has it from the TCP file.
    pub fn peer_pid(&self) -> Option<u32> {
        self.peer_pid
    }

    /// The client's half of the greeting: proves that it knows the secret, if there is one, sends a preamble with `purpose`,
    /// and gives the daemon's preamble.
    ///
    /// Errors: [`Error::Io`], [`Error::NotOffheap`], [`Error::Foreign`]. Whether the versions fit is for the caller to check.
    pub async fn greet(&mut self, purpose: Purpose) -> Result<Preamble, Error> {
        if let Some(secret) = self.secret.take() {
            secret.show(self).await?;
        }
        self.send_preamble(purpose).await?;
        self.read_preamble().await
    }

    /// The daemon's half of the greeting: reads the client's preamble and answers it. Sends nothing to a client that has not
    /// shown the secret, if there is one.
    ///
    /// Errors: [`Error::Io`], [`Error::NotOffheap`], [`Error::Version`], [`Error::Foreign`].
    pub async fn welcome(&mut self) -> Result<Welcome, Error> {
        if let Some(secret) = self.secret.take() {
            secret.check(self).await?;
        }
        let (ours, theirs) = (Preamble::ours(), self.read_preamble().await?);
        #[cfg(windows)]
        if let Some(pipe) = self.unchecked.take()
            && !pipe.peer_is_us()?
        {
            return Err(Error::Foreign);
        }
        let hands_over = theirs.purpose == Purpose::HandOver && theirs.is_newer_than(&ours);
        self.send_preamble(if hands_over { Purpose::HandOver } else { Purpose::Talk }).await?;
        match ours.common(&theirs) {
            _ if hands_over => Ok(Welcome::HandOver),
            Some(version) => Ok(Welcome::Talk(version)),
            None => Err(Error::Version {
                theirs_min: theirs.proto_min,
                theirs_max: theirs.proto_max,
                ours_min: ours.proto_min,
                ours_max: ours.proto_max,
            }),
        }
    }

    async fn send_preamble(&mut self, purpose: Purpose) -> Result<(), Error> {
        let ours = Preamble { purpose, ..Preamble::ours() };
        Ok(self.writer.bytes(&ours.encode()).await?)
    }

    async fn read_preamble(&mut self) -> Result<Preamble, Error> {
        Preamble::decode(&self.reader.array().await?).ok_or(Error::NotOffheap)
    }

    /// Waits until the peer closes the connection, and ignores everything that it still sends.
    pub async fn end_of_peer(&mut self) {
        self.reader.drain().await;
    }
}
