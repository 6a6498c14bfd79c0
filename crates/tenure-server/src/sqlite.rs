//! A SQLite file of a service: one thread that writes, and a few connections that read. With the feature `sqlite`.
//!
//! Writes that wait together are one transaction: a sync of the disk is paid once for all of them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use tenure::{Error, Result};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// How many writes may wait.
const QUEUE: usize = 4_096;
/// How many writes one transaction has at most: others who write to the file wait as long.
const GROUP: usize = 256;
/// How many connections read at a time.
const READERS: usize = 4;
/// How often another process's transaction is waited for, a millisecond each time, before a write is refused.
const PATIENCE: i32 = 5_000;
/// Pages of a cache, as SQLite counts: negative for KiB.
const CACHE: i32 = -16_384;

/// Tells the one who asked for a write how the transaction ended.
type Reply = Box<dyn FnOnce(Result<()>) + Send>;
type Write = Box<dyn FnOnce(&Connection) -> rusqlite::Result<Reply> + Send>;

/// An open database file. Clones share it.
#[derive(Clone)]
pub struct File {
    path: Arc<PathBuf>,
    writes: mpsc::Sender<Write>,
    idle: Arc<Mutex<Vec<Connection>>>,
    readers: Arc<Semaphore>,
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("path", &self.path).finish_non_exhaustive()
    }
}

impl File {
    /// Opens the file, makes it where it is not there, and runs `schema`.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be opened or written.
    pub fn open(path: &Path, schema: &str) -> Result<Self> {
        let mut writer = connection(path).map_err(|error| failed(&error))?;
        let made = writer
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .and_then(|schemas| schemas.execute_batch(schema).and_then(|()| schemas.commit()));
        made.map_err(|error| failed(&error))?;
        let (writes, asked) = mpsc::channel(QUEUE);
        let started =
            thread::Builder::new().name("sqlite-writer".to_owned()).spawn(move || run(writer, asked));
        started.map_err(|error| {
            Error::unavailable("database", "the writer's thread cannot start").with_source(error)
        })?;
        Ok(File {
            path: Arc::new(path.to_owned()),
            writes,
            idle: Arc::default(),
            readers: Arc::new(Semaphore::new(READERS)),
        })
    }

    /// Does some work in a transaction of writes, and answers when it is durable. The work may have been rolled back although
    /// it succeeded; it has to leave nothing half done itself, since a failure ends the transaction for all that share it.
    ///
    /// # Errors
    /// `Unavailable` when the database refuses, or cannot be written to.
    ///
    /// # Cancel safety
    /// Dropped, the work may be done all the same, as a whole.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let write: Write = Box::new(move |db| {
            let value = work(db)?;
            Ok(Box::new(move |ended: Result<()>| {
                // Whoever asked may have gone.
                let _ = answer.send(ended.map(|()| value));
            }))
        });
        let gone = || Error::unavailable("database", "a write to the database failed");
        self.writes.send(write).await.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Does some reading, of one consistent state.
    ///
    /// # Errors
    /// `Unavailable` when the database refuses.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let permit = Arc::clone(&self.readers).acquire_owned().await.expect("the readers are never closed");
        let (path, idle) = (Arc::clone(&self.path), Arc::clone(&self.idle));
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let known = idle.lock().pop();
            let mut db = match known {
                Some(db) => db,
                None => connection(&path)?,
            };
            let snapshot = db.transaction()?;
            let value = work(&snapshot)?;
            snapshot.finish()?;
            idle.lock().push(db);
            Ok(value)
        });
        let read = reading
            .await
            .map_err(|error| Error::internal("database", "a read panicked").with_source(error))?;
        read.map_err(|error: rusqlite::Error| failed(&error))
    }
}

fn connection(path: &Path) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags)?;
    // SQLite's own back-off sleeps up to 100 ms, in which a process that writes without pause gets in again and again.
    db.busy_handler(Some(|tried| {
        thread::park_timeout(Duration::from_millis(1));
        tried < PATIENCE
    }))?;
    db.pragma_update(None, "journal_mode", "wal")?;
    // Each commit is on the disk when it is answered.
    db.pragma_update(None, "synchronous", "full")?;
    db.pragma_update(None, "cache_size", CACHE)?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}

fn run(mut db: Connection, mut asked: mpsc::Receiver<Write>) {
    let mut group = Vec::with_capacity(GROUP);
    while let Some(first) = asked.blocking_recv() {
        group.push(first);
        while group.len() < GROUP
            && let Ok(next) = asked.try_recv()
        {
            group.push(next);
        }
        let mut replies = Vec::with_capacity(group.len());
        let ended = transaction(&mut db, group.drain(..), &mut replies);
        if let Err(error) = &ended {
            tracing::warn!(error = %error, writes = replies.len(), "a transaction failed");
        }
        for reply in replies {
            reply(ended.as_ref().map_err(failed).copied());
        }
    }
}

/// Carries out a group of writes. Those whose reply is not in `replies` in the end are answered by being dropped.
fn transaction(
    db: &mut Connection,
    group: impl Iterator<Item = Write>,
    replies: &mut Vec<Reply>,
) -> rusqlite::Result<()> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for write in group {
        replies.push(write(&transaction)?);
    }
    transaction.commit()
}

fn failed(error: &rusqlite::Error) -> Error {
    Error::unavailable("database", format!("the database refuses error={error}"))
}
