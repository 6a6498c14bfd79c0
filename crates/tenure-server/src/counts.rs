//! Counters of this server.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tenure_wire::Stats;

/// What this server did. Each counter stands for itself, so relaxed order is enough.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) grants: Count,
    pub(crate) busy: Count,
    pub(crate) timeouts: Count,
    pub(crate) renewals: Count,
    pub(crate) releases: Count,
    pub(crate) gone: Count,
    pub(crate) errors: Count,
    pub(crate) refused: Count,
    pub(crate) waiting: Count,
}

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts one for as long as the answer lives.
    pub(crate) fn during(&self) -> During<'_> {
        self.add();
        During(self)
    }
}

/// One of something that goes on.
#[derive(Debug)]
pub(crate) struct During<'a>(&'a Count);

impl Drop for During<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counts {
    pub(crate) fn stats(&self, since: Duration) -> Stats {
        Stats {
            grants: self.grants.get(),
            busy: self.busy.get(),
            timeouts: self.timeouts.get(),
            renewals: self.renewals.get(),
            releases: self.releases.get(),
            gone: self.gone.get(),
            errors: self.errors.get(),
            refused: self.refused.get(),
            waiting: self.waiting.get(),
            since_ms: crate::shape::millis(since),
        }
    }
}
