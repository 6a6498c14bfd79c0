//! The one clock of the library.
//!
//! It counts the time that a machine was suspended (`CLOCK_BOOTTIME` on Linux), because a lease runs out
//! while its holder sleeps. Only durations ever leave the process; the wall clock is read in
//! `wall_epoch` alone, and only to name an incarnation of a store, never to judge a lease.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// An instant of the library's [`Clock`]: nanoseconds since an arbitrary start.
///
/// Instants of one process compare with each other; they mean nothing to another process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The instant that never comes: the deadline of what does not expire.
    pub const NEVER: Instant = Instant(u64::MAX);

    /// The time from `self` until `later`, or zero when `later` has passed.
    pub fn until(self, later: Instant) -> Duration {
        Duration::from_nanos(later.0.saturating_sub(self.0))
    }

    /// Nanoseconds since the clock's start, to be kept in an atomic.
    pub fn as_nanos(self) -> u64 {
        self.0
    }

    /// The instant that [`as_nanos`](Self::as_nanos) gave.
    pub const fn from_nanos(nanos: u64) -> Self {
        Instant(nanos)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    /// Saturates at [`Instant::NEVER`], so a wait of `Duration::MAX` is a wait without a deadline.
    fn add(self, span: Duration) -> Instant {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_add(nanos))
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;

    fn sub(self, span: Duration) -> Instant {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_sub(nanos))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Instant::NEVER {
            return f.write_str("never");
        }
        write!(f, "{:?}", Duration::from_nanos(self.0))
    }
}

/// Where the library reads the time.
///
/// Cheap to copy. Defaults to [`Clock::system`].
#[derive(Clone, Copy, Debug)]
pub struct Clock(Source);

#[derive(Clone, Copy, Debug)]
enum Source {
    Boot,
    Tokio(tokio::time::Instant),
}

impl Clock {
    /// The clock of the machine, which goes on while it is suspended.
    pub fn system() -> Self {
        Clock(Source::Boot)
    }

    /// The clock of the tokio runtime, which a test can pause and move.
    ///
    /// Needs tokio's `test-util` to be of use. Never use it for real locks: it stands still while the
    /// machine is suspended.
    pub fn tokio() -> Self {
        // An hour of head start lets a deadline lie before the first reading.
        Clock(Source::Tokio(tokio::time::Instant::now()))
    }

    /// The present instant.
    pub fn now(&self) -> Instant {
        match self.0 {
            Source::Boot => boot_now(),
            Source::Tokio(start) => Instant(3_600_000_000_000) + start.elapsed(),
        }
    }

    /// Sleeps until `deadline` on this clock.
    ///
    /// Timers of the runtime stand still during suspend, so the sleep is cut into pieces of a second:
    /// a deadline that passed during suspend is seen within one of them.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn sleep_until(&self, deadline: Instant) {
        const PIECE: Duration = Duration::from_secs(1);
        if deadline == Instant::NEVER {
            return std::future::pending().await;
        }
        loop {
            let left = self.now().until(deadline);
            if left.is_zero() {
                return;
            }
            // Timers count whole milliseconds: one that fires early would spin here.
            tokio::time::sleep(left.min(PIECE)).await;
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Clock::system()
    }
}

#[cfg(target_os = "linux")]
fn boot_now() -> Instant {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let secs = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    Instant(secs * 1_000_000_000 + nanos)
}

#[cfg(not(target_os = "linux"))]
fn boot_now() -> Instant {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let secs = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    Instant(secs * 1_000_000_000 + nanos)
}

/// Seconds since 2024-01-01, from the wall clock: the epoch of a store that nobody else can number.
///
/// At least 1. A store adds its own floor, since this clock can be set back.
pub(crate) fn wall_epoch() -> u32 {
    const START: u64 = 1_704_067_200;
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since_1970.as_secs().saturating_sub(START)).unwrap_or(u32::MAX >> 1).clamp(1, u32::MAX >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_an_endless_wait_gives_the_instant_that_never_comes() {
        assert_eq!(Clock::system().now() + Duration::MAX, Instant::NEVER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sleep_ends_at_its_deadline_and_not_before() {
        let clock = Clock::tokio();
        let deadline = clock.now() + Duration::from_millis(2_500);
        clock.sleep_until(deadline).await;
        let over = deadline.until(clock.now());
        assert!(clock.now() >= deadline && over <= Duration::from_millis(2), "over={over:?}");
    }
}
