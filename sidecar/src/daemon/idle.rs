//! What an idle daemon does: close the model and the index after a while, exit after a longer while.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::state::Daemon;
use crate::config::DaemonConfig;
use crate::log::log;
use crate::os;

/// Closes the model and the index when the daemon was not used for its TTL. With `may_exit`, makes it leave when it was not used
/// for the configured idle time.
pub async fn watch_idleness(daemon: Arc<Daemon>, config: DaemonConfig, may_exit: bool) {
    let ttl = config.ttl();
    let longest_idle = config.longest_idle();
    let mut evicted_at_use = None;
    loop {
        tokio::time::sleep(config.check_interval()).await;
        let last_use = daemon.last_use_ms();
        if daemon.in_flight.load(Ordering::Acquire) > 0 {
            continue;
        }
        if may_exit && daemon.idle_for() >= longest_idle {
            log!("idle for {longest_idle:?}");
            daemon.begin_leaving();
            return;
        }
        if daemon.idle_for() >= ttl && evicted_at_use != Some(last_use) {
            daemon.batcher.evict();
            daemon.metrics.evicted();
            if let Some(project) = &daemon.project {
                project.evict();
            }
            os::memory::give_back();
            evicted_at_use = Some(last_use);
        }
    }
}
