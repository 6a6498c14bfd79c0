//! The writer of a provider: runs the requests that wait together in one transaction, inside the gate.
//!
//! Commits are written, and not synced: a crash of a process loses nothing, a crash of the machine may lose the last
//! ones. That is made harmless. Tokens jump to a new epoch with each boot, and that is synced. Local leases end with
//! the machine. A grant to a remote holder is synced, unless the store has noted (and synced) that leases of that ttl
//! may be missing after a restart; then it stays closed for that long.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::fault::Fault;
use super::gate::{Gate, Hurry};
use super::layout::{self, Database};
use super::mirror::Mirror;
use super::rows;
use super::seats::{Seat, Seats};
use super::steps::{Outcome, Steps};
use crate::clock::Clock;

/// Grants to remote holders for longer than this reach the disk before they are answered. Shorter ones need not, and
/// the store stays closed for at most this long when the machine restarted.
const MOST_UNSYNCED: Duration = Duration::from_secs(60);

/// Free pages of 1 KiB that are left in the database for the next burst.
const FREE_PAGES: i64 = 1_024;

/// Transactions from one tidying to the next.
const TIDY_EVERY: u64 = 4_096;

/// The writing connection and what goes with it.
#[derive(Debug)]
pub(super) struct Worker {
    clock: Clock,
    gate: Arc<Gate>,
    seats: Arc<Seats>,
    database: Database,
    mirror: Option<Mirror>,
    own: i64,
    transactions: u64,
}

impl Worker {
    /// Opens a store and takes a seat in it. Blocks on the disk and on other processes.
    pub(super) fn open(directory: &Path, clock: Clock, boot: &str) -> Result<(Self, Seat), Fault> {
        layout::make_directory(directory)?;
        let gate = Arc::new(Gate::open(directory)?);
        let seats = Arc::new(Seats::open(directory)?);
        let entry = Arc::clone(&gate);
        let _passage = entry.enter(Hurry::Ordinary)?;
        let mut database = Database::open(directory)?;
        database.enter_boot(boot, clock.now())?;
        let mut worker = Worker { clock, gate, seats, database, mirror: None, own: 0, transactions: 0 };
        worker.bury_all()?;
        let seat = worker.seats.take()?;
        let db = &worker.database.db;
        db.execute("insert into seats (label) values (?1)", [&seat.label])?;
        worker.own = db.last_insert_rowid();
        Ok((worker, seat))
    }

    pub(super) fn seats(&self) -> &Arc<Seats> {
        &self.seats
    }

    pub(super) fn own(&self) -> i64 {
        self.own
    }

    /// A further connection, to read.
    pub(super) fn reader(&self) -> Result<Connection, Fault> {
        self.database.reader()
    }

