//! Trips to the store that end in time, whatever the store does.

use std::time::Duration;

use super::Engine;
use crate::clock::Instant;
use crate::error::{Error, Result};
use crate::limits;
use crate::provider::Fut;

/// A trip may take until the deadline of its wait, but no less than this, so that a last try has its chance, and no more than
/// [`limits::TRIP`], so that a store that hangs is told.
const LEAST: Duration = Duration::from_secs(1);

impl Engine {
    /// The answer of a trip for one element.
    ///
    /// # Errors
    /// Those of the store; `Unavailable` when it did not answer in time.
    pub(super) async fn answer<T>(
        &self,
        operation: &'static str,
        trip: Fut<'_, Vec<Result<T>>>,
        until: Instant,
    ) -> Result<T> {
        let answer = self.answers(operation, trip, until).await?.pop();
        answer.unwrap_or_else(|| Err(Error::internal(operation, "the store gave no answer")))
    }

    /// The answers of a trip.
    ///
    /// # Errors
    /// `Unavailable` when the store did not answer in time.
    pub(super) async fn answers<T>(
        &self,
        operation: &'static str,
        trip: Fut<'_, Vec<Result<T>>>,
        until: Instant,
    ) -> Result<Vec<Result<T>>> {
        if self.immediate.is_some() {
            // A store inside this process answers at once, and a timer would cost more than the trip.
            return Ok(trip.await);
        }
        let within = match until {
            Instant::NEVER => limits::TRIP,
            until => self.clock.now().until(until).clamp(LEAST, limits::TRIP),
        };
        if self.provider.caps().answers_within.is_some_and(|bound| bound <= within) {
            return Ok(trip.await);
        }
        let late = || Error::unavailable(operation, format!("the store did not answer within={within:?}"));
        tokio::time::timeout(within, trip).await.map_err(|_| late())
    }
}
