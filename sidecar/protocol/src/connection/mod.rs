//! A transport as whole frames. The files of `connection/` and `client/` are the only ones that know tokio
//! and interprocess.
//!
//! The transport is a local socket; where the system refuses those, loopback TCP with a secret, or the pipes of a
//! private child.

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

/// Why a connection ended other than by a clean end between frames.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The transport failed, or the peer left within a frame.
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// The bytes are no frame of ours.
    #[error(transparent)]
    Codec(#[from] codec::Error),
    /// The peer did not introduce itself as offheap.
    #[error("the peer is not offheap")]
    NotOffheap,
    /// No common protocol version.
    #[error("the peer speaks protocol {theirs_min} to {theirs_max}, this build {ours_min} to {ours_max}")]
    Version {
        /// Their oldest.
        theirs_min: u16,
        /// Their newest.
        theirs_max: u16,
        /// Our oldest.
        ours_min: u16,
        /// Our newest.
        ours_max: u16,
    },
    /// A body of vectors whose length is no multiple of four.
    #[error("a body of {0} bytes is no row of floats")]
    OddBody(u32),
    /// The peer belongs to another user, or does not know the secret.
    #[error("the peer runs as another user")]
    Foreign,
}

/// How two processes are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// The endpoint's socket or pipe.
    Local,
    /// Loopback TCP: the system refuses local sockets.
    Tcp,
    /// The standard streams of a private child.
    Pipes,
}

impl Transport {
    /// The name that results and logs show.
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
    /// Where frames come from.
    pub reader: FrameReader,
    /// Where frames go.
    pub writer: FrameWriter,
    transport: Transport,
    /// The process at the other end, where the system tells.
    peer_pid: Option<u32>,
    /// What must be exchanged before the preambles.
    secret: Option<tcp::Secret>,
    /// Whose other end is to be looked at once something was read.
    #[cfg(windows)]
    unchecked: Option<std::sync::Arc<named_pipe::Stream>>,
}

/// Connects to whoever holds the endpoint. Sends nothing yet.
pub async fn connect(endpoint: &Endpoint) -> io::Result<Connection> {
    match local::connect(endpoint).await {
        Ok(connection) => Ok(connection),
        // The file is only there while a daemon could not have a local socket.
        Err(error) => tcp::connect(endpoint).await.unwrap_or(Err(error)),
    }
}

/// Whether an error of binding or connecting says that the system allows no local sockets here, as sandboxes do.
pub fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, Unsupported};
    matches!(error.kind(), PermissionDenied | Unsupported) || local::is_unknown_family(error)
}

/// The daemon's side of the endpoint. Whoever calls this holds the endpoint's lock.
pub enum Accept {
    /// The endpoint's own socket.
    Local(local::Listener),
    /// Loopback TCP.
    Tcp(tcp::Listener),
}

impl Accept {
    /// Binds. A stale socket must have been removed by the lock's holder before.
    pub async fn bind(endpoint: &Endpoint) -> io::Result<Self> {
        match local::Listener::bind(endpoint) {
            Ok(listener) => Ok(Accept::Local(listener)),
            // Never for a name that is taken: the lock's holder has no rival, so that is a mistake to be seen.
            Err(error) if is_refusal(&error) => tcp::Listener::bind(endpoint).await.map(Accept::Tcp).map_err(|_| error),
            Err(error) => Err(error),
        }
    }

    /// The next peer.
    pub async fn accept(&self) -> io::Result<Connection> {
        match self {
            Accept::Local(listener) => listener.accept().await,
            Accept::Tcp(listener) => listener.accept().await,
        }
    }

    /// What it listens on.
    pub fn transport(&self) -> Transport {
        match self {
            Accept::Local(_) => Transport::Local,
            Accept::Tcp(_) => Transport::Tcp,
        }
    }
}

/// What a client wants of the daemon, once both have introduced themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Welcome {
    /// Frames, in this version of the protocol.
    Talk(u16),
    /// It is newer and wants the endpoint; it was told that it gets it. Keep the connection until the end: its end says
    /// that the endpoint is free.
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

    /// How the two are connected.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The process at the other end of exactly this connection, where the system tells.
    pub fn peer_pid(&self) -> Option<u32> {
        self.peer_pid
    }

    /// The client's half of the greeting: sends our preamble and gives the daemon's.
    pub async fn greet(&mut self, purpose: Purpose) -> Result<Preamble, Error> {
        if let Some(secret) = self.secret.take() {
            secret.show(self).await?;
        }
        self.send_preamble(purpose).await?;
        self.read_preamble().await
    }

    /// The daemon's half. Nothing is said to a peer that has not shown the secret, where there is one.
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

    /// Waits for the peer's end. Whatever it still sends is of no interest.
    pub async fn end_of_peer(&mut self) {
        self.reader.drain().await;
    }
}
