//! Readers of other processes: what they are about to map is not deleted under them.
//!
//! Once mapped, a file may be unlinked. Between reading which files there are and mapping the last of them a reader
//! keeps a file in `readers/` locked; the kernel unlocks it when the reader dies. The owner asks at the first attempt to
//! delete a file which readers are opening, and deletes it when those are done. Readers that come later read a commit
//! that does not name the file any more, so a stream of readers cannot keep garbage alive.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The owner's view of the readers. Clones share what they know.
#[derive(Clone, Debug)]
pub struct Pins {
    dir: PathBuf,
    /// Files that were to be deleted, with the readers that were opening then.
    waiting: Arc<Mutex<HashMap<PathBuf, Vec<OsString>>>>,
}

impl Pins {
    /// The pins of the index in `data_dir`.
    pub fn new(data_dir: &Path) -> Pins {
        Pins { dir: data_dir.join("readers"), waiting: Arc::default() }
    }

    /// Whether `file`, which no commit names any more, may go; ask again later when not.
    pub fn may_delete(&self, file: &Path) -> bool {
        let live = self.live();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let still = match waiting.remove(file) {
            Some(before) => before.into_iter().filter(|name| live.contains(name)).collect(),
            None => live,
        };
        if still.is_empty() {
            return true;
        }
        waiting.insert(file.to_path_buf(), still);
        false
    }

    /// Names of the readers that are opening. Files that a killed reader left are removed.
    fn live(&self) -> Vec<OsString> {
        let Ok(entries) = std::fs::read_dir(&self.dir) else { return Vec::new() };
        let is_live = |path: &Path| match File::open(path).map(|file| (file.try_lock(), file)) {
            Ok((Ok(()), _locked)) => {
                let _ = std::fs::remove_file(path); // while it is locked here, so nobody relies on it
                false
            }
            Ok((Err(TryLockError::WouldBlock), _)) => true,
            Ok((Err(TryLockError::Error(_)), _)) => true, // cannot tell
            Err(e) => e.kind() != ErrorKind::NotFound,
        };
        entries.flatten().filter(|entry| is_live(&entry.path())).map(|entry| entry.file_name()).collect()
    }
}

/// Held by a reader while it opens; also by one that wants the files to stay.
#[derive(Debug)]
pub struct Pin {
    path: PathBuf,
    _locked: File,
}

impl Pin {
    /// `None` where nothing can be written: on a read-only disk, in another user's directory, on a full disk.
    pub fn take(data_dir: &Path) -> Option<Pin> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let dir = data_dir.join("readers");
        // A name may be taken: process numbers repeat after a kill, and in other containers.
        for _ in 0..100 {
            let path = dir.join(format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
            match File::create_new(&path) {
                Ok(file) if file.try_lock().is_ok() && path.exists() => return Some(Pin { path, _locked: file }),
                Ok(_) => continue, // the owner saw it before it was locked, and removed it
                Err(e) if e.kind() == ErrorKind::AlreadyExists => continue,
                Err(_) => return None,
            }
        }
        None
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_waits_for_the_readers_of_its_time_only() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Pin::take(dir.path()).is_none(), "no index, no pin");
        std::fs::create_dir(dir.path().join("readers")).unwrap();
        let (pins, file) = (Pins::new(dir.path()), Path::new("seg-1.vec"));
        assert!(pins.may_delete(file));

        let first = Pin::take(dir.path()).unwrap();
        assert!(!pins.may_delete(file));
        let second = Pin::take(dir.path()).unwrap();
        assert!(!pins.may_delete(file));
        drop(first);
        assert!(pins.may_delete(file), "the second reader came after the file was gone from the commit");
        assert!(!pins.may_delete(Path::new("other")), "but before this one was");
        drop(second);
        assert!(pins.may_delete(Path::new("other")));

        // What a killed reader leaves holds nothing.
        std::fs::write(dir.path().join("readers/1-1"), b"").unwrap();
        assert!(pins.may_delete(file));
        assert!(std::fs::read_dir(dir.path().join("readers")).unwrap().next().is_none());
    }
}
