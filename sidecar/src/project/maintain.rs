//! Builds graphs of large segments on a thread of low priority, while no index run needs the index.
//!
//! The store is locked only to ask what there is to do and to commit what was done, not in between. An index run, or the
//! shutdown of the daemon, ends the work at once; it is begun again after the next index run.

use std::sync::Arc;

use offheap_engine::kernel;

use super::Project;
use crate::log::{error, warn};
use crate::os;

impl Project {
    /// Starts the thread, which ends at once if another one is at work. Does not wait for it.
    pub fn start_maintenance(self: &Arc<Self>) {
        let project = self.clone();
        let thread = std::thread::Builder::new().name("offheap-graphs".into()).spawn(move || {
            let Some(_maintaining) = project.runs.begin_maintenance() else { return };
            os::lower_priority();
            if let Err(error) = project.maintain() {
                warn!("maintenance of the index: {error}");
            }
        });
        if let Err(error) = thread {
            error!("cannot start the maintenance thread: {error}");
        }
    }

    fn maintain(&self) -> offheap_engine::Result<()> {
        let cancelled = || self.runs.is_shutting_down() || self.is_indexing();
        let kernel = kernel::choose(None).expect("portable always runs");
        // One processor is left for requests.
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
            let Some(store) = slot.as_mut().filter(|_| !self.runs.is_shutting_down()) else { return Ok(()) };
            if let Err(error) = store.install(built).and_then(|_| store.release_writer()) {
                *slot = None; // the files hold the last commit
                return Err(error);
            }
            self.publish(store.snapshot());
        }
    }
}
