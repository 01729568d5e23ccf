//! Damage of the index: what is known of it, and the background check that looks for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use offheap_engine::store::{Check, Place, Snapshot, Store};
use offheap_protocol::{Code, Fault};

use super::Project;
use crate::log::error;
use crate::{UNPOISONED, fault, os};

/// A search asks twice where the index is, and searches come in bursts: an answer holds for this long.
const IN_PLACE_FOR: Duration = Duration::from_millis(10);

/// What is known about damage.
#[derive(Default)]
pub struct Health {
    /// Damage was found: the open index is closed, and the next index run builds it again.
    damaged: Arc<AtomicBool>,
    /// The check of every byte that began when an index run opened the index.
    check: Mutex<Option<JoinHandle<()>>>,
    /// When the open index was last seen at its path.
    seen_in_place: Mutex<Option<Instant>>,
}

impl Health {
    /// Whether damage was found since [`Health::take_damaged`].
    pub fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Whether damage was found; forgets it, because the caller repairs it.
    pub fn take_damaged(&self) -> bool {
        self.damaged.swap(false, Ordering::Relaxed)
    }

    /// Whether `snapshot` is the index at `place`, looked up at most every [`IN_PLACE_FOR`].
    pub fn is_in_place(&self, snapshot: &Snapshot, place: &Place) -> bool {
        let mut seen = self.seen_in_place.lock().expect(UNPOISONED);
        if seen.is_some_and(|at| at.elapsed() < IN_PLACE_FOR) {
            return true;
        }
        *seen = snapshot.is_at(place).then(Instant::now);
        seen.is_some()
    }
}

impl Project {
    /// Reads every byte of the index on a thread of low priority: once in the life of a daemon that indexes, and after an
    /// owner that was killed. Searches go on meanwhile.
    pub(super) fn check_in_background(&self, check: Check) {
        let (damaged, shutting_down) = (self.health.damaged.clone(), self.runs.shutting_down());
        let run = move || {
            os::lower_priority();
            if let Err(error) = check.run(&|| shutting_down.load(Ordering::Relaxed)) {
                error!("the check of the index: {}", fault::chain(&error));
                damaged.store(matches!(error, offheap_engine::Error::IndexDamaged { .. }), Ordering::Relaxed);
            }
        };
        // Without a thread the next opening tries again.
        let thread = std::thread::Builder::new().name("index-check".into()).spawn(run).ok();
        *self.health.check.lock().expect(UNPOISONED) = thread;
    }

    /// Waits for the check that began with this run, so that the run which meets damage also repairs it.
    pub(super) fn wait_for_check(&self, cancelled: &AtomicBool) {
        let Some(check) = self.health.check.lock().expect(UNPOISONED).take() else { return };
        while !check.is_finished() && !cancelled.load(Ordering::Relaxed) && !self.runs.is_shutting_down() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Reads the index with `read`. The libraries below panic over some damaged files: then every byte is checked, and
    /// damage is reported and noted, so that the next index run builds the index again.
    pub(super) fn read_checked<T>(&self, read: impl FnOnce() -> offheap_engine::Result<T>) -> Result<T, Fault> {
        use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
        let panic = match catch_unwind(AssertUnwindSafe(read)) {
            Ok(outcome) => {
                return outcome.map_err(|error| fault::from_engine(&error)).inspect_err(|fault| {
                    self.health.damaged.fetch_or(fault.code == Code::IndexDamaged, Ordering::Relaxed);
                });
            }
            Err(panic) => panic,
        };
        let stop = || self.runs.is_shutting_down();
        let place = self.place()?;
        let check = || Store::check_of(&place)?.run(&stop);
        match catch_unwind(AssertUnwindSafe(check)) {
            Ok(Err(error)) => {
                error!("a search panicked over a damaged index: {}", fault::chain(&error));
                self.health.damaged.store(true, Ordering::Relaxed);
                Err(fault::from_engine(&error))
            }
            _ => resume_unwind(panic),
        }
    }
}
