//! A transport as whole frames. This file, those below `connection/` and `client.rs` are the only ones that know tokio
//! and interprocess.
//!
//! The transport is a local socket; where the system refuses those, loopback TCP with a secret, or the pipes of a
//! private child.

mod local;
#[cfg(windows)]
pub mod pipe;
mod pipes;
mod tcp;

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use crate::codec::{self, HEADER_BYTES, Header, Kind, Preamble, Purpose};
use crate::endpoint::Endpoint;

pub use pipes::{private_child, standard_streams};

/// A frame as it came from the peer.
#[derive(Debug)]
pub struct Frame {
    /// What and for whom.
    pub header: Header,
    /// The control part, still encoded.
    pub control: Vec<u8>,
    /// The body.
    pub body: Body,
}

/// A body, in the form its reader asked for.
#[derive(Debug, Default)]
pub enum Body {
    /// No body.
    #[default]
    None,
    /// Bytes of texts.
    Bytes(Vec<u8>),
    /// Rows of vectors, read straight into place.
    Floats(Vec<f32>),
}

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
    unchecked: Option<std::sync::Arc<pipe::Stream>>,
}

/// Reads whole frames.
pub struct FrameReader(BufReader<Box<dyn AsyncRead + Send + Unpin>>, Option<Duration>);

/// Writes whole frames.
pub struct FrameWriter(Box<dyn AsyncWrite + Send + Unpin>);

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
            reader: FrameReader(BufReader::with_capacity(64 << 10, Box::new(reader)), None),
            writer: FrameWriter(Box::new(writer)),
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
        self.writer.0.write_all(&ours.encode()).await?;
        Ok(self.writer.0.flush().await?)
    }

    async fn read_preamble(&mut self) -> Result<Preamble, Error> {
        let mut bytes = [0; Preamble::BYTES];
        self.reader.0.read_exact(&mut bytes).await?;
        Preamble::decode(&bytes).ok_or(Error::NotOffheap)
    }

    /// Waits for the peer's end. Whatever it still sends is of no interest.
    pub async fn end_of_peer(&mut self) {
        let mut waste = [0; 1024];
        while matches!(self.reader.0.read(&mut waste).await, Ok(n) if n > 0) {}
    }
}

impl FrameReader {
    /// From now on a peer that begins a frame and has not sent all of it after so long is an error
    /// ([`io::ErrorKind::TimedOut`]), whether it is silent or sends a byte now and then. Between frames it may be silent for
    /// ever.
    pub fn stall_after(&mut self, patience: Duration) {
        self.1 = Some(patience);
    }

    /// The next frame; `None` at a clean end between frames.
    ///
    /// `floats` says that bodies are rows of vectors. A body grows in steps while its bytes really arrive, so an
    /// announced length costs nothing.
    pub async fn next(&mut self, floats: bool) -> Result<Option<Frame>, Error> {
        let mut bytes = [0; HEADER_BYTES];
        let n = self.0.read(&mut bytes).await?;
        if n == 0 {
            return Ok(None);
        }
        match self.1 {
            None => self.frame(bytes, n, floats).await.map(Some),
            Some(patience) => match tokio::time::timeout(patience, self.frame(bytes, n, floats)).await {
                Ok(frame) => frame.map(Some),
                Err(_) => Err(Error::Io(io::ErrorKind::TimedOut.into())),
            },
        }
    }

    /// The frame of which the first `n` bytes are there.
    async fn frame(&mut self, mut bytes: [u8; HEADER_BYTES], n: usize, floats: bool) -> Result<Frame, Error> {
        self.0.read_exact(&mut bytes[n..]).await?;
        let header = Header::decode(&bytes)?;
        let control = self.bytes(header.control as usize).await?;
        let body = match header.body {
            0 => Body::None,
            n if !floats => Body::Bytes(self.bytes(n as usize).await?),
            n if !n.is_multiple_of(4) => return Err(Error::OddBody(n)),
            n => Body::Floats(self.floats(n as usize / 4).await?),
        };
        Ok(Frame { header, control, body })
    }

    async fn bytes(&mut self, len: usize) -> io::Result<Vec<u8>> {
        const STEP: usize = 64 << 10;
        let mut out = Vec::with_capacity(len.min(STEP));
        while out.len() < len {
            let at = out.len();
            out.resize((at + at.max(STEP)).min(len), 0);
            self.0.read_exact(&mut out[at..]).await?;
        }
        Ok(out)
    }

    async fn floats(&mut self, len: usize) -> io::Result<Vec<f32>> {
        const STEP: usize = 1 << 18;
        let mut out: Vec<f32> = Vec::with_capacity(len.min(STEP));
        while out.len() < len {
            let at = out.len();
            out.resize((at + STEP).min(len), 0.0);
            let rows = &mut out[at..];
            // SAFETY: floats are plain bytes without padding, and every bit pattern is a float.
            let bytes = unsafe { std::slice::from_raw_parts_mut(rows.as_mut_ptr().cast::<u8>(), size_of_val(rows)) };
            self.0.read_exact(bytes).await?;
            if cfg!(target_endian = "big") {
                rows.iter_mut().for_each(|x| *x = f32::from_bits(x.to_bits().swap_bytes()));
            }
        }
        Ok(out)
    }
}

/// What is put behind a control part.
#[derive(Debug, Default)]
pub enum Payload {
    /// Nothing.
    #[default]
    None,
    /// Bytes of texts.
    Bytes(Vec<u8>),
    /// Rows of vectors.
    Floats(Vec<f32>),
}

impl FrameWriter {
    /// Writes one frame and flushes it.
    pub async fn send(&mut self, kind: Kind, id: u64, control: &[u8], payload: &Payload) -> Result<(), Error> {
        let body: &[u8] = match payload {
            Payload::None => &[],
            Payload::Bytes(bytes) => bytes,
            Payload::Floats(rows) => {
                const { assert!(cfg!(target_endian = "little"), "rows are sent as they lie in memory") };
                // SAFETY: floats are plain bytes without padding; the slice is as long as the rows.
                unsafe { std::slice::from_raw_parts(rows.as_ptr().cast(), size_of_val(&rows[..])) }
            }
        };
        let too_large = || codec::Error::FrameTooLarge { control: u32::MAX, body: u32::MAX };
        let header = Header {
            kind,
            id,
            control: u32::try_from(control.len()).map_err(|_| too_large())?,
            body: u32::try_from(body.len()).map_err(|_| too_large())?,
        };
        let mut head = Vec::with_capacity(HEADER_BYTES + control.len());
        head.extend_from_slice(&header.encode());
        head.extend_from_slice(control);
        self.0.write_all(&head).await?;
        if !body.is_empty() {
            self.0.write_all(body).await?;
        }
        self.0.flush().await?;
        Ok(())
    }
}
