//! Loopback TCP, only where the system refuses local sockets.
//!
//! A port has no owner and no permissions, so both ends prove that they can read a file of the user's: the client shows
//! one half of a random secret before anything else, the daemon answers with the other half. Whoever else took the port
//! of a daemon that died learns nothing that still opens a door.

use std::io::{self, Read, Write};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};

use super::{Connection, Error, Transport};
use crate::endpoint::Endpoint;

const HALF: usize = 32;
/// Far above what the file can be.
const MAX_FILE_BYTES: u64 = 4096;

/// What the endpoint's file says.
#[derive(Serialize, Deserialize)]
struct Door {
    port: u16,
    /// The daemon: a port does not tell whose it is.
    pid: u32,
    /// Shown by the client.
    key: [u8; HALF],
    /// The daemon's answer.
    answer: [u8; HALF],
}

/// Both halves, for one connection.
#[derive(Clone)]
pub struct Secret {
    key: [u8; HALF],
    answer: [u8; HALF],
}

/// Accepts on a loopback port that only readers of the endpoint's file can use.
pub struct Listener {
    listener: TcpListener,
    secret: Secret,
}

impl Listener {
    /// Takes a free port and tells the user's own processes.
    pub async fn bind(endpoint: &Endpoint) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let random = || {
            let mut bytes = [0; HALF];
            getrandom::fill(&mut bytes).map(|()| bytes).map_err(io::Error::other)
        };
        let port = listener.local_addr()?.port();
        let door = Door { port, pid: std::process::id(), key: random()?, answer: random()? };
        write_private(endpoint, &serde_json::to_vec(&door)?)?;
        Ok(Listener { listener, secret: Secret { key: door.key, answer: door.answer } })
    }

    /// The next peer; it has proved nothing yet.
    pub async fn accept(&self) -> io::Result<Connection> {
        let (stream, _) = self.listener.accept().await?;
        connection(stream, self.secret.clone())
    }
}

/// Connects where the endpoint's file says; `None` without one.
pub async fn connect(endpoint: &Endpoint) -> Option<io::Result<Connection>> {
    // A file that others could have written, or that says something else, is no door of ours.
    let door = read_private(endpoint).ok()?;
    let stream = match TcpStream::connect((Ipv4Addr::LOCALHOST, door.port)).await {
        Ok(stream) => stream,
        Err(error) => return Some(Err(error)),
    };
    let connection = connection(stream, Secret { key: door.key, answer: door.answer });
    Some(connection.map(|connection| Connection { peer_pid: Some(door.pid), ..connection }))
}

fn connection(stream: TcpStream, secret: Secret) -> io::Result<Connection> {
    stream.set_nodelay(true)?; // small frames must not wait for each other's acknowledgement
    let (reader, writer) = stream.into_split();
    let mut connection = Connection::new(reader, writer, Transport::Tcp);
    connection.secret = Some(secret);
    Ok(connection)
}

impl Secret {
    /// The client's side: shows the key and wants the answer.
    pub async fn show(&self, connection: &mut Connection) -> Result<(), Error> {
        connection.writer.bytes(&self.key).await?;
        let theirs = connection.reader.array().await?;
        if same(&theirs, &self.answer) { Ok(()) } else { Err(Error::Foreign) }
    }

    /// The daemon's side: says nothing before it has seen the key.
    pub async fn check(&self, connection: &mut Connection) -> Result<(), Error> {
        let theirs = connection.reader.array().await?;
        if !same(&theirs, &self.key) {
            return Err(Error::Foreign);
        }
        Ok(connection.writer.bytes(&self.answer).await?)
    }
}

/// Takes the same time wherever the first difference is.
fn same(a: &[u8; HALF], b: &[u8; HALF]) -> bool {
    let difference = a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(difference) == 0
}

/// Whole or not at all, and never readable by others: written beside, then renamed.
fn write_private(endpoint: &Endpoint, content: &[u8]) -> io::Result<()> {
    let path = endpoint.door();
    let beside = path.with_extension("tcp.new");
    let _ = std::fs::remove_file(&beside);
    let mut options = std::fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&beside)?.write_all(content)?;
    std::fs::rename(&beside, &path)
}

fn read_private(endpoint: &Endpoint) -> io::Result<Door> {
    let file = std::fs::File::open(endpoint.door())?;
    #[cfg(unix)]
    if !crate::unix::is_private(&file.metadata()?) {
        return Err(io::Error::other(Error::Foreign));
    }
    let mut text = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}
