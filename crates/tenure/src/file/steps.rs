//! The steps of the provider inside one transaction: load what a step is about, let the table decide, note who is to
//! be told.
//!
//! Before a step has to wait or is refused, those in its way are looked at: whoever is dead loses its local leases and
//! its places in the queues in the same transaction.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension};

use super::fault::Fault;
use super::mirror::Mirror;
use super::rows;
use super::seats::{Life, Seats};
use crate::claim::{Claim, Digest, LeaseId, Origin};
use crate::clock::Instant;
use crate::error::Result as Answer;
use crate::lease::{Claimed, Ended, Grant, Kept};
use crate::memory::table::{Lease, State};
use crate::name::Names;
use crate::provider::{Event, Force, Forced, Keep};

/// Claims at one name that are looked at for a dead process; as many as the table looks at in one step.
const MOST_LOOKED_AT: usize = 128;

/// One transaction's steps, all at one instant.
#[derive(Debug)]
pub(super) struct Steps<'a> {
    pub(super) db: &'a Connection,
    pub(super) mirror: &'a mut Mirror,
    pub(super) seats: &'a Seats,
    pub(super) own: i64,
    pub(super) now: Instant,
    pub(super) outcome: &'a mut Outcome,
}

/// What is to be done when the transaction is committed.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Events, by the seat that is to be told.
    pub(super) events: BTreeMap<i64, Vec<Event>>,
    /// Lives of processes that stand in the way of a waiter of this one.
    pub(super) watch: BTreeMap<i64, Life>,
    /// Labels of seats that were given up, whose files can go.
    pub(super) cleared: Vec<String>,
    /// Labels of the seats that are to be told.
    pub(super) labels: BTreeMap<i64, String>,
}

impl Outcome {
    /// Finds where those are reached who are to be told. Who has no seat any more is not told.
    pub(super) fn find_labels(&mut self, db: &Connection) -> Result<(), Fault> {
        for seat in self.events.keys() {
            if let Some(label) = label_of(db, *seat)? {
                self.labels.insert(*seat, label);
            }
        }
        Ok(())
    }
}

