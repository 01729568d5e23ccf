//! Fail points: places where a test kills the daemon. `OFFHEAP_DIE_AT=place` kills it (SIGKILL) when it passes the place,
//! `OFFHEAP_DIE_AT=place:3` when it passes it for the third time.
//!
//! They are compiled into the shipped program, so that the tested program is the shipped one. Without the variable each costs one
//! load.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use offheap_engine::store::{Step, Store};

/// The place that `OFFHEAP_DIE_AT` names.
struct Plan {
    place: String,
    /// Passes until the kill, that one included.
    left: AtomicU32,
}

fn plan() -> Option<&'static Plan> {
    static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
    let read = || {
        let text = std::env::var("OFFHEAP_DIE_AT").ok()?;
        let (place, n) = text.split_once(':').unwrap_or((&text, "1"));
        Some(Plan { place: place.to_owned(), left: AtomicU32::new(n.parse().ok()?) })
    };
    PLAN.get_or_init(read).as_ref()
}

/// Kills the process if `OFFHEAP_DIE_AT` names this place.
pub fn pass(place: &str) {
    let Some(plan) = plan().filter(|plan| plan.place == place) else { return };
    if plan.left.fetch_sub(1, Ordering::Relaxed) == 1 {
        die();
    }
}

/// Makes every step of a store's commits a fail point.
pub fn watch_commits(store: &mut Store) {
    if plan().is_none() {
        return;
    }
    store.on_step(|step| {
        pass(match step {
            Step::Segment => "commit-segment",
            Step::Manifest => "commit-manifest",
            Step::Prepare => "commit-prepare",
            Step::CommitPoint => "commit-point",
            Step::Cache => "commit-cache",
            Step::Publish => "commit-publish",
            Step::Garbage => "commit-garbage",
        });
        Ok(())
    });
}

/// Kills this process: no destructor, no flush, no exit handler.
fn die() -> ! {
    #[cfg(unix)]
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort()
}
