//! Reads frames from a stream and writes them to one.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use super::Error;
use crate::codec::{self, HEADER_BYTES, Header, Kind};

/// A frame that was received.
#[derive(Debug)]
pub struct Frame {
    /// Kind, request id and lengths.
    pub header: Header,
    /// The control part, to be decoded with [`codec::decode`].
    pub control: Vec<u8>,
    /// The body, in the form that was asked for.
    pub body: Body,
}

/// The body of a received frame.
#[derive(Debug, Default)]
pub enum Body {
    /// The frame has no body.
    #[default]
    None,
    /// UTF-8 of texts, one after another.
    Bytes(Vec<u8>),
    /// Values of vectors, row after row.
    Floats(Vec<f32>),
}

/// Reads whole frames.
pub struct FrameReader {
    stream: BufReader<Box<dyn AsyncRead + Send + Unpin>>,
    /// The longest time from the first to the last byte of a frame.
    max_frame_time: Option<Duration>,
}

/// Writes whole frames.
pub struct FrameWriter {
    stream: Box<dyn AsyncWrite + Send + Unpin>,
}

impl FrameReader {
    pub(super) fn new(stream: impl AsyncRead + Send + Unpin + 'static) -> Self {
        FrameReader { stream: BufReader::with_capacity(64 << 10, Box::new(stream)), max_frame_time: None }
    }

    /// Reads `N` bytes that are not a frame: a secret or a preamble.
    pub(super) async fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).await?;
        Ok(bytes)
    }

    /// Reads and ignores everything up to the end of the stream.
    pub(super) async fn drain(&mut self) {
        let mut waste = [0; 1024];
        while matches!(self.stream.read(&mut waste).await, Ok(n) if n > 0) {}
    }

    /// Limits the time from a frame's first byte to its last: [`next`](Self::next) fails with [`io::ErrorKind::TimedOut`] after
    /// it. Between frames the peer may be silent for ever. Without a limit until this is called.
    pub fn stall_after(&mut self, max_frame_time: Duration) {
        self.max_frame_time = Some(max_frame_time);
    }

    /// Waits for the next frame; `None` where the peer closed the connection between two frames.
    ///
    /// With `floats`, bodies are read as [`Body::Floats`], otherwise as [`Body::Bytes`]. Memory grows with the bytes that
    /// arrive, not with the length that the header announces.
    ///
    /// Errors: [`Error::Io`], [`Error::Codec`], [`Error::OddBody`]. The connection is of no use after an error. Not cancel
    /// safe: a dropped future may have read a part of a frame.
    pub async fn next(&mut self, floats: bool) -> Result<Option<Frame>, Error> {
        let mut bytes = [0; HEADER_BYTES];
        let n = self.stream.read(&mut bytes).await?;
        if n == 0 {
            return Ok(None);
        }
        match self.max_frame_time {
            None => self.frame(bytes, n, floats).await.map(Some),
            Some(limit) => match tokio::time::timeout(limit, self.frame(bytes, n, floats)).await {
                Ok(frame) => frame.map(Some),
                Err(_) => Err(Error::Io(io::ErrorKind::TimedOut.into())),
            },
        }
    }

    /// Reads the rest of a frame whose first `n` bytes are in `bytes`.
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
            // SAFETY: `f32` has no padding, every bit pattern is a valid `f32`, and the slice is as long as `rows`.
            let bytes = unsafe { std::slice::from_raw_parts_mut(rows.as_mut_ptr().cast::<u8>(), size_of_val(rows)) };
            self.stream.read_exact(bytes).await?;
            if cfg!(target_endian = "big") {
                rows.iter_mut().for_each(|x| *x = f32::from_bits(x.to_bits().swap_bytes()));
            }
        }
        Ok(out)
    }
}

/// The body of a frame to send.
#[derive(Debug, Default)]
pub enum Payload {
    /// The frame has no body.
    #[default]
    None,
    /// UTF-8 of texts, one after another.
    Bytes(Vec<u8>),
    /// Values of vectors, row after row.
    Floats(Vec<f32>),
}

impl FrameWriter {
    pub(super) fn new(stream: impl AsyncWrite + Send + Unpin + 'static) -> Self {
        FrameWriter { stream: Box::new(stream) }
    }

    /// Sends bytes that are not a frame: a secret or a preamble.
    pub(super) async fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Sends one frame. `control` is an encoded message ([`codec::encode`]).
    ///
    /// Errors: [`Error::Io`]; [`Error::Codec`] for a length that a header cannot state.
    pub async fn send(&mut self, kind: Kind, id: u64, control: &[u8], payload: &Payload) -> Result<(), Error> {
        let body: &[u8] = match payload {
            Payload::None => &[],
            Payload::Bytes(bytes) => bytes,
            Payload::Floats(rows) => {
                const { assert!(cfg!(target_endian = "little"), "rows are sent in the byte order of memory") };
                // SAFETY: `f32` has no padding, and the slice is as long as `rows`.
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
