//! Keeps the owner from deleting files that readers in other processes are about to map.
//!
//! Once mapped, a file may be unlinked. Between reading which files there are and mapping the last of them a reader
//! keeps a file in `readers/` locked; the kernel unlocks it when the reader dies. The owner asks at the first attempt
//! to delete a file which readers are opening, and deletes it when those are done. Readers that come later read a
//! commit that does not name the file any more, so a stream of readers cannot keep garbage alive.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Folder;
use crate::Error;

/// The owner's view of the readers. Clones share their state.
#[derive(Clone, Debug)]
pub struct Pins {
    readers: Folder,
    /// Files that were to be deleted, with the readers that were opening then.
    waiting: Arc<Mutex<HashMap<String, Vec<String>>>>,
}

impl Pins {
    /// The pins in the folder `readers`.
    pub fn new(readers: Folder) -> Pins {
        Pins { readers, waiting: Arc::default() }
    }

    /// Whether `file`, which no commit names any more, may be deleted now; if not, ask again later.
    pub fn may_delete(&self, file: &str) -> bool {
        let live = self.live();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let still = match waiting.remove(file) {
            Some(before) => before.into_iter().filter(|name| live.contains(name)).collect(),
            None => live,
        };
        if still.is_empty() {
            return true;
        }
        waiting.insert(file.to_owned(), still);
        false
    }

    /// Names of the readers that are opening. Files that a killed reader left are removed.
    fn live(&self) -> Vec<String> {
        let Ok(names) = self.readers.names() else { return Vec::new() };
        let is_live = |name: &String| match self.readers.open(name).map(|file| (file.try_lock(), file)) {
            Ok((Ok(()), _locked)) => {
                let _ = self.readers.remove(name); // while it is locked here, so that no reader relies on it
                false
            }
            Ok((Err(TryLockError::WouldBlock), _)) => true,
            Ok((Err(TryLockError::Error(_)), _)) => true, // cannot tell
            Err(Error::UnsafePath { .. }) => false,       // no reader's
            Err(e) => !e.is_absent(),
        };
        names.into_iter().filter(|name| is_pin(name)).filter(is_live).collect()
    }
}

/// Whether a name in `readers/` is one that [`Pin::take`] gives: process and number.
pub fn is_pin(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.split_once('-').is_some_and(|(process, number)| is_number(process) && is_number(number))
}

/// Held by a reader while it opens; also by one that wants the files to stay.
#[derive(Debug)]
pub struct Pin {
    readers: Folder,
    name: String,
    _locked: File,
}

impl Pin {
    /// `None` where nothing can be written: on a read-only disk, on a full disk.
    pub fn take(readers: &Folder) -> Option<Pin> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // A name may be taken: process numbers repeat after a kill, and in other containers.
        for _ in 0..100 {
            let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            match readers.create_new(&name) {
                Ok(file) if file.try_lock().is_ok() && readers.has(&name) => {
                    return Some(Pin { readers: readers.clone(), name, _locked: file });
                }
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
        let _ = self.readers.remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_waits_for_the_readers_of_its_time_only() {
        let dir = tempfile::tempdir().unwrap();
        let readers = Folder::trusted(dir.path()).unwrap().make_folder("readers").unwrap().0;
        let take = || Pin::take(&readers);
        let (pins, file) = (Pins::new(readers.clone()), "seg-1.vec");
        assert!(pins.may_delete(file));

        let first = take().unwrap();
        assert!(!pins.may_delete(file));
        let second = take().unwrap();
        assert!(!pins.may_delete(file));
        drop(first);
        assert!(pins.may_delete(file), "the second reader came after the file was gone from the commit");
        assert!(!pins.may_delete("other"), "but before this one was");
        drop(second);
        assert!(pins.may_delete("other"));

        // What a killed reader leaves holds nothing.
        std::fs::write(dir.path().join("readers/1-1"), b"").unwrap();
        std::fs::write(dir.path().join("readers/notes"), b"").unwrap();
        assert!(pins.may_delete(file));
        assert_eq!(readers.names().unwrap(), ["notes"], "not ours");
    }
}
