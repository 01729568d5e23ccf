//! Where a daemon's socket, lock and other files are, and who may use them.
//!
//! All are in the user's runtime directory and begin with the endpoint's id, 16 hexadecimal digits: `<id>.sock` (on Windows
//! a named pipe instead), `<id>.lock` (locked by the daemon as long as it runs), `<id>.log`, `<id>.runs` and, where
//! local sockets are refused, `<id>.tcp`.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::message::{Code, Fault};
use crate::runtime_dir::{self, MAX_SOCKET_BYTES, RuntimeDir};

/// Name of the directory in a project's root that holds its configuration and its index.
pub const PROJECT_DIR: &str = ".offheap";

/// The place where clients meet the daemon of one project, or the user's daemon without a project.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    dir: PathBuf,
    id: String,
    project: Option<PathBuf>,
    note: Option<String>,
}

impl Endpoint {
    /// The endpoint for a project's root, or for no project, in the user's runtime directory: `OFFHEAP_RUNTIME_DIR`, or a
    /// default of the system. The root must be canonical, as [`root_of`](crate::border::root_of) and [`canonical`] give it.
    ///
    /// Errors: [`Code::InvalidArgument`] where the socket's path is longer than [`MAX_SOCKET_BYTES`].
    pub fn new(project: Option<PathBuf>) -> Result<Self, Fault> {
        let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let RuntimeDir { path, note } = runtime_dir::choose(var);
        let dir = std::path::absolute(&path).unwrap_or(path); // a daemon runs in another working directory
        Ok(Endpoint { note, ..Self::under(dir, project)? })
    }

    /// The endpoint for a canonical project root, or for no project, in the runtime directory `dir`.
    ///
    /// Errors: [`Code::InvalidArgument`] where the socket's path is longer than [`MAX_SOCKET_BYTES`].
    pub fn under(dir: PathBuf, project: Option<PathBuf>) -> Result<Self, Fault> {
        let mut hash = Sha256::new();
        match &project {
            Some(root) => hash.update(root.as_os_str().as_encoded_bytes()),
            None => hash.update(b"\0no project"),
        }
        let endpoint = Endpoint { dir, id: short_hex(hash), project, note: None };
        let bytes = endpoint.socket().as_os_str().len();
        if cfg!(unix) && bytes > MAX_SOCKET_BYTES {
            return Err(Fault::new(
                Code::InvalidArgument,
                format!(
                    "the socket path `{}` has {bytes} bytes, sockets allow {MAX_SOCKET_BYTES}",
                    endpoint.socket().display()
                ),
            )
            .hint("set OFFHEAP_RUNTIME_DIR to a short directory that only you can enter"));
        }
        Ok(endpoint)
    }

    /// The project's root; `None` for the daemon without a project.
    pub fn project(&self) -> Option<&Path> {
        self.project.as_deref()
    }

    /// The runtime directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Why the runtime directory is not the one that the environment names; for the user.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Path of the socket; on Windows, name of the pipe.
    pub fn socket(&self) -> PathBuf {
        #[cfg(windows)]
        {
            // All users share the names of pipes, so the name contains the user. Where the user is unknown, opening the pipe
            // fails anyway.
            let mut hash = Sha256::new_with_prefix(crate::windows::user().unwrap_or_default());
            hash.update([0]);
            hash.update(self.dir.as_os_str().to_ascii_lowercase().as_encoded_bytes());
            PathBuf::from(format!(r"\\.\pipe\offheap-{}-{}", short_hex(hash), self.id))
        }
        #[cfg(not(windows))]
        self.dir.join(format!("{}.sock", self.id))
    }

    /// Path of the lock file. Only the process that holds its lock may bind the socket.
    pub fn lock(&self) -> PathBuf {
        self.dir.join(format!("{}.lock", self.id))
    }

    /// Path of the TCP file, which says how to reach the daemon where the system refuses local sockets.
    pub fn tcp_file(&self) -> PathBuf {
        self.dir.join(format!("{}.tcp", self.id))
    }

