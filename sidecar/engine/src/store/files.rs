//! Files that survive a crash: the owner's lock, durable small files, and what is said about the whole in one of them.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{Error, Result};

/// The name of the embedding cache.
pub const CACHE: &str = "cache.redb";
/// There while the index is as an orderly stop left it; holds the generation.
const CLEAN: &str = "clean";
/// There once a check has found damage; names the file and what is wrong with it.
const DAMAGED: &str = "damaged";

/// A process that is being killed holds its locks a moment longer, and so does a child between its fork and its exec.
const LOCK_ATTEMPTS: u32 = 10;
const LOCK_RETRY_DELAY: Duration = Duration::from_millis(2);

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
        let mut attempt = 1;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(OwnerLock(file)),
                Err(TryLockError::WouldBlock) if attempt >= LOCK_ATTEMPTS => {
                    return Err(Error::IndexLocked { path: dir.to_path_buf() });
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_RETRY_DELAY),
                Err(TryLockError::Error(e)) => return Err(Error::io("lock", &path, e)),
            }
            attempt += 1;
        }
    }
}

/// Replaces `path` with `bytes` so that a crash leaves the old file or the new one.
pub fn write_durably(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
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

/// Removes everything but the lock and, with `keep_cache`, the embedding cache. Only the owner may.
///
/// Interrupted, it leaves the note of damage, which goes last: the next one begins again.
pub fn reset(dir: &Path, keep_cache: bool) -> Result<()> {
    write_durably(&dir.join(DAMAGED), b"\nbeing rebuilt\n")?;
    let remove = || -> std::io::Result<()> {
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == "owner.lock" || name == DAMAGED || (keep_cache && name == CACHE) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    };
    remove().map_err(|e| Error::io("empty", dir, e))?;
    sync_dir(dir)?;
    std::fs::remove_file(dir.join(DAMAGED)).map_err(|e| Error::io("remove", &dir.join(DAMAGED), e))?;
    sync_dir(dir)
}

/// Says that the index stands at `generation` and nobody is writing.
pub fn mark_clean(dir: &Path, generation: u64) -> Result<()> {
    write_durably(&dir.join(CLEAN), format!("{generation}\n").as_bytes())
}

/// Takes that back, durably, before anything is written.
pub fn unmark_clean(dir: &Path) -> Result<()> {
    match std::fs::remove_file(dir.join(CLEAN)) {
        Ok(()) => sync_dir(dir),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io("remove", &dir.join(CLEAN), e)),
    }
}

/// Whether the last owner stopped in an orderly way at `generation`.
pub fn is_clean(dir: &Path, generation: u64) -> bool {
    std::fs::read_to_string(dir.join(CLEAN)).is_ok_and(|text| text.trim() == generation.to_string())
}

/// Notes that a check has found `error`, so that every later open says so.
pub fn mark_damaged(dir: &Path, error: &Error) -> Result<()> {
    let Error::IndexDamaged { path, problem } = error else { return Ok(()) };
    let rel = path.strip_prefix(dir).unwrap_or(path);
    write_durably(&dir.join(DAMAGED), format!("{}\n{problem}\n", rel.display()).as_bytes())
}

/// The damage that was noted.
pub fn check_not_damaged(dir: &Path) -> Result<()> {
    match std::fs::read(dir.join(DAMAGED)) {
        Ok(text) => {
            let text = String::from_utf8_lossy(&text);
            let (file, problem) = text.trim_end().split_once('\n').unwrap_or(("", "a check found damage"));
            Err(Error::IndexDamaged { path: dir.join(file), problem: problem.to_owned() })
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io("read", &dir.join(DAMAGED), e)),
    }
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
