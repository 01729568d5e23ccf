//! When the daemon was used, and when it will do what because it is not.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use offheap_protocol::message::{IdleStatus, Request};

use crate::config::DaemonConfig;

/// Value of a time that has not come.
const NEVER: u64 = u64::MAX;

/// When the daemon was used, and when it does what because it is not. Times are milliseconds after the daemon was ready.
pub struct IdleClock {
    started: Instant,
    /// Idle time after which the model and the index leave memory.
    pub(super) ttl: Duration,
    /// Idle time after which the daemon leaves.
    pub(super) longest_idle: Duration,
    /// Time between two checks.
    pub(super) interval: Duration,
    /// Whether the daemon leaves by itself; a private one ends with its client.
    pub(super) may_leave: AtomicBool,
    /// When idleness is checked next.
    pub(super) next_check: AtomicU64,
    /// When a request last began or ended that keeps the daemon; see [`keeps_daemon`].
    pub(super) last_use: AtomicU64,
    /// When a request last began or ended that is work; see [`is_work`].
    last_work: AtomicU64,
    /// Value of `last_use` when the model and the index were dropped.
    pub(super) unloaded_at_use: AtomicU64,
    /// Requests in progress that keep the daemon.
    n_keeping: AtomicUsize,
}

/// Whether a request counts as use: such a request keeps the daemon from being idle.
fn keeps_daemon(request: &Request) -> bool {
    !matches!(request, Request::Hello { .. } | Request::Status)
}

/// Whether a request is reported as the last use. A `Ping` keeps the daemon, and every client begins with one.
fn is_work(request: &Request) -> bool {
    keeps_daemon(request) && !matches!(request, Request::Ping)
}

/// A request in progress, as far as idleness is concerned.
pub struct Use {
    keeps: bool,
    work: bool,
}

impl IdleClock {
    /// A clock for a daemon that is ready now.
    pub fn new(config: &DaemonConfig) -> Self {
        let interval = config.check_interval();
        IdleClock {
            started: Instant::now(),
            ttl: config.ttl(),
            longest_idle: config.longest_idle(),
            interval,
            may_leave: AtomicBool::new(false),
            next_check: AtomicU64::new(ms(interval)),
            last_use: AtomicU64::new(0),
            last_work: AtomicU64::new(NEVER),
            unloaded_at_use: AtomicU64::new(NEVER),
            n_keeping: AtomicUsize::new(0),
        }
    }

    /// How long the daemon has been ready.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Notes that a request begins.
    pub fn begin(&self, request: &Request) -> Use {
        let begun = Use { keeps: keeps_daemon(request), work: is_work(request) };
        if begun.keeps {
            self.n_keeping.fetch_add(1, Ordering::AcqRel);
        }
        self.note(&begun);
        begun
    }

    /// Notes that a request has ended.
    pub fn end(&self, ended: &Use) {
        self.note(ended);
        if ended.keeps {
            self.n_keeping.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn note(&self, noted: &Use) {
        let now = ms(self.uptime());
        if noted.keeps {
            self.last_use.store(now, Ordering::Relaxed);
        }
        if noted.work {
            self.last_work.store(now, Ordering::Relaxed);
        }
    }

    /// How long ago the daemon was last used.
    pub(super) fn idle_for(&self) -> Duration {
        self.uptime().saturating_sub(Duration::from_millis(self.last_use.load(Ordering::Relaxed)))
    }

    /// Whether the model and the index were dropped and nothing was asked since.
    pub(super) fn is_unloaded(&self) -> bool {
        self.unloaded_at_use.load(Ordering::Relaxed) == self.last_use.load(Ordering::Relaxed)
    }

    /// The clock's part of `status`.
    pub fn report(&self) -> IdleStatus {
        let now = ms(self.uptime());
        let is_busy = self.n_keeping.load(Ordering::Acquire) > 0;
        let last_work = self.last_work.load(Ordering::Relaxed);
        let due =
            |idle: Duration| self.check_after(self.last_use.load(Ordering::Relaxed) + ms(idle)).saturating_sub(now);
        IdleStatus {
            last_use_ms: (last_work != NEVER).then(|| now.saturating_sub(last_work)),
            unload_in_ms: (!is_busy && !self.is_unloaded()).then(|| due(self.ttl)),
            leave_in_ms: (!is_busy && self.may_leave.load(Ordering::Relaxed)).then(|| due(self.longest_idle)),
        }
    }

    /// The first check that is not before `at`.
    fn check_after(&self, at: u64) -> u64 {
        let (next, interval) = (self.next_check.load(Ordering::Relaxed), ms(self.interval).max(1));
        next + at.saturating_sub(next).div_ceil(interval) * interval
    }
}

pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(ttl_minutes: f64, auto_shutdown_on_idle: bool) -> IdleClock {
        let config = DaemonConfig { ttl_minutes, auto_shutdown_on_idle, ..DaemonConfig::default() };
        let clock = IdleClock::new(&config);
        clock.may_leave.store(true, Ordering::Relaxed);
        clock
    }

    #[test]
    fn what_is_left_ends_with_a_check_of_idleness() {
        let clock = clock(10.0, false);
        // Checks are at 60 s, 120 s, ... here.
        for (at, check) in [(0, 60_000), (60_000, 60_000), (60_001, 120_000), (600_000, 600_000), (600_001, 660_000)] {
            assert_eq!(clock.check_after(at), check);
        }
        let report = clock.report();
        assert_eq!(report.last_use_ms, None);
        let (unload, leave) = (report.unload_in_ms.expect("loaded"), report.leave_in_ms.expect("it may"));
        assert!((590_000..=600_000).contains(&unload), "{unload}");
        assert!((86_390_000..=86_400_000).contains(&leave), "{leave}");
    }

    #[test]
    fn nothing_is_left_to_wait_for_while_requests_are_worked_on() {
        let clock = clock(10.0, true);
        let search = clock.begin(&Request::Index { rebuild: false, force: false });
        let report = clock.report();
        assert!(report.last_use_ms.is_some());
        assert_eq!((report.unload_in_ms, report.leave_in_ms), (None, None));
        clock.end(&search);
        assert!(clock.report().leave_in_ms.is_some());
    }

    #[test]
    fn questions_about_the_daemon_are_no_use_of_it() {
        let clock = clock(10.0, true);
        for request in [Request::Status, Request::Hello { client: String::new() }, Request::Ping] {
            let begun = clock.begin(&request);
            assert_eq!(begun.keeps, request == Request::Ping);
            clock.end(&begun);
        }
        assert_eq!(clock.report().last_use_ms, None);
        clock.end(&clock.begin(&Request::ClearCache { stored: false }));
        assert!(clock.report().last_use_ms.is_some());
    }
}
