//! What an idle daemon does: close the model and the index after a while, exit after a longer while.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::clock::ms;
use super::state::Daemon;
use crate::log::info;
use crate::os;

/// Closes the model and the index when the daemon was not used for its TTL. With `may_leave`, makes it leave when it was not
/// used for the configured idle time.
pub async fn watch_idleness(daemon: Arc<Daemon>, may_leave: bool) {
    let clock = &daemon.idle;
    clock.may_leave.store(may_leave, Ordering::Relaxed);
    loop {
        clock.next_check.store(ms(clock.uptime() + clock.interval), Ordering::Relaxed);
        tokio::time::sleep(clock.interval).await;
        let last_use = clock.last_use.load(Ordering::Relaxed);
        if daemon.in_flight.load(Ordering::Acquire) > 0 {
            continue;
        }
        if may_leave && clock.idle_for() >= clock.longest_idle {
            info!("idle for {:?}", clock.longest_idle);
            daemon.begin_leaving();
            return;
        }
        if clock.idle_for() >= clock.ttl && !clock.is_unloaded() {
            daemon.batcher.evict();
            daemon.metrics.evicted();
            if let Some(project) = &daemon.project {
                project.evict();
            }
            os::memory::give_back();
            clock.unloaded_at_use.store(last_use, Ordering::Relaxed);
        }
    }
}
