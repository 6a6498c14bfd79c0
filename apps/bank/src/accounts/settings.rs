//! What can be set about commands.

use std::time::Duration;

use rand::Rng as _;
use serde::Deserialize;

use crate::config::{millis, seconds};

/// How commands are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Settings {
    /// How often the store of the locks is asked when it does not answer, and a command is worked out again when what it saw was
    /// outdated. Defaults to 3, at least 1. A lock that is busy is not asked for again: it is waited for.
    pub retry_attempts: u32,
    /// How long the store is left alone after it did not answer: `retry_delay_ms`, doubled each time, give or take a half.
    /// Defaults to 100 ms.
    #[serde(rename = "retry_delay_ms", deserialize_with = "millis")]
    pub retry_delay: Duration,
    /// Operations of one batch. Defaults to 100.
    pub max_batch_size: usize,
    /// The ttl of the locks of a batch: `batch_lock_timeout_secs`. Defaults to 60 s.
    #[serde(rename = "batch_lock_timeout_secs", deserialize_with = "seconds")]
    pub batch_ttl: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            retry_attempts: 3,
            retry_delay: Duration::from_millis(100),
            max_batch_size: 100,
            batch_ttl: Duration::from_secs(60),
        }
    }
}

impl Settings {
    /// How long to wait after so many tries.
    pub(super) fn pause(&self, tried: u32) -> Duration {
        let doubled = self.retry_delay.saturating_mul(1 << tried.saturating_sub(1).min(10));
        doubled.mul_f64(rand::rng().random_range(0.5..1.5))
    }
}
