//! How long things took: counts of durations in buckets whose width grows with the duration.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Binary digits that a bucket keeps of a duration, below its leading one: a bucket is a sixteenth of its durations wide.
const DIGITS: u32 = 4;

/// Buckets of one power of two.
const PER_POWER: usize = 1 << DIGITS;

/// The powers of two, in nanoseconds, that have buckets of their own: up to 39 hours, longer than a lock may be held or waited
/// for without being a fault. What is longer counts into the last bucket, and shows in the greatest.
const POWERS: usize = 47 - DIGITS as usize;

/// Durations below [`PER_POWER`] nanoseconds have a bucket each, in front of the others. 5.6 KB in all.
const BUCKETS: usize = PER_POWER * (POWERS + 1);

/// Durations that many tasks record. Nothing is ever forgotten: two readings of it make a window.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: Box<[AtomicU64; BUCKETS]>,
    total_ns: AtomicU64,
    max_ns: AtomicU64,
}

/// What is known of some durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Durations {
    /// How many there were.
    pub count: u64,
    /// All of them together.
    pub total: Duration,
    /// Half of them were not longer. As the other percentiles: never less than the true one, and at most a sixteenth more.
    pub p50: Duration,
    /// Nine of ten were not longer.
    pub p90: Duration,
    /// 99 of 100 were not longer.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

impl Durations {
    /// Their mean; `None` when there were none.
    pub fn mean(&self) -> Option<Duration> {
        mean(self.total, self.count)
    }
}

/// The mean of `count` durations; `None` when there are none.
pub(super) fn mean(total: Duration, count: u64) -> Option<Duration> {
    let nanos = total.as_nanos().checked_div(u128::from(count))?;
    Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            buckets: Box::new(array::from_fn(|_| AtomicU64::new(0))),
            total_ns: AtomicU64::new(0),
            max_ns: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    /// Adds one. Each number stands for itself, so relaxed order is enough.
    pub(crate) fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = self.buckets.get(bucket_of(nanos)).expect("the index ends with the last bucket");
        bucket.fetch_add(1, Ordering::Relaxed);
        self.total_ns.fetch_add(nanos, Ordering::Relaxed);
        // Most are shorter than the longest: looking first keeps the line shared.
        if nanos > self.max_ns.load(Ordering::Relaxed) {
            self.max_ns.fetch_max(nanos, Ordering::Relaxed);
        }
    }

    /// What was recorded so far, and `zeros` more that took no time.
    pub(crate) fn read(&self, zeros: u64) -> Durations {
        let mut counts: [u64; BUCKETS] = array::from_fn(|_| 0);
        for (count, bucket) in counts.iter_mut().zip(self.buckets.iter()) {
            *count = bucket.load(Ordering::Relaxed);
        }
        counts[0] += zeros;
        let count = counts.iter().sum();
        let max = self.max_ns.load(Ordering::Relaxed);
        let percentile = |percent| Duration::from_nanos(percentile(&counts, count, percent).min(max));
        Durations {
            count,
            total: Duration::from_nanos(self.total_ns.load(Ordering::Relaxed)),
            p50: percentile(50),
            p90: percentile(90),
            p99: percentile(99),
            max: Duration::from_nanos(max),
        }
    }
}

/// The greatest duration of the bucket that has the percentile in it.
fn percentile(counts: &[u64; BUCKETS], count: u64, percent: u128) -> u64 {
    // The smallest duration that so many per cent are not longer than.
    let rank = (u128::from(count) * percent).div_ceil(100);
    let mut seen = 0;
    let found = counts.iter().position(|bucket| {
        seen += u128::from(*bucket);
        seen >= rank && seen > 0
    });
    found.map_or(0, greatest_of)
}

fn bucket_of(nanos: u64) -> usize {
    let power = nanos.checked_ilog2().unwrap_or(0).max(DIGITS);
    let shift = power - DIGITS;
    // The digits below the leading one; those of a small duration are the duration.
    let digits = usize::try_from(nanos >> shift).unwrap_or(usize::MAX);
    let index = (shift as usize * PER_POWER).saturating_add(digits);
    index.min(BUCKETS - 1)
}

fn greatest_of(bucket: usize) -> u64 {
    let shift = (bucket / PER_POWER).saturating_sub(1);
    let digits = (bucket - shift * PER_POWER) as u64;
    ((digits + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap_and_are_a_sixteenth_wide() {
        for bucket in 1..BUCKETS {
            let (below, top) = (greatest_of(bucket - 1), greatest_of(bucket));
            assert_eq!(bucket_of(below), bucket - 1);
            assert_eq!(bucket_of(below + 1), bucket);
            assert_eq!(bucket_of(top), bucket);
            assert!(top - below <= ((below + 1) / 16).max(1), "bucket={bucket} below={below} top={top}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    /// Against the sorted list itself, over durations of all sizes from a generator with a fixed start.
    #[test]
    fn percentiles_are_those_of_the_sorted_list_or_at_most_a_sixteenth_above() {
        let mut state = 42_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        for size in [1_usize, 2, 3, 10, 99, 100, 101, 5_000] {
            let histogram = Histogram::default();
            let mut exact: Vec<u64> = (0..size).map(|_| random() >> (random() % 31)).collect();
            exact.iter().for_each(|nanos| histogram.record(Duration::from_nanos(*nanos)));
            exact.sort_unstable();
            let read = histogram.read(0);
            for (percent, found) in [(50, read.p50), (90, read.p90), (99, read.p99)] {
                let truth = exact[(size * percent).div_ceil(100) - 1];
                let found = u64::try_from(found.as_nanos()).unwrap();
                assert!(
                    found >= truth && found <= truth + truth / 16 + 1,
                    "p{percent} of {size}: {found} {truth}"
                );
            }
            assert_eq!(read.count, size as u64);
            assert_eq!(read.total, Duration::from_nanos(exact.iter().sum()));
            assert_eq!(read.max, Duration::from_nanos(exact[size - 1]));
        }
    }

    #[test]
    fn what_took_no_time_counts_into_the_lowest_bucket() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_millis(100));
        let read = histogram.read(99);
        assert_eq!((read.count, read.p50, read.p99), (100, Duration::ZERO, Duration::ZERO));
        assert_eq!(read.max, Duration::from_millis(100));
        assert_eq!(read.mean(), Some(Duration::from_millis(1)));
        let nothing = Histogram::default().read(0);
        assert_eq!((nothing, nothing.mean()), (Durations::default(), None));
    }
}
