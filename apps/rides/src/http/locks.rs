//! `GET /api/locks/stats`: which locks are held, what became of those that were asked for, and how long that took.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::IntoResponse;
use serde::Serialize;
use tenure::lease::{Kind, Query};
use tenure::metrics::Durations;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{Failure, Success};
use crate::rides::Rides;

const STATS: &str = "Failed to get lock statistics";
/// How long the store of the locks is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn routes() -> OpenApiRouter<Arc<Rides>> {
    OpenApiRouter::new().routes(routes!(stats))
}

/// The locks.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LockStats {
    /// How many are held on bookings and drivers.
    total_locks: usize,
    locks: Vec<Lock>,
    states: States,
    times: Times,
}

/// A lock that is held.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Lock {
    /// What is locked: `booking:{id}` or `driver:{id}`.
    resource: String,
    /// A digest of the lease: nobody can release it by that.
    lock_id: String,
    /// For how many seconds it lasts unless it is renewed.
    ttl: u64,
}

/// What became of the locks that this process asked for, since it began.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct States {
    /// Were granted.
    acquired: u64,
    /// Were given back.
    released: u64,
    /// Were lost before they were given back: the store could not be asked until their ttl was over, or somebody took them away.
    expired: u64,
    /// Were somebody else's when they were asked for, whether they were granted later or not.
    contested: u64,
    /// Of those, were not granted in time.
    timed_out: u64,
    /// Renewals while the work went on.
    renewed: u64,
    /// Changes that were made without a lock, since its store was away: the transaction alone excluded.
    without_lock: u64,
    /// Writes that were refused because their lock had passed on.
    stale_writes_refused: u64,
}

/// How long it took, in milliseconds, since this process began.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Times {
    wait_p50_ms: f64,
    wait_p99_ms: f64,
    wait_max_ms: f64,
    hold_p50_ms: f64,
    hold_p99_ms: f64,
    hold_max_ms: f64,
}

/// Which locks are held, and what became of those that this process asked for.
#[utoipa::path(get, path = "/api/locks/stats", tag = "locks", responses(
    (status = 200, description = "The locks.", body = Success<LockStats>),
    (status = 503, description = "The store of the locks does not answer.", body = Failure),
))]
async fn stats(State(rides): State<Arc<Rides>>) -> Result<impl IntoResponse, Failure> {
    let mut locks = Vec::new();
    for prefix in ["booking:", "driver:"] {
        locks.extend(held(&rides, prefix).await?);
    }
    let known = rides.locks.stats();
    let states = States {
        acquired: known.acquired,
        released: known.released,
        expired: known.lost,
        contested: known.contended,
        timed_out: known.timeouts,
        renewed: known.renewals,
        without_lock: rides.dispatch.locking.without(),
        stale_writes_refused: rides.store.stale_writes(),
    };
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let Durations { p50, p99, max, .. } = known.wait;
    let times = Times {
        wait_p50_ms: ms(p50),
        wait_p99_ms: ms(p99),
        wait_max_ms: ms(max),
        hold_p50_ms: ms(known.hold.p50),
        hold_p99_ms: ms(known.hold.p99),
        hold_max_ms: ms(known.hold.max),
    };
    Ok(Success::read(LockStats { total_locks: locks.len(), locks, states, times }))
}

/// The locks that are held on names with this prefix.
async fn held(rides: &Rides, prefix: &str) -> Result<Vec<Lock>, Failure> {
    let query = Query::new(Kind::Leases, prefix);
    let listed = tokio::time::timeout(PATIENCE, rides.locks.provider().list(&query)).await;
    let silent = |_| tenure::Error::unavailable("list", "the store of the locks does not answer");
    let page = listed.map_err(silent).and_then(|page| page).map_err(|error| Failure::of(STATS, &error))?;
    let locks = page.entries.iter().flat_map(|lease| {
        let of = lease.names.iter().filter(|name| name.as_str().starts_with(prefix));
        of.map(|name| Lock {
            resource: name.as_str().to_owned(),
            lock_id: lease.lease.to_string(),
            ttl: lease.remaining.unwrap_or(lease.ttl).as_secs_f64().ceil() as u64,
        })
    });
    Ok(locks.collect())
}
