//! Connections over standard streams, used where the system allows neither local sockets nor TCP.

use std::io;
use std::process::{Command, Stdio};

use super::{Connection, Transport};

/// Runs `command` as a private daemon of this process, connected by its standard input and output. It exits when the
/// connection is dropped, because its input ends then.
pub async fn private_child(mut command: Command) -> io::Result<Connection> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    #[cfg(windows)]
    {
        // Without it, Windows opens a console window where this process has none.
        const CREATE_NO_WINDOW: u32 = 0x0800_0000;
        std::os::windows::process::CommandExt::creation_flags(&mut command, CREATE_NO_WINDOW);
    }
    let mut child = command.spawn()?;
    let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let pid = child.id();
    // A thread takes the exit status; otherwise the child would stay in the process table until this process exits. Tokio's
    // process support would take SIGCHLD from Node.
    std::thread::Builder::new().name("offheap-child".into()).stack_size(64 << 10).spawn(move || {
        let _ = child.wait();
    })?;
    let mut connection = streams(output.into(), input.into())?;
    connection.peer_pid = Some(pid);
    Ok(connection)
}

/// The private daemon's end of the connection: this process's standard input and output. Nothing else may use them from
/// then on.
pub fn standard_streams() -> io::Result<Connection> {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        let output = io::stdout().as_fd().try_clone_to_owned()?;
        streams(input, output)
    }
    #[cfg(windows)]
    {
        use std::os::windows::io::AsHandle;
        let input = io::stdin().as_handle().try_clone_to_owned()?;
        let output = io::stdout().as_handle().try_clone_to_owned()?;
        streams(input, output)
    }
}

#[cfg(unix)]
fn streams(input: std::os::fd::OwnedFd, output: std::os::fd::OwnedFd) -> io::Result<Connection> {
    use tokio::net::unix::pipe::{Receiver, Sender};
    // `from_owned_fd` makes the descriptors non-blocking and fails where one is not a pipe.
    let (reader, writer) = (Receiver::from_owned_fd(input)?, Sender::from_owned_fd(output)?);
    Ok(Connection::new(reader, writer, Transport::Pipes))
}

/// Anonymous pipes have no overlapped operations on Windows, so Tokio reads and writes them as files, in blocking threads.
#[cfg(windows)]
fn streams(
    input: std::os::windows::io::OwnedHandle,
    output: std::os::windows::io::OwnedHandle,
) -> io::Result<Connection> {
    let file = |handle| tokio::fs::File::from_std(std::fs::File::from(handle));
    Ok(Connection::new(file(input), file(output), Transport::Pipes))
}
