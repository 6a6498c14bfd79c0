//! What the server says of itself: counters, the live snapshot, health.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Alert, Lease, Waiter};

/// What one server was asked over HTTP since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Stats {
    /// Leases that this server granted.
    pub grants: u64,
    /// Claims that were busy at once.
    pub busy: u64,
    /// Claims that were still busy when their wait was over.
    pub timeouts: u64,
    /// Renewals.
    pub renewals: u64,
    /// Leases and claims that were given up.
    pub releases: u64,
    /// Renewals and claims of leases that were gone.
    pub gone: u64,
    /// Requests that the store could not answer.
    pub errors: u64,
    /// Requests that were refused because of what they said.
    pub refused: u64,
    /// Calls that wait right now.
    pub waiting: u64,
    /// For how long the server has counted.
    pub since_ms: u64,
}

/// What this server did per second, over the last sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Rates {
    /// Grants per second.
    pub grants: f64,
    /// Releases per second.
    pub releases: f64,
    /// Busy answers per second.
    pub busy: f64,
    /// Waits that timed out per second.
    pub timeouts: f64,
}

/// How many there are in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Totals {
    /// Leases shown.
    pub leases: u64,
    /// Waiters shown.
    pub waiters: u64,
    /// Whether the store has more than are shown.
    pub more: bool,
}

/// One event `snapshot` of `GET /v1/events`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Snapshot {
    /// The store that is served: `memory`, `file`, …
    pub provider: String,
    /// Whether the store answered. When not, leases and waiters are empty and unknown.
    pub available: bool,
    /// The leases, the first thousand by digest.
    pub leases: Vec<Lease>,
    /// The waiters, the first thousand by digest.
    pub waiters: Vec<Waiter>,
    /// How many there are.
    pub totals: Totals,
    /// What this server did per second.
    pub rates: Rates,
    /// What this server did since it started.
    pub stats: Stats,
    /// What is wrong.
    pub alerts: Vec<Alert>,
}

/// How well something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Status {
    /// It works.
    Healthy,
    /// It works, but not as it should.
    Degraded,
    /// It does not work.
    Unhealthy,
}

/// The answer of the health endpoints: 200 when healthy or degraded, 503 when unhealthy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"status": "Healthy", "totalDuration": "00:00:00.0001130",
    "entries": {"self": {"data": {}, "duration": "00:00:00.0000000", "status": "Healthy", "tags": ["live"]},
    "store": {"data": {"provider": "file"}, "duration": "00:00:00.0001100", "status": "Healthy", "tags": ["lock", "ready"]}}})))]
pub struct Health {
    /// The worst of the entries.
    pub status: Status,
    /// How long the checks took, as hours:minutes:seconds.
    pub total_duration: String,
    /// What was checked.
    pub entries: BTreeMap<String, Entry>,
}

/// One check of [`Health`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Entry {
    /// What the check found out.
    pub data: BTreeMap<String, String>,
    /// What is wrong, when something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How long it took, as hours:minutes:seconds.
    pub duration: String,
    /// How well it is.
    pub status: Status,
    /// What it counts for: `live` or `ready`, and what it is.
    pub tags: Vec<String>,
}
