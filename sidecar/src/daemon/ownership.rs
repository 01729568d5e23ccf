//! Who owns an endpoint: the holder of its lock file. Only the holder touches the socket.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use offheap_protocol::connection::Transport;
use offheap_protocol::{Client, Code, Endpoint, Fault};

use crate::log;

/// How long a leaving predecessor is waited for. Longer than a daemon takes to drain and leave.
const LOCK_PATIENCE: Duration = Duration::from_secs(15);
/// How often a held lock is tried.
const TRY_LOCK_EVERY: Duration = Duration::from_millis(20);

/// The endpoint's lock file, locked. Its holder does not remove it: another process could then lock a new file at its path
/// while this one is held.
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Whether the locked file is still the one at its path. Cleaners of temporary directories remove files that were not used
    /// for long.
    pub fn is_in_place(&self) -> bool {
        is_same_file(&self.file, &self.path)
    }
}

/// Waits for the endpoint's lock. `None`: another daemon holds it and answers.
///
/// Errors: `DAEMON_UNRESPONSIVE` when its holder neither answers nor lets go, `SOCKETS_REFUSED` when it cannot be reached from here,
/// `DAEMON_START_FAILED` when the file cannot be opened or locked.
pub async fn become_owner(endpoint: &Endpoint) -> Result<Option<Lock>, Fault> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    let path = endpoint.lock();
    let failed = |what: &str, error: &std::io::Error| {
        Fault::new(Code::DaemonStartFailed, format!("cannot {what} `{}`: {error}", path.display()))
    };
    let open = || {
        let hint = "look at what is there, and remove it";
        log::open_private(&path).map_err(|error| failed("open the lock file", &error).hint(hint))
    };
    let mut file = open()?;
    loop {
        match file.try_lock() {
            Ok(()) if is_same_file(&file, &path) => return Ok(Some(Lock { file, path })),
            // `sweep` removed it between opening and locking.
            Ok(()) => {
                file = open()?;
                continue;
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(failed("lock", &error)),
        }
        // The holder runs, is starting, or is leaving. Only one that answers Hello, or says that this version is too old, counts.
        match Client::connect(endpoint, "offheap-starting").await {
            Ok(_) => return Ok(None),
            Err(fault) if fault.code == Code::ClientTooOld => return Ok(None),
            // This process is in a sandbox and the owner is not: waiting would not help. An owner in the same sandbox has no
            // socket, so it is starting or leaving.
            Err(fault) if fault.code == Code::SocketsRefused && endpoint.socket().exists() => return Err(fault),
            Err(_) => {}
        }
        if Instant::now() > deadline {
            let message = format!("another process holds `{}` and does not answer", path.display());
            return Err(Fault::new(Code::DaemonUnresponsive, message).hint(
                "look for a stopped or stuck `offheap` process; `offheap restart --force` ends it if it accepts connections",
            ));
        }
        tokio::time::sleep(TRY_LOCK_EVERY).await;
    }
}

/// Whether the file by which clients find the daemon is gone.
pub fn socket_is_gone(endpoint: &Endpoint, transport: Transport) -> bool {
    match transport {
        Transport::Local => cfg!(unix) && !endpoint.socket().exists(),
        Transport::Tcp => !endpoint.tcp_file().exists(),
        Transport::Pipes => false,
    }
}

/// Removes the endpoint's socket and the file with its TCP port. Only the lock's holder may do that.
pub fn remove_socket(endpoint: &Endpoint) -> Result<(), (PathBuf, std::io::Error)> {
    let mut files = vec![endpoint.tcp_file()];
    if cfg!(unix) {
        files.push(endpoint.socket());
    }
    for file in files {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err((file, error)),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(unix)]
fn is_same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |meta: std::io::Result<std::fs::Metadata>| meta.ok().map(|meta| (meta.dev(), meta.ino()));
    identity(file.metadata()).is_some_and(|ours| identity(std::fs::symlink_metadata(path)) == Some(ours))
}

/// Windows does not let an open file be removed.
#[cfg(not(unix))]
fn is_same_file(_: &File, path: &Path) -> bool {
    path.exists()
}
