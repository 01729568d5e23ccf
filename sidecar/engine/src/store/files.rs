//! The small files of a data directory: lock, marks of a clean stop and of damage; and which names in it are ours.
//!
//! [`NAMES`] and [`FOLDERS`] are everything that is ever made in a data directory, and nothing else is removed there:
//! other files there do not belong to the index.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use crate::disk::{Folder, Identity};
use crate::text::directory::is_text_file;
use crate::{Error, Result};

/// The name of the embedding cache.
pub const CACHE: &str = "cache.redb";
/// A cache that could not be read is kept under this name.
pub const DAMAGED_CACHE: &str = "cache.redb.damaged";
/// The number of the layout.
pub const FORMAT_FILE: &str = "format";
/// Says who made the index.
pub const SEAL: &str = "seal";
/// Exists while the index is as an orderly stop left it; holds the generation.
const CLEAN: &str = "clean";
/// Exists once a check has found damage; names the file and what is wrong with it.
const DAMAGED: &str = "damaged";
/// Locked by the owner; never removed.
const OWNER_LOCK: &str = "owner.lock";

/// Files in the data directory that [`reset`] removes; the lock and the note of damage stay until the end.
const NAMES: [&str; 5] = [DAMAGED_CACHE, FORMAT_FILE, CLEAN, CACHE, SEAL];
/// Whether a name is one that offheap gives.
type IsOurs = fn(&str) -> bool;
/// Folders in the data directory, each with a test of the names that are ours in it.
const FOLDERS: [(&str, IsOurs); 4] = [
    (TEXT, is_text_file),
    (VECTORS, is_vector_file),
    (BUILDING, |name| name == BUILT),
    (READERS, crate::disk::pins::is_pin),
];
/// The full-text index.
pub const TEXT: &str = "text";
/// Segments and manifests.
pub const VECTORS: &str = "vectors";
/// Locked files of processes that are opening the index.
pub const READERS: &str = "readers";
/// What maintenance is writing.
pub const BUILDING: &str = "building";
/// The one file in [`BUILDING`].
pub const BUILT: &str = "seg.vec";

/// Longest note, in bytes.
const NOTE_BYTES: usize = 64 << 10;

/// How often the lock is tried: a process that is being killed holds its locks a moment longer, and so does a child
/// process between its fork and its exec.
const LOCK_ATTEMPTS: u32 = 10;
/// Pause between two attempts.
const LOCK_RETRY_DELAY: Duration = Duration::from_millis(2);

/// The right to write to a data directory, held as long as this lives and given up by the kernel when the process dies.
///
/// It is a lock on `owner.lock`, which is never unlinked, and on Unix one on the directory itself: where a cleaner
/// removed the file, the next process would make and lock another of that name.
#[derive(Debug)]
pub struct OwnerLock {
    file: File,
    _directory: Option<File>,
}

impl OwnerLock {
    /// Takes the lock of `folder`. Errors: [`Error::IndexLocked`].
    pub fn take(folder: &Folder) -> Result<OwnerLock> {
        let file = folder.open_to_write(OWNER_LOCK)?;
        let wait = |lock: &dyn Fn() -> Result<(), TryLockError>| {
            let mut attempt = 1;
            loop {
                match lock() {
                    Ok(()) => return Ok(()),
                    Err(TryLockError::WouldBlock) if attempt >= LOCK_ATTEMPTS => {
                        return Err(Error::IndexLocked { path: folder.path().to_path_buf() });
                    }
                    Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_RETRY_DELAY),
                    Err(TryLockError::Error(e)) => return Err(Error::io("lock", &folder.path_of(OWNER_LOCK), e)),
                }
                attempt += 1;
            }
        };
        wait(&|| file.try_lock())?;
        #[cfg(unix)]
        let directory = {
            let held = std::cell::Cell::new(None);
            wait(&|| folder.lock().map(|lock| held.set(lock)))?;
            held.into_inner()
        };
        #[cfg(not(unix))]
        let directory = None;
        Ok(OwnerLock { file, _directory: directory })
    }

    /// Whether the lock file of `folder` is the one that is held.
    pub fn is_of(&self, folder: &Folder) -> bool {
        Identity::of_file(&self.file).is_ok_and(|held| folder.identity_of(OWNER_LOCK) == Some(held))
    }
}

