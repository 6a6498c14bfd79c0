//! What was read, and how.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

/// The counters of all caches of a process.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(super) reads: AtomicU64,
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) optimistic: AtomicU64,
    pub(super) checks: AtomicU64,
    pub(super) parallel: AtomicU64,
    nanos: AtomicU64,
}

impl Counters {
    /// Counts reads that took so long together.
    pub(super) fn took(&self, reads: u64, time: Duration) {
        self.reads.fetch_add(reads, Ordering::Relaxed);
        self.nanos.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

pub(super) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What was read since the start. Each account that a read is about counts as one.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ReadMetrics {
    /// Reads of accounts, summaries and histories.
    pub read_operations: u64,
    /// Those answered from a cache, the second level too.
    pub cache_hits: u64,
    /// Those for which the store had to be read.
    pub cache_misses: u64,
    /// Per cent of hits among hits and misses; 100 of nothing.
    pub cache_hit_rate: f64,
    /// Hits that nobody was asked about, since they were younger than the consistency time-out.
    pub optimistic_reads: u64,
    /// Cached values whose version was compared with the store's before they were answered.
    pub consistency_checks: u64,
    /// Pages of batches that were read while another page was.
    pub parallel_reads: u64,
    /// The mean of `total_read_time_us`.
    pub avg_read_time_us: u64,
    /// How long reads took, together.
    pub total_read_time_us: u64,
    /// Accounts in the cache.
    pub account_cache_size: u64,
    /// Summaries in the cache.
    pub projection_cache_size: u64,
    /// Accounts whose last events are in the cache.
    pub event_cache_size: u64,
}

impl ReadMetrics {
    pub(super) fn of(counters: &Counters, [accounts, summaries, events]: [u64; 3]) -> Self {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (reads, hits, misses) = (get(&counters.reads), get(&counters.hits), get(&counters.misses));
        let micros = get(&counters.nanos) / 1_000;
        ReadMetrics {
            read_operations: reads,
            cache_hits: hits,
            cache_misses: misses,
            cache_hit_rate: match hits + misses {
                0 => 100.0,
                looks => hits as f64 * 100.0 / looks as f64,
            },
            optimistic_reads: get(&counters.optimistic),
            consistency_checks: get(&counters.checks),
            parallel_reads: get(&counters.parallel),
            avg_read_time_us: micros.checked_div(reads).unwrap_or(0),
            total_read_time_us: micros,
            account_cache_size: accounts,
            projection_cache_size: summaries,
            event_cache_size: events,
        }
    }
}
