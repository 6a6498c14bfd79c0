//! What is claimed for a client that goes away is given back.

use std::sync::Arc;
use std::time::Duration;

use tenure::{LeaseId, limits};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::desk::{Desk, Patience};

/// How often an end is tried while the store is unavailable; then the ttl has to do.
const TRIES: u32 = 5;

/// How long the pause between two tries is.
const PAUSE: Duration = Duration::from_secs(1);

/// Gives a claim back when it is dropped before its answer was taken by the connection.
///
/// - A claim that waits in the queue is withdrawn at once, unless it keeps its place: that lapses by itself, and so does the
///   offer that it may be made.
/// - A claim whose lease id the client made may be asked for again, since the client may only have lost the answer. It is
///   ended after three seconds (the time of an offer), unless the client asks for it again here.
/// - Any other is ended at once: nobody knows its lease id.
#[derive(Debug)]
pub(crate) struct Undo {
    desk: Arc<Desk>,
    lease: LeaseId,
    patience: Patience,
    phase: Phase,
    runtime: Handle,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Asking,
    Waiting,
    Granted,
    Done,
}

impl Undo {
    pub(crate) fn new(desk: &Arc<Desk>, lease: LeaseId, patience: Patience) -> Self {
        desk.heard_of(lease);
        Undo { desk: Arc::clone(desk), lease, patience, phase: Phase::Asking, runtime: Handle::current() }
    }

    /// The claim is in the queue.
    pub(crate) fn waiting(&mut self) {
        self.phase = Phase::Waiting;
    }

    /// The claim is granted, and its answer under way.
    pub(crate) fn granted(&mut self) {
        self.phase = Phase::Granted;
    }

    /// There is nothing to undo any more.
    pub(crate) fn disarm(&mut self) {
        self.phase = Phase::Done;
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        let grace = match self.phase {
            Phase::Done => return,
            Phase::Waiting if self.patience.stay => return,
            Phase::Waiting => Duration::ZERO,
            Phase::Asking | Phase::Granted if self.patience.known => limits::OFFER,
            Phase::Asking | Phase::Granted => Duration::ZERO,
        };
        let (desk, lease) = (Arc::clone(&self.desk), self.lease);
        let asked_again = CancellationToken::new();
        if !grace.is_zero() {
            desk.untaken.lock().insert(lease, asked_again.clone());
        }
        let tasks = self.desk.config.shutdown.tasks.clone();
        tasks.spawn_on(give_back(desk, lease, grace, asked_again), &self.runtime);
    }
}

async fn give_back(desk: Arc<Desk>, lease: LeaseId, grace: Duration, asked_again: CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(grace) => {}
        () = desk.config.shutdown.begun.cancelled() => {}
        () = asked_again.cancelled() => return,
    }
    if !grace.is_zero() && desk.untaken.lock().remove(&lease).is_none() {
        return;
    }
    for _ in 0..TRIES {
        let leases = [lease];
        let ended = desk.step(desk.provider.end(&leases)).await;
        if ended.is_ok_and(|mut answers| matches!(answers.pop(), Some(Ok(_)))) {
            tracing::debug!(lock.lease = %lease.digest(), "ended what its client did not take");
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    tracing::warn!(lock.lease = %lease.digest(), "could not end what its client did not take; its ttl will");
}

impl Desk {
    /// The client of a lease is there: what it did not take before is not ended any more.
    pub(crate) fn heard_of(&self, lease: LeaseId) {
        if let Some(pending) = self.untaken.lock().remove(&lease) {
            pending.cancel();
        }
    }
}
