//! Places where a test makes the daemon die as by `kill -9`: `OFFHEAP_DIE_AT=place`, or `place:3` for its third passing.
//!
//! They are in the shipped program, so that what is tested is what is shipped. Without the variable a passing is one load.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use offheap_engine::store::{Step, Store};

struct Plan {
    place: String,
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

/// Ends the process here and now, if that was asked for.
pub fn pass(place: &str) {
    let Some(plan) = plan().filter(|plan| plan.place == place) else { return };
    if plan.left.fetch_sub(1, Ordering::Relaxed) == 1 {
        die();
    }
}

/// The same for the steps of a store's commits.
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

/// No destructor, no flush, no exit handler.
fn die() -> ! {
    #[cfg(unix)]
    // SAFETY: kill takes two numbers; SIGKILL cannot be caught, so nothing of this process runs after it.
    unsafe {
        libc::kill(libc::getpid(), libc::SIGKILL);
    }
    std::process::abort()
}
