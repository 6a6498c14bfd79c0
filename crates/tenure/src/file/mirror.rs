//! A part of the database as a lease table: loaded as a step needs it, written back where the step changed it.
//!
//! The rules of locking are not written a second time here. What a step can look at or change is put into the table
//! of `memory/table.rs`, which decides. Between steps the mirror stays, as long as no other connection wrote: a
//! process that has the store for itself reads each queue once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, params};

use super::fault::Fault;
use super::rows;
use crate::claim::{LeaseId, Origin};
use crate::clock::Instant;
use crate::lease::Why;
use crate::memory::TokenSource;
use crate::memory::table::{Lease, State, Table};
use crate::name::{Name, Names};

/// Claims and names of the mirror at most; above, it begins anew. About 30 MiB.
const MOST: usize = 65_536;

/// Ended ids that are remembered at most, as in memory.
const MOST_ENDED: i64 = 65_536;

/// A loaded part of the database.
#[derive(Debug)]
pub(super) struct Mirror {
    pub(super) table: Table,
    tokens: Arc<TokenSource>,
    complete: HashSet<Name>,
    known: HashMap<LeaseId, Known>,
    remembered: HashMap<LeaseId, Why>,
    moved: Vec<LeaseId>,
    version: i64,
    saved: (u64, u64),
    /// Grants to remote holders up to this ttl need not be on the disk at once.
    pub(super) unsynced_ttl: Duration,
    /// No grants before this instant.
    pub(super) closed_until: Instant,
    /// The longest that a remote lease lives which was saved since this was zero.
    pub(super) longest_remote: Duration,
}

/// What the mirror knows of a claim beside what the table does.
#[derive(Debug)]
struct Known {
    seat: i64,
    placed: Option<Names>,
}

impl Mirror {
    /// An empty mirror of the database as it is in the present transaction.
    fn new(db: &Connection, version: i64) -> Result<Self, Fault> {
        let mut statement =
            db.prepare_cached("select next_token, last_ticket, unsynced_ttl, closed_until from meta")?;
        let (token, ticket, unsynced, closed): (i64, i64, i64, i64) =
            statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        let saved = (token.unsigned_abs(), ticket.unsigned_abs());
        let tokens = Arc::new(TokenSource::from_next(saved.0));
        Ok(Mirror {
            table: Table::image(Arc::clone(&tokens), saved.1),
            tokens,
            complete: HashSet::new(),
            known: HashMap::new(),
            remembered: HashMap::new(),
            moved: Vec::new(),
            version,
            saved,
            unsynced_ttl: rows::to_span(unsynced),
            closed_until: rows::to_instant(closed),
            longest_remote: Duration::ZERO,
        })
    }

    /// The mirror of the last transaction, if it is still true, or a new one.
    pub(super) fn renewed(last: Option<Mirror>, db: &Connection) -> Result<Self, Fault> {
        let version = db.prepare_cached("pragma data_version")?.query_row([], |row| row.get(0))?;
        match last {
            Some(mirror)
                if mirror.version == version && mirror.known.len() + mirror.complete.len() < MOST =>
            {
                Ok(mirror)
            }
            _ => Mirror::new(db, version),
        }
    }

    /// Everything that is kept, for a list.
    pub(super) fn whole(db: &Connection) -> Result<Table, Fault> {
        let mut mirror = Mirror::new(db, 0)?;
        let mut places: HashMap<Name, Vec<LeaseId>> = HashMap::new();
        for kept in rows::all(db)? {
            for name in placed(&kept.lease) {
                places.entry(name.clone()).or_default().push(kept.id);
            }
            mirror.table.restore(kept.id, kept.lease);
        }
        places.into_iter().for_each(|(name, ids)| mirror.table.restore_name(name, ids));
        Ok(mirror.table)
    }

    /// Makes names complete for a step at `now`: all who hold them or wait for them, the names of those waiters, and
    /// the names of those holders whose time is over, since the step will free them.
    pub(super) fn load(&mut self, db: &Connection, now: Instant, names: &Names) -> Result<(), Fault> {
        self.complete(db, names.iter().cloned().collect())?;
        let over = |lease: &Lease| match &lease.state {
            State::Held(held) if held.expires <= now => Some(held.names.clone()),
            _ => None,
        };
        let freed: Vec<Names> =
            names.iter().flat_map(|name| self.table.holders(name)).filter_map(over).collect();
        self.complete(db, freed.iter().flatten().cloned().collect())
    }

