//! What the engine counts of the leases that its guards hold.

use super::Engine;
use super::held::HeldLease;
use crate::clock::Instant;
use crate::lease::Why;
use crate::metrics::Stats;

impl Engine {
    /// Counts for how long the guard that is ending held the lease, and its loss if that was not noticed; once.
    pub(super) fn let_go(&self, lease: &HeldLease, now: Instant) {
        let Some(time) = lease.let_go(now) else { return };
        self.metrics.hold.record(time);
        if let Some(why) = lease.lost(now) {
            self.report_loss(lease, why);
        }
    }

    /// What was done so far.
    pub(crate) fn stats(&self) -> Stats {
        let immediate = self.immediate.as_ref().map_or(0, |store| store.taken());
        self.metrics.read(immediate, self.keepalive.count(), self.provider.load())
    }

    /// Counts and logs a loss, once.
    pub(super) fn report_loss(&self, lease: &HeldLease, why: Why) {
        if lease.take_report() {
            self.metrics.lost.add(1);
            tracing::warn!(lock.name = %lease.names, lock.lease = %lease.id.digest(), why = why.word(), "a lease is lost");
        }
    }
}
