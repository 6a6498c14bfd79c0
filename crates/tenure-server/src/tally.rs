//! What is counted of what clients asked for and the store answered.
//!
//! A claim over HTTP is an attempt, as a call of the library is. One that keeps its place in the queue between two requests goes
//! on: it ends when the store grants it, its client withdraws it, or nobody hears of it any more.

use std::collections::HashMap;
use std::sync::Weak;

use parking_lot::Mutex;
use tenure::clock::Instant;
use tenure::lease::{Ended, Kept};
use tenure::metrics::{Asked, Attempt, Extent};
use tenure::provider::{Event, Listener};
use tenure::{LeaseId, limits};

use crate::desk::{Desk, Outcome, Patience};
use crate::problem::Failure;

/// Entries from which on those of dead clients are looked for.
const SWEEP: usize = 1_024;

/// An attempt, and whether it goes on from an earlier request.
pub(crate) struct Tried<'a> {
    pub(crate) attempt: Attempt<'a>,
    goes_on: bool,
}

/// Claims that stand in the store's queue while no request of theirs is open.
#[derive(Debug, Default)]
pub(crate) struct Queue(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    entries: HashMap<LeaseId, Entry>,
    /// How many were left by the last sweep.
    left: usize,
}

#[derive(Debug)]
struct Entry {
    asked: Asked,
    touched: Instant,
}

impl Queue {
    fn keep(&self, lease: LeaseId, asked: Asked, now: Instant) {
        let mut queue = self.0.lock();
        // Sweeping when it has doubled keeps it within twice what is alive, at a constant cost each.
        if queue.entries.len() >= SWEEP.max(queue.left * 2) {
            queue.entries.retain(|_, entry| entry.touched.until(now) <= limits::DEAD_WAITER);
            queue.left = queue.entries.len();
        }
        queue.entries.insert(lease, Entry { asked, touched: now });
    }

    fn touch(&self, lease: LeaseId, now: Instant) {
        if let Some(entry) = self.0.lock().entries.get_mut(&lease) {
            entry.touched = now;
        }
    }

    fn take(&self, lease: LeaseId) -> Option<Asked> {
        self.0.lock().entries.remove(&lease).map(|entry| entry.asked)
    }
}

impl Desk {
    /// The attempt that a claim is, or goes on with.
    pub(crate) fn attempt(&self, lease: LeaseId, extent: Extent) -> Tried<'_> {
        let metrics = self.locks.metrics();
        match self.queue.take(lease) {
            Some(asked) => Tried { attempt: metrics.resume(asked), goes_on: true },
            None => Tried { attempt: metrics.attempt(extent), goes_on: false },
        }
    }

    /// What became of a claim.
    pub(crate) fn tally(
        &self,
        lease: LeaseId,
        outcome: &Result<Outcome, Failure>,
        patience: Patience,
        tried: Tried<'_>,
    ) {
        let Tried { attempt, goes_on } = tried;
        match outcome {
            // Granted before, and not to be counted again: asking again renews.
            Ok(Outcome::Granted(held)) if held.repeated && !goes_on => {
                attempt.void();
                self.counts.renewals.add();
                self.locks.metrics().renewed();
            }
            Ok(Outcome::Granted(_)) => {
                attempt.acquired();
                self.counts.grants.add();
            }
            Ok(Outcome::Queued(_)) => {
                if let Some(asked) = attempt.pause() {
                    self.queue.keep(lease, asked, self.clock.now());
                }
            }
            Ok(Outcome::Busy(_)) if patience.wait.is_zero() => {
                attempt.busy();
                self.counts.busy.add();
            }
            Ok(Outcome::Busy(_)) => {
                attempt.timed_out();
                self.counts.timeouts.add();
            }
            // Its client has ended it: abandoned.
            Ok(Outcome::Gone(_)) => self.counts.gone.add(),
            Err(failure) if failure.is_ours() => attempt.failed(),
            Err(_) => attempt.void(),
        }
        if !matches!(outcome, Ok(Outcome::Granted(_) | Outcome::Queued(_))) {
            self.ears.forget(lease);
        }
    }

    /// What became of a renewal or a touch.
    pub(crate) fn tally_kept(&self, lease: LeaseId, kept: &Kept) {
        match kept {
            Kept::Held(_) if self.arrived(lease) => {}
            Kept::Held(_) => {
                self.counts.renewals.add();
                self.locks.metrics().renewed();
            }
            Kept::Queued(_) => self.queue.touch(lease, self.clock.now()),
            Kept::Gone(_) => {
                drop(self.queue.take(lease).map(|asked| self.locks.metrics().resume(asked)));
                self.counts.gone.add();
                self.ears.forget(lease);
            }
        }
    }

    /// What became of a release.
    pub(crate) fn tally_ended(&self, lease: LeaseId, ended: Ended) {
        self.ears.forget(lease);
        let waiting = self.queue.take(lease).map(|asked| self.locks.metrics().resume(asked));
        match (ended, waiting) {
            (Ended::NotHeld, _) => return,
            // It stood in the queue for as long as its client would wait.
            (Ended::Withdrawn, Some(attempt)) => {
                attempt.timed_out();
                self.counts.timeouts.add();
            }
            (Ended::Withdrawn, None) => {}
            (Ended::Released | Ended::Lingering, waiting) => {
                if let Some(attempt) = waiting {
                    attempt.acquired();
                    self.counts.grants.add();
                }
                self.locks.metrics().released();
            }
        }
        self.counts.releases.add();
    }

    /// Counts the grant of a claim that stood in the queue; whether it did.
    fn arrived(&self, lease: LeaseId) -> bool {
        let Some(asked) = self.queue.take(lease) else { return false };
        self.locks.metrics().resume(asked).acquired();
        self.counts.grants.add();
        true
    }
}

/// Hears the store grant what stands in the queue.
pub(crate) struct Ear(pub(crate) Weak<Desk>);

impl Listener for Ear {
    fn on(&self, event: Event) {
        if let Event::Granted(lease, _) = event
            && let Some(desk) = self.0.upgrade()
        {
            desk.arrived(lease);
        }
    }
}
