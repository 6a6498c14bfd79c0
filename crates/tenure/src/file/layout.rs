//! The directory of a store, and its database: made when they are missing, checked when they are there.
//!
//! ```text
//! locks.db (-wal, -shm)   the database          gate, turnstile   the way to it
//! seats/<label>.live      a process's life      seats/<label>.wake  where it is told of events
//! ```
//! The directory is made for its owner alone, since lease ids are secrets.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};

use super::fault::Fault;
use super::rows;
use crate::clock::{self, Instant};
use crate::token::{Epoch, FencingToken};

/// `TENU`, which says in the database's header whose it is.
const APPLICATION: i64 = 0x5445_4e55;

/// The version of `layout.sql`.
const VERSION: i64 = 1;

/// How long SQLite waits for a lock that the gate does not govern: recovery and checkpoints of other connections.
const BUSY: Duration = Duration::from_secs(3);

/// Epochs that are passed over when the machine restarted. Commits of its last seconds may be lost, and with them the
/// last tokens; no store gives out 256 epochs of 2^32 tokens before the system has written them to the disk.
const LOST_EPOCHS: u32 = 256;

/// For how long the ended ids of before a restart are remembered after it.
const REMEMBER: Duration = Duration::from_secs(60);

/// The database of an open store, and the file that it was when it was opened.
#[derive(Debug)]
pub(super) struct Database {
    path: PathBuf,
    inode: (u64, u64),
    pub(super) db: Connection,
}

/// Makes the directory, if it is missing, with what does not belong to the database.
pub(super) fn make_directory(directory: &Path) -> Result<(), Fault> {
    for path in [directory, &directory.join("seats")] {
        match DirBuilder::new().recursive(true).mode(0o700).create(path) {
            Ok(()) => {}
            Err(error)
                if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory) =>
            {
                return Err(Fault::NotADirectory);
            }
            Err(error) => return Err(Fault::io("the directory of the store could not be made")(error)),
        }
    }
    Ok(())
}

impl Database {
    /// Opens the database, and makes it when it is missing. To be called inside the gate.
    pub(super) fn open(directory: &Path) -> Result<Self, Fault> {
        let path = directory.join("locks.db");
        // Made here so that nobody else may read it. Never opened and closed here when it exists: closing any
        // descriptor of it would drop the locks that SQLite has on it for another provider of this process.
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Fault::io("the database could not be made")(error));
            }
            _ => {}
        }
        let opened =
            Database { inode: inode(&path)?, db: connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?, path };
        opened.check()?;
        Ok(opened)
    }

    /// A further connection, to read.
    pub(super) fn reader(&self) -> Result<Connection, Fault> {
        let reader = connect(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        reader.pragma_update(None, "query_only", true)?;
        Ok(reader)
    }

    /// Whether the directory still has the file that was opened. Two processes with two files would not exclude each
    /// other.
    pub(super) fn is_in_place(&self) -> Result<(), Fault> {
        match inode(&self.path) {
            Ok(inode) if inode == self.inode => Ok(()),
            _ => Err(Fault::Replaced),
        }
    }

    fn check(&self) -> Result<(), Fault> {
        let application = pragma(&self.db, "application_id")?;
        let version = pragma(&self.db, "user_version")?;
        if application == 0 && version == 0 && pragma(&self.db, "page_count")? == 0 {
            return self.make();
        }
        if application != APPLICATION {
            return Err(Fault::Foreign);
        }
        if version > VERSION {
            return Err(Fault::Newer { found: version, known: VERSION });
        }
        let sound: String = self.db.query_row("pragma quick_check(1)", [], |row| row.get(0))?;
        if sound != "ok" {
            return Err(Fault::Damaged(None));
        }
        Ok(())
    }

    fn make(&self) -> Result<(), Fault> {
        // A commit writes the pages that it changed: small ones, as a step changes a row here and there.
        self.db.pragma_update(None, "page_size", 1_024)?;
        self.db.pragma_update(None, "auto_vacuum", "incremental")?;
        self.db.pragma_update(None, "journal_mode", "wal")?;
        self.db.pragma_update(None, "synchronous", "full")?;
        let transaction = self.db.unchecked_transaction()?;
        transaction.execute_batch(include_str!("sql/layout.sql"))?;
        // The wall clock lets tokens rise also when the directory was removed and made anew.
        let epoch = Epoch::new(clock::wall_epoch()).expect("clamped to 31 bits");
        let first = FencingToken::of(epoch, 1).get().cast_signed();
        transaction.execute(
            "insert into meta (one, boot, next_token, last_ticket) values (1, '', ?1, 0)",
            [first],
        )?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()?;
        self.db.pragma_update(None, "synchronous", "normal")?;
        Ok(())
    }

    /// Adapts the store to the boot that the machine is in, if it was used in another before. To be called inside the
    /// gate.
    pub(super) fn enter_boot(&mut self, boot: &str, now: Instant) -> Result<(), Fault> {
        // What this commits must not be lost: it is why tokens never go back.
        self.db.pragma_update(None, "synchronous", "full")?;
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (last, next): (String, i64) =
            transaction
                .query_row("select boot, next_token from meta", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if last != boot {
            let next = if last.is_empty() { next } else { next + (i64::from(LOST_EPOCHS) << 32) };
            transaction.execute_batch(include_str!("sql/new_boot.sql"))?;
            let now_number = rows::instant(now);
            transaction.execute(include_str!("sql/new_boot_leases.sql"), [now_number])?;
            transaction.execute("update ended set until = ?1", [rows::instant(now + REMEMBER)])?;
            transaction.execute(include_str!("sql/new_boot_meta.sql"), params![boot, next, now_number])?;
        }
        transaction.commit()?;
        self.db.pragma_update(None, "synchronous", "normal")?;
        Ok(())
    }
}

/// The boot that the machine is in.
pub(super) fn boot_id() -> Result<String, Fault> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    Ok(id.map_err(Fault::io("the boot id of the machine could not be read"))?.trim().to_owned())
}

fn connect(path: &Path, mode: OpenFlags) -> Result<Connection, Fault> {
    let db = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY)?;
    db.set_prepared_statement_cache_capacity(64);
    // Else a statement is compiled again whenever a parameter changes, in case that a better plan is found.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    db.pragma_update(None, "synchronous", "normal")?;
    // A checkpoint syncs the disk, for some milliseconds: one in 4 MiB of log.
    db.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    // The log is cut back to this after a checkpoint, so that a burst leaves no large file.
    db.pragma_update(None, "journal_size_limit", 4 * 1024 * 1024)?;
    Ok(db)
}

fn pragma(db: &Connection, name: &str) -> Result<i64, Fault> {
    Ok(db.pragma_query_value(None, name, |row| row.get(0))?)
}

fn inode(path: &Path) -> Result<(u64, u64), Fault> {
    let metadata = std::fs::metadata(path).map_err(Fault::io("the database could not be found"))?;
    Ok((metadata.dev(), metadata.ino()))
}
