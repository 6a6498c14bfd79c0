//! Leader election: an office that one process holds at a time.

use std::time::Duration;

use crate::engine::Guard;
use crate::error::{ErrorKind, Result};
use crate::locks::Locks;

/// The pause before an office is asked for again after the store failed.
const PAUSE: Duration = Duration::from_millis(500);

/// An office to be held.
#[derive(Debug)]
#[must_use = "nobody leads until `run` is called"]
pub struct Leadership<'a> {
    locks: &'a Locks,
    name: String,
    ttl: Duration,
}

impl<'a> Leadership<'a> {
    pub(crate) fn new(locks: &'a Locks, name: &str) -> Self {
        Leadership { locks, name: name.to_owned(), ttl: locks.0.ttl }
    }

    /// How long a dead leader's office stays taken. Defaults to 30 s; from 100 ms to 24 h.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Waits for the office, does `work` while it is held, and begins again when it is lost or the store fails. Returns what
    /// `work` returns when it ends by itself; the office is then given up.
    ///
    /// `work` gets the guard of its term: its token is greater than that of every term before, and the work is dropped where
    /// it stands when the term is lost.
    ///
    /// # Errors
    /// `InvalidInput` alone.
    ///
    /// # Cancel safety
    /// Dropped, the work is dropped where it stands and the office is given up.
    pub async fn run<T>(self, mut work: impl AsyncFnMut(&Guard) -> T) -> Result<T> {
        loop {
            let term = match self.locks.lock(&self.name).ttl(self.ttl).acquire().await {
                Ok(term) => term,
                Err(error) if error.kind() == ErrorKind::InvalidInput => return Err(error),
                Err(error) => {
                    tracing::warn!(lock.name = self.name, %error, "the office could not be asked for");
                    self.locks.clock().sleep_until(self.locks.clock().now() + PAUSE).await;
                    continue;
                }
            };
            if let Ok(done) = term.run_until_lost(work(&term)).await {
                // A release that fails is made good by the reaper or the ttl; the work is done.
                if let Err(error) = term.release().await {
                    tracing::warn!(lock.name = self.name, %error, "the office could not be given up at once");
                }
                return Ok(done);
            }
        }
    }
}
