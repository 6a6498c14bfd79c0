//! Wallets: set, read and withdrawn from in three ways. Errors are `{error}`; a refusal of the business is a `status`, and no error.
//!
//! A number is a `-` or nothing, and digits, that fit 64 bits. `+5`, ` 5`, `5.0` and `1e3` are none: a `+` in a query is a space, so that nobody
//! can tell what was meant.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tenure::ErrorKind;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::idempotency;
use crate::bank::Bank;
use crate::wallets::{Amount, Counts, Order, Outcome, UserId, Withdrawal};

pub(super) fn routes() -> OpenApiRouter<Arc<Bank>> {
    OpenApiRouter::new()
        .routes(routes!(init))
        .routes(routes!(balance))
        .routes(routes!(withdraw_watch))
        .routes(routes!(withdraw_lock_lua))
        .routes(routes!(withdraw_medallion_distributed_lock))
        .routes(routes!(counts))
}

/// A failure, in the words of this part of the API.
#[derive(Serialize, ToSchema)]
struct Failure {
    #[serde(skip)]
    status: StatusCode,
    /// What went wrong.
    error: String,
}

impl Failure {
    fn bad(error: impl Into<String>) -> Self {
        Failure { status: StatusCode::BAD_REQUEST, error: error.into() }
    }

    fn reused() -> Self {
        let error = "Idempotency-Key was used for another request".to_owned();
        Failure { status: StatusCode::UNPROCESSABLE_ENTITY, error }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(&self)).into_response()
    }
}

impl From<tenure::Error> for Failure {
    fn from(error: tenure::Error) -> Self {
        tracing::warn!(error = %error, "wallets cannot be served");
        let (status, error) = match error.kind() {
            ErrorKind::InvalidInput => (StatusCode::BAD_REQUEST, error.what().to_owned()),
            ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, idempotency::SEND_AGAIN.to_owned()),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "What is kept of this user is no wallet".to_owned()),
        };
        Failure { status, error }
    }
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Self {
        Failure::bad(rejection.body_text())
    }
}

type Asked<T> = Result<Query<T>, QueryRejection>;

/// Whose wallet.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct Whose {
    /// The user: any text of up to 1,024 bytes without U+0000.
    #[param(value_type = String, required = true)]
    user_id: Option<String>,
}

/// What a wallet is to have.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct NewBalance {
    /// The user: any text of up to 1,024 bytes without U+0000.
    #[param(value_type = String, required = true)]
    user_id: Option<String>,
    /// What is to be in the wallet, in whole units.
    #[param(value_type = i64, required = true)]
    balance: Option<String>,
}

/// What is to be withdrawn.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct NewWithdrawal {
    /// The user: any text of up to 1,024 bytes without U+0000.
    #[param(value_type = String, required = true)]
    user_id: Option<String>,
    /// How much, in whole units, above zero.
    #[param(value_type = i64, required = true)]
    amount: Option<String>,
}

fn user(text: Option<String>) -> Result<UserId, Failure> {
    let text = text.ok_or_else(|| Failure::bad("userId is required"))?;
    // What is not UTF-8 has become this sign: two users would be one.
    if text.contains(char::REPLACEMENT_CHARACTER) {
        return Err(Failure::bad("userId must be UTF-8"));
    }
    Ok(UserId::new(text)?)
}

fn integer(text: Option<String>, name: &str) -> Result<i64, Failure> {
    let text = text.ok_or_else(|| Failure::bad(format!("{name} is required")))?;
    let number = if text.starts_with('+') { None } else { text.parse().ok() };
    number.ok_or_else(|| Failure::bad(format!("{name} must be an integer of 64 bits")))
}

/// A balance that was set.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Initialised {
    user_id: String,
    balance: i64,
}

/// Sets what is in a wallet, whatever it was, and makes the wallet where there is none.
#[utoipa::path(post, path = "/init", tag = "wallets", params(NewBalance), responses(
    (status = 200, description = "It is set.", body = Initialised),
    (status = 400, description = "A value is missing or is no integer.", body = Failure),
    (status = 422, description = "The Idempotency-Key was used for another request.", body = Failure),
    (status = 503, description = "A store does not answer.", body = Failure),
))]
async fn init(
    State(bank): State<Arc<Bank>>,
    headers: HeaderMap,
    asked: Asked<NewBalance>,
) -> Result<Json<Initialised>, Failure> {
    let Query(asked) = asked?;
    let user = user(asked.user_id)?;
    let balance = integer(asked.balance, "balance")?;
    let key = idempotency::key(&headers, "POST /init", &(user.as_str(), balance)).map_err(Failure::bad)?;
    let set = bank.teller.init(&user, balance, key.as_ref()).await?;
    let balance = set.ok_or_else(Failure::reused)?;
    Ok(Json(Initialised { user_id: user.to_string(), balance }))
}

/// What is in a wallet.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Kept {
    user_id: String,
    /// The number as a text.
    balance: String,
}

/// Tells what is in a wallet.
#[utoipa::path(get, path = "/balance", tag = "wallets", params(Whose), responses(
    (status = 200, description = "What is in it.", body = Kept),
    (status = 400, description = "No user.", body = Failure),
    (status = 404, description = "There is no wallet. Without a body."),
    (status = 503, description = "A store does not answer.", body = Failure),
))]
async fn balance(State(bank): State<Arc<Bank>>, asked: Asked<Whose>) -> Result<Response, Failure> {
    let Query(asked) = asked?;
    let user = user(asked.user_id)?;
    let Some(balance) = bank.teller.balance(&user).await? else {
        return Ok(StatusCode::NOT_FOUND.into_response());
    };
    Ok(Json(Kept { user_id: user.to_string(), balance: balance.to_string() }).into_response())
}

