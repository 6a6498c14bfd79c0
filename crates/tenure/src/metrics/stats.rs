//! What was counted at one moment, and the rates between two.

use std::time::Duration;

use super::histogram::{self, Durations};
use crate::provider::Load;

/// What a [`Locks`](crate::Locks) has done since it was made.
///
/// Counters only rise; [`rates_since`](Stats::rates_since) makes rates of two of them. An *attempt* is one call for a lock,
/// whatever it took; each name of a `lock_each` is one by itself. It ends in exactly one of `acquired`, `busy`, `timeouts`,
/// `failed` and `abandoned`. A call that is refused for what it says (`InvalidInput`) is none.
///
/// Locks that a store inside the process grants at once, in its fast lane, are attempts that were acquired and did not wait.
/// When they end is not counted: neither `released` nor `held` nor `hold` knows of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Attempts that got their lock.
    pub acquired: u64,
    /// Attempts that asked once and found it busy.
    pub busy: u64,
    /// Attempts that waited as long as they would and did not get it.
    pub timeouts: u64,
    /// Attempts that the store could not answer.
    pub failed: u64,
    /// Attempts that their callers dropped before they ended. They count into no rate: only the caller knows why.
    pub abandoned: u64,
    /// Attempts that did not get their lock at the first try: those that got it after a wait, were busy, or timed out.
    pub contended: u64,
    /// Those of `acquired` that were for several names at once.
    pub batch_acquired: u64,
    /// Attempts for several names at once that were busy, timed out or failed.
    pub batch_failed: u64,
    /// Locks that were handed on inside the process, without a trip to the store. The rest of `acquired` came from the store.
    pub local_handoffs: u64,
    /// Locks whose lease had stayed in the process ([`Request::sticky`](crate::Request::sticky)), so that nobody was asked.
    pub sticky_hits: u64,
    /// Locks that the store granted to an attempt that stood in its queue.
    pub remote_handoffs: u64,
    /// Guards that have ended, and leases that were given back through a server.
    pub released: u64,
    /// Leases that guards of this process hold at the store now.
    pub held: u64,
    /// Leases renewed.
    pub renewals: u64,
    /// Leases lost.
    pub lost: u64,
    /// How long `acquired` took, from the call to the lock.
    pub wait: Durations,
    /// How long `batch_acquired` took.
    pub batch_wait: Durations,
    /// How long guards held their locks.
    pub hold: Durations,
    /// What the users of the locks said that they did.
    pub operations: Operations,
    /// How much of the way to the store is in use.
    pub load: Load,
}

/// How often what was done, as told by [`Metrics::record`](super::Metrics::record).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Operations {
    /// Reads, which take no lock.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Creations.
    pub creates: u64,
    /// Updates.
    pub updates: u64,
    /// Deletions.
    pub deletes: u64,
}

/// What went on between two [`Stats`]. A rate is in per cent, and `None` where nothing was counted that it is a share of.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Rates {
    /// Attempts that ended, but for the abandoned.
    pub attempts: u64,
    /// Reads, which take no lock and count into no rate.
    pub lock_free: u64,
    /// Attempts that got their lock.
    pub success: Option<f64>,
    /// Attempts that did not get it at the first try.
    pub contention: Option<f64>,
    /// Attempts that others kept from getting it at all: contention that waiting and trying again did not resolve.
    pub final_contention: Option<f64>,
    /// Attempts that waited in vain.
    pub timeouts: Option<f64>,
    /// Attempts that the store could not answer.
    pub failures: Option<f64>,
    /// How long an attempt took that got its lock, in the mean.
    pub mean_wait: Option<Duration>,
    /// Requests to the store that found a free place among those in flight.
    pub pool_hits: Option<f64>,
    /// Requests that `pool_hits` is a share of.
    pub pool_uses: u64,
}

impl Stats {
    /// All attempts that ended, but for the abandoned.
    pub fn attempts(&self) -> u64 {
        self.acquired + self.busy + self.timeouts + self.failed
    }

    /// The rates since the beginning.
    pub fn rates(&self) -> Rates {
        self.rates_since(&Stats::default())
    }

    /// The rates since `earlier`, a reading of the same counters.
    pub fn rates_since(&self, earlier: &Stats) -> Rates {
        let grown = |count: fn(&Stats) -> u64| count(self).saturating_sub(count(earlier));
        let attempts = grown(Stats::attempts);
        let share = |count: fn(&Stats) -> u64| percent(grown(count), attempts);
        let (hits, misses) = (grown(|stats| stats.load.hits), grown(|stats| stats.load.misses));
        Rates {
            attempts,
            lock_free: grown(|stats| stats.operations.reads),
            success: share(|stats| stats.acquired),
            contention: share(|stats| stats.contended),
            final_contention: share(|stats| stats.busy + stats.timeouts),
            timeouts: share(|stats| stats.timeouts),
            failures: share(|stats| stats.failed),
            mean_wait: histogram::mean(
                self.wait.total.saturating_sub(earlier.wait.total),
                grown(|stats| stats.wait.count),
            ),
            pool_hits: percent(hits, hits + misses),
            pool_uses: hits + misses,
        }
    }
}

fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 * 100.0 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_what_came_since_and_there_are_none_of_nothing() {
        let mut before = Stats { acquired: 100, busy: 50, contended: 50, ..Stats::default() };
        before.wait = Durations { count: 100, total: Duration::from_secs(100), ..Durations::default() };
        assert_eq!(before.rates_since(&before), Rates::default());
        let mut after = Stats { acquired: 106, timeouts: 2, failed: 2, contended: 55, ..before };
        after.wait.count += 6;
        after.wait.total += Duration::from_millis(600);
        after.operations.reads = 1_000;
        after.load = Load { hits: 3, misses: 1, ..Load::default() };
        let rates = after.rates_since(&before);
        assert_eq!((rates.attempts, rates.lock_free, rates.pool_uses), (10, 1_000, 4));
        assert_eq!((rates.success, rates.contention), (Some(60.0), Some(50.0)));
        assert_eq!((rates.final_contention, rates.timeouts), (Some(20.0), Some(20.0)));
        assert_eq!((rates.failures, rates.pool_hits), (Some(20.0), Some(75.0)));
        assert_eq!(rates.mean_wait, Some(Duration::from_millis(100)));
        assert_eq!(after.rates().attempts, 160);
    }
}
