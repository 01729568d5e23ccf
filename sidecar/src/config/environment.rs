//! Settings that only the user makes, by environment variables; a project's file cannot.

use std::time::Duration;

/// Whether projects may be watched for changes: `OFFHEAP_WATCH=0` forbids it.
pub fn may_watch() -> bool {
    std::env::var("OFFHEAP_WATCH").map_or(true, |value| value != "0")
}

/// How long a daemon stays idle before it drops its caches, instead of what its project says: `OFFHEAP_TTL_MS`.
pub fn ttl() -> Option<Duration> {
    std::env::var("OFFHEAP_TTL_MS").ok()?.parse().ok().map(Duration::from_millis)
}

/// The name of the compute kernel to use: `OFFHEAP_KERNEL`.
pub fn kernel() -> Option<String> {
    std::env::var("OFFHEAP_KERNEL").ok().filter(|name| !name.is_empty())
}

/// The model to use instead of the configured one: `OFFHEAP_MODEL`. It may be any file.
pub fn model_override() -> Option<String> {
    std::env::var("OFFHEAP_MODEL").ok().filter(|model| !model.is_empty())
}

/// Number of compute threads: `OFFHEAP_THREADS`, or as many as the system allows (CPU quota and affinity included).
pub fn threads() -> usize {
    let asked = std::env::var("OFFHEAP_THREADS").ok().and_then(|n| n.parse().ok()).filter(|n| (1..=256).contains(n));
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// How long a client may take to send a frame, or to read an answer. Tests set `OFFHEAP_STALL_MS`.
pub fn stall() -> Duration {
    Duration::from_millis(number("OFFHEAP_STALL_MS").unwrap_or(30_000))
}

/// Greatest number of bytes of waiting texts over all connections. Tests set `OFFHEAP_MAX_WAITING_BYTES`.
pub fn max_waiting_bytes() -> usize {
    number("OFFHEAP_MAX_WAITING_BYTES").map_or(256 << 20, |bytes| bytes as usize)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok().filter(|n| *n > 0)
}
