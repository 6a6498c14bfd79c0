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
    let provider = bank.locks.provider();
    let (name, tags): (_, &[&str]) = match provider.caps().provider {
        "redis" => ("redis", &["cache", "lock", "ready"]),
        _ => ("locks", &["lock", "ready"]),
    };
    let locks = Check::of(name, tags, clock, provider.ping());
    let (books, locks) = tokio::join!(books, locks);
    let locks = locks.with("provider", provider.caps().provider);
    let (code, health) = report([Check::live(), books, locks]);
    (code, Json(BankHealth { ok: health.status != Status::Unhealthy, health })).into_response()
}
