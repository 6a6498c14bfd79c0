//! Many operations in one request.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use tenure_wire::Problem;
use utoipa::ToSchema;
use uuid::Uuid;

use super::key;
use super::problem::Failure;
use crate::accounts::{BatchOperation, Command, Declined, Done, Kind};
use crate::amount::Cents;
use crate::bank::Bank;
use crate::http::body;

/// Operations to be carried out.
#[derive(Deserialize, Serialize, ToSchema)]
pub(super) struct Batch {
    /// At most 100.
    operations: Vec<Operation>,
}

/// An operation.
#[derive(Deserialize, Serialize, ToSchema)]
struct Operation {
    account_id: Option<String>,
    /// What to do.
    kind: Option<Word>,
    /// How much: of a deposit and a withdrawal.
    #[schema(value_type = f64)]
    amount: Option<Cents>,
    /// Only if the account has this version then.
    expected_version: Option<u64>,
}

/// What an operation does; a read takes no lock.
#[derive(Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Word {
    #[serde(alias = "Read")]
    Read,
    #[serde(alias = "Deposit")]
    Deposit,
    #[serde(alias = "Withdraw")]
    Withdraw,
    #[serde(alias = "Close")]
    Close,
}

/// How an operation went.
#[derive(Serialize, ToSchema)]
struct Outcome {
    account_id: String,
    /// Whether it was carried out: `ok` or `error`.
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    balance: Option<Cents>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    operation_id: Option<Uuid>,
    /// Why it was not: `invalid`, `not-found`, `insufficient-funds`, `modified`, `busy`, … as the types of problems end.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// How the operations went, in their order.
#[derive(Serialize, ToSchema)]
pub(super) struct Outcomes {
    results: Vec<Outcome>,
    succeeded: usize,
    failed: usize,
}

/// Carries out operations, each by itself.
///
/// They are grouped by account; all accounts whose locks are free are written in one transaction, the others as soon as their
/// locks have come, and none is dropped: what does not come in time is told as `busy`.
#[utoipa::path(post, path = "/api/cqrs/operations/batch", tag = "accounts", request_body = Batch, responses(
    (status = 200, description = "How each went.", body = Outcomes),
    (status = 400, description = "No operations, too many, or no JSON: nothing was done.", body = Problem),
    (status = 422, description = "The Idempotency-Key was used for another request.", body = Problem),
))]
pub(super) async fn batch(
    State(bank): State<Arc<Bank>>,
    headers: HeaderMap,
    sent: Bytes,
) -> Result<Json<Outcomes>, Failure> {
    let asked: Batch = body::parse(&sent).map_err(Failure::invalid)?;
    let key = key(&headers, "POST /api/cqrs/operations/batch", &asked)?;
    let ids =
        asked.operations.iter().map(|asked| asked.account_id.clone().unwrap_or_default()).collect::<Vec<_>>();
    let read: Vec<Result<BatchOperation, Declined>> = asked.operations.into_iter().map(operation).collect();
    let right: Vec<BatchOperation> = read.iter().flatten().cloned().collect();
    let mut answers = match right.is_empty() && !read.is_empty() {
        true => Vec::new(),
        false => bank.accounts.batch(&right, key).await?,
    }
    .into_iter();
    let results: Vec<Outcome> = ids
        .into_iter()
        .zip(read)
        .map(|(id, read)| match read {
            Ok(_) => outcome(id, answers.next().unwrap_or(Err(Declined::Unavailable))),
            Err(declined) => outcome(id, Err(declined)),
        })
        .collect();
    let failed = results.iter().filter(|outcome| outcome.error.is_some()).count();
    Ok(Json(Outcomes { succeeded: results.len() - failed, failed, results }))
}

fn operation(asked: Operation) -> Result<BatchOperation, Declined> {
    let id =
        asked.account_id.filter(|id| !id.is_empty()).ok_or(Declined::Invalid("account_id is required"))?;
    let amount = asked.amount.ok_or(Declined::Invalid("amount is required"));
    let kind = match asked.kind.ok_or(Declined::Invalid("kind is required"))? {
        Word::Read => Kind::Read,
        Word::Deposit => Kind::Command(Command::Deposit(amount?)),
        Word::Withdraw => Kind::Command(Command::Withdraw(amount?)),
        Word::Close => Kind::Command(Command::Close),
    };
    Ok(BatchOperation { id: id.into(), kind, expected: asked.expected_version })
}

fn outcome(account_id: String, answer: Result<Done, Declined>) -> Outcome {
    match answer {
        Ok(Done { balance, version, operation, .. }) => Outcome {
            account_id,
            status: "ok",
            balance: Some(balance),
            version: Some(version),
            operation_id: operation,
            error: None,
            message: None,
        },
        Err(declined) => {
            let (error, message) = Failure::from(declined).into_parts();
            Outcome {
                account_id,
                status: "error",
                balance: None,
                version: None,
                operation_id: None,
                error: Some(error),
                message: Some(message),
            }
        }
    }
}