/// Whether a name in `vectors/` is one that a commit makes.
pub fn is_vector_file(name: &str) -> bool {
    let name = name.strip_suffix(".tmp").unwrap_or(name);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let between = |start: &str, end: &str| name.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
    between("seg-", ".vec").or_else(|| between("gen-", ".json")).or_else(|| between("seg-", "")).is_some_and(is_number)
}

/// Whether the data directory has nothing of an index in it.
pub fn is_empty(folder: &Folder) -> bool {
    let made = [FORMAT_FILE, CACHE, SEAL, DAMAGED, TEXT, VECTORS];
    made.iter().all(|name| !folder.has(name))
}

/// Removes every file of the index except the lock and, with `keep_cache`, the embedding cache and the seal. Folders
/// stay. Only the owner may.
///
/// The note of damage is removed last, so that after an interruption the next owner begins again.
pub fn reset(folder: &Folder, keep_cache: bool) -> Result<()> {
    folder.write_durably(DAMAGED, b"\nbeing rebuilt\n")?;
    for (name, is_ours) in FOLDERS {
        if let Some(inner) = folder.folder(name)? {
            remove_files(&inner, is_ours)?;
        }
    }
    for name in NAMES.into_iter().filter(|name| !(keep_cache && [CACHE, SEAL].contains(name))) {
        remove(folder, name)?;
    }
    folder.sync()?;
    remove(folder, DAMAGED)?;
    folder.sync()
}

/// Removes the files of a folder whose names `is_ours` accepts.
pub fn remove_files(folder: &Folder, is_ours: IsOurs) -> Result<()> {
    let names = folder.names().map_err(|e| Error::io("list", folder.path(), e))?;
    names.iter().filter(|name| is_ours(name)).try_for_each(|name| remove(folder, name))
}

fn remove(folder: &Folder, name: &str) -> Result<()> {
    match folder.remove(name) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", &folder.path_of(name), e)),
        _ => Ok(()),
    }
}

/// Bytes of the data directory's files; what else lies there is not looked at.
pub fn bytes_on_disk(folder: &Folder) -> u64 {
    let inner =
        |(name, _): (&str, fn(&str) -> bool)| folder.folder(name).ok().flatten().map_or(0, |f| f.bytes_on_disk());
    folder.bytes_on_disk() + FOLDERS.into_iter().map(inner).sum::<u64>()
}

/// Notes that the index stands at `generation` and is not being written.
pub fn mark_clean(folder: &Folder, generation: u64) -> Result<()> {
    folder.write_durably(CLEAN, format!("{generation}\n").as_bytes())
}

/// Removes the note of [`mark_clean`], durably, before anything is written.
pub fn unmark_clean(folder: &Folder) -> Result<()> {
    match folder.remove(CLEAN) {
        Ok(()) => folder.sync(),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io("remove", &folder.path_of(CLEAN), e)),
    }
}

/// Whether the last owner stopped in an orderly way at `generation`.
pub fn is_clean(folder: &Folder, generation: u64) -> bool {
    let note = folder.read(CLEAN, NOTE_BYTES).ok().flatten();
    note.is_some_and(|note| note.trim_ascii() == generation.to_string().as_bytes())
}

/// Notes that a check has found `error`, so that every later open says so.
pub fn mark_damaged(folder: &Folder, error: &Error) -> Result<()> {
    let Error::IndexDamaged { path, problem } = error else { return Ok(()) };
    let rel = path.strip_prefix(folder.path()).unwrap_or(path);
    folder.write_durably(DAMAGED, format!("{}\n{problem}\n", rel.display()).as_bytes())
}

/// Fails with the damage that [`mark_damaged`] noted, if any.
pub fn check_not_damaged(folder: &Folder) -> Result<()> {
    let Some(text) = folder.read(DAMAGED, NOTE_BYTES)? else { return Ok(()) };
    let text = String::from_utf8_lossy(&text);
    let (file, problem) = text.trim_end().split_once('\n').unwrap_or(("", "a check found damage"));
    Err(Error::IndexDamaged { path: folder.path().join(Path::new(file)), problem: problem.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_commits_make_are_ours() {
        for name in ["seg-0.vec", "seg-12.tmp", "gen-3.json", "gen-3.json.tmp"] {
            assert!(is_vector_file(name), "{name}");
        }
        for name in
            ["id", "id_rsa", "seg-.vec", "seg-x.vec", "gen-1.txt", "gen-.json", "seg-1.vec.bak", ".tmp", "x.tmp"]
        {
            assert!(!is_vector_file(name), "{name}");
        }
    }
}