    /// Runs `work` as one transaction. When it fails nothing was changed, unless the disk failed at the very end.
    pub(super) fn transact<T>(
        &mut self,
        hurry: Hurry,
        work: impl FnOnce(&mut Steps<'_>) -> Result<T, Fault>,
    ) -> Result<(T, Outcome), Fault> {
        let gate = Arc::clone(&self.gate);
        let _passage = gate.enter(hurry)?;
        self.inside(work)
    }

    /// Leaves the store as small and as safe as can be when nobody else has it open, after the own seat was given up.
    pub(super) fn finish(&mut self) -> Result<(), Fault> {
        let gate = Arc::clone(&self.gate);
        let _passage = gate.enter(Hurry::Ordinary)?;
        let db = &self.database.db;
        let others: bool = db.query_row("select exists (select 1 from seats)", [], |row| row.get(0))?;
        if others {
            return Ok(());
        }
        self.sync_if_alone()?;
        self.tidy()?;
        Ok(self.database.db.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()))?)
    }

    fn inside<T>(
        &mut self,
        work: impl FnOnce(&mut Steps<'_>) -> Result<T, Fault>,
    ) -> Result<(T, Outcome), Fault> {
        self.database.is_in_place()?;
        let db = &self.database.db;
        let transaction = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
        // Taken out until the commit: after a failure the next transaction begins with a new one.
        let mut mirror = Mirror::renewed(self.mirror.take(), db)?;
        let mut outcome = Outcome::default();
        let now = self.clock.now();
        let (seats, own) = (&*self.seats, self.own);
        let mut steps = Steps { db, mirror: &mut mirror, seats, own, now, outcome: &mut outcome };
        let answer = work(&mut steps)?;
        steps.skip_the_dead()?;
        mirror.save(db, now)?;
        outcome.find_labels(db)?;
        transaction.commit()?;
        if mirror.longest_remote > mirror.unsynced_ttl {
            sync_remote(db, &mut mirror)?;
        }
        self.mirror = Some(mirror);
        outcome.cleared.iter().for_each(|label| self.seats.clear(label));
        self.transactions += 1;
        if self.transactions.is_multiple_of(TIDY_EVERY) {
            self.tidy()?;
        }
        Ok((answer, outcome))
    }

    /// Gives up the seats of all dead processes, and removes files that belong to no seat.
    fn bury_all(&mut self) -> Result<(), Fault> {
        let mut statement = self.database.db.prepare("select seat from seats")?;
        let seats = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
        drop(statement);
        self.inside(|steps| seats.iter().try_for_each(|seat| steps.bury(*seat)))?;
        let mut statement = self.database.db.prepare("select label from seats")?;
        let taken = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
        drop(statement);
        let stray = |label: &String| !taken.contains(label);
        self.seats.labels()?.iter().filter(|label| stray(label)).for_each(|label| self.seats.clear(label));
        self.sync_if_alone()
    }

    /// Brings all commits to the disk when no other process has the store open, so that nothing can be missing after a
    /// restart of the machine.
    fn sync_if_alone(&mut self) -> Result<(), Fault> {
        let alone =
            "update meta set unsynced_ttl = 0 where unsynced_ttl > 0 and not exists (select 1 from seats)";
        self.mirror = None;
        synced(&self.database.db, |db| db.execute(alone, []))
    }

    /// Gives back to the disk what a burst took.
    fn tidy(&self) -> Result<(), Fault> {
        let db = &self.database.db;
        let free: i64 = db.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
        if free > FREE_PAGES {
            let surplus = (free - FREE_PAGES).min(4_096);
            db.execute_batch(&format!("pragma incremental_vacuum({surplus})"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
impl Worker {
    pub(super) fn limit_pages(&self, limit: bool) {
        let db = &self.database.db;
        let pages: i64 = db.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        let most = if limit { pages } else { 1 << 30 };
        db.pragma_update_and_check(None, "max_page_count", most, |_| Ok(())).unwrap();
    }

    pub(super) fn loaded(&self) -> usize {
        self.mirror.as_ref().map_or(0, Mirror::loaded)
    }
}

/// Brings the grants of remote leases to the disk, and notes how long those may live that will not be brought there.
fn sync_remote(db: &Connection, mirror: &mut Mirror) -> Result<(), Fault> {
    let seconds = mirror.longest_remote.as_secs().saturating_add(1).next_power_of_two();
    mirror.unsynced_ttl = mirror.unsynced_ttl.max(Duration::from_secs(seconds).min(MOST_UNSYNCED));
    mirror.longest_remote = Duration::ZERO;
    let unsynced = rows::span(mirror.unsynced_ttl);
    synced(db, |db| db.prepare_cached("update meta set unsynced_ttl = ?1")?.execute([unsynced]))
}

/// Runs a write whose commit, with all before it, reaches the disk.
fn synced(db: &Connection, write: impl FnOnce(&Connection) -> rusqlite::Result<usize>) -> Result<(), Fault> {
    db.pragma_update(None, "synchronous", "full")?;
    let written = write(db);
    db.pragma_update(None, "synchronous", "normal")?;
    written?;
    Ok(())
}
