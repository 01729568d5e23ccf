//! A socket as whole frames. The only other file beside `client.rs` that knows tokio and interprocess.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use interprocess::local_socket::tokio::{Listener, Stream, prelude::*};
use interprocess::local_socket::{ConnectOptions, ListenerOptions, Name};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf};

use crate::codec::{self, HEADER_BYTES, Header, Kind, Preamble};
use crate::endpoint::Endpoint;

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
    /// The socket belongs to another user.
    #[error("the peer runs as another user")]
    Foreign,
}

/// Both directions of one connection.
pub struct Connection {
    /// Where frames come from.
    pub reader: FrameReader,
    /// Where frames go.
    pub writer: FrameWriter,
}

/// Reads whole frames.
pub struct FrameReader(BufReader<Half>, Option<Duration>);

/// Writes whole frames.
pub struct FrameWriter(Half);

/// One stream, used from two tasks: one only reads, the other only writes.
struct Half(Arc<Stream>);

impl AsyncRead for Half {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Half {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self.0).poll_write(cx, buf)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self.0).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self.0).poll_shutdown(cx)
    }
}

fn name(endpoint: &Endpoint) -> io::Result<Name<'static>> {
    use interprocess::local_socket::{GenericFilePath, ToFsName};
    endpoint.socket().to_fs_name::<GenericFilePath>()
}

/// Connects to whoever holds the endpoint. Sends nothing yet.
pub async fn connect(endpoint: &Endpoint) -> io::Result<Connection> {
    let stream: Stream = ConnectOptions::new().name(name(endpoint)?).connect_tokio().await?;
    Ok(Connection::new(stream))
}

/// The daemon's side of the endpoint. Whoever calls this holds the endpoint's lock.
pub struct Accept(Listener);

impl Accept {
    /// Binds. A stale socket must have been removed by the lock's holder before.
    pub fn bind(endpoint: &Endpoint) -> io::Result<Self> {
        let options = ListenerOptions::new().name(name(endpoint)?).reclaim_name(false);
        #[cfg(unix)]
        let options = interprocess::os::unix::local_socket::ListenerOptionsExt::mode(options, 0o600);
        match options.create_tokio() {
            Ok(listener) => Ok(Accept(listener)),
            // Where the system cannot set the mode before binding (macOS), the 0700 directory is the wall.
            #[cfg(all(unix, not(target_os = "linux")))]
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                let options = ListenerOptions::new().name(name(endpoint)?).reclaim_name(false);
                options.create_tokio().map(Accept)
            }
            Err(error) => Err(error),
        }
    }

    /// The next peer.
    pub async fn accept(&self) -> io::Result<Connection> {
        self.0.accept().await.map(Connection::new)
    }
}

impl Connection {
    fn new(stream: Stream) -> Self {
        let stream = Arc::new(stream);
        Connection {
            reader: FrameReader(BufReader::with_capacity(64 << 10, Half(stream.clone())), None),
            writer: FrameWriter(Half(stream)),
        }
    }

    /// Exchanges preambles; both sides call this first. Gives the newest common protocol version.
    pub async fn greet(&mut self) -> Result<u16, Error> {
        #[cfg(unix)]
        {
            let peer = self.writer.0.0.peer_creds()?.euid();
            // SAFETY: geteuid cannot fail and touches no memory.
            if peer.is_some_and(|euid| euid != unsafe { libc::geteuid() }) {
                return Err(Error::Foreign);
            }
        }
        let ours = Preamble::ours();
        self.writer.0.write_all(&ours.encode()).await?;
        let mut bytes = [0; Preamble::BYTES];
        self.reader.0.read_exact(&mut bytes).await?;
        let theirs = Preamble::decode(&bytes).ok_or(Error::NotOffheap)?;
        ours.common(&theirs).ok_or(Error::Version {
            theirs_min: theirs.proto_min,
            theirs_max: theirs.proto_max,
            ours_min: ours.proto_min,
            ours_max: ours.proto_max,
        })
    }
}

impl FrameReader {
    /// From now on a peer that begins a frame and sends not a byte of it for so long is an error ([`io::ErrorKind::TimedOut`]).
    /// Between frames it may be silent for ever.
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
        self.fill(&mut bytes[n..]).await?;
        let header = Header::decode(&bytes)?;
        let control = self.bytes(header.control as usize).await?;
        let body = match header.body {
            0 => Body::None,
            n if !floats => Body::Bytes(self.bytes(n as usize).await?),
            n if !n.is_multiple_of(4) => return Err(Error::OddBody(n)),
            n => Body::Floats(self.floats(n as usize / 4).await?),
        };
        Ok(Some(Frame { header, control, body }))
    }

    async fn fill(&mut self, mut rest: &mut [u8]) -> io::Result<()> {
        while !rest.is_empty() {
            let read = self.0.read(rest);
            let n = match self.1 {
                None => read.await?,
                Some(patience) => tokio::time::timeout(patience, read).await.map_err(|_| io::ErrorKind::TimedOut)??,
            };
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            rest = &mut rest[n..];
        }
        Ok(())
    }

    async fn bytes(&mut self, len: usize) -> io::Result<Vec<u8>> {
        const STEP: usize = 64 << 10;
        let mut out = Vec::with_capacity(len.min(STEP));
        while out.len() < len {
            let at = out.len();
            out.resize((at + at.max(STEP)).min(len), 0);
            self.fill(&mut out[at..]).await?;
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
            self.fill(bytes).await?;
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
