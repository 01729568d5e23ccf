//! Named pipes, the local sockets of Windows, over tokio's own.
//!
//! Not over interprocess: it asks the system for buffers of 512 bytes, gives every pipe the default descriptor, which
//! lets everybody read, and waits for a busy pipe without end on a thread that cannot be stopped.

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

/// What the system keeps for a peer that does not read yet.
const BUFFER_BYTES: u32 = 64 << 10;
/// A write is copied before it is handed to the system; this bounds the copy.
const WRITE_BYTES: usize = 256 << 10;

/// One end of a pipe. Used by one task that reads and one that writes.
pub enum Stream {
    /// The daemon's.
    Server(NamedPipeServer),
    /// A client's.
    Client(NamedPipeClient),
}

/// Opens the pipe. Waits while all its instances are taken: the caller sets the limit.
///
/// `NotFound` where no daemon is, `PermissionDenied` where the system does not let us in, [`super::Error::Foreign`] where
/// another user has made the pipe.
pub async fn connect(name: &Path) -> io::Result<Stream> {
    let mut pause = Duration::from_millis(1);
    let pipe = loop {
        // The server may learn who we are and nothing more: it cannot act in our name.
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

/// Gives out instances of a pipe as clients come.
pub struct Listener {
    name: PathBuf,
    descriptor: Descriptor,
    /// The instance that the next client gets. There is always one: a pipe without instances does not exist.
    next: Mutex<NamedPipeServer>,
}

impl Listener {
    /// Makes the pipe. Fails with `AddrInUse` where it exists: the lock is what says who may listen, this is the second
    /// guard, against those who do not know the lock.
    pub fn bind(name: PathBuf) -> io::Result<Self> {
        let descriptor = Descriptor::private()?;
        let next = instance(&name, &descriptor, true).map_err(|error| match error.kind() {
            // The system says the same when it allows no pipes here at all; then there is none.
            io::ErrorKind::PermissionDenied if exists(&name) => io::ErrorKind::AddrInUse.into(),
            _ => error,
        })?;
        Ok(Listener { name, descriptor, next: Mutex::new(next) })
    }

    /// The next client. Nothing is lost when the future is dropped.
    pub async fn accept(&self) -> io::Result<Stream> {
        let mut next = self.next.lock().await;
        loop {
            let connected = next.connect().await;
            // Where there is no room for another instance, this one stays for the next call, which finds it connected.
            let following = instance(&self.name, &self.descriptor, false)?;
            let taken = std::mem::replace(&mut *next, following);
            match connected {
                Err(error) if error.raw_os_error() == Some(ERROR_NO_DATA as i32) => {} // it came and went
                other => return other.map(|()| Stream::Server(taken)),
            }
        }
    }
}

/// One instance. `descriptor` counts only for the first: it is the pipe's.
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
    /// The process at the other end, as the system remembers it.
    pub fn peer_pid(&self) -> Option<u32> {
        match self {
            Stream::Server(pipe) => windows::client_process(borrow(pipe)).ok(),
            Stream::Client(pipe) => windows::server_process(borrow(pipe)).ok(),
        }
    }

    /// Is the other end our own user? A client knows since it connected, the daemon after it has read something.
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

// Tokio implements these only for exclusive access; a connection's two tasks share their stream.

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

    /// A write is the system's from when it is taken, and outlives the stream.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Pipes end when they are closed.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pipe_of_somebody_else_is_not_talked_to() {
        let name = PathBuf::from(format!(r"\\.\pipe\offheap-test-{}-squatter", std::process::id()));
        let descriptor = Descriptor::parse("O:SYD:(A;;GA;;;WD)").expect("well formed"); // the system's, open to everybody
        // Windows lets only the system make what the system owns; wine lets us play it.
        let Ok(_squatter) = instance(&name, &descriptor, true) else { return };
        let error = connect(&name).await.err().expect("another owner");
        assert!(error.get_ref().is_some_and(|inner| inner.is::<super::super::Error>()), "{error:?}");
    }
}
