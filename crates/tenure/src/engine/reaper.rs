//! Ends what nobody waits for: leases of dropped guards, claims that were given up.
//!
//! A drop is one send on a channel, so it never blocks or fails, also off the runtime. The channel is as long as there
//! are guards and claims in the process, which is its bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use crate::claim::LeaseId;
use crate::clock::{Clock, Instant};
use crate::error::Result;
use crate::lease::Ended;
use crate::name::Name;
use crate::provider::Provider;

/// Leases of one call. A store may cut it into several, which then are on their way together.
const BATCH: usize = 1_024;

/// The pause after a failed call, doubling up to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// For how long one call may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A lease to end.
#[derive(Debug, Clone)]
pub(crate) struct Orphan {
    pub(crate) lease: LeaseId,
    /// The name of one of the local tier, which is told when it has ended.
    pub(crate) local: Option<Name>,
    /// When its ttl has ended it anyway.
    pub(crate) until: Instant,
}

/// The sending side.
#[derive(Debug)]
pub(crate) struct Reaper {
    orphans: mpsc::UnboundedSender<Orphan>,
    left: Arc<Left>,
}

/// How many orphans are left, and a signal when there are none.
#[derive(Debug, Default)]
pub(crate) struct Left {
    count: AtomicUsize,
    none: Notify,
}

impl Reaper {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Orphan>) {
        let (orphans, receiver) = mpsc::unbounded_channel();
        (Reaper { orphans, left: Arc::default() }, receiver)
    }

    pub(crate) fn left(&self) -> Arc<Left> {
        Arc::clone(&self.left)
    }

    /// Hands a lease over. Best effort from here on: until it is ended, or its ttl is over.
    pub(crate) fn take(&self, orphan: Orphan) {
        self.left.count.fetch_add(1, Ordering::AcqRel);
        if self.orphans.send(orphan).is_err() {
            self.left.done(1);
        }
    }
}

impl Left {
    fn done(&self, count: usize) {
        if self.count.fetch_sub(count, Ordering::AcqRel) == count {
            self.none.notify_waiters();
        }
    }

    /// Resolves when every orphan is ended or given up.
    pub(crate) async fn none(&self) {
        loop {
            let none = self.none.notified();
            if self.count.load(Ordering::Acquire) == 0 {
                return;
            }
            none.await;
        }
    }
}

/// The task: ends orphans in batches until the engine is gone and the channel is empty.
pub(crate) async fn run(
    provider: Arc<dyn Provider>,
    clock: Clock,
    orphans: &mut mpsc::UnboundedReceiver<Orphan>,
    left: Arc<Left>,
    ended: impl Fn(&Name, LeaseId) + Send,
) {
    let mut batch: Vec<Orphan> = Vec::new();
    let mut pause = PAUSE.0;
    loop {
        if batch.is_empty() && orphans.recv_many(&mut batch, BATCH).await == 0 {
            return;
        }
        while batch.len() < BATCH
            && let Ok(orphan) = orphans.try_recv()
        {
            batch.push(orphan);
        }
        let ids: Vec<LeaseId> = batch.iter().map(|orphan| orphan.lease).collect();
        let answers: Vec<Result<Ended>> =
            tokio::time::timeout(PATIENCE, provider.end(&ids)).await.unwrap_or_default();
        let now = clock.now();
        let before = batch.len();
        let mut answers = answers.into_iter();
        batch.retain(|orphan| {
            let settled = matches!(answers.next(), Some(Ok(_))) || orphan.until <= now;
            if settled && let Some(name) = &orphan.local {
                ended(name, orphan.lease);
            }
            !settled
        });
        left.done(before - batch.len());
        if batch.is_empty() {
            pause = PAUSE.0;
        } else {
            clock.sleep_until(now + pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }
}
