//! What callers, lines, waits and chores share.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, oneshot, watch};

use super::super::url::Target;
use super::desk::{Desk, Job};
use super::line::Line;
use super::{chores, flight, waiting};
use crate::claim::ProcessId;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::lease::{Ended, Kept};
use crate::provider::{Event, Keep, Listener};

/// What callers, lines, waits and chores share.
pub(super) struct Shared {
    pub(super) target: Target,
    pub(super) clock: Clock,
    /// What this provider value is known by to others: its sessions and its channel.
    pub(super) process: i64,
    pub(super) desk: Mutex<Desk>,
    listeners: RwLock<Vec<Arc<dyn Listener>>>,
    wakes: Mutex<HashMap<usize, Arc<Notify>>>,
    /// Connections for waiting that wait for nothing now.
    pub(super) idle_waits: Mutex<Vec<Arc<Line>>>,
    /// How many connections there are for waiting.
    pub(super) waits_open: AtomicU64,
    /// The sessions that wait in the server's queue.
    pub(super) waiting: Mutex<std::collections::HashSet<i32>>,
    /// Held by who opens a connection that takes locks.
    pub(super) opening: tokio::sync::Mutex<()>,
    pub(super) control: tokio::sync::Mutex<Option<chores::Control>>,
    closing: watch::Sender<bool>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(target: Target, clock: Clock) -> Arc<Self> {
        Arc::new(Shared {
            target,
            clock,
            process: i64::try_from(ProcessId::random().get()).unwrap_or(i64::MAX),
            desk: Mutex::new(Desk::new()),
            listeners: RwLock::default(),
            wakes: Mutex::default(),
            idle_waits: Mutex::default(),
            waits_open: AtomicU64::new(0),
            waiting: Mutex::default(),
            opening: tokio::sync::Mutex::new(()),
            control: tokio::sync::Mutex::new(None),
            closing: watch::Sender::new(false),
        })
    }

    /// One visit to the desk; what comes of it is sent and told.
    pub(super) fn visit<T>(self: &Arc<Self>, visit: impl FnOnce(&mut Desk) -> T) -> T {
        let (answer, effects) = {
            let mut desk = self.desk.lock();
            let answer = visit(&mut desk);
            (answer, desk.take_effects())
        };
        if !effects.lines.is_empty() {
            let wakes = self.wakes.lock();
            effects.lines.iter().filter_map(|line| wakes.get(line)).for_each(|wake| wake.notify_one());
        }
        for event in &effects.events {
            self.tell(event);
        }
        for start in effects.starts {
            tokio::spawn(waiting::wait(Arc::clone(self), start));
        }
        answer
    }

    pub(super) fn listen(&self, listener: Arc<dyn Listener>) {
        self.listeners.write().push(listener);
    }

    fn tell(&self, event: &Event) {
        for listener in self.listeners.read().iter() {
            listener.on(event.clone());
        }
    }

    /// Hands a connection to a task that drives it.
    pub(super) fn drive(self: &Arc<Self>, number: usize, line: Arc<Line>) {
        let wake = Arc::new(Notify::new());
        self.wakes.lock().insert(number, Arc::clone(&wake));
        tokio::spawn(flight::run(Arc::clone(self), number, line, wake));
    }

    pub(super) fn forget_line(&self, number: usize) {
        self.wakes.lock().remove(&number);
    }

    /// Asks the desk, and waits for the answer.
    pub(super) async fn ask<T>(self: &Arc<Self>, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let now = self.clock.now();
        self.visit(|desk| {
            desk.submit(now, job(reply));
            if desk.is_dry() && !desk.is_thirsty && !desk.titles.is_empty() {
                desk.is_thirsty = true;
                desk.outbox.fetch_tokens();
            }
        });
        answer.await.map_err(|_| lost())
    }

    /// Renews leases, each when all that it stands on has given a sign of life, and touches waiting claims.
    pub(super) async fn keep(self: &Arc<Self>, keeps: &[Keep]) -> Vec<Result<Kept>> {
        let mut signs = HashMap::new();
        self.visit(|desk| {
            let lines: std::collections::BTreeSet<usize> =
                keeps.iter().flat_map(|keep| desk.lines_of(&keep.lease)).collect();
            for line in lines {
                let (reply, sign) = oneshot::channel();
                desk.outbox.beat(line, reply);
                signs.insert(line, sign);
            }
        });
        let mut alive: HashMap<usize, (crate::clock::Instant, u64)> = HashMap::new();
        for (line, sign) in signs {
            if let Ok(sign) = sign.await {
                alive.insert(line, sign);
            }
        }
        let now = self.clock.now();
        self.visit(|desk| {
            let kept = keeps.iter().map(|keep| {
                let lines = desk.lines_of(&keep.lease);
                if lines.iter().any(|line| !alive.contains_key(line)) {
                    return Err(lost());
                }
                let sent = lines
                    .iter()
                    .filter_map(|line| alive.get(line))
                    .map(|(sent, _)| *sent)
                    .min()
                    .unwrap_or(now);
                Ok(desk.keep(now, sent, keep))
            });
            let kept = kept.collect();
            desk.resume(now);
            kept
        })
    }

    pub(super) async fn end(self: &Arc<Self>, id: crate::claim::LeaseId) -> Result<Ended> {
        self.ask(|reply| Job::End(id, reply)).await
    }

    /// Notes that a session waits, until the value is dropped: it cannot give signs of life itself.
    pub(super) fn note_waiting(self: &Arc<Self>, pid: i32) -> Waiting {
        self.waiting.lock().insert(pid);
        Waiting(Arc::clone(self), pid)
    }

    /// Takes in a connection that takes locks by trying.
    pub(super) fn add_primary(self: &Arc<Self>, sent: crate::clock::Instant, line: Line) {
        let number = self.visit(|desk| desk.outbox.open(sent, true));
        self.drive(number, Arc::new(line));
    }

    /// A line that has ended: what was for waiting makes room for another.
    pub(super) fn line_is_gone(&self, number: usize) {
        let is_primary =
            self.desk.lock().outbox.slots().any(|(line, slot)| line == number && slot.is_primary);
        if !is_primary {
            self.waits_open.fetch_sub(1, Ordering::AcqRel);
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        *self.closing.borrow()
    }

    /// Resolves when everything is closed.
    pub(super) async fn closed(&self) {
        let mut closing = self.closing.subscribe();
        // The sender lives as long as this.
        let _ = closing.wait_for(|closed| *closed).await;
    }

    pub(super) fn close(&self) {
        self.closing.send_replace(true);
    }
}

/// A session that waits.
pub(super) struct Waiting(Arc<Shared>, i32);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.lock().remove(&self.1);
    }
}

pub(super) fn lost() -> Error {
    Error::unavailable("postgres", "the connection to the server is lost")
}
