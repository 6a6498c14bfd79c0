//! Accounts and transfers between them, and what is known of the locks on accounts. Errors are `{error, message}`.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{body, idempotency};
use crate::amount::Cents;
use crate::bank::Bank;
use crate::ledger::{AccountKey, Action, Entry, Refusal, Step};
use crate::transfers::{Declined, Draft};

pub(super) fn routes() -> OpenApiRouter<Arc<Bank>> {
    OpenApiRouter::new()
        .routes(routes!(open))
        .routes(routes!(read))
        .routes(routes!(transfer))
        .routes(routes!(locks))
        .routes(routes!(lock))
        .routes(routes!(clean))
}

/// A failure, in the words of this part of the API.
#[derive(Serialize, ToSchema)]
pub(super) struct Failure {
    #[serde(skip)]
    status: StatusCode,
    /// What kind of failure.
    error: &'static str,
    /// What went wrong.
    message: String,
}

impl Failure {
    fn new(status: StatusCode, error: &'static str, message: impl Into<String>) -> Self {
        Failure { status, error, message: message.into() }
    }

    fn bad(message: impl Into<String>) -> Self {
        Failure::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(&self)).into_response()
    }
}

impl From<tenure::Error> for Failure {
    fn from(error: tenure::Error) -> Self {
        tracing::warn!(error = %error, "a store did not answer");
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", idempotency::SEND_AGAIN)
    }
}

impl From<Declined> for Failure {
    fn from(declined: Declined) -> Self {
        let (status, error) = match &declined {
            Declined::Insufficient(_) => (StatusCode::BAD_REQUEST, "INSUFFICIENT_FUNDS"),
            Declined::LockTimeout => (StatusCode::CONFLICT, "LOCK_TIMEOUT"),
            Declined::Conflict => (StatusCode::CONFLICT, "CONFLICT"),
            Declined::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "IDEMPOTENCY_KEY_REUSED"),
            _ => (StatusCode::BAD_REQUEST, "BAD_REQUEST"),
        };
        Failure::new(status, error, declined.to_string())
    }
}

/// The answer where the bank has no route.
pub(super) fn no_route() -> Response {
    Failure::new(StatusCode::NOT_FOUND, "NOT_FOUND", "There is no such route").into_response()
}

/// An account to be opened.
#[derive(Deserialize, ToSchema)]
struct NewAccount {
    /// Its id: any text that is not blank, of at most 1,024 bytes, without U+0000.
    id: Option<String>,
    /// What is on it from the start. Default 0.
    #[schema(value_type = f64)]
    initial_balance: Option<Cents>,
}

/// An account and what is on it.
#[derive(Serialize, ToSchema)]
struct AccountBalance {
    id: String,
    #[schema(value_type = f64)]
    balance: Cents,
}

/// Opens an account.
#[utoipa::path(post, path = "/accounts", tag = "transfers", request_body = NewAccount, responses(
    (status = 201, description = "It is open.", body = AccountBalance),
    (status = 400, description = "No id, a balance below zero, or no JSON.", body = Failure),
    (status = 409, description = "There is such an account.", body = Failure),
))]
async fn open(
    State(bank): State<Arc<Bank>>,
    headers: HeaderMap,
    sent: Bytes,
) -> Result<impl IntoResponse, Failure> {
    let asked: NewAccount = body::parse(&sent).map_err(Failure::bad)?;
    let id =
        asked.id.filter(|id| !id.trim().is_empty()).ok_or_else(|| Failure::bad("Account ID is required"))?;
    let balance = asked.initial_balance.unwrap_or_default();
    if balance < Cents::ZERO {
        return Err(Failure::bad("Balance cannot be negative"));
    }
    let key = idempotency::key(&headers, "POST /accounts", &(&id, balance)).map_err(Failure::bad)?;
    let opening = Action::Open { owner: None, balance: balance.0 };
    let step = Step::new(vec![Entry::new(AccountKey::account(id.as_str()), opening)]).once(key);
    match bank.store.apply(vec![step]).await?.pop() {
        Some(Ok(_)) => Ok((StatusCode::CREATED, Json(AccountBalance { id, balance }))),
        Some(Err(refused)) if refused.why == Refusal::KeyReused => Err(Declined::KeyReused.into()),
        Some(Err(refused)) if refused.why == Refusal::Unwritable => {
            Err(Failure::bad("Account ID has at most 1024 bytes and no U+0000"))
        }
        _ => {
            let message = format!("Account with ID {id} already exists");
            Err(Failure::new(StatusCode::CONFLICT, "CONFLICT", message))
        }
    }
}

/// Reads an account. Waits for no lock.
#[utoipa::path(get, path = "/accounts/{id}", tag = "transfers", responses(
    (status = 200, description = "The account.", body = AccountBalance),
    (status = 404, description = "There is none.", body = Failure),
))]
async fn read(
    State(bank): State<Arc<Bank>>,
    Path(id): Path<String>,
) -> Result<Json<AccountBalance>, Failure> {
    let found = bank.store.read(&[AccountKey::account(id.as_str())]).await?.pop().flatten();
    let Some(account) = found else {
        let message = format!("Account not found: {id}");
        return Err(Failure::new(StatusCode::NOT_FOUND, "NOT_FOUND", message));
    };
    Ok(Json(AccountBalance { id, balance: Cents(account.balance) }))
}

