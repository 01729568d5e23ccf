//! Who works with the project's index: runs that clients ask for, background runs, maintenance.
//!
//! At most one requested run is in progress; a second one is refused. A background run (changed files, no client waits for
//! it) ends as soon as a request needs the store. All of them end when the daemon shuts down.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use offheap_protocol::{Code, Fault};

use crate::UNPOISONED;

/// How often a run looks whether a cancelled one before it has ended.
const RETRY_EVERY: Duration = Duration::from_millis(5);

/// Which runs are in progress, and what makes them stop.
#[derive(Default)]
pub struct Runs {
    /// The requested run's cancellation flag; `None` while there is no such run.
    requested: Mutex<Option<Arc<AtomicBool>>>,
    /// The cancellation flag of the latest background run.
    background: Mutex<Option<Arc<AtomicBool>>>,
    /// Requests that hold or wait for the store.
    store_wanted: AtomicUsize,
    /// The last requested run was cancelled by its caller: background runs do not compute the vectors that it left out.
    paused: AtomicBool,
    /// The maintenance thread runs.
    maintaining: AtomicBool,
    /// The daemon is shutting down: runs commit what they have and end.
    shutting_down: Arc<AtomicBool>,
}

/// A requested run is in progress as long as this lives.
pub struct RequestedRun<'a>(&'a Runs);

impl Drop for RequestedRun<'_> {
    fn drop(&mut self) {
        *self.0.requested.lock().expect(UNPOISONED) = None;
    }
}

/// A request needs the store as long as this lives.
pub struct StoreWanted<'a>(&'a Runs);

impl Drop for StoreWanted<'_> {
    fn drop(&mut self) {
        self.0.store_wanted.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The maintenance thread runs as long as this lives.
pub struct Maintaining<'a>(&'a Runs);

impl Drop for Maintaining<'_> {
    fn drop(&mut self) {
        self.0.maintaining.store(false, Ordering::Release);
    }
}

impl Runs {
    /// Begins a requested run, after waiting for one whose caller has cancelled it.
    ///
    /// Errors: `INDEX_BUSY` while another requested run is in progress.
    pub fn begin_requested(&self, cancelled: &Arc<AtomicBool>) -> Result<RequestedRun<'_>, Fault> {
        loop {
            let mut requested = self.requested.lock().expect(UNPOISONED);
            match &*requested {
                None => {
                    *requested = Some(cancelled.clone());
                    return Ok(RequestedRun(self));
                }
                Some(other) if other.load(Ordering::Relaxed) && !cancelled.load(Ordering::Relaxed) => {}
                Some(_) => {
                    return Err(Fault::new(Code::IndexBusy, "this project is being indexed already")
                        .hint("wait for it, or search what is there"));
                }
            }
            drop(requested);
            std::thread::sleep(RETRY_EVERY);
        }
    }

    /// Whether a requested run is in progress.
    pub fn is_requested(&self) -> bool {
        self.requested.lock().expect(UNPOISONED).is_some()
    }

    /// Begins a background run and returns its cancellation flag.
    ///
    /// Errors: `INDEX_BUSY` when a request needs the store.
    pub fn begin_background(&self) -> Result<Arc<AtomicBool>, Fault> {
        let cancelled = Arc::new(AtomicBool::new(false));
        *self.background.lock().expect(UNPOISONED) = Some(cancelled.clone());
        if self.is_store_wanted() { Err(gave_way()) } else { Ok(cancelled) }
    }

    /// Stops a background run.
    pub fn stop_background(&self) {
        if let Some(cancelled) = &*self.background.lock().expect(UNPOISONED) {
            cancelled.store(true, Ordering::Relaxed);
        }
    }

    /// Says that a request needs the store, which stops a background run.
    pub fn want_store(&self) -> StoreWanted<'_> {
        self.store_wanted.fetch_add(1, Ordering::AcqRel);
        self.stop_background();
        StoreWanted(self)
    }

    /// Whether a request needs the store.
    pub fn is_store_wanted(&self) -> bool {
        self.store_wanted.load(Ordering::Acquire) > 0
    }

    /// Remembers whether the last requested run was cancelled by its caller.
    pub fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    /// Whether the last requested run was cancelled by its caller.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Begins maintenance; `None` while it is in progress already.
    pub fn begin_maintenance(&self) -> Option<Maintaining<'_>> {
        (!self.maintaining.swap(true, Ordering::AcqRel)).then(|| Maintaining(self))
    }

    /// Makes every run commit what it has and end.
    pub fn shut_down(&self) {
        self.shutting_down.store(true, Ordering::Relaxed);
    }

    /// Whether the daemon is shutting down.
    pub fn is_shutting_down(&self) -> bool {
        self.shutting_down.load(Ordering::Relaxed)
    }

    /// The flag behind [`Runs::is_shutting_down`], for threads that outlive a borrow.
    pub fn shutting_down(&self) -> Arc<AtomicBool> {
        self.shutting_down.clone()
    }
}

/// The fault of a background run that gave way to a request.
pub fn gave_way() -> Fault {
    Fault::new(Code::IndexBusy, "another request needs the index")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_requested_run_at_a_time_and_a_cancelled_one_is_waited_for() {
        let runs = Runs::default();
        let first = Arc::new(AtomicBool::new(false));
        let run = runs.begin_requested(&first).expect("no run is in progress");
        let second = Arc::new(AtomicBool::new(false));
        assert_eq!(runs.begin_requested(&second).err().map(|fault| fault.code), Some(Code::IndexBusy));
        first.store(true, Ordering::Relaxed);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| runs.begin_requested(&second).map(drop));
            drop(run);
            assert_eq!(waiting.join().expect("no panic"), Ok(()));
        });
        assert!(!runs.is_requested());
    }

    #[test]
    fn a_background_run_gives_way_to_a_request() {
        let runs = Runs::default();
        let cancelled = runs.begin_background().expect("no request needs the store");
        let wanted = runs.want_store();
        assert!(cancelled.load(Ordering::Relaxed));
        assert_eq!(runs.begin_background().err().map(|fault| fault.code), Some(Code::IndexBusy));
        drop(wanted);
        assert!(runs.begin_background().is_ok());
    }
}
