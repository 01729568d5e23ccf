//! Counters and latencies for `status`: numbers only, never a text of a request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use offheap_protocol::message::{CutOff, Latency, LoadStatus, Request, RequestCounts};
use offheap_protocol::{Code, Fault};

/// Number of buckets of a histogram. Bucket `i` counts what took at least `2^(i-1)` and less than `2^i` microseconds; the last
/// one also counts everything longer.
const BUCKETS: usize = 32;

/// Kinds of requests, each with its own counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    Embed,
    Search,
    Index,
    Other,
}

impl RequestKind {
    /// The kind of `request`.
    pub fn of(request: &Request) -> Self {
        match request {
            Request::Embed { .. } => RequestKind::Embed,
            Request::Search(_) => RequestKind::Search,
            Request::Index { .. } => RequestKind::Index,
            _ => RequestKind::Other,
        }
    }
}

/// Why the daemon dropped a connection.
#[derive(Clone, Copy, Debug)]
pub enum DropReason {
    /// What it sent is not the protocol.
    Malformed,
    /// It does not read its answers.
    SlowReader,
    /// It began a greeting or a frame and did not finish it in time.
    SlowSender,
}

/// Counted since the daemon was ready.
#[derive(Default)]
pub struct Metrics {
    requests: [AtomicU64; 4],
    cancelled: AtomicU64,
    timed_out: AtomicU64,
    overloaded: AtomicU64,
    embed: Histogram,
    search: Histogram,
    dropped: [AtomicU64; 3],
    evictions: AtomicU64,
}

impl Metrics {
    /// Counts a request that was answered; `took` is the time since it was read.
    pub fn answered(&self, kind: RequestKind, fault: Option<&Fault>, took: Duration) {
        add(&self.requests[kind as usize]);
        match (fault.map(|fault| fault.code), kind) {
            (Some(Code::Cancelled), _) => add(&self.cancelled),
            (Some(Code::Timeout), _) => add(&self.timed_out),
            (Some(Code::Overloaded), _) => add(&self.overloaded),
            (None, RequestKind::Embed) => self.embed.record(took),
            (None, RequestKind::Search) => self.search.record(took),
            _ => {}
        }
    }

    /// Counts a connection that the daemon dropped.
    pub fn connection_dropped(&self, why: DropReason) {
        add(&self.dropped[why as usize]);
    }

    /// Counts that the model and the index were closed because they were idle.
    pub fn evicted(&self) {
        add(&self.evictions);
    }

    /// The counters for `status`; fields that are measured now are left to the caller.
    pub fn report(&self) -> LoadStatus {
        let [embed, search, index, other] = self.requests.each_ref().map(read);
        let [malformed, slow_reader, slow_sender] = self.dropped.each_ref().map(read);
        LoadStatus {
            requests: RequestCounts { embed, search, index, other },
            cancelled: read(&self.cancelled),
            timed_out: read(&self.timed_out),
            overloaded: read(&self.overloaded),
            embed: self.embed.report(),
            search: self.search.report(),
            cut_off: CutOff { malformed, slow_reader, slow_sender },
            evictions: read(&self.evictions),
            ..LoadStatus::default()
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// A histogram of durations in buckets that double.
#[derive(Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    max_us: AtomicU64,
}

impl Histogram {
    fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - us.leading_zeros()) as usize;
        add(&self.buckets[bucket.min(BUCKETS - 1)]);
        self.max_us.fetch_max(us, Ordering::Relaxed);
    }

    fn report(&self) -> Latency {
        let buckets: Vec<u64> = self.buckets.iter().map(read).collect();
        let max_us = read(&self.max_us);
        let quantile = |q: f64| quantile(&buckets, q).min(max_us);
        Latency { p50_us: quantile(0.5), p90_us: quantile(0.9), p99_us: quantile(0.99), max_us, buckets }
    }
}

/// The `q` quantile as the upper end of its bucket, in microseconds: at most twice the true value.
fn quantile(buckets: &[u64], q: f64) -> u64 {
    let n: u64 = buckets.iter().sum();
    let rank = ((n as f64 * q).ceil() as u64).max(1);
    let mut seen = 0;
    for (bucket, count) in buckets.iter().enumerate() {
        seen += count;
        if seen >= rank {
            return if bucket == BUCKETS - 1 { u64::MAX } else { 1 << bucket };
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_the_ends_of_their_buckets() {
        let histogram = Histogram::default();
        assert_eq!(histogram.report(), Latency { buckets: vec![0; BUCKETS], ..Latency::default() });
        for us in [0, 1, 3, 3, 3, 3, 3, 3, 100, 5_000] {
            histogram.record(Duration::from_micros(us));
        }
        let report = histogram.report();
        assert_eq!((report.p50_us, report.p90_us, report.p99_us, report.max_us), (4, 128, 5_000, 5_000));
        assert_eq!(report.buckets.iter().sum::<u64>(), 10);
        assert_eq!((report.buckets[0], report.buckets[1], report.buckets[2]), (1, 1, 6));
        histogram.record(Duration::MAX);
        assert_eq!((histogram.report().p99_us, histogram.report().buckets[BUCKETS - 1]), (u64::MAX, 1));
    }

    #[test]
    fn answers_are_counted_by_kind_and_outcome() {
        let metrics = Metrics::default();
        let us = Duration::from_micros(10);
        metrics.answered(RequestKind::Embed, None, us);
        metrics.answered(RequestKind::Search, Some(&Fault::new(Code::Timeout, "")), us);
        metrics.answered(RequestKind::Index, Some(&Fault::new(Code::Cancelled, "")), us);
        metrics.answered(RequestKind::Other, Some(&Fault::new(Code::Overloaded, "")), us);
        metrics.connection_dropped(DropReason::SlowReader);
        metrics.evicted();
        let report = metrics.report();
        assert_eq!(report.requests, RequestCounts { embed: 1, search: 1, index: 1, other: 1 });
        assert_eq!((report.timed_out, report.cancelled, report.overloaded, report.evictions), (1, 1, 1, 1));
        assert_eq!(report.cut_off, CutOff { slow_reader: 1, ..CutOff::default() });
        assert_eq!((report.embed.max_us, report.search.max_us), (10, 0));
    }
}