/// How a withdrawal ended.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Ended {
    /// `ok`, `insufficient`, `missing`, `conflict` or `lock_busy`. Nothing has changed but by `ok`.
    #[schema(value_type = String)]
    status: &'static str,
    /// Of `/withdraw_watch` alone: how often it was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    /// Of `ok` alone: what the withdrawal left.
    #[serde(skip_serializing_if = "Option::is_none")]
    new_balance: Option<i64>,
    /// Of `lock_busy` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    error: Option<&'static str>,
}

/// The answer to a withdrawal, with the attempts where they are told.
fn answer(done: Withdrawal, attempt: Option<u32>) -> Result<Response, Failure> {
    let ended = |status| Ended { status, attempt, new_balance: None, error: None };
    let ended = match done.outcome {
        Outcome::Done { balance } => Ended { new_balance: Some(balance), ..ended("ok") },
        Outcome::Insufficient => ended("insufficient"),
        Outcome::Conflict => ended("conflict"),
        Outcome::Busy => Ended { error: Some("Could not acquire lock"), ..ended("lock_busy") },
        Outcome::Missing => {
            let missing = Ended { attempt: None, ..ended("missing") };
            return Ok((StatusCode::NOT_FOUND, Json(missing)).into_response());
        }
        Outcome::KeyReused => return Err(Failure::reused()),
    };
    Ok(Json(ended).into_response())
}

fn order(asked: Asked<NewWithdrawal>, headers: &HeaderMap, route: &str) -> Result<Order, Failure> {
    let Query(asked) = asked?;
    let user = user(asked.user_id)?;
    let amount = integer(asked.amount, "amount")?;
    let key = idempotency::key(headers, route, &(user.as_str(), amount)).map_err(Failure::bad)?;
    let amount = Amount::new(amount).ok_or_else(|| Failure::bad("amount must be > 0"))?;
    Ok(Order { user, amount, key })
}

/// Withdraws optimistically: reads, and writes if nobody was faster; else again, up to `MAX_RETRIES` times.
#[utoipa::path(post, path = "/withdraw_watch", tag = "wallets", params(NewWithdrawal), responses(
    (status = 200, description = "`ok`, `insufficient` or `conflict`.", body = Ended),
    (status = 400, description = "A value is missing, no integer, or an amount not above zero.", body = Failure),
    (status = 404, description = "`missing`: there is no wallet.", body = Ended),
    (status = 422, description = "The Idempotency-Key was used for another request.", body = Failure),
    (status = 503, description = "A store does not answer.", body = Failure),
))]
async fn withdraw_watch(
    State(bank): State<Arc<Bank>>,
    headers: HeaderMap,
    asked: Asked<NewWithdrawal>,
) -> Result<Response, Failure> {
    let order = order(asked, &headers, "POST /withdraw_watch")?;
    let done = bank.teller.optimistic(&order).await?;
    answer(done, Some(done.attempts))
}

/// Withdraws in one atomic step of the store.
#[utoipa::path(post, path = "/withdraw_lock_lua", tag = "wallets", params(NewWithdrawal), responses(
    (status = 200, description = "`ok` or `insufficient`.", body = Ended),
    (status = 400, description = "A value is missing, no integer, or an amount not above zero.", body = Failure),
    (status = 404, description = "`missing`: there is no wallet.", body = Ended),
    (status = 422, description = "The Idempotency-Key was used for another request.", body = Failure),
    (status = 503, description = "A store does not answer.", body = Failure),
))]
async fn withdraw_lock_lua(
    State(bank): State<Arc<Bank>>,
    headers: HeaderMap,
    asked: Asked<NewWithdrawal>,
) -> Result<Response, Failure> {
    let order = order(asked, &headers, "POST /withdraw_lock_lua")?;
    answer(bank.teller.atomic(&order).await?, None)
}

/// Withdraws under the distributed lock of the wallet, which is waited for up to 250 ms.
#[utoipa::path(post, path = "/withdraw_medallion_distributed_lock", tag = "wallets", params(NewWithdrawal), responses(
    (status = 200, description = "`ok`, `insufficient` or `lock_busy`.", body = Ended),
    (status = 400, description = "A value is missing, no integer, or an amount not above zero.", body = Failure),
    (status = 404, description = "`missing`: there is no wallet.", body = Ended),
    (status = 422, description = "The Idempotency-Key was used for another request.", body = Failure),
    (status = 503, description = "A store does not answer.", body = Failure),
))]
async fn withdraw_medallion_distributed_lock(
    State(bank): State<Arc<Bank>>,
    headers: HeaderMap,
    asked: Asked<NewWithdrawal>,
) -> Result<Response, Failure> {
    let order = order(asked, &headers, "POST /withdraw_medallion_distributed_lock")?;
    answer(bank.teller.locked(&order).await?, None)
}

/// Tells what was counted of withdrawals since the start of this process.
#[utoipa::path(get, path = "/withdrawals/counts", tag = "wallets", responses(
    (status = 200, description = "The counts of this process.", body = Counts),
))]
async fn counts(State(bank): State<Arc<Bank>>) -> Json<Counts> {
    Json(bank.teller.counts())
}
