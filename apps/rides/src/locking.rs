//! Locks on bookings and drivers, and what is done while their store is away.
//!
//! A change is decided in one transaction of the database, whatever becomes of locks. So where their store does not answer, a change is
//! made without them: the rows that it locks in the database exclude as well, only not as early and not as fairly.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tenure::clock::Instant;
use tenure::{Error, ErrorKind, FencingToken, Guard, Locks, Request, Result};

/// How long a busy lock is waited for: three attempts with pauses of 100 and 200 ms, as the contract has it; by push, not by polling.
pub const PATIENCE: Duration = Duration::from_millis(300);
/// How long the store of the locks may take to answer beyond that, before it counts as away.
const ANSWERS_WITHIN: Duration = Duration::from_millis(700);
/// For how long it is not asked then.
const AWAY_FOR: Duration = Duration::from_secs(1);

/// The name of the lock on a booking.
pub fn booking_lock(id: i64) -> String {
    format!("booking:{id}")
}

/// The name of the lock on a driver.
pub fn driver_lock(id: i64) -> String {
    format!("driver:{id}")
}

/// The locks, as bookings are made under them.
#[derive(Debug)]
pub struct Locking {
    locks: Locks,
    away_until: Mutex<Option<Instant>>,
    without: AtomicU64,
}

/// What a change is made under.
#[derive(Debug)]
#[must_use = "a lock is released when it is dropped"]
pub enum Held {
    /// A lock.
    Lock(Guard),
    /// None: its store is away, and the transaction alone excludes.
    Nothing,
}

impl Held {
    /// The fencing token of the lock.
    pub fn token(&self) -> Option<FencingToken> {
        match self {
            Held::Lock(guard) => Some(guard.token()),
            Held::Nothing => None,
        }
    }

    /// Runs `work` until it is done or the lock is lost; then it is dropped where it stands, and `None` is answered.
    ///
    /// # Cancel safety
    /// Dropping it drops `work`; the lock stays.
    pub async fn run<F: Future>(&self, work: F) -> Option<F::Output> {
        match self {
            Held::Lock(guard) => guard.run_until_lost(work).await.ok(),
            Held::Nothing => Some(work.await),
        }
    }

    /// Gives the lock back, and waits until its store has it, for as long as it may take to answer.
    ///
    /// # Cancel safety
    /// Dropped half-way, the lock is given back in the background.
    pub async fn release(self) {
        if let Held::Lock(guard) = self
            && let Ok(Err(error)) = tokio::time::timeout(ANSWERS_WITHIN, guard.release()).await
        {
            // The database has answered: how the lease ended changes nothing of that, and its token kept out who was late.
            tracing::debug!(error = %error, "a lock had ended before it was released");
        }
    }
}

impl Locking {
    /// Bookings under these locks.
    pub fn new(locks: Locks) -> Self {
        Locking { locks, away_until: Mutex::default(), without: AtomicU64::new(0) }
    }

    /// All of these locks, or `None` when others keep one of them for longer than [`PATIENCE`].
    ///
    /// # Errors
    /// `InvalidInput`.
    ///
    /// # Cancel safety
    /// Dropped, nothing stays held.
    pub async fn all(&self, names: &[String]) -> Result<Option<Held>> {
        self.take(self.locks.lock_all(names), PATIENCE).await
    }

    /// One of these locks that is free now, with its name; `None` when others have them all.
    ///
    /// # Errors
    /// `InvalidInput`.
    ///
    /// # Cancel safety
    /// Dropped, nothing stays held.
    pub async fn any(&self, names: &[String]) -> Result<Option<(Held, String)>> {
        let held = self.take(self.locks.lock_any(names), Duration::ZERO).await?;
        let named = held.and_then(|held| {
            let name = match &held {
                Held::Lock(guard) => guard.names().iter().next().map(|name| name.as_str().to_owned()),
                Held::Nothing => names.first().cloned(),
            };
            Some((held, name?))
        });
        Ok(named)
    }

    async fn take(&self, request: Request<'_>, patience: Duration) -> Result<Option<Held>> {
        if self.is_away(patience) {
            return Ok(Some(self.nothing()));
        }
        let asked = request.try_acquire_for(patience);
        let answer = tokio::time::timeout(patience + ANSWERS_WITHIN, asked).await;
        let silent = |_| Err(Error::unavailable("lock", "the store of the locks does not answer"));
        match answer.unwrap_or_else(silent) {
            Ok(guard) => {
                *self.away_until.lock() = None;
                Ok(guard.map(Held::Lock))
            }
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                tracing::warn!(error = %error, "the locks are away: the database alone excludes");
                *self.away_until.lock() = Some(self.locks.clock().now() + AWAY_FOR);
                Ok(Some(self.nothing()))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the locks are not to be asked now. When they were away, one request asks, and the others go on without.
    fn is_away(&self, patience: Duration) -> bool {
        let (mut away_until, now) = (self.away_until.lock(), self.locks.clock().now());
        match *away_until {
            Some(until) if now < until => true,
            Some(_) => {
                *away_until = Some(now + patience + ANSWERS_WITHIN + AWAY_FOR);
                false
            }
            None => false,
        }
    }

    fn nothing(&self) -> Held {
        self.without.fetch_add(1, Ordering::Relaxed);
        Held::Nothing
    }

    /// How often something was done without a lock, since its store was away.
    pub fn without(&self) -> u64 {
        self.without.load(Ordering::Relaxed)
    }

    /// The locks themselves.
    pub fn locks(&self) -> &Locks {
        &self.locks
    }
}
