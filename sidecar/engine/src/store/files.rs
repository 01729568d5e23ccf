//! Files that survive a crash: the owner's lock, durable small files, the format number.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::Path;

use crate::{Error, Result};

/// Version of the layout on disk. Another number is another program's index.
pub const FORMAT: u32 = 2;

/// The right to write to a data directory, held as long as this lives and given up by the kernel when the process dies.
///
/// The file is never unlinked: unlinking would let two owners lock two files of the same name.
#[derive(Debug)]
pub struct OwnerLock(#[expect(dead_code, reason = "held for its lock")] File);

impl OwnerLock {
    /// Takes the lock of `dir`. Errors: [`Error::IndexLocked`].
    pub fn take(dir: &Path) -> Result<OwnerLock> {
        let path = dir.join("owner.lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|e| Error::io("open", &path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(OwnerLock(file)),
            Err(TryLockError::WouldBlock) => Err(Error::IndexLocked { path: dir.to_path_buf() }),
            Err(TryLockError::Error(e)) => Err(Error::io("lock", &path, e)),
        }
    }
}

/// Checks the format number of `dir`; `Ok(false)` when nothing has been written there.
pub fn check_format(dir: &Path) -> Result<bool> {
    let path = dir.join("format");
    let found = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().unwrap_or(0),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            if !dir.join("text").join("meta.json").exists() {
                return Ok(false);
            }
            0
        }
        Err(e) if e.kind() == std::io::ErrorKind::InvalidData => 0,
        Err(e) => return Err(Error::io("read", &path, e)),
    };
    if found == FORMAT {
        Ok(true)
    } else {
        Err(Error::IndexFormat { path: dir.to_path_buf(), found, expected: FORMAT })
    }
}

/// Replaces `path` with `bytes` so that a crash leaves the old file or the new one.
pub fn write_durably(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|e| Error::io("write", &temporary, e))?;
    rename_durably(&temporary, path)
}

/// Renames and makes the directory entry durable.
pub fn rename_durably(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).map_err(|e| Error::io("rename", from, e))?;
    sync_dir(to.parent().expect("files of an index lie in a directory"))
}

/// Makes the entries of `dir` durable. Windows does that by itself.
pub fn sync_dir(dir: &Path) -> Result<()> {
    if cfg!(windows) {
        return Ok(());
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| Error::io("sync", dir, e))
}

/// Bytes of all files in the data directory.
pub fn bytes_on_disk(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_on_disk(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0, // collected between listing and asking
        })
        .sum()
}
