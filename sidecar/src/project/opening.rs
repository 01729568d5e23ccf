//! Which index is open, and who owns it.
//!
//! Only one process owns an index and writes it. A daemon that finds it owned (another runtime directory, a sandbox) reads
//! the owner's commits and tries now and then to become the owner.

use std::sync::{Arc, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use offheap_engine::store::{Place, Snapshot, Stamp, Store};
use offheap_protocol::border::project_around;
use offheap_protocol::{Code, Fault};

use super::Project;
use crate::log::{info, warn};
use crate::{UNPOISONED, config, fault};

/// How often a process that only reads the index tries to own it: the owner may have left.
const TRY_TO_OWN_EVERY: Duration = Duration::from_secs(2);

/// What searches read.
pub enum Index {
    /// No generation is open.
    Closed,
    /// This process owns the index; this is its latest committed generation.
    Owned(Arc<Snapshot>),
    /// Another process owns the index, or it cannot be written.
    Borrowed(Borrowed),
}

/// A committed generation of an index that this process does not own.
#[derive(Clone)]
pub struct Borrowed {
    snapshot: Arc<Snapshot>,
    /// When its commit point was written: another stamp on disk means a newer generation.
    stamp: Stamp,
    /// When this process last tried to own the index.
    tried: Instant,
}

impl Project {
    /// Whether another process owns the index, so that this one only reads it.
    pub fn is_borrowed(&self) -> bool {
        matches!(*self.index.lock().expect(UNPOISONED), Index::Borrowed(_))
    }

    /// Closes the index; the next use opens it again. Does nothing while an index run holds it.
    pub fn evict(&self) {
        let mut store = match self.store.try_lock() {
            Ok(store) => store,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        *store = None;
        self.set_index(Index::Closed);
    }

    /// The committed generation that searches use; opens the index if it is closed.
    ///
    /// Errors: `NO_INDEX` where no generation was committed, and whatever opening meets.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>, Fault> {
        if self.health.is_damaged() && !self.is_indexing() {
            self.evict();
        }
        let place = self.place()?;
        if let Some(snapshot) = self.published() {
            if self.health.is_in_place(&snapshot, &place) {
                return Ok(snapshot);
            }
            self.evict();
            self.forget_index();
        }
        if !config::has_index(&place)? {
            return Err(self.no_index());
        }
        let is_due = |borrowed: &Borrowed| borrowed.tried.elapsed() > TRY_TO_OWN_EVERY;
        if self.borrowed().is_some_and(|borrowed| !is_due(&borrowed)) {
            return self.borrow(&place);
        }
        let Some(mut slot) = self.store_for_reading() else {
            return self.published().ok_or_else(|| self.no_index());
        };
        if let Some(snapshot) = self.published() {
            return Ok(snapshot); // another request opened it meanwhile
        }
        self.drop_lost_store(&mut slot, &place);
        let store = match &mut *slot {
            Some(store) => store,
            empty => match self.open_store(&place) {
                Ok(store) => empty.insert(store),
                // Another process owns it, or the disk cannot be written: the commits there can be read.
                Err(fault) if fault.code == Code::IndexLocked || is_read_only(&place) => {
                    drop(slot);
                    if let Index::Borrowed(borrowed) = &mut *self.index.lock().expect(UNPOISONED) {
                        borrowed.tried = Instant::now();
                    }
                    return self.borrow(&place);
                }
                Err(fault) => return Err(fault),
            },
        };
        let snapshot = store.snapshot();
        if is_empty(&snapshot) {
            return Err(self.no_index());
        }
        self.publish(snapshot.clone());
        Ok(snapshot)
    }

    /// Whether this process owns an index that another build made, and that a run over the whole tree brings up to date.
    pub fn is_outdated(&self) -> bool {
        self.published().is_some_and(|snapshot| !snapshot.is_current())
    }

    /// The fault of a project that was never indexed.
    pub fn no_index(&self) -> Fault {
        let mut hint = "run `offheap index`, or call client.index()".to_owned();
        if let Some(around) = project_around(&self.root) {
            hint += &format!("; the project around it, `{0}`, is asked with `--project {0}`", around.display());
        }
        Fault::new(Code::NoIndex, format!("`{}` has no index yet", self.root.display())).hint(hint)
    }

    /// The writing handle, waited for.
    pub(super) fn lock_store(&self) -> MutexGuard<'_, Option<Store>> {
        match self.store.lock() {
            Ok(slot) => slot,
            Err(poisoned) => {
                self.store.clear_poison();
                closed_after_panic(poisoned.into_inner())
            }
        }
    }

    /// Opens the index for writing, and checks it in the background if its last owner was killed.
    pub(super) fn open_store(&self, place: &Place) -> Result<Store, Fault> {
        let store = Store::open(place).map_err(|error| fault::from_engine(&error))?;
        if store.was_unclean() {
            self.check_in_background(store.check());
        }
        self.end_borrowing();
        Ok(store)
    }

    /// Forgets another process's index: this process owns it now.
    pub(super) fn end_borrowing(&self) {
        let mut index = self.index.lock().expect(UNPOISONED);
        if matches!(*index, Index::Borrowed(_)) {
            info!("this daemon owns the index now");
            *index = Index::Closed;
        }
    }

    /// Closes the writing handle if its files are no longer the project's index: nothing written there would be found.
    pub(super) fn drop_lost_store(&self, slot: &mut Option<Store>, place: &Place) {
        if slot.as_ref().is_some_and(|store| !store.is_at(place)) {
            warn!("the index directory was moved, deleted or replaced");
            *slot = None;
            self.forget_index();
        }
    }

    /// Makes a committed generation the one that searches use.
    pub(super) fn publish(&self, snapshot: Arc<Snapshot>) {
        self.set_index(Index::Owned(snapshot));
    }

    pub(super) fn set_index(&self, index: Index) {
        *self.index.lock().expect(UNPOISONED) = index;
    }

    /// The generation that this process, as the owner, has published.
    pub(super) fn published(&self) -> Option<Arc<Snapshot>> {
        match &*self.index.lock().expect(UNPOISONED) {
            Index::Owned(snapshot) => Some(snapshot.clone()),
            Index::Closed | Index::Borrowed(_) => None,
        }
    }

    /// Closes what searches read, and has the whole tree looked at again.
    fn forget_index(&self) {
        self.set_index(Index::Closed);
        self.watch.distrust();
    }

    fn borrowed(&self) -> Option<Borrowed> {
        match &*self.index.lock().expect(UNPOISONED) {
            Index::Borrowed(borrowed) => Some(borrowed.clone()),
            Index::Closed | Index::Owned(_) => None,
        }
    }

    /// The writing handle, waited for while another request opens it. `None` when a generation was published meanwhile, or
    /// while the first index run of all holds it and has committed nothing yet.
    fn store_for_reading(&self) -> Option<MutexGuard<'_, Option<Store>>> {
        loop {
            if self.published().is_some() {
                return None;
            }
            match self.store.try_lock() {
                Ok(slot) => return Some(slot),
                Err(TryLockError::Poisoned(poisoned)) => return Some(closed_after_panic(poisoned.into_inner())),
                Err(TryLockError::WouldBlock) if self.is_indexing() => return None,
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// The last generation that the index's owner, another process, has committed.
    fn borrow(&self, place: &Place) -> Result<Arc<Snapshot>, Fault> {
        // Opening can panic over damaged files; the lock guards no data.
        let _one_at_a_time = self.borrowing.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = place.stamp();
        let before = self.borrowed();
        if let Some(borrowed) = before.as_ref().filter(|borrowed| borrowed.stamp == stamp) {
            return Ok(borrowed.snapshot.clone());
        }
        // The stamp is older than what is opened now, so a commit in between is opened the next time.
        let snapshot = match (Store::open_read_only(place), &before) {
            (Ok(snapshot), _) => snapshot,
            (Err(error), None) => return Err(fault::from_engine(&error)),
            (Err(error), Some(borrowed)) => {
                warn!("a newer generation cannot be opened: {}", fault::chain(&error));
                return Ok(borrowed.snapshot.clone());
            }
        };
        if is_empty(&snapshot) {
            return Err(self.no_index());
        }
        if before.is_none() {
            warn!("another process owns the index, or it cannot be written; this daemon only reads it");
        }
        let mut index = self.index.lock().expect(UNPOISONED);
        // An index run that opened the index meanwhile has published what is newer than this.
        if !matches!(*index, Index::Owned(_)) {
            *index = Index::Borrowed(Borrowed { snapshot: snapshot.clone(), stamp, tried: Instant::now() });
        }
        Ok(snapshot)
    }
}

/// Whether nothing was committed yet.
fn is_empty(snapshot: &Snapshot) -> bool {
    snapshot.stats().chunks == 0 && snapshot.generation == 0
}

/// Whether the index directory cannot be written: no permission, or a read-only file system.
fn is_read_only(place: &Place) -> bool {
    let Ok(Some(folder)) = place.open() else { return false };
    let probe = format!("writable-{}", std::process::id());
    let _ = folder.remove(&probe);
    match folder.create_new(&probe) {
        Ok(_) => {
            let _ = folder.remove(&probe);
            false
        }
        Err(error) => {
            matches!(error.kind(), std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem)
        }
    }
}

/// Closes a writing handle that a panic left in an unknown state; its files hold the last commit.
fn closed_after_panic(mut slot: MutexGuard<'_, Option<Store>>) -> MutexGuard<'_, Option<Store>> {
    *slot = None;
    slot
}
