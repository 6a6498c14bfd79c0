//! Counters of an engine.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that many tasks raise.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) grants: Counter,
    pub(crate) handoffs: Counter,
    pub(crate) busy: Counter,
    pub(crate) renewals: Counter,
    pub(crate) lost: Counter,
}

/// What a [`Locks`](crate::Locks) has done since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Leases granted by the store, those of the fast lane included.
    pub grants: u64,
    /// Leases handed on inside the process, without the store.
    pub handoffs: u64,
    /// Requests that ended without the lock: busy, or not free in time.
    pub busy: u64,
    /// Leases renewed.
    pub renewals: u64,
    /// Leases lost.
    pub lost: u64,
}

impl Counters {
    pub(crate) fn read(&self, immediate: u64) -> Stats {
        Stats {
            grants: self.grants.get() + immediate,
            handoffs: self.handoffs.get(),
            busy: self.busy.get(),
            renewals: self.renewals.get(),
            lost: self.lost.get(),
        }
    }
}
