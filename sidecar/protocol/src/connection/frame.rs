//! Whole frames from a stream, and to one.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use super::Error;
use crate::codec::{self, HEADER_BYTES, Header, Kind};

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

/// Reads whole frames.
pub struct FrameReader {
    stream: BufReader<Box<dyn AsyncRead + Send + Unpin>>,
    patience: Option<Duration>,
}

/// Writes whole frames.
pub struct FrameWriter {
    stream: Box<dyn AsyncWrite + Send + Unpin>,
}

impl FrameReader {
    pub(super) fn new(stream: impl AsyncRead + Send + Unpin + 'static) -> Self {
        FrameReader { stream: BufReader::with_capacity(64 << 10, Box::new(stream)), patience: None }
    }

    /// Bytes that are no frame: secrets and preambles.
    pub(super) async fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).await?;
        Ok(bytes)
    }

    /// Reads and drops everything up to the end of the stream.
    pub(super) async fn drain(&mut self) {
        let mut waste = [0; 1024];
        while matches!(self.stream.read(&mut waste).await, Ok(n) if n > 0) {}
    }

    /// From now on a peer that begins a frame and has not sent all of it after so long is an error
    /// ([`io::ErrorKind::TimedOut`]), whether it is silent or sends a byte now and then. Between frames it may be silent for
    /// ever.
    pub fn stall_after(&mut self, patience: Duration) {
        self.patience = Some(patience);
    }

    /// The next frame; `None` at a clean end between frames.
    ///
    /// `floats` says that bodies are rows of vectors. A body grows in steps while its bytes really arrive, so an
    /// announced length costs nothing.
    pub async fn next(&mut self, floats: bool) -> Result<Option<Frame>, Error> {
        let mut bytes = [0; HEADER_BYTES];
        let n = self.stream.read(&mut bytes).await?;
        if n == 0 {
            return Ok(None);
        }
        match self.patience {
            None => self.frame(bytes, n, floats).await.map(Some),
            Some(patience) => match tokio::time::timeout(patience, self.frame(bytes, n, floats)).await {
                Ok(frame) => frame.map(Some),
                Err(_) => Err(Error::Io(io::ErrorKind::TimedOut.into())),
            },
        }
    }

    /// The frame of which the first `n` bytes are there.
    async fn frame(&mut self, mut bytes: [u8; HEADER_BYTES], n: usize, floats: bool) -> Result<Frame, Error> {
        self.stream.read_exact(&mut bytes[n..]).await?;
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
            self.stream.read_exact(&mut out[at..]).await?;
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
            self.stream.read_exact(bytes).await?;
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
    pub(super) fn new(stream: impl AsyncWrite + Send + Unpin + 'static) -> Self {
        FrameWriter { stream: Box::new(stream) }
    }

    /// Bytes that are no frame: secrets and preambles.
    pub(super) async fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

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
        self.stream.write_all(&head).await?;
        if !body.is_empty() {
            self.stream.write_all(body).await?;
        }
        self.stream.flush().await?;
        Ok(())
    }
}
