//! The bounds of the library, each with its reason. A provider or a server may be narrower, never wider.

use std::time::Duration;

use crate::error::{Error, Result};

/// A lease's ttl when nothing is said: long enough for two renewals to fail and be tried again.
pub const DEFAULT_TTL: Duration = Duration::from_secs(30);

/// The smallest ttl: below it the allowance for drift and scheduling eats the lease.
pub const MIN_TTL: Duration = Duration::from_millis(100);

/// The greatest ttl: a lock that outlives its holder by more than a day is an outage.
pub const MAX_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Names of one claim at a store that many processes share: bounds the length of one atomic step.
pub const MAX_NAMES: usize = 256;

/// Names of one claim at the memory provider, where a step costs no trip.
pub const MAX_NAMES_MEMORY: usize = 10_000;

/// Permits of one name.
pub const MAX_PERMITS: u32 = 65_536;

/// Claims that wait for one name. One more is refused with `InvalidInput`.
pub const MAX_WAITERS: usize = 10_000;

/// Bytes of holder metadata.
pub const MAX_META_BYTES: usize = 1_024;

/// A trip to the store is answered within this, or its outcome is unknown: so that a store that hangs is told.
pub const TRIP: Duration = Duration::from_secs(5);

/// A waiter touches its queued claim this often (give or take a fifth), which also promotes it after an expiry.
pub const TOUCH: Duration = Duration::from_secs(1);

/// A queued claim that was not touched for this long is passed over as dead.
pub const DEAD_WAITER: Duration = Duration::from_secs(3);

/// A grant that was pushed to a waiter lasts this long at the most until the waiter has confirmed it by `keep`.
pub const OFFER: Duration = Duration::from_secs(3);

/// Waiters that one step grants at the most, so that a step stays short.
pub const MAX_GRANTS: usize = 64;

/// How often later claims may overtake a batch that heads the queue of one of its names and waits for another.
pub const MAX_OVERTAKES: u32 = 16;

/// For how long they may; then the batch's names are kept for it.
pub const OVERTAKE_FOR: Duration = Duration::from_millis(100);

/// Whether `ttl` is from [`MIN_TTL`] to [`MAX_TTL`].
///
/// # Errors
/// `InvalidInput` when it is not.
pub fn check_ttl(ttl: Duration) -> Result<()> {
    if (MIN_TTL..=MAX_TTL).contains(&ttl) {
        return Ok(());
    }
    let ms = ttl.as_millis();
    Err(Error::invalid("ttl", format!("a ttl is from 100 ms to 24 h ttl_ms={ms}")))
}

/// What a holder takes off its ttl: one per cent for clocks that run at different rates, and up to 50 ms for
/// granularity and scheduling. The holder's deadline is the instant before its request + ttl − this.
pub fn drift(ttl: Duration) -> Duration {
    ttl / 100 + (ttl / 10).min(Duration::from_millis(50))
}
