//! What can be set about reads.

use std::time::Duration;

use serde::Deserialize;

use crate::config::{millis, seconds};

/// How reads are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Settings {
    /// Whether a read of an account takes no lock; without, it takes the account's lock and asks the store. Defaults to true.
    pub enable_lock_free_reads: bool,
    /// Whether anything is cached. Defaults to true.
    pub enable_read_caching: bool,
    /// Whether a value that is older than `consistency_timeout` is compared by version; without, it is read anew. Defaults to true.
    pub enable_optimistic_reads: bool,
    /// Whether a value is answered unasked as long as it is younger than `consistency_timeout`; without, each is compared by
    /// version or read anew. Defaults to true.
    pub enable_eventual_consistency: bool,
    /// Whether the pages of a batch are read side by side. Defaults to true.
    pub enable_parallel_reads: bool,
    /// How outdated an answer may be: `consistency_timeout_ms`. Defaults to 1 s.
    #[serde(rename = "consistency_timeout_ms", deserialize_with = "millis")]
    pub consistency_timeout: Duration,
    /// How long a value stays in the process: `cache_ttl_secs`. Defaults to 300 s.
    #[serde(rename = "cache_ttl_secs", deserialize_with = "seconds")]
    pub cache_ttl: Duration,
    /// How many values of a kind stay in the process. Defaults to 10,000.
    pub max_cache_size: u64,
    /// How long a value stays in the level that instances share: `shared_ttl_secs`. Defaults to 15 min.
    #[serde(rename = "shared_ttl_secs", deserialize_with = "seconds")]
    pub shared_ttl: Duration,
    /// How many values are read in one trip. Defaults to 100.
    pub batch_read_size: usize,
    /// How many pages are read side by side. Defaults to 10.
    pub max_parallel_reads: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            enable_lock_free_reads: true,
            enable_read_caching: true,
            enable_optimistic_reads: true,
            enable_eventual_consistency: true,
            enable_parallel_reads: true,
            consistency_timeout: Duration::from_secs(1),
            cache_ttl: Duration::from_secs(300),
            max_cache_size: 10_000,
            shared_ttl: Duration::from_secs(15 * 60),
            batch_read_size: 100,
            max_parallel_reads: 10,
        }
    }
}