/// A transfer to be made.
#[derive(Deserialize, ToSchema)]
struct NewTransfer {
    /// Who sends.
    from_account_id: Option<String>,
    /// Who receives.
    to_account_id: Option<String>,
    /// How much, above zero.
    #[schema(value_type = f64)]
    amount: Option<Cents>,
}

/// A transfer that was made, with both balances as of it.
#[derive(Serialize, ToSchema)]
struct Transfer {
    from_account_id: String,
    to_account_id: String,
    #[schema(value_type = f64)]
    amount: Cents,
    #[schema(value_type = f64)]
    from_account_balance: Cents,
    #[schema(value_type = f64)]
    to_account_balance: Cents,
}

/// Transfers money from one account to another.
#[utoipa::path(post, path = "/transactions", tag = "transfers", request_body = NewTransfer, responses(
    (status = 200, description = "It is made.", body = Transfer),
    (status = 400, description = "Wrong, unknown or not enough: nothing has changed.", body = Failure),
    (status = 409, description = "The accounts were busy: nothing has changed.", body = Failure),
    (status = 422, description = "The Idempotency-Key was used for another request.", body = Failure),
))]
async fn transfer(
    State(bank): State<Arc<Bank>>,
    headers: HeaderMap,
    sent: Bytes,
) -> Result<Json<Transfer>, Failure> {
    let asked: NewTransfer = body::parse(&sent).map_err(Failure::bad)?;
    let from = required(asked.from_account_id, "from_account_id is required")?;
    let to = required(asked.to_account_id, "to_account_id is required")?;
    let amount = asked.amount.ok_or_else(|| Failure::bad("amount is required"))?;
    let key =
        idempotency::key(&headers, "POST /transactions", &(&from, &to, amount)).map_err(Failure::bad)?;
    let draft = Draft::new(from.as_str(), to.as_str(), amount);
    let done = bank.transfers.transfer(draft, key).await??;
    Ok(Json(Transfer {
        from_account_id: from,
        to_account_id: to,
        amount,
        from_account_balance: done.from_balance,
        to_account_balance: done.to_balance,
    }))
}

fn required(text: Option<String>, message: &'static str) -> Result<String, Failure> {
    text.filter(|text| !text.trim().is_empty()).ok_or_else(|| Failure::bad(message))
}

/// The locks on accounts.
#[derive(Serialize, ToSchema)]
struct Locks {
    /// Locks that this process holds now.
    lock_count: u64,
    /// Accounts whose locks are kept track of.
    tracked_accounts: usize,
    /// Writes that were refused because their lock had passed on.
    stale_writes_refused: u64,
}

/// Tells how many locks there are.
#[utoipa::path(get, path = "/locks", tag = "transfers", responses(
    (status = 200, description = "The counts of this process.", body = Locks),
))]
async fn locks(State(bank): State<Arc<Bank>>) -> Json<Locks> {
    Json(Locks {
        lock_count: bank.locks.stats().held,
        tracked_accounts: bank.transfers.statistics.tracked(),
        stale_writes_refused: bank.store.stale_writes(),
    })
}

/// The lock on one account, as this process has used it.
#[derive(Serialize, ToSchema)]
struct LockUse {
    account_id: String,
    acquired: u64,
    timeouts: u64,
    contention_count: u64,
    wait_time_ms: f64,
    hold_time_ms: f64,
}

/// Tells how long the lock on an account was waited for and held.
#[utoipa::path(get, path = "/locks/{account_id}", tag = "transfers", responses(
    (status = 200, description = "What this process knows.", body = LockUse),
    (status = 404, description = "Nobody has asked for it.", body = Failure),
))]
async fn lock(
    State(bank): State<Arc<Bank>>,
    Path(account_id): Path<String>,
) -> Result<Json<LockUse>, Failure> {
    let Some(known) = bank.transfers.statistics.of(&account_id) else {
        let message = format!("Nobody has asked for the lock on account: {account_id}");
        return Err(Failure::new(StatusCode::NOT_FOUND, "NOT_FOUND", message));
    };
    Ok(Json(LockUse {
        account_id,
        acquired: known.acquired,
        timeouts: known.timeouts,
        contention_count: known.contended,
        wait_time_ms: known.wait.as_secs_f64() * 1e3,
        hold_time_ms: known.hold.as_secs_f64() * 1e3,
    }))
}

/// What a clean-up has done.
#[derive(Serialize, ToSchema)]
struct Cleaned {
    /// Accounts that are not kept track of any more.
    removed: usize,
}

/// Forgets the locks that nobody has asked for since the last clean-up. It frees no lock that is held.
#[utoipa::path(post, path = "/locks/cleanup", tag = "transfers", responses(
    (status = 200, description = "Done.", body = Cleaned),
))]
async fn clean(State(bank): State<Arc<Bank>>) -> Json<Cleaned> {
    Json(Cleaned { removed: bank.transfers.statistics.clean() })
}
