//! Looking after large segments while nobody waits: graphs are built on a thread of low priority.
//!
//! The store is held only to ask what there is to do and to commit what was done, not in between. An index run, or the
//! daemon's leaving, ends the work at once; the next index run begins it again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use offheap_engine::kernel;

use super::{Project, UNPOISONED, lower_priority};
use crate::log::log;

impl Project {
    /// Starts the thread, unless it runs already. Returns at once.
    pub fn tend(self: &Arc<Self>) {
        if self.tending.swap(true, Ordering::AcqRel) {
            return;
        }
        let project = self.clone();
        let thread = std::thread::Builder::new().name("offheap-tend".into()).spawn(move || {
            let _flag = Tending(&project.tending);
            lower_priority();
            if let Err(error) = project.tend_all() {
                log!("looking after the index: {error}");
            }
        });
        if let Err(error) = thread {
            self.tending.store(false, Ordering::Release);
            log!("looking after the index: {error}");
        }
    }

    fn tend_all(&self) -> offheap_engine::Result<()> {
        let cancelled = || self.stopping.load(Ordering::Relaxed) || self.is_indexing();
        let kernel = kernel::choose(None).expect("portable always runs");
        // One processor is left to whoever asks something.
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get().saturating_sub(1).max(1));
        loop {
            let slot = self.lock_store();
            let Some(job) = slot.as_ref().and_then(|store| store.maintenance()) else { return Ok(()) };
            drop(slot);
            let built = match job.run(kernel, threads, &cancelled) {
                Err(offheap_engine::Error::Cancelled) => return Ok(()),
                built => built?,
            };
            let mut slot = self.lock_store();
            let Some(store) = slot.as_mut().filter(|_| !self.stopping.load(Ordering::Relaxed)) else { return Ok(()) };
            if let Err(error) = store.install(built).and_then(|_| store.release_writer()) {
                *slot = None; // the files hold the last commit
                return Err(error);
            }
            *self.snapshot.lock().expect(UNPOISONED) = Some(store.snapshot());
        }
    }
}

/// While the thread runs.
struct Tending<'a>(&'a AtomicBool);

impl Drop for Tending<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
