//! What was done and how long it took: numbers only, never a word of what was asked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use offheap_protocol::message::{CutOff, Latency, LoadStatus, Request, RequestCounts};
use offheap_protocol::{Code, Fault};

/// Bucket `i` counts what took less than `2^i` microseconds and fits no smaller one; the last one takes the rest.
const BUCKETS: usize = 32;

/// Requests that are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Embed,
    Search,
    Index,
    Other,
}

impl Sort {
    /// Of this request.
    pub fn of(request: &Request) -> Self {
        match request {
            Request::Embed { .. } => Sort::Embed,
            Request::Search(_) => Sort::Search,
            Request::Index { .. } => Sort::Index,
            _ => Sort::Other,
        }
    }
}

/// Why a connection was ended by the daemon.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// What it sent is not the protocol.
    Malformed,
    /// It does not take its answers.
    SlowReader,
    /// It began something and did not go on.
    SlowSender,
}

/// Counted since the daemon was ready.
#[derive(Default)]
pub struct Metrics {
    sorts: [AtomicU64; 4],
    cancelled: AtomicU64,
    timed_out: AtomicU64,
    overloaded: AtomicU64,
    embed: Histogram,
    search: Histogram,
    cuts: [AtomicU64; 3],
    evictions: AtomicU64,
}

impl Metrics {
    /// A request was answered, so long after it was read.
    pub fn answered(&self, sort: Sort, fault: Option<&Fault>, took: Duration) {
        add(&self.sorts[sort as usize]);
        match (fault.map(|fault| fault.code), sort) {
            (Some(Code::Cancelled), _) => add(&self.cancelled),
            (Some(Code::Timeout), _) => add(&self.timed_out),
            (Some(Code::Overloaded), _) => add(&self.overloaded),
            (None, Sort::Embed) => self.embed.record(took),
            (None, Sort::Search) => self.search.record(took),
            _ => {}
        }
    }

    /// A connection was ended by the daemon.
    pub fn cut(&self, why: Cut) {
        add(&self.cuts[why as usize]);
    }

    /// The model and the index were let go because nobody used them.
    pub fn evicted(&self) {
        add(&self.evictions);
    }

    /// For `status`; what is measured now and not counted is left to the caller.
    pub fn report(&self) -> LoadStatus {
        let [embed, search, index, other] = self.sorts.each_ref().map(read);
        let [malformed, slow_reader, slow_sender] = self.cuts.each_ref().map(read);
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

/// How long things took, in buckets that double.
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

/// The end of the bucket in which that part of all lies: no more than twice the truth.
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
    fn answers_are_counted_by_sort_and_outcome() {
        let metrics = Metrics::default();
        let us = Duration::from_micros(10);
        metrics.answered(Sort::Embed, None, us);
        metrics.answered(Sort::Search, Some(&Fault::new(Code::Timeout, "")), us);
        metrics.answered(Sort::Index, Some(&Fault::new(Code::Cancelled, "")), us);
        metrics.answered(Sort::Other, Some(&Fault::new(Code::Overloaded, "")), us);
        metrics.cut(Cut::SlowReader);
        metrics.evicted();
        let report = metrics.report();
        assert_eq!(report.requests, RequestCounts { embed: 1, search: 1, index: 1, other: 1 });
        assert_eq!((report.timed_out, report.cancelled, report.overloaded, report.evictions), (1, 1, 1, 1));
        assert_eq!(report.cut_off, CutOff { slow_reader: 1, ..CutOff::default() });
        assert_eq!((report.embed.max_us, report.search.max_us), (10, 0));
    }
}
