//! Environment variables that a user sets. What a project cannot choose is chosen here.

use std::time::Duration;

/// Whether the user allows watching: `OFFHEAP_WATCH=0` forbids it, whatever a project says.
pub fn may_watch() -> bool {
    std::env::var("OFFHEAP_WATCH").map_or(true, |value| value != "0")
}

/// How long a daemon stays idle before it drops its caches, instead of what its project says: `OFFHEAP_TTL_MS`.
pub fn ttl() -> Option<Duration> {
    std::env::var("OFFHEAP_TTL_MS").ok()?.parse().ok().map(Duration::from_millis)
}

/// A kernel by name: `OFFHEAP_KERNEL`.
pub fn kernel() -> Option<String> {
    std::env::var("OFFHEAP_KERNEL").ok().filter(|name| !name.is_empty())
}

/// A model file that the user, not the repository, chose: `OFFHEAP_MODEL`.
pub fn model_override() -> Option<String> {
    std::env::var("OFFHEAP_MODEL").ok().filter(|model| !model.is_empty())
}

/// Threads to compute with: `OFFHEAP_THREADS`, or what the system lets us use (quota and affinity included).
pub fn threads() -> usize {
    let asked = std::env::var("OFFHEAP_THREADS").ok().and_then(|n| n.parse().ok()).filter(|n| (1..=256).contains(n));
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// How long a peer may take for a frame, or not take an answer: `OFFHEAP_STALL_MS`, for tests.
pub fn stall() -> Duration {
    Duration::from_millis(number("OFFHEAP_STALL_MS").unwrap_or(30_000))
}

/// Bytes of texts that may wait, over all connections; more is refused: `OFFHEAP_MAX_WAITING_BYTES`, for tests.
pub fn max_waiting_bytes() -> usize {
    number("OFFHEAP_MAX_WAITING_BYTES").map_or(256 << 20, |bytes| bytes as usize)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok().filter(|n| *n > 0)
}
