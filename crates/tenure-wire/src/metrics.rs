//! What locks do and how well, in numbers: counters, the report of the monitor, alerts.

use serde::{Deserialize, Serialize};

use crate::Stats;

/// What the locks of one process have done since it started. Rates are per cent; of nothing at all, 100 % succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LockMetrics {
    /// Attempts that got their lock.
    pub locks_acquired: u64,
    /// Attempts that did not: busy, timed out, or failed by the store.
    pub locks_failed: u64,
    /// Locks that were given back, as far as that is seen: not those of the memory store's fast lane.
    pub locks_released: u64,
    /// Those of `locks_acquired` that were for several names at once.
    pub batch_locks_acquired: u64,
    /// Those of `locks_failed` that were for several names at once.
    pub batch_locks_failed: u64,
    /// Reads that took no lock. They count into no rate.
    pub lock_free_operations: u64,
    /// Attempts that waited in vain.
    pub lock_timeout_count: u64,
    /// Attempts that did not get their lock at the first try.
    pub lock_contention_count: u64,
    /// How long an attempt took that got its lock, in the mean.
    pub avg_lock_acquisition_time_us: u64,
    /// How long one for several names took, in the mean.
    pub avg_batch_lock_time_us: u64,
    /// Requests to the store that found a place on the way at once; 0, as the misses, where there is no bound.
    pub connection_pool_hits: u64,
    /// Requests to the store that had to wait for a place.
    pub connection_pool_misses: u64,
    /// Connections to the store that are in use.
    pub active_connections: u64,
    /// Attempts and reads without a lock.
    pub total_operations: u64,
    /// Leases at the store, whoever holds them; absent when it does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_locks: Option<u64>,
    /// Attempts that got their lock, in per cent.
    pub success_rate: f64,
}

/// How long things took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Spans {
    /// How many there were.
    pub count: u64,
    /// Their mean.
    pub mean_us: u64,
    /// Half of them were not longer; as the others, at most a sixteenth too much.
    pub p50_us: u64,
    /// Nine of ten were not longer.
    pub p90_us: u64,
    /// 99 of 100 were not longer.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

/// Operations by their kind, as the users of the locks have told them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Operations {
    /// Reads without a lock.
    pub read: u64,
    /// Writes.
    pub write: u64,
    /// Creations.
    pub create: u64,
    /// Updates.
    pub update: u64,
    /// Deletions.
    pub delete: u64,
}

/// What the locks of one process have done, in more detail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LockDetail {
    /// Attempts that have ended, but for the abandoned.
    pub attempts: u64,
    /// Attempts that asked once and found the lock busy.
    pub busy: u64,
    /// Attempts that the store could not answer.
    pub failed: u64,
    /// Attempts whose caller has gone.
    pub abandoned: u64,
    /// Locks handed on inside the process.
    pub local_handoffs: u64,
    /// Locks whose lease had stayed in the process.
    pub sticky_hits: u64,
    /// Locks granted by the store to an attempt in its queue.
    pub remote_handoffs: u64,
    /// Leases renewed.
    pub renewals: u64,
    /// Leases lost.
    pub lost: u64,
    /// How long attempts took that got their lock.
    pub wait: Spans,
    /// How long guards of the process held their locks.
    pub hold: Spans,
    /// What was done with the locks.
    pub operations: Operations,
}

/// Counters of one server since it started (`GET /v1/stats`): what it was asked over HTTP, and what the locks of its process did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ServerStats {
    /// What was asked over HTTP.
    #[serde(flatten)]
    pub server: Stats,
    /// What the locks of the process did, those over HTTP included.
    #[serde(flatten)]
    pub metrics: LockMetrics,
    /// The same in more detail.
    pub locks: LockDetail,
}

/// What went on in the last window, from one sample to the next. Rates are per cent; of nothing, 100 % succeeded and 0 % did
/// not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CurrentMetrics {
    /// Attempts that got their lock.
    pub success_rate: f64,
    /// How long those took, in the mean.
    pub avg_lock_time_us: u64,
    /// Attempts that did not get it at the first try.
    pub contention_rate: f64,
    /// Attempts that waited in vain.
    pub timeout_rate: f64,
    /// Attempts and reads without a lock.
    pub total_operations: u64,
    /// Reads without a lock.
    pub lock_free_operations: u64,
    /// Requests to the store that found a place on the way at once.
    pub connection_pool_hit_rate: f64,
}

/// How often the monitor looks, and from where on something is wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MonitorConfig {
    /// Whole seconds from one sample to the next.
    pub monitoring_interval_secs: u64,
    /// Per cent of attempts that get their lock, at the least.
    pub alert_threshold_success_rate: f64,
    /// Milliseconds that a lock may take, in the mean.
    pub alert_threshold_avg_lock_time_ms: u64,
    /// Per cent of attempts that do not get it at the first try, at the most.
    pub alert_threshold_contention_rate: f64,
    /// Per cent of attempts that wait in vain, at the most.
    pub alert_threshold_timeout_rate: f64,
}

/// What the monitor of a server knows (`GET /v1/monitor`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MonitorReport {
    /// The last window.
    pub current_metrics: CurrentMetrics,
    /// Samples that are kept, at most 1000.
    pub performance_history_count: u64,
    /// Alerts that are kept, at most 100.
    pub alert_history_count: u64,
    /// Milliseconds since the last sample; null before the first.
    pub last_check: Option<u64>,
    /// What the locks have done since the start, over whatever store.
    pub redis_metrics: LockMetrics,
    /// How it watches.
    pub config: MonitorConfig,
    /// `critical`, `warning` or `info` as the worst active alert; without one `success`, or `info` when somebody was kept from a
    /// lock in the last window.
    pub level: String,
    /// Whether the store answered its last ping; null before the first.
    pub healthy: Option<bool>,
}

/// Something that is wrong, or was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"kind": "high_timeout_rate", "level": "critical", "value": 12.5, "threshold": 5.0,
    "raised_ms_ago": 61200, "cleared_ms_ago": 1150})))]
pub struct Alert {
    /// `low_success_rate`, `high_lock_time`, `high_contention_rate`, `high_timeout_rate`, `connection_pool_exhaustion` or
    /// `service_unhealthy`.
    pub kind: String,
    /// `critical`, `warning` or `info`, at its worst.
    pub level: String,
    /// What was measured then: per cent, or milliseconds for `high_lock_time`.
    pub value: f64,
    /// What it was beyond.
    pub threshold: f64,
    /// For how long it has been known.
    pub raised_ms_ago: u64,
    /// For how long it has been over; absent while it is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleared_ms_ago: Option<u64>,
}

/// The alerts of a server (`GET /v1/alerts`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Alerts {
    /// What is wrong.
    pub active: Vec<Alert>,
    /// What was wrong, the last first.
    pub recent: Vec<Alert>,
}
