//! Where requests wait for the writer.
//!
//! Whoever brings a request while nobody is writing starts a writer on a blocking thread of the runtime, which takes
//! all that waits, in one transaction, until nothing waits any more. So an idle provider has no thread that writes,
//! and a busy one shares its commits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use super::fault::Fault;
use super::gate::Hurry;
use super::request::{Asked, Request};
use super::steps::Outcome;
use super::worker::Worker;
use crate::clock::Instant;
use crate::provider::Load;

/// Requests that wait at most; the next ones wait to be let in.
const ROOM: usize = 1_024;

/// Requests of one transaction at most, so that it stays short.
const BATCH: usize = 128;

/// A request that was not answered after this long is unavailable: another process was stopped inside the gate, or
/// the disk hangs. Longer than a checkpoint takes, and within the 5 s that an HTTP client is promised.
pub(super) const WITHIN: Duration = Duration::from_secs(4);

/// The writer, and the requests that wait for it.
#[derive(Debug)]
pub(super) struct Desk {
    waiting: Mutex<Waiting>,
    room: Semaphore,
    /// Requests that found room at once, and those that had to wait for it.
    hits: AtomicU64,
    misses: AtomicU64,
    worker: Mutex<Worker>,
}

#[derive(Debug, Default)]
struct Waiting {
    requests: VecDeque<Request>,
    writing: bool,
    closed: bool,
}

/// Who has a desk, and acts on what its transactions brought about.
pub(super) trait HasDesk: Send + Sync + 'static {
    fn desk(&self) -> &Desk;

    /// Called after each commit and before its requests are answered.
    fn tell(&self, outcome: Outcome);
}

impl Desk {
    pub(super) fn new(worker: Worker) -> Self {
        Desk {
            waiting: Mutex::default(),
            room: Semaphore::new(ROOM),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            worker: Mutex::new(worker),
        }
    }

    /// How much of the room is in use.
    pub(super) fn load(&self) -> Load {
        Load {
            in_flight: ROOM.saturating_sub(self.room.available_permits()) as u64,
            limit: Some(ROOM as u64),
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            // The writer's and the reader's.
            active_connections: 2,
        }
    }

    /// Waits for room.
    async fn enter(&self) -> Result<SemaphorePermit<'_>, Fault> {
        if let Ok(room) = self.room.try_acquire() {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(room);
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        self.room.acquire().await.map_err(|_| Fault::Closed)
    }

    #[cfg(test)]
    pub(super) fn worker<T>(&self, look: impl FnOnce(&Worker) -> T) -> T {
        look(&self.worker.lock())
    }

    pub(super) fn is_closed(&self) -> bool {
        self.waiting.lock().closed
    }
}

/// Asks and waits for the answer.
pub(super) async fn ask<H: HasDesk, Q, A>(
    at: &Arc<H>,
    sent: Instant,
    question: Q,
    request: impl FnOnce(Asked<Q, A>) -> Request,
) -> Result<A, Arc<Fault>> {
    let asked = async {
        let room = at.desk().enter().await?;
        let (reply, answer) = oneshot::channel();
        submit(at, request(Asked::new(question, sent, reply)))?;
        // Given back by the writer that takes the request, for it waits on when this future is dropped.
        room.forget();
        answer.await.unwrap_or_else(|_| Err(Arc::new(Fault::Abandoned)))
    };
    tokio::time::timeout(WITHIN, asked).await.unwrap_or_else(|_| Err(Arc::new(late())))
}

/// What is told after [`WITHIN`].
pub(super) fn late() -> Fault {
    Fault::Late { within_ms: WITHIN.as_millis() }
}

/// Leaves a request that nobody waits for.
pub(super) fn submit<H: HasDesk>(at: &Arc<H>, request: Request) -> Result<(), Fault> {
    let mut waiting = at.desk().waiting.lock();
    if waiting.closed && !request.is_after_close() {
        return Err(Fault::Closed);
    }
    waiting.closed |= request.is_close();
    waiting.requests.push_back(request);
    if std::mem::replace(&mut waiting.writing, true) {
        return Ok(());
    }
    drop(waiting);
    let writing = Writing { at: Arc::clone(at), done: false };
    match Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(move || writing.run())),
        Err(_) => writing.run(),
    }
    Ok(())
}

/// Being the writer. However it ends, the next request starts another.
struct Writing<H: HasDesk> {
    at: Arc<H>,
    done: bool,
}

impl<H: HasDesk> Writing<H> {
    fn run(mut self) {
        while let Some(requests) = self.take() {
            self.write(requests);
        }
    }

    /// What waits, or `None` when this writer is done.
    fn take(&mut self) -> Option<Vec<Request>> {
        let desk = self.at.desk();
        let mut waiting = desk.waiting.lock();
        if waiting.requests.is_empty() {
            // In the same breath as the look: a request that comes later starts a writer of its own.
            waiting.writing = false;
            self.done = true;
            return None;
        }
        let most = waiting.requests.len().min(BATCH);
        let requests: Vec<Request> = waiting.requests.drain(..most).collect();
        drop(waiting);
        desk.room.add_permits(requests.iter().filter(|request| request.takes_room()).count());
        Some(requests)
    }

    fn write(&self, mut requests: Vec<Request>) {
        let is_renewal = requests.iter().any(|request| request.hurry() == Hurry::Renewal);
        let hurry = if is_renewal { Hurry::Renewal } else { Hurry::Ordinary };
        let mut worker = self.at.desk().worker.lock();
        let done =
            worker.transact(hurry, |steps| requests.iter_mut().try_for_each(|request| request.run(steps)));
        if requests.iter().any(Request::is_close) {
            // What this would save is saved by the next who opens the store.
            let _ = worker.finish();
        }
        drop(worker);
        let settled = done.map(|((), outcome)| self.at.tell(outcome)).map_err(Arc::new);
        requests.into_iter().for_each(|request| request.settle(&settled));
    }
}

impl<H: HasDesk> Drop for Writing<H> {
    fn drop(&mut self) {
        if !self.done {
            // The runtime ended before the writer began, or the writer panicked: nobody is going to answer these.
            let mut waiting = self.at.desk().waiting.lock();
            waiting.writing = false;
            let requests = std::mem::take(&mut waiting.requests);
            drop(waiting);
            self.at.desk().room.add_permits(requests.iter().filter(|request| request.takes_room()).count());
        }
    }
}
