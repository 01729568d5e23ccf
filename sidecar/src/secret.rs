//! The user's secret: 32 random bytes, outside of every project, that seal indexes (`engine/src/store/place.rs`).
//!
//! It is created once, in the user's state directory. If that directory cannot be written, the secret is kept in the runtime
//! directory, because an index whose seal does not match must be built again.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use offheap_engine::disk::Folder;
use offheap_engine::{Error, Result};
use offheap_protocol::Endpoint;

use crate::log::warn;

const NAME: &str = "secret";
const BYTES: usize = 32;

/// The secret; created at its first use.
pub fn secret() -> [u8; BYTES] {
    static SECRET: OnceLock<[u8; BYTES]> = OnceLock::new();
    *SECRET.get_or_init(|| {
        let places =
            state_dir().into_iter().chain(Endpoint::new(None).ok().map(|endpoint| endpoint.dir().to_path_buf()));
        for dir in places {
            match open_dir(&dir).and_then(|folder| read_or_make(&folder)) {
                Ok(secret) => return secret,
                Err(error) => warn!("cannot keep the secret in `{}`: {}", dir.display(), crate::fault::chain(&error)),
            }
        }
        random() // the next daemon will have another one and build the indexes again
    })
}

/// The system's directory for application state, with our name.
fn state_dir() -> Option<PathBuf> {
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = if cfg!(windows) {
        var("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        var("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        var("XDG_STATE_HOME")
            .filter(|dir| dir.is_absolute())
            .or_else(|| var("HOME").map(|home| home.join(".local/state")))
    };
    Some(base?.join("offheap"))
}

/// Opens the directory, creating it if needed. Fails below another user's directory: `sudo` keeps the caller's `HOME`.
fn open_dir(dir: &Path) -> Result<Folder> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, MetadataExt};
        let there = dir.ancestors().find_map(|dir| std::fs::metadata(dir).ok());
        let user = rustix::process::geteuid().as_raw();
        if let Some(owner) = there.map(|there| there.uid()).filter(|owner| *owner != user) {
            let found = format!("in a directory of user {owner}, not of this user ({user})");
            return Err(Error::UnsafePath { path: dir.to_path_buf(), found });
        }
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|e| Error::io("create", dir, e))?;
    }
    #[cfg(not(unix))]
    std::fs::create_dir_all(dir).map_err(|e| Error::io("create", dir, e))?;
    Folder::trusted(dir)
}

fn read_or_make(folder: &Folder) -> Result<[u8; BYTES]> {
    if let Some(secret) = read(folder)? {
        return Ok(secret);
    }
    let failed = |e| Error::io("write", &folder.path_of(NAME), e);
    if folder.has(NAME) {
        let _ = folder.remove(NAME); // its length is wrong
    }
    folder.write_new(NAME, &random(), true).map_err(failed)?;
    folder.sync()?;
    // Another process may have created it first.
    let lost = || Error::io("read", &folder.path_of(NAME), std::io::ErrorKind::NotFound.into());
    read(folder)?.ok_or_else(lost)
}

/// The stored secret; `None` if there is none or its length is wrong.
fn read(folder: &Folder) -> Result<Option<[u8; BYTES]>> {
    Ok(folder.read(NAME, 1 << 10)?.and_then(|bytes| bytes.try_into().ok()))
}

fn random() -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).expect("the system has random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_made_once_and_made_again_when_it_is_cut() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let folder = Folder::trusted(temp.path()).expect("open");
        let made: Vec<[u8; BYTES]> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| read_or_make(&folder).expect("made"))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let secret = read_or_make(&folder).expect("read");
        assert_eq!(made, [secret; 8]);
        assert_eq!(folder.names().expect("listed"), [NAME]);
        std::fs::write(temp.path().join(NAME), [1; 31]).expect("writable");
        assert_ne!(read_or_make(&folder).expect("made"), secret);
    }
}
