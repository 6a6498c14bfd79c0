//! An open store: the desk where requests wait, what is heard from other processes, and who is told.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rusqlite::Connection;

use super::desk::{self, Desk, HasDesk};
use super::ear::{Ear, Hears};
use super::fault::Fault;
use super::mirror::Mirror;
use super::notice;
use super::request::{Asked, Request};
use super::seats::Seats;
use super::steps::Outcome;
use super::worker::Worker;
use crate::clock::Clock;
use crate::lease::{Page, Query};
use crate::provider::{Caps, Event, Listener, Load, Takeover};

/// An open store, with a seat of its own.
#[derive(Debug)]
pub(super) struct Store {
    clock: Clock,
    pub(super) caps: Caps,
    own: i64,
    desk: Desk,
    reader: Mutex<Connection>,
    seats: Arc<Seats>,
    socket: Arc<UnixDatagram>,
    ear: Ear,
    pub(super) live: Arc<OwnedFd>,
    pub(super) listeners: RwLock<Vec<Arc<dyn Listener>>>,
}

impl Store {
    /// Opens a store. Blocks on the disk and on other processes.
    pub(super) fn open(directory: &Path, clock: Clock, boot: &str) -> Result<Arc<Self>, Fault> {
        let (worker, seat) = Worker::open(directory, clock, boot)?;
        let mut caps = Caps::new("file");
        caps.takeover = Takeover::AtOnce;
        let socket = Arc::new(seat.socket);
        let (ear, hearing) = Ear::new(Arc::clone(&socket))?;
        let store = Arc::new(Store {
            clock,
            caps,
            own: worker.own(),
            reader: Mutex::new(worker.reader()?),
            seats: Arc::clone(worker.seats()),
            desk: Desk::new(worker),
            socket,
            ear,
            live: Arc::new(seat.live),
            listeners: RwLock::default(),
        });
        hearing.start(Arc::downgrade(&store))?;
        Ok(store)
    }

    /// Asks the writer and waits for the answer.
    pub(super) async fn ask<Q, A>(
        self: &Arc<Self>,
        question: Q,
        request: impl FnOnce(Asked<Q, A>) -> Request,
    ) -> Result<A, Arc<Fault>> {
        desk::ask(self, self.clock.now(), question, request).await
    }

    /// Lists what was committed last, on a connection of its own. Blocks on the disk.
    pub(super) fn list(&self, query: &Query) -> Result<Page, Fault> {
        if self.desk.is_closed() {
            return Err(Fault::Closed);
        }
        let reader = self.reader.lock();
        let transaction = reader.unchecked_transaction()?;
        let table = Mirror::whole(&transaction)?;
        Ok(table.list(self.clock.now(), query))
    }

    /// How much of the way to the writer is in use.
    pub(super) fn load(&self) -> Load {
        self.desk.load()
    }

    fn tell_own(&self, event: &Event) {
        self.listeners.read().iter().for_each(|listener| listener.on(event.clone()));
    }
}

#[cfg(test)]
impl Store {
    /// Lets the database grow no more, or again.
    pub(super) fn limit_pages(&self, limit: bool) {
        self.desk.worker(|worker| worker.limit_pages(limit));
    }

    /// How many claims the mirror has loaded.
    pub(super) fn loaded(&self) -> usize {
        self.desk.worker(|worker| worker.loaded())
    }
}

impl HasDesk for Store {
    fn desk(&self) -> &Desk {
        &self.desk
    }

    fn tell(&self, outcome: Outcome) {
        for (seat, label) in outcome.labels.iter().filter(|(seat, _)| **seat != self.own) {
            let events = outcome.events.get(seat).map(Vec::as_slice).unwrap_or_default();
            for datagram in notice::write(events) {
                // One that is lost, as the other's queue is full, costs its waiter a second.
                let _ = self.socket.send_to(&datagram, self.seats.address(label));
            }
        }
        outcome.events.get(&self.own).into_iter().flatten().for_each(|event| self.tell_own(event));
        self.ear.watch(outcome.watch);
    }
}

impl Hears for Store {
    fn heard(&self, event: &Event) {
        self.tell_own(event);
    }

    fn died(self: Arc<Self>, seat: i64) {
        // A closed provider has nobody who waits for the dead.
        let _ = desk::submit(&self, Request::Bury(seat));
    }
}