    fn complete(&mut self, db: &Connection, mut open: Vec<Name>) -> Result<(), Fault> {
        while let Some(name) = open.pop() {
            if self.complete.contains(&name) {
                continue;
            }
            let mut ids = Vec::new();
            for kept in rows::at_name(db, &name)? {
                ids.push(kept.id);
                if self.known.contains_key(&kept.id) {
                    continue;
                }
                if let State::Waiting(_) = kept.lease.state {
                    open.extend(kept.lease.names.iter().cloned());
                }
                let placed = Some(placed(&kept.lease).clone());
                self.known.insert(kept.id, Known { seat: kept.seat, placed });
                self.table.restore(kept.id, kept.lease);
            }
            self.table.restore_name(name.clone(), ids);
            self.complete.insert(name);
        }
        Ok(())
    }

    /// Loads the claim that a step is about, or what is remembered of its end.
    pub(super) fn load_lease(&mut self, db: &Connection, now: Instant, id: &LeaseId) -> Result<(), Fault> {
        if let Some(lease) = self.table.lease(id) {
            let names = lease.names.clone();
            return self.load(db, now, &names);
        }
        if self.known.contains_key(id) || self.table.ended(id).is_some() {
            return Ok(());
        }
        if let Some(names) = rows::names_of(db, id)? {
            return self.load(db, now, &names);
        }
        if let Some(why) = rows::ended(db, id)? {
            self.remembered.insert(*id, why);
            self.table.restore_ended(*id, why);
        }
        Ok(())
    }

    /// How many claims are loaded.
    #[cfg(test)]
    pub(super) fn loaded(&self) -> usize {
        self.known.len()
    }

    /// The seat of a claim.
    pub(super) fn seat(&self, id: &LeaseId) -> Option<i64> {
        self.known.get(id).map(|known| known.seat)
    }

    /// Notes that a claim is spoken for by `seat`. A local lease stays with its process.
    pub(super) fn sit(&mut self, id: &LeaseId, seat: i64) {
        let Some(lease) = self.table.lease(id) else { return };
        match self.known.get_mut(id) {
            Some(known) if lease.origin == Origin::Local || known.seat == seat => {}
            Some(known) => {
                known.seat = seat;
                self.moved.push(*id);
            }
            None => {
                self.known.insert(*id, Known { seat, placed: None });
            }
        }
    }

    /// Forgets ended ids whose time is over.
    pub(super) fn forget(&self, db: &Connection, now: Instant) -> Result<(), Fault> {
        rows::forget_ended(db, now, MOST_ENDED)
    }

    /// Writes back what was changed since the last time.
    pub(super) fn save(&mut self, db: &Connection, now: Instant) -> Result<(), Fault> {
        let mut changed = self.table.take_changed();
        changed.append(&mut self.moved);
        for id in changed {
            self.save_lease(db, now, &id)?;
        }
        for (id, old) in std::mem::take(&mut self.remembered) {
            if let Some(why) = self.table.ended(&id).filter(|why| *why != old) {
                rows::save_ended(db, &id, why, now)?;
            }
        }
        for (id, until, why) in self.table.take_ended() {
            rows::save_ended(db, &id, why, until)?;
        }
        let present = (self.tokens.next(), self.table.last_ticket());
        if present != self.saved {
            let mut statement = db.prepare_cached("update meta set next_token = ?1, last_ticket = ?2")?;
            statement.execute(params![present.0.cast_signed(), present.1.cast_signed()])?;
            self.saved = present;
        }
        Ok(())
    }

    fn save_lease(&mut self, db: &Connection, now: Instant, id: &LeaseId) -> Result<(), Fault> {
        let Some(known) = self.known.get_mut(id) else {
            return Ok(());
        };
        let Some(lease) = self.table.lease(id) else {
            if let Some(placed) = self.known.remove(id).and_then(|known| known.placed) {
                rows::remove(db, id)?;
                rows::unplace(db, id, &placed)?;
            }
            return Ok(());
        };
        rows::save(db, id, known.seat, lease)?;
        let names = placed(lease);
        if known.placed.as_ref() != Some(names) {
            if let Some(before) = known.placed.replace(names.clone()) {
                rows::unplace(db, id, &before)?;
            }
            rows::place(db, id, names)?;
        }
        if let (State::Held(held), Origin::Remote) = (&lease.state, lease.origin) {
            self.longest_remote = self.longest_remote.max(now.until(held.expires));
        }
        Ok(())
    }
}

/// The names that a claim stands at.
fn placed(lease: &Lease) -> &Names {
    match &lease.state {
        State::Held(held) => &held.names,
        State::Waiting(_) => &lease.names,
    }
}
