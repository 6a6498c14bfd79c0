//! `GET /health`: the truth, asked of the stores each time.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tenure_server::health::{Check, report};
use tenure_wire::{Health, Status};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::bank::Bank;

pub(super) fn routes() -> OpenApiRouter<Arc<Bank>> {
    OpenApiRouter::new().routes(routes!(health))
}

/// How the bank is.
#[derive(Serialize, ToSchema)]
struct BankHealth {
    /// Whether it can serve.
    ok: bool,
    #[serde(flatten)]
    health: Health,
}

/// Whether the bank can serve, and how its stores are.
#[utoipa::path(get, path = "/health", tag = "health", responses(
    (status = 200, description = "Healthy or degraded.", body = BankHealth),
    (status = 503, description = "Unhealthy: a store that is needed does not answer.", body = BankHealth),
))]
async fn health(State(bank): State<Arc<Bank>>) -> Response {
    let clock = bank.locks.clock();
    let books = Check::of(bank.store.store(), &["db", "ready"], clock, bank.store.ping());
    let (provider, wallets) = (bank.locks.provider(), bank.teller.wallets());
    let kind = provider.caps().provider;
    let (has_locks, has_wallets) = (kind == "redis", wallets.store() == "redis");
    // One entry for all that is in Redis: each has a connection of its own.
    let redis = Check::of("redis", &["cache", "lock", "ready"], clock, async {
        if has_locks {
            provider.ping().await?;
        }
        if has_wallets { wallets.ping().await } else { Ok(()) }
    });
    let locks = Check::of("locks", &["lock", "ready"], clock, provider.ping());
    let redis = async { if has_locks || has_wallets { Some(redis.await) } else { None } };
    let locks = async { if has_locks { None } else { Some(locks.await.with("provider", kind)) } };
    let (books, redis, locks) = tokio::join!(books, redis, locks);
    let stores = [redis, locks].into_iter().flatten();
    let (code, health) = report([Check::live(), books].into_iter().chain(stores));
    (code, Json(BankHealth { ok: health.status != Status::Unhealthy, health })).into_response()
}
