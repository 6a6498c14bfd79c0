//! Event-sourced accounts: commands, cached reads, batches and how they do. Errors are problem+json.

mod batch;
mod commands;
mod problem;
mod reads;
mod reports;

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use axum::http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use self::problem::Failure;
pub(super) use self::reports::LockServer;
use crate::accounts::Done;
use crate::amount::Cents;
use crate::bank::Bank;
use crate::ledger::{IdempotencyKey, Timestamp};

pub(super) fn routes() -> OpenApiRouter<Arc<Bank>> {
    OpenApiRouter::new()
        .routes(routes!(commands::create, reads::list))
        .routes(routes!(reads::read))
        .routes(routes!(commands::deposit))
        .routes(routes!(commands::withdraw))
        .routes(routes!(commands::close))
        .routes(routes!(reads::balance))
        .routes(routes!(reads::status))
        .routes(routes!(reads::transactions))
        .routes(routes!(reads::summary, commands::rebuild))
        .routes(routes!(batch::batch))
        .routes(routes!(reports::lock_metrics))
        .routes(routes!(reports::read_metrics))
        .routes(routes!(reports::monitor))
        .routes(routes!(reports::alerts))
}

/// An account as a command left it.
#[derive(Serialize, ToSchema)]
struct Changed {
    id: String,
    #[schema(value_type = f64)]
    balance: Cents,
    /// The number of its events.
    version: u64,
    /// The command's id.
    #[schema(value_type = Option<String>, format = "uuid")]
    operation_id: Option<Uuid>,
}

impl From<Done> for Changed {
    fn from(done: Done) -> Self {
        let Done { id, balance, version, operation } = done;
        Changed { id: id.to_string(), balance, version, operation_id: operation }
    }
}

/// The word for whether an account takes part in anything.
fn status_word(is_open: bool) -> &'static str {
    if is_open { "active" } else { "closed" }
}

/// A moment in RFC 3339, in UTC.
fn time(at: Timestamp) -> String {
    let since = Duration::from_millis(u64::try_from(at.0).unwrap_or_default());
    humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
}

/// The key of a request, where it has one.
fn key(
    headers: &HeaderMap,
    route: &str,
    request: &impl Serialize,
) -> Result<Option<IdempotencyKey>, Failure> {
    super::idempotency::key(headers, route, request).map_err(Failure::invalid)
}
