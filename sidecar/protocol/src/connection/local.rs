//! Connections over the endpoint's local socket: a Unix domain socket, on Windows a named pipe.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

#[cfg(unix)]
use interprocess::local_socket::tokio::{Listener as Inner, Stream, prelude::*};
#[cfg(unix)]
use interprocess::local_socket::{ConnectOptions, GenericFilePath, ListenerOptions, Name, ToFsName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[cfg(windows)]
use super::named_pipe::{self, Listener as Inner, Stream};
use super::{Connection, Transport};
use crate::endpoint::Endpoint;

/// Accepts connections at the endpoint's local socket.
pub struct Listener(Inner);

impl Listener {
    /// Makes the pipe, accessible to the current user only.
    #[cfg(windows)]
    pub fn bind(endpoint: &Endpoint) -> io::Result<Self> {
        Inner::bind(endpoint.socket()).map(Listener)
    }

    /// Binds the socket, accessible to the current user only.
    #[cfg(unix)]
    pub fn bind(endpoint: &Endpoint) -> io::Result<Self> {
        let options = ListenerOptions::new().name(name(endpoint)?).reclaim_name(false);
        let options = interprocess::os::unix::local_socket::ListenerOptionsExt::mode(options, 0o600);
        match options.create_tokio() {
            Ok(listener) => Ok(Listener(listener)),
            // macOS cannot set the mode before binding; the mode 0700 of the directory keeps other users out there.
            #[cfg(not(target_os = "linux"))]
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                let options = ListenerOptions::new().name(name(endpoint)?).reclaim_name(false);
                options.create_tokio().map(Listener)
            }
            Err(error) => Err(error),
        }
    }

    /// Waits for the next connection. On Unix, a peer of another user is an error; on Windows, it is found out later, by
    /// [`Connection::welcome`].
    pub async fn accept(&self) -> io::Result<Connection> {
        self.0.accept().await.and_then(connection)
    }
}

/// Connects to the process that listens at the endpoint. Fails with [`Error::Foreign`](super::Error::Foreign) inside where
/// another user does.
pub async fn connect(endpoint: &Endpoint) -> io::Result<Connection> {
    #[cfg(windows)]
    let stream = named_pipe::connect(&endpoint.socket()).await?;
    #[cfg(unix)]
    let stream: Stream = ConnectOptions::new().name(name(endpoint)?).connect_tokio().await?;
    connection(stream)
}

/// Whether an error says that the system does not have this kind of socket.
pub fn is_unknown_family(error: &io::Error) -> bool {
    #[cfg(unix)]
    return {
        use rustix::io::Errno;
        Errno::from_io_error(error).is_some_and(|errno| [Errno::AFNOSUPPORT, Errno::PROTONOSUPPORT].contains(&errno))
    };
    #[cfg(not(unix))]
    return {
        let _ = error;
        false
    };
}

#[cfg(unix)]
fn name(endpoint: &Endpoint) -> io::Result<Name<'static>> {
    endpoint.socket().to_fs_name::<GenericFilePath>()
}

fn connection(stream: Stream) -> io::Result<Connection> {
    #[cfg(unix)]
    {
        let peer = stream.peer_creds()?;
        if peer.euid().is_some_and(|euid| euid != crate::unix::user()) {
            return Err(io::Error::other(super::Error::Foreign));
        }
    }
    let peer_pid = pid(&stream);
    let stream = Arc::new(stream);
    #[cfg(windows)]
    let unchecked = Some(stream.clone());
    let mut connection = Connection::new(Half(stream.clone()), Half(stream), Transport::Local);
    #[cfg(windows)]
    {
        connection.unchecked = unchecked;
    }
    connection.peer_pid = peer_pid;
    Ok(connection)
}

/// The process id of the peer, as the system knows it for this connection; a number in a file could be outdated.
fn pid(stream: &Stream) -> Option<u32> {
    #[cfg(windows)]
    return stream.peer_pid();
    #[cfg(unix)]
    stream.peer_creds().ok()?.pid().and_then(|pid| u32::try_from(pid).ok())
}

/// A stream that two tasks share: one only reads, the other only writes.
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