impl Steps<'_> {
    /// Asks for a lease, on behalf of a request that was sent at `sent`.
    pub(super) fn claim(&mut self, claim: &Claim, sent: Instant) -> Result<Answer<Claimed>, Fault> {
        self.load_lease(&claim.lease)?;
        for replaced in &claim.replaces {
            self.load_lease(replaced)?;
        }
        self.mirror.load(self.db, self.now, &claim.names)?;
        let is_new = self.mirror.table.lease(&claim.lease).is_none();
        if is_new && self.mirror.closed_until > self.now {
            let remaining_ms = self.now.until(self.mirror.closed_until).as_millis();
            return Ok(Err(Fault::Restarted { remaining_ms }.to_error("claim")));
        }
        if !self.mirror.table.is_free_for(self.now, claim) {
            self.bury_the_dead(&claim.names, claim.wait)?;
        }
        self.mirror.forget(self.db, self.now)?;
        let mut answer = self.mirror.table.claim(self.now, claim);
        if let Ok(Claimed::Granted(grant)) = &mut answer {
            self.count_from(sent, grant);
        }
        self.mirror.sit(&claim.lease, self.own);
        self.note_events();
        Ok(answer)
    }

    /// Renews a lease or touches a waiting claim, on behalf of a request that was sent at `sent`.
    pub(super) fn keep(&mut self, keep: &Keep, sent: Instant) -> Result<Kept, Fault> {
        self.load_lease(&keep.lease)?;
        if let Some(Lease { state: State::Waiting(_), names, .. }) = self.mirror.table.lease(&keep.lease) {
            let names = names.clone();
            self.bury_the_dead(&names, true)?;
        }
        let mut answer = self.mirror.table.keep(self.now, keep);
        if let Kept::Held(grant) = &mut answer {
            self.count_from(sent, grant);
        }
        self.mirror.sit(&keep.lease, self.own);
        self.note_events();
        Ok(answer)
    }

    /// Releases a lease or withdraws a claim.
    pub(super) fn end(&mut self, id: &LeaseId) -> Result<Ended, Fault> {
        self.load_lease(id)?;
        let ended = self.mirror.table.end(self.now, id);
        self.note_events();
        Ok(ended)
    }

    /// Takes a lease from its holder.
    pub(super) fn force(&mut self, digest: Digest, how: Force) -> Result<Forced, Fault> {
        let sql = "select lease from leases where digest = ?1";
        for id in rows::ids(self.db, sql, digest.to_bytes())? {
            self.load_lease(&id)?;
        }
        let forced = self.mirror.table.force(self.now, digest, how);
        self.note_events();
        Ok(forced)
    }

    /// Writes something and changes nothing.
    pub(super) fn ping(&mut self) -> Result<(), Fault> {
        self.db.prepare_cached("update meta set one = 1")?.execute([])?;
        Ok(())
    }

    /// Ends the local leases and claims of a seat, and gives up the seat.
    pub(super) fn give_up(&mut self, seat: i64) -> Result<(), Fault> {
        let Some(label) = label_of(self.db, seat)? else {
            return Ok(());
        };
        // What this transaction changed so far must be found by the query.
        self.note_events();
        self.mirror.save(self.db, self.now)?;
        for id in rows::ids(self.db, "select lease from leases where seat = ?1 and remote = 0", seat)? {
            self.end(&id)?;
        }
        self.db.prepare_cached("delete from seats where seat = ?1")?.execute([seat])?;
        self.outcome.cleared.push(label);
        Ok(())
    }

    /// Gives up a seat if its process is dead.
    pub(super) fn bury(&mut self, seat: i64) -> Result<(), Fault> {
        match self.look(seat)? {
            Life::Over => self.give_up(seat),
            Life::Lives(_) => Ok(()),
        }
    }

    /// Passes over those who were granted something in this transaction and are dead.
    pub(super) fn skip_the_dead(&mut self) -> Result<(), Fault> {
        let mut looked = BTreeSet::from([self.own]);
        loop {
            let is_granted =
                |events: &Vec<Event>| events.iter().any(|event| matches!(event, Event::Granted(..)));
            let mut granted =
                self.outcome.events.iter().filter(|(_, events)| is_granted(events)).map(|(seat, _)| *seat);
            let Some(seat) = granted.find(|seat| !looked.contains(seat)) else { return Ok(()) };
            looked.insert(seat);
            self.bury(seat)?;
        }
    }

    /// Looks at all processes with a claim at `names`, and gives up the seats of the dead. Those that live are noted to
    /// be watched if somebody is going to `wait` for them.
    fn bury_the_dead(&mut self, names: &Names, wait: bool) -> Result<(), Fault> {
        let is_bound = |lease: &Lease| {
            let ended = matches!(&lease.state, State::Held(held) if held.ended);
            lease.origin == Origin::Local && !ended
        };
        let claims = names.iter().flat_map(|name| self.mirror.table.at(name, MOST_LOOKED_AT));
        let bound = claims.filter(|(_, lease)| is_bound(lease)).filter_map(|(id, _)| self.mirror.seat(&id));
        let seats: BTreeSet<i64> = bound.filter(|seat| *seat != self.own).collect();
        for seat in seats {
            match self.look(seat)? {
                Life::Over => self.give_up(seat)?,
                lives if wait => drop(self.outcome.watch.insert(seat, lives)),
                Life::Lives(_) => {}
            }
        }
        Ok(())
    }

    fn look(&self, seat: i64) -> Result<Life, Fault> {
        match label_of(self.db, seat)? {
            Some(label) => self.seats.look(&label),
            None => Ok(Life::Over),
        }
    }

    fn load_lease(&mut self, id: &LeaseId) -> Result<(), Fault> {
        self.mirror.load_lease(self.db, self.now, id)
    }

    /// Counts the deadline of a grant from the instant at which its request was sent instead of this one.
    fn count_from(&self, sent: Instant, grant: &mut Grant) {
        if grant.deadline != Instant::NEVER {
            grant.deadline = grant.deadline - sent.until(self.now);
        }
    }

    /// Addresses the events of the last step to the seats of their leases.
    fn note_events(&mut self) {
        for event in self.mirror.table.take_events() {
            let lease = match &event {
                Event::Granted(lease, _)
                | Event::Contended(lease)
                | Event::Revoked(lease)
                | Event::Lost(lease, _) => lease,
                Event::Resync => continue,
            };
            if let Some(seat) = self.mirror.seat(lease) {
                self.outcome.events.entry(seat).or_default().push(event);
            }
        }
    }
}

/// What the files of a seat are called, if it is taken.
fn label_of(db: &Connection, seat: i64) -> Result<Option<String>, Fault> {
    let mut statement = db.prepare_cached("select label from seats where seat = ?1")?;
    Ok(statement.query_row([seat], |row| row.get(0)).optional()?)
}
