//! Connections over loopback TCP, used only where the system refuses local sockets.
//!
//! A port has no owner and no permissions, so both ends prove that they can read a private file of the user, the TCP file:
//! the client sends one random key before anything else, the daemon answers with another. Each daemon makes new keys, so a
//! program that took the port of a daemon that crashed learns a key that is of no use any more.

use std::io::{self, Read, Write};
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};

use super::{Connection, Error, Transport};
use crate::endpoint::Endpoint;

/// Bytes of each of the two keys.
const KEY_BYTES: usize = 32;

/// Most bytes read from a TCP file; a valid one is far shorter.
const MAX_FILE_BYTES: u64 = 4096;

/// The content of the endpoint's TCP file, as JSON.
#[derive(Serialize, Deserialize)]
struct TcpFile {
    port: u16,
    /// The daemon's process id, which the system does not tell for a port.
    pid: u32,
    #[serde(flatten)]
    secret: Secret,
}

/// What both ends prove to know before the preambles are exchanged.
#[derive(Clone, Serialize, Deserialize)]
pub struct Secret {
    /// Sent by the client.
    key: [u8; KEY_BYTES],
    /// Sent by the daemon, after it has seen the key.
    answer: [u8; KEY_BYTES],
}

/// Accepts connections at a loopback port that only readers of the endpoint's TCP file can use.
pub struct Listener {
    listener: TcpListener,
    secret: Secret,
}

impl Listener {
    /// Listens at a free port and writes the endpoint's TCP file.
    pub async fn bind(endpoint: &Endpoint) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let random = || {
            let mut bytes = [0; KEY_BYTES];
            getrandom::fill(&mut bytes).map(|()| bytes).map_err(io::Error::other)
        };
        let port = listener.local_addr()?.port();
        let secret = Secret { key: random()?, answer: random()? };
        let file = TcpFile { port, pid: std::process::id(), secret: secret.clone() };
        write_private(endpoint, &serde_json::to_vec(&file)?)?;
        Ok(Listener { listener, secret })
    }

    /// Waits for the next connection. The peer has proved nothing yet; [`Connection::welcome`] checks its key.
    pub async fn accept(&self) -> io::Result<Connection> {
        let (stream, _) = self.listener.accept().await?;
        connection(stream, self.secret.clone())
    }
}

/// Connects to the port that the endpoint's TCP file names; `None` without a TCP file that is valid and private.
pub async fn connect(endpoint: &Endpoint) -> Option<io::Result<Connection>> {
    let TcpFile { port, pid, secret } = read_private(endpoint).ok()?;
    let stream = match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
        Ok(stream) => stream,
        Err(error) => return Some(Err(error)),
    };
    Some(connection(stream, secret).map(|connection| Connection { peer_pid: Some(pid), ..connection }))
}

fn connection(stream: TcpStream, secret: Secret) -> io::Result<Connection> {
    stream.set_nodelay(true)?; // otherwise a small frame waits until the one before it is acknowledged
    let (reader, writer) = stream.into_split();
    let mut connection = Connection::new(reader, writer, Transport::Tcp);
    connection.secret = Some(secret);
    Ok(connection)
}

impl Secret {
    /// The client's side: sends the key and checks the answer.
    pub async fn show(&self, connection: &mut Connection) -> Result<(), Error> {
        connection.writer.bytes(&self.key).await?;
        let theirs = connection.reader.array().await?;
        if equal(&theirs, &self.answer) { Ok(()) } else { Err(Error::Foreign) }
    }

    /// The daemon's side: checks the key, then sends the answer.
    pub async fn check(&self, connection: &mut Connection) -> Result<(), Error> {
        let theirs = connection.reader.array().await?;
        if !equal(&theirs, &self.key) {
            return Err(Error::Foreign);
        }
        Ok(connection.writer.bytes(&self.answer).await?)
    }
}

/// Compares two keys in constant time, so that the time tells nothing about where they differ.
fn equal(a: &[u8; KEY_BYTES], b: &[u8; KEY_BYTES]) -> bool {
    let difference = a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(difference) == 0
}

/// Writes the TCP file so that no other user can read it and no reader sees a part of it: to a new file, which is renamed.
fn write_private(endpoint: &Endpoint, content: &[u8]) -> io::Result<()> {
    let path = endpoint.tcp_file();
    let beside = path.with_extension("tcp.new");
    let _ = std::fs::remove_file(&beside);
    let mut options = std::fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&beside)?.write_all(content)?;
    std::fs::rename(&beside, &path)
}

/// Reads the TCP file. Fails where another user could have written it.
fn read_private(endpoint: &Endpoint) -> io::Result<TcpFile> {
    let file = std::fs::File::open(endpoint.tcp_file())?;
    #[cfg(unix)]
    if !crate::unix::is_private(&file.metadata()?) {
        return Err(io::Error::other(Error::Foreign));
    }
    let mut text = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_tcp_file_names_the_port_and_both_keys_and_opens_the_connection() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let endpoint = Endpoint::under(dir.path().join("run"), None).expect("short");
        endpoint.prepare_dir().expect("writable");
        assert!(connect(&endpoint).await.is_none(), "there is no TCP file yet");
        let listener = Listener::bind(&endpoint).await.expect("loopback is allowed");
        let text = std::fs::read(endpoint.tcp_file()).expect("written");
        let file: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(file["pid"], std::process::id());
        assert!(file["port"].is_u64());
        for key in ["key", "answer"] {
            assert_eq!(file[key].as_array().map(Vec::len), Some(KEY_BYTES), "{key}");
        }
        let (daemon, client) = tokio::join!(listener.accept(), connect(&endpoint));
        let (mut daemon, mut client) = (daemon.expect("accepted"), client.expect("a file").expect("connected"));
        let (key, answer) = (daemon.secret.take().expect("set"), client.secret.take().expect("set"));
        let (checked, shown) = tokio::join!(key.check(&mut daemon), answer.show(&mut client));
        checked.expect("the key of the file");
        shown.expect("the answer of the file");
    }
}