    /// Path of the file that counts this endpoint's starts and crashes.
    pub fn runs(&self) -> PathBuf {
        self.dir.join(format!("{}.runs", self.id))
    }

    /// Path of the daemon's log.
    pub fn log(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.id))
    }

    /// Makes the runtime directory if it is missing, for the current user alone.
    ///
    /// Errors: [`Code::Forbidden`] where it cannot be made, is a link, belongs to another user, or can be entered by others; for
    /// root also where it would lie in another user's directory, as after `sudo -E`.
    pub fn prepare_dir(&self) -> Result<(), Fault> {
        let refuse = |why: String| {
            Fault::new(Code::Forbidden, format!("the runtime directory `{}` {why}", self.dir.display()))
                .hint("remove it, or set OFFHEAP_RUNTIME_DIR to a directory that only you can enter")
        };
        #[cfg(unix)]
        if let Some(owner) = crate::unix::foreign_owner(&self.dir) {
            return Err(refuse(format!("lies in a directory of user {owner}, where root leaves nothing")));
        }
        #[cfg(windows)]
        let create = || crate::windows::private_dir(&self.dir);
        #[cfg(not(windows))]
        let create = || {
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true);
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(&self.dir)
        };
        create().map_err(|error| refuse(format!("cannot be made: {error}")))?;
        let meta = std::fs::symlink_metadata(&self.dir).map_err(|error| refuse(format!("cannot be read: {error}")))?;
        if !meta.is_dir() {
            return Err(refuse("is a link or not a directory".to_owned()));
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let us = crate::unix::user();
            if meta.uid() != us {
                return Err(refuse(format!("belongs to user {}, not to user {us}", meta.uid())));
            }
            if meta.mode() & 0o077 != 0 {
                return Err(refuse(format!("can be entered by other users (mode {:o})", meta.mode() & 0o777)));
            }
        }
        Ok(())
    }
}

/// The first eight bytes of a digest, as 16 hexadecimal digits.
fn short_hex(hash: Sha256) -> String {
    hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The absolute path of an existing directory, with links resolved.
///
/// Errors: [`Code::InvalidArgument`] where `dir` is not a directory that can be opened.
pub fn canonical(dir: &Path) -> Result<PathBuf, Fault> {
    let path = std::fs::canonicalize(dir).map_err(|error| {
        Fault::new(Code::InvalidArgument, format!("cannot open directory `{}`: {error}", dir.display()))
    })?;
    #[cfg(windows)]
    let path = crate::windows::without_prefix(path);
    if !path.is_dir() {
        return Err(Fault::new(Code::InvalidArgument, format!("`{}` is not a directory", dir.display())));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_root_one_endpoint() {
        let at = |root: Option<&str>| Endpoint::under("/run/x".into(), root.map(PathBuf::from)).expect("short");
        assert_eq!(at(Some("/a")), at(Some("/a")));
        assert_ne!(at(Some("/a")).lock(), at(Some("/b")).lock());
        assert_ne!(at(None).lock(), at(Some("")).lock());
    }

    #[cfg(unix)]
    #[test]
    fn long_runtime_directories_are_refused_with_a_remedy() {
        let long = PathBuf::from(format!("/{}", "x".repeat(90)));
        let fault = Endpoint::under(long.clone(), None).expect_err("too long");
        assert!(fault.hint.contains("OFFHEAP_RUNTIME_DIR"), "{fault:?}");
    }

    #[cfg(unix)]
    #[test]
    fn directories_open_to_others_are_refused() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().expect("temporary directory");
        let dir = temp.path().join("run");
        let endpoint = Endpoint::under(dir.clone(), None).expect("short");
        endpoint.prepare_dir().expect("makes its own");
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).expect("chmod");
        assert_eq!(endpoint.prepare_dir().expect_err("open").code, Code::Forbidden);
        std::fs::remove_dir(&dir).expect("empty");
        std::os::unix::fs::symlink(temp.path(), &dir).expect("link");
        assert_eq!(endpoint.prepare_dir().expect_err("link").code, Code::Forbidden);
    }
}
