//! Named pipes, the local sockets of Windows, with tokio.
//!
//! Not with interprocess: its buffers have 512 bytes, its pipes have the default security descriptor, which lets every user
//! read, and its wait for a busy pipe has no end and blocks a thread that cannot be stopped.

use std::ffi::c_void;
use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::windows::named_pipe::{ClientOptions, NamedPipeClient, NamedPipeServer, ServerOptions};
use tokio::sync::Mutex;
use windows_sys::Win32::Foundation::{ERROR_NO_DATA, ERROR_PIPE_BUSY};
use windows_sys::Win32::Storage::FileSystem::SECURITY_IDENTIFICATION;

use crate::windows::{self, Descriptor};

/// Bytes that the system buffers in each direction until the peer reads.
const BUFFER_BYTES: u32 = 64 << 10;
/// Most bytes of one write, because each write is copied before it is handed to the system.
const WRITE_BYTES: usize = 256 << 10;

/// One end of a pipe, shared by a task that reads and one that writes.
pub enum Stream {
    /// The daemon's end.
    Server(NamedPipeServer),
    /// The client's end.
    Client(NamedPipeClient),
}

/// Opens the pipe called `name`. Waits while all its instances are in use; the caller limits the wait.
///
/// Errors: `NotFound` where no daemon listens, `PermissionDenied` where the system refuses access,
/// [`super::Error::Foreign`] (inside) where another user made the pipe.
pub async fn connect(name: &Path) -> io::Result<Stream> {
    let mut pause = Duration::from_millis(1);
    let pipe = loop {
        // The server may identify the client but not impersonate it.
        match ClientOptions::new().security_qos_flags(SECURITY_IDENTIFICATION).open(name) {
            Err(error) if error.raw_os_error() == Some(ERROR_PIPE_BUSY as i32) => {}
            other => break other?,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    if !windows::server_is_us(borrow(&pipe))? {
        return Err(io::Error::other(super::Error::Foreign));
    }
    Ok(Stream::Client(pipe))
}

/// Accepts the clients of a pipe: each gets an instance of its own.
pub struct Listener {
    name: PathBuf,
    descriptor: Descriptor,
    /// The instance for the next client. There is always one, because a pipe without instances does not exist.
    next: Mutex<NamedPipeServer>,
}

impl Listener {
    /// Makes the pipe called `name`, accessible to the current user only. Fails with `AddrInUse` where it exists. Daemons are
    /// excluded by their lock already; this guards against other programs.
    pub fn bind(name: PathBuf) -> io::Result<Self> {
        let descriptor = Descriptor::private()?;
        let next = instance(&name, &descriptor, true).map_err(|error| match error.kind() {
            // The system gives the same error where it allows no pipes at all; then the pipe does not exist.
            io::ErrorKind::PermissionDenied if exists(&name) => io::ErrorKind::AddrInUse.into(),
            _ => error,
        })?;
        Ok(Listener { name, descriptor, next: Mutex::new(next) })
    }

    /// Waits for the next client. Cancel safe: no client is lost when the future is dropped.
    pub async fn accept(&self) -> io::Result<Stream> {
        let mut next = self.next.lock().await;
        loop {
            let connected = next.connect().await;
            // If the system refuses another instance, the connected one is kept for the next call.
            let following = instance(&self.name, &self.descriptor, false)?;
            let taken = std::mem::replace(&mut *next, following);
            match connected {
                Err(error) if error.raw_os_error() == Some(ERROR_NO_DATA as i32) => {} // the client has closed its end already
                other => return other.map(|()| Stream::Server(taken)),
            }
        }
    }
}

/// Makes an instance of the pipe. The descriptor of the first instance is the pipe's; later ones are ignored.
fn instance(name: &Path, descriptor: &Descriptor, first: bool) -> io::Result<NamedPipeServer> {
    let mut options = ServerOptions::new();
    options.first_pipe_instance(first).reject_remote_clients(true);
    options.in_buffer_size(BUFFER_BYTES).out_buffer_size(BUFFER_BYTES);
    let mut attributes = descriptor.attributes();
    // SAFETY: the attributes and the descriptor that they point to outlive the call.
    unsafe { options.create_with_security_attributes_raw(name, (&raw mut attributes).cast::<c_void>()) }
}

fn exists(name: &Path) -> bool {
    let opened = ClientOptions::new().security_qos_flags(SECURITY_IDENTIFICATION).open(name);
    !opened.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

impl Stream {
    /// The process id of the peer; `None` where the system does not tell.
    pub fn peer_pid(&self) -> Option<u32> {
        match self {
            Stream::Server(pipe) => windows::client_process(borrow(pipe)).ok(),
            Stream::Client(pipe) => windows::server_process(borrow(pipe)).ok(),
        }
    }

    /// Whether the peer runs as the current user. For a client, [`connect`] has checked it; the daemon's end must have read
    /// something first, because the system does not know the client before.
    pub fn peer_is_us(&self) -> io::Result<bool> {
        match self {
            Stream::Server(pipe) => windows::client_is_us(borrow(pipe)),
            Stream::Client(_) => Ok(true),
        }
    }
}

impl AsHandle for Stream {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        match self {
            Stream::Server(pipe) => borrow(pipe),
            Stream::Client(pipe) => borrow(pipe),
        }
    }
}

fn borrow(pipe: &impl AsRawHandle) -> BorrowedHandle<'_> {
    // SAFETY: the pipe keeps its handle open for as long as it is borrowed.
    unsafe { BorrowedHandle::borrow_raw(pipe.as_raw_handle()) }
}

// Tokio implements these traits for exclusive access only, but the two tasks of a connection share their stream.

impl AsyncRead for &Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let read = match *self {
                Stream::Server(pipe) => {
                    ready!(pipe.poll_read_ready(cx))?;
                    pipe.try_read(buf.initialize_unfilled())
                }
                Stream::Client(pipe) => {
                    ready!(pipe.poll_read_ready(cx))?;
                    pipe.try_read(buf.initialize_unfilled())
                }
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Ok(n) => buf.advance(n),
                Err(error) => return Poll::Ready(Err(error)),
            }
            return Poll::Ready(Ok(()));
        }
    }
}

impl AsyncWrite for &Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let buf = &buf[..buf.len().min(WRITE_BYTES)];
        loop {
            let written = match *self {
                Stream::Server(pipe) => {
                    ready!(pipe.poll_write_ready(cx))?;
                    pipe.try_write(buf)
                }
                Stream::Client(pipe) => {
                    ready!(pipe.poll_write_ready(cx))?;
                    pipe.try_write(buf)
                }
            };
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                other => return Poll::Ready(other),
            }
        }
    }

    /// Nothing to do: the system completes an accepted write even after the stream is closed.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Nothing to do: a pipe ends when it is closed.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pipe_of_another_user_is_refused() {
        let name = PathBuf::from(format!(r"\\.\pipe\offheap-test-{}-squatter", std::process::id()));
        let descriptor = Descriptor::parse("O:SYD:(A;;GA;;;WD)").expect("well formed"); // owned by the system, open to every user
        // Windows lets only the system make objects that the system owns; wine lets anybody, so this test runs there.
        let Ok(_squatter) = instance(&name, &descriptor, true) else { return };
        let error = connect(&name).await.err().expect("another owner");
        assert!(error.get_ref().is_some_and(|inner| inner.is::<super::super::Error>()), "{error:?}");
    }
}
