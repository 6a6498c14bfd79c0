//! The clock of the machine.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the machine's clock, alike in all its processes.
pub fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap()
}
