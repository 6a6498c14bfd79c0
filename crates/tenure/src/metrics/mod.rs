//! What locks have done: counters and histograms that the engine raises, and what is read of them.
//!
//! Everything is an atomic number of a fixed size, whatever the number of names: names are never labels. What it means is
//! written at [`Stats`]; [`monitor`](crate::monitor) makes windows and alerts of it.

mod histogram;
mod stats;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use self::histogram::Durations;
pub(crate) use self::histogram::Histogram;
pub use self::stats::{Operations, Rates, Stats};
use crate::clock::{Clock, Instant};
use crate::error::{Error, ErrorKind};
use crate::provider::Load;

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

/// The counters of one [`Locks`](crate::Locks), as [`Locks::metrics`](crate::Locks::metrics) gives them.
///
/// A user of the library [`record`](Metrics::record)s what it does with its locks. A server that asks the provider itself, on
/// behalf of others, counts its [`attempt`](Metrics::attempt)s, renewals and releases here; for guards all that is done.
#[derive(Debug)]
pub struct Metrics {
    clock: Clock,
    wait: Histogram,
    batch_wait: Histogram,
    pub(crate) hold: Histogram,
    busy: Counter,
    timeouts: Counter,
    failed: Counter,
    abandoned: Counter,
    contended: Counter,
    batch_failed: Counter,
    /// Batches that the fast lane granted, which its own count does not tell from others.
    pub(crate) immediate_batches: Counter,
    local_handoffs: Counter,
    sticky_hits: Counter,
    remote_handoffs: Counter,
    released: Counter,
    pub(crate) renewals: Counter,
    pub(crate) lost: Counter,
    operations: [Counter; 5],
}

/// What somebody does with what a lock protects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Looks at it, without a lock.
    Read,
    /// Writes it.
    Write,
    /// Makes it.
    Create,
    /// Changes it.
    Update,
    /// Removes it.
    Delete,
}

/// How many names an attempt is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// One.
    Single,
    /// Several at once.
    Batch,
}

impl Extent {
    /// The extent of a call for so many names.
    pub fn of(names: usize) -> Self {
        if names > 1 { Extent::Batch } else { Extent::Single }
    }
}

impl Metrics {
    pub(crate) fn new(clock: Clock) -> Self {
        Metrics {
            clock,
            wait: Histogram::default(),
            batch_wait: Histogram::default(),
            hold: Histogram::default(),
            busy: Counter::default(),
            timeouts: Counter::default(),
            failed: Counter::default(),
            abandoned: Counter::default(),
            contended: Counter::default(),
            batch_failed: Counter::default(),
            immediate_batches: Counter::default(),
            local_handoffs: Counter::default(),
            sticky_hits: Counter::default(),
            remote_handoffs: Counter::default(),
            released: Counter::default(),
            renewals: Counter::default(),
            lost: Counter::default(),
            operations: Default::default(),
        }
    }

    /// Counts an operation. A [`Read`](Operation::Read) takes no lock, and so changes no rate of attempts.
    pub fn record(&self, operation: Operation) {
        let [reads, writes, creates, updates, deletes] = &self.operations;
        let counter = match operation {
            Operation::Read => reads,
            Operation::Write => writes,
            Operation::Create => creates,
            Operation::Update => updates,
            Operation::Delete => deletes,
        };
        counter.add(1);
    }

    /// Begins an attempt now.
    pub fn attempt(&self, extent: Extent) -> Attempt<'_> {
        self.attempt_since(self.clock.now(), extent)
    }

    /// Begins an attempt with the instant of its call.
    pub(crate) fn attempt_since(&self, since: Instant, extent: Extent) -> Attempt<'_> {
        self.resume(Asked { since, extent, waits: Waits::Not })
    }

    /// Goes on with an attempt that was [`pause`](Attempt::pause)d.
    pub fn resume(&self, asked: Asked) -> Attempt<'_> {
        Attempt { metrics: self, asked: Some(asked) }
    }

    /// Counts an attempt that found the lease in the process, without a wait.
    pub(crate) fn kept(&self) {
        self.wait.record(Duration::ZERO);
        self.sticky_hits.add(1);
    }

    /// Counts a lease that a server renewed for somebody else.
    pub fn renewed(&self) {
        self.renewals.add(1);
    }

    /// Counts a lease that somebody else gave back through a server.
    pub fn released(&self) {
        self.released.add(1);
    }

    /// All counters. `immediate` attempts were granted in the fast lane; `held` and `load` are told from elsewhere.
    pub(crate) fn read(&self, immediate: u64, held: u64, load: Load) -> Stats {
        let (wait, hold) = (self.wait.read(immediate), self.hold.read(0));
        let batch_wait = self.batch_wait.read(self.immediate_batches.get());
        let [reads, writes, creates, updates, deletes] = &self.operations;
        Stats {
            acquired: wait.count,
            busy: self.busy.get(),
            timeouts: self.timeouts.get(),
            failed: self.failed.get(),
            abandoned: self.abandoned.get(),
            contended: self.contended.get(),
            batch_acquired: batch_wait.count,
            batch_failed: self.batch_failed.get(),
            local_handoffs: self.local_handoffs.get(),
            sticky_hits: self.sticky_hits.get(),
            remote_handoffs: self.remote_handoffs.get(),
            released: hold.count + self.released.get(),
            held,
            renewals: self.renewals.get(),
            lost: self.lost.get(),
            wait,
            batch_wait,
            hold,
            operations: Operations {
                reads: reads.get(),
                writes: writes.get(),
                creates: creates.get(),
                updates: updates.get(),
                deletes: deletes.get(),
            },
            load,
        }
    }
}

