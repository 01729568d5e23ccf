//! The standard streams of a private child: what is left where neither local sockets nor TCP are allowed.

use std::io;
use std::process::{Command, Stdio};

use super::{Connection, Transport};

/// Runs `command` as a private daemon of this process. It ends with the connection, because its input ends then.
pub async fn private_child(mut command: Command) -> io::Result<Connection> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    #[cfg(windows)]
    {
        const CREATE_NO_WINDOW: u32 = 0x0800_0000; // a program without a console would see one open
        std::os::windows::process::CommandExt::creation_flags(&mut command, CREATE_NO_WINDOW);
    }
    let mut child = command.spawn()?;
    let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let pid = child.id();
    // Somebody has to take its exit status, or it stays in the process table for as long as we live. Not Tokio's
    // process support: that would take SIGCHLD from Node.
    std::thread::Builder::new().name("offheap-child".into()).stack_size(64 << 10).spawn(move || {
        let _ = child.wait();
    })?;
    let mut connection = streams(output.into(), input.into())?;
    connection.peer_pid = Some(pid);
    Ok(connection)
}

/// Our own standard streams, as the child's side of the same. Nothing else may use them from then on.
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
    // `from_owned_fd` makes them non-blocking and refuses what is no pipe.
    let (reader, writer) = (Receiver::from_owned_fd(input)?, Sender::from_owned_fd(output)?);
    Ok(Connection::new(reader, writer, Transport::Pipes))
}

/// Anonymous pipes know no overlapped operations on Windows: Tokio's files block in threads of its own.
#[cfg(windows)]
fn streams(
    input: std::os::windows::io::OwnedHandle,
    output: std::os::windows::io::OwnedHandle,
) -> io::Result<Connection> {
    let file = |handle| tokio::fs::File::from_std(std::fs::File::from(handle));
    Ok(Connection::new(file(input), file(output), Transport::Pipes))
}
