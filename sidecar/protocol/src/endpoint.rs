//! Where the socket and its lock live, and who may use them.
//!
//! `<runtime directory>/<16 hex>.sock`, at most [`MAX_SOCKET_BYTES`] long, beside it `<16 hex>.lock` (held by the
//! daemon for its whole life, never unlinked) and `<16 hex>.log`. On Windows the socket is a named pipe.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::message::{Code, Fault};

/// macOS allows 103 bytes and gives odd errors beyond; this leaves room.
pub const MAX_SOCKET_BYTES: usize = 95;

/// The directory that marks a project's root and holds its configuration and index.
pub const PROJECT_DIR: &str = ".offheap";

/// The daemon of one project, or the user's project-less one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    dir: PathBuf,
    id: String,
    project: Option<PathBuf>,
}

impl Endpoint {
    /// The endpoint for a canonical project root ([`find_project`]), or for none, under the user's runtime directory.
    pub fn new(project: Option<PathBuf>) -> Result<Self, Fault> {
        let dir = runtime_dir(|name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from));
        let dir = std::path::absolute(&dir).unwrap_or(dir); // the daemon works from another directory
        Self::under(dir, project)
    }

    /// The same under a given runtime directory.
    pub fn under(dir: PathBuf, project: Option<PathBuf>) -> Result<Self, Fault> {
        let mut hash = Sha256::new();
        match &project {
            Some(root) => hash.update(root.as_os_str().as_encoded_bytes()),
            None => hash.update(b"\0no project"),
        }
        let endpoint = Endpoint { dir, id: short_hex(hash), project };
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

    /// The project's root.
    pub fn project(&self) -> Option<&Path> {
        self.project.as_deref()
    }

    /// The runtime directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The socket, or on Windows the pipe.
    pub fn socket(&self) -> PathBuf {
        #[cfg(windows)]
        {
            // Pipes of all users have one set of names. Where the user is unknown nothing can be opened anyway.
            let mut hash = Sha256::new_with_prefix(crate::windows::user().unwrap_or_default());
            hash.update([0]);
            hash.update(self.dir.as_os_str().to_ascii_lowercase().as_encoded_bytes());
            PathBuf::from(format!(r"\\.\pipe\offheap-{}-{}", short_hex(hash), self.id))
        }
        #[cfg(not(windows))]
        self.dir.join(format!("{}.sock", self.id))
    }

    /// The file whose lock makes ownership of the socket atomic.
    pub fn lock(&self) -> PathBuf {
        self.dir.join(format!("{}.lock", self.id))
    }

    /// The file that says how to reach a daemon over TCP, where the system refuses local sockets.
    pub fn door(&self) -> PathBuf {
        self.dir.join(format!("{}.tcp", self.id))
    }

    /// How often a daemon began here and how often it ended without a word.
    pub fn runs(&self) -> PathBuf {
        self.dir.join(format!("{}.runs", self.id))
    }

    /// The daemon's log.
    pub fn log(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.id))
    }

    /// Makes the runtime directory if it is missing, and refuses one that others own or can enter.
    pub fn prepare_dir(&self) -> Result<(), Fault> {
        let refuse = |why: String| {
            Fault::new(Code::Forbidden, format!("the runtime directory `{}` {why}", self.dir.display()))
                .hint("remove it, or set OFFHEAP_RUNTIME_DIR to a directory that only you can enter")
        };
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
            return Err(refuse("is not a directory of its own (a link?)".to_owned()));
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let us = crate::unix::user();
            if meta.uid() != us {
                return Err(refuse(format!("belongs to user {}, not to you ({us})", meta.uid())));
            }
            if meta.mode() & 0o077 != 0 {
                return Err(refuse(format!("is open to others (mode {:o})", meta.mode() & 0o777)));
            }
        }
        Ok(())
    }
}

/// The first eight bytes of a digest, as 16 hexadecimal digits.
fn short_hex(hash: Sha256) -> String {
    hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The user's runtime directory: `OFFHEAP_RUNTIME_DIR`, `$XDG_RUNTIME_DIR/offheap`, or a short per-user one.
///
/// Not `$TMPDIR`: it differs between sandboxes and sessions of one user, and cleaners empty it.
fn runtime_dir(var: impl Fn(&str) -> Option<PathBuf>) -> PathBuf {
    if let Some(dir) = var("OFFHEAP_RUNTIME_DIR") {
        return dir;
    }
    #[cfg(windows)]
    {
        let base = var("LOCALAPPDATA").unwrap_or_else(std::env::temp_dir);
        base.join("offheap").join("run")
    }
    #[cfg(not(windows))]
    {
        // Longer bases than this would leave no room for the name.
        const ROOM: usize = MAX_SOCKET_BYTES - "/offheap/0123456789abcdef.sock".len();
        let usable = |dir: &PathBuf| dir.is_absolute() && dir.is_dir() && dir.as_os_str().len() <= ROOM;
        if let Some(dir) = var("XDG_RUNTIME_DIR").filter(usable) {
            return dir.join("offheap");
        }
        PathBuf::from(format!("/tmp/offheap-{}", crate::unix::user()))
    }
}

/// The project that `start` is in: the nearest directory upwards that holds `.offheap`, links resolved.
pub fn find_project(start: &Path) -> Result<Option<PathBuf>, Fault> {
    let start = canonical(start)?;
    // The home directory's own `.offheap` (caches) does not make the home directory a project. A link does, so that it is
    // refused by name and not passed over for a project further up.
    let is_root = |dir: &&Path| {
        std::fs::symlink_metadata(dir.join(PROJECT_DIR).join("config.json")).is_ok_and(|file| !file.is_dir())
    };
    Ok(start.ancestors().find(is_root).map(Path::to_path_buf))
}

/// An existing directory with its links resolved.
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
        // A long XDG_RUNTIME_DIR is not an error: the short directory serves.
        let dir = runtime_dir(|name| (name == "XDG_RUNTIME_DIR").then(|| long.clone()));
        assert!(Endpoint::under(dir, None).is_ok());
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

    #[test]
    fn the_nearest_marked_directory_is_the_project() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let deep = temp.path().join("a/b/c");
        std::fs::create_dir_all(&deep).expect("directories");
        assert_eq!(find_project(&deep).expect("readable"), None);
        std::fs::create_dir_all(temp.path().join("a/.offheap")).expect("directory");
        std::fs::write(temp.path().join("a/.offheap/config.json"), "{}").expect("file");
        let root = canonical(&temp.path().join("a")).expect("exists");
        assert_eq!(find_project(&deep).expect("readable"), Some(root));
    }
}
