//! `GET /outbox`: what waits to be delivered, and what was given up.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::transfers::Failure;
use crate::bank::Bank;
use crate::ledger::{Message, State as Standing};

/// How many dead letters are shown.
const SHOWN: u32 = 100;

pub(super) fn routes() -> OpenApiRouter<Arc<Bank>> {
    OpenApiRouter::new().routes(routes!(outbox))
}

/// The outbox.
#[derive(Serialize, ToSchema)]
struct Outbox {
    pending: u64,
    processing: u64,
    processed: u64,
    failed: u64,
    /// The oldest of those that were given up.
    dead_letters: Vec<DeadLetter>,
}

/// A message that was given up.
#[derive(Serialize, ToSchema)]
struct DeadLetter {
    id: u64,
    account: String,
    version: u64,
    #[schema(value_type = String, format = "uuid")]
    operation: Uuid,
    attempts: u32,
    error: Option<String>,
}

impl From<Message> for DeadLetter {
    fn from(message: Message) -> Self {
        let Message { id, account, version, operation, attempts, error, .. } = message;
        DeadLetter { id, account, version, operation, attempts, error }
    }
}

/// Tells how many messages of the outbox stand where.
#[utoipa::path(get, path = "/outbox", tag = "outbox", responses(
    (status = 200, description = "The outbox of all instances.", body = Outbox),
    (status = 503, description = "The books do not answer.", body = Failure),
))]
async fn outbox(State(bank): State<Arc<Bank>>) -> Result<Json<Outbox>, Failure> {
    let tally = bank.store.tally().await?;
    let dead = bank.store.messages(Standing::Failed, SHOWN).await?;
    Ok(Json(Outbox {
        pending: tally.pending,
        processing: tally.processing,
        processed: tally.processed,
        failed: tally.failed,
        dead_letters: dead.into_iter().map(DeadLetter::from).collect(),
    }))
}
