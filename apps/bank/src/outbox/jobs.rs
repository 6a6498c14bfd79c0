//! What one of all instances does once in a while.

use std::sync::Arc;
use std::time::Duration;

use tenure::{Locks, Once, Result};
use tokio_util::sync::CancellationToken;

use crate::ledger::{Store, Timestamp};

/// How often the clean-up runs, by whichever instance comes first.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// How often an instance asks whether it is time.
const ASKED_EVERY: Duration = Duration::from_secs(60);
/// How long a delivered message is kept: a month.
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long an idempotency key is kept: a day.
const KEYS_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// The jobs of the bank.
#[derive(Debug)]
pub struct Jobs {
    store: Arc<dyn Store>,
    locks: Locks,
}

/// What a clean-up removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Messages that were delivered long ago.
    pub messages: u64,
    /// Idempotency keys that nobody will repeat any more.
    pub keys: u64,
}

impl Jobs {
    /// Jobs on these books.
    pub fn new(store: Arc<dyn Store>, locks: Locks) -> Self {
        Jobs { store, locks }
    }

    /// Does what is to be done until it is told to end.
    pub async fn run(&self, end: CancellationToken) {
        while !end.is_cancelled() {
            match self.clean_up().await {
                Ok(Once::Ran(cleaned)) => {
                    tracing::info!(messages = cleaned.messages, keys = cleaned.keys, "cleaned up");
                }
                Ok(Once::Skipped) => {}
                Err(error) => tracing::warn!(error = %error, "the clean-up failed"),
            }
            // The end, or the next time to ask.
            tokio::select! {
                () = end.cancelled() => {}
                () = tokio::time::sleep(ASKED_EVERY) => {}
            }
        }
    }

    /// Removes what is old, unless an instance did within the last hour.
    ///
    /// # Errors
    /// `Unavailable` when the books or the locks could not be asked, `Lost` when the lock was lost meanwhile: it is harmless to
    /// have done it twice.
    ///
    /// # Cancel safety
    /// Dropped, it is done in part, and the rest next time.
    pub async fn clean_up(&self) -> Result<Once<Cleaned>> {
        let now = Timestamp::now();
        let job = self.locks.lock("job:bank:clean-up").ttl(EVERY).hold_at_least(EVERY);
        let done = job.run_once(async |_| {
            let messages = self.store.clean(now.minus(KEPT)).await?;
            let keys = self.store.forget_keys(now.minus(KEYS_KEPT)).await?;
            Ok(Cleaned { messages, keys })
        });
        Ok(match done.await? {
            Once::Ran(cleaned) => Once::Ran(cleaned?),
            Once::Skipped => Once::Skipped,
        })
    }
}