/// One attempt to get a lock, from the call to its end. Dropped before it has ended, it counts as abandoned.
#[derive(Debug)]
#[must_use = "an attempt that is dropped counts as abandoned"]
pub struct Attempt<'a> {
    metrics: &'a Metrics,
    /// `None` once it has ended.
    asked: Option<Asked>,
}

/// An attempt that is not looked at: kept by a server between two calls that belong to one attempt.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    since: Instant,
    extent: Extent,
    waits: Waits,
}

/// What kept an attempt from its lock at the first try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    Not,
    /// Another task of the process.
    Here,
    /// Somebody at the store, in whose queue it stands.
    AtStore,
    /// Nobody any more: another task of this process has handed it the lock.
    Handed,
}

impl Attempt<'_> {
    /// It waits for another task of this process.
    pub(crate) fn waits(&mut self) {
        if let Some(asked) = self.asked.as_mut().filter(|asked| asked.waits == Waits::Not) {
            asked.waits = Waits::Here;
        }
    }

    /// It waits in the queue of the store.
    pub fn queued(&mut self) {
        if let Some(asked) = &mut self.asked {
            asked.waits = Waits::AtStore;
        }
    }

    /// Another task of this process hands it the lock.
    pub(crate) fn handed(&mut self) {
        if let Some(asked) = &mut self.asked {
            asked.waits = Waits::Handed;
        }
    }

    /// It got the lock.
    pub fn acquired(mut self) {
        let Some(asked) = self.asked.take() else { return };
        let Metrics { clock, wait, batch_wait, contended, local_handoffs, remote_handoffs, .. } =
            self.metrics;
        let waited = asked.since.until(clock.now());
        wait.record(waited);
        if asked.extent == Extent::Batch {
            batch_wait.record(waited);
        }
        if asked.waits != Waits::Not {
            contended.add(1);
        }
        match asked.waits {
            Waits::AtStore => remote_handoffs.add(1),
            Waits::Handed => local_handoffs.add(1),
            Waits::Not | Waits::Here => {}
        }
    }

    /// It asked once, and somebody else has the lock.
    pub fn busy(self) {
        let metrics = self.metrics;
        self.denied(&metrics.busy);
    }

    /// It waited as long as it would, and somebody else still has the lock.
    pub fn timed_out(self) {
        let metrics = self.metrics;
        self.denied(&metrics.timeouts);
    }

    /// It did not get the lock within its patience, which is zero where it asked once.
    pub(crate) fn denied_after(self, patience: Duration) {
        if patience.is_zero() { self.busy() } else { self.timed_out() }
    }

    /// The store could not answer it.
    pub fn failed(mut self) {
        if let Some(asked) = self.asked.take() {
            self.metrics.failed.add(1);
            self.count_batch(asked);
        }
    }

    /// It ended with an error: one that says that the call was wrong makes it none.
    pub(crate) fn refused(self, error: &Error) {
        if error.kind() == ErrorKind::InvalidInput { self.void() } else { self.failed() }
    }

    /// It is none: the call was refused for what it says, or goes on as another attempt.
    pub fn void(mut self) {
        self.asked = None;
    }

    /// Leaves it to be [`resume`](Metrics::resume)d; one that never is, is not counted. `None` when it has ended.
    pub fn pause(mut self) -> Option<Asked> {
        self.asked.take()
    }

    fn denied(mut self, counter: &Counter) {
        if let Some(asked) = self.asked.take() {
            counter.add(1);
            self.metrics.contended.add(1);
            self.count_batch(asked);
        }
    }

    fn count_batch(&self, asked: Asked) {
        if asked.extent == Extent::Batch {
            self.metrics.batch_failed.add(1);
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.asked.is_some() {
            self.metrics.abandoned.add(1);
        }
    }
}
