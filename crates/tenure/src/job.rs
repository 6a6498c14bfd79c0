//! Work that one of many processes does once.

use crate::engine::Guard;
use crate::error::Result;
use crate::request::Request;

/// What became of a [`Request::run_once`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Once<T> {
    /// This process did the work.
    Ran(T),
    /// Another process does it, or did it within the time of `hold_at_least`.
    Skipped,
}

impl Request<'_> {
    /// Does the work if the lock is free at this moment, and skips it otherwise. With
    /// [`hold_at_least`](Request::hold_at_least) the others skip it for that long.
    ///
    /// # Errors
    /// `InvalidInput`, `Unavailable`; `Lost` when the lease was lost meanwhile: the work was stopped, or was done and may have
    /// run beside another holder's.
    ///
    /// # Cancel safety
    /// Dropped, the work is dropped where it stands and the lock is released.
    pub async fn run_once<T>(self, work: impl AsyncFnOnce(&Guard) -> T) -> Result<Once<T>> {
        let Some(guard) = self.try_acquire().await? else {
            return Ok(Once::Skipped);
        };
        let done = guard.run_until_lost(work(&guard)).await?;
        guard.release().await?;
        Ok(Once::Ran(done))
    }
}
