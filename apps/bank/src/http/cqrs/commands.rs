//! Changes of accounts.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use tenure_wire::Problem;
use utoipa::ToSchema;

use super::problem::Failure;
use super::reads::SummaryView;
use super::{Changed, key};
use crate::accounts::{Command, Terms};
use crate::amount::Cents;
use crate::bank::Bank;
use crate::http::body;
use crate::ledger::AccountKey;

/// An account to be opened.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewAccount {
    /// Whose it is: any text that is not blank, of at most 1,024 bytes, without U+0000.
    owner_name: Option<String>,
    /// What is on it from the start. Default 0.
    #[schema(value_type = f64)]
    initial_balance: Option<Cents>,
}

/// An amount that moves.
#[derive(Deserialize, ToSchema)]
pub(super) struct Amount {
    /// How much, above zero.
    #[schema(value_type = f64)]
    amount: Option<Cents>,
    /// Only if the account has this version; the header If-Match says the same.
    expected_version: Option<u64>,
}

/// Opens an account under a fresh id.
#[utoipa::path(post, path = "/api/cqrs/accounts", tag = "accounts", request_body = NewAccount, responses(
    (status = 201, description = "It is open.", body = Changed),
    (status = 400, description = "No owner, a balance below zero, or no JSON.", body = Problem),
    (status = 422, description = "The Idempotency-Key was used for another request.", body = Problem),
))]
pub(super) async fn create(
    State(bank): State<Arc<Bank>>,
    headers: HeaderMap,
    sent: Bytes,
) -> Result<(StatusCode, [(header::HeaderName, String); 1], Json<Changed>), Failure> {
    let asked: NewAccount = body::parse(&sent).map_err(Failure::invalid)?;
    let owner = asked.owner_name.unwrap_or_default();
    let balance = asked.initial_balance.unwrap_or_default();
    let key = key(&headers, "POST /api/cqrs/accounts", &(&owner, balance))?;
    let done = bank.accounts.create(&owner, balance, key).await?;
    let place = [(header::LOCATION, format!("/api/cqrs/accounts/{}", done.id))];
    Ok((StatusCode::CREATED, place, Json(done.into())))
}

/// Pays in.
#[utoipa::path(post, path = "/api/cqrs/accounts/{id}/deposit", tag = "accounts", request_body = Amount, responses(
    (status = 200, description = "It is paid in.", body = Changed),
    (status = 400, description = "No amount above zero.", body = Problem),
    (status = 404, description = "There is no such account.", body = Problem),
    (status = 409, description = "Another version, busy or closed: nothing has changed.", body = Problem),
    (status = 422, description = "More than fits, or an Idempotency-Key of another request.", body = Problem),
))]
pub(super) async fn deposit(
    State(bank): State<Arc<Bank>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    sent: Bytes,
) -> Result<Json<Changed>, Failure> {
    change(&bank, &id, &headers, &sent, "deposit", Command::Deposit).await
}

/// Pays out what is there.
#[utoipa::path(post, path = "/api/cqrs/accounts/{id}/withdraw", tag = "accounts", request_body = Amount, responses(
    (status = 200, description = "It is paid out.", body = Changed),
    (status = 400, description = "No amount above zero.", body = Problem),
    (status = 404, description = "There is no such account.", body = Problem),
    (status = 409, description = "Another version, busy or closed: nothing has changed.", body = Problem),
    (status = 422, description = "Not enough, or an Idempotency-Key of another request.", body = Problem),
))]
pub(super) async fn withdraw(
    State(bank): State<Arc<Bank>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    sent: Bytes,
) -> Result<Json<Changed>, Failure> {
    change(&bank, &id, &headers, &sent, "withdraw", Command::Withdraw).await
}

/// Closes the account: what is on it stays, and nothing happens to it any more.
#[utoipa::path(post, path = "/api/cqrs/accounts/{id}/close", tag = "accounts", responses(
    (status = 200, description = "It is closed.", body = Changed),
    (status = 404, description = "There is no such account.", body = Problem),
    (status = 409, description = "Another version, busy or closed before: nothing has changed.", body = Problem),
))]
pub(super) async fn close(
    State(bank): State<Arc<Bank>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Changed>, Failure> {
    let expected = if_match(&headers)?;
    let terms = Terms { expected, key: key(&headers, &route(&id, "close"), &expected)? };
    Ok(Json(bank.accounts.command(&id, Command::Close, terms).await?.into()))
}

/// Makes the summary of an account anew, of all its events.
#[utoipa::path(post, path = "/api/cqrs/accounts/{id}/summary", tag = "accounts", responses(
    (status = 200, description = "It is made.", body = SummaryView),
    (status = 404, description = "There is no such account.", body = Problem),
))]
pub(super) async fn rebuild(
    State(bank): State<Arc<Bank>>,
    Path(id): Path<String>,
) -> Result<Json<SummaryView>, Failure> {
    let made = bank.projector.rebuild(&AccountKey::account(id.as_str())).await?;
    made.map(|summary| Json(SummaryView::of(&summary))).ok_or_else(|| Failure::unknown(&id))
}

async fn change(
    bank: &Bank,
    id: &str,
    headers: &HeaderMap,
    sent: &Bytes,
    verb: &str,
    command: impl FnOnce(Cents) -> Command,
) -> Result<Json<Changed>, Failure> {
    #[derive(Serialize)]
    struct Request(Cents, Option<u64>);

    let asked: Amount = body::parse(sent).map_err(Failure::invalid)?;
    let amount = asked.amount.ok_or_else(|| Failure::invalid("amount is required"))?;
    let expected = asked.expected_version.or(if_match(headers)?);
    let terms = Terms { expected, key: key(headers, &route(id, verb), &Request(amount, expected))? };
    Ok(Json(bank.accounts.command(id, command(amount), terms).await?.into()))
}

fn route(id: &str, verb: &str) -> String {
    format!("POST /api/cqrs/accounts/{id}/{verb}")
}

/// The version that the header If-Match names: an entity tag as the account is read with, or any.
fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let tag = value.to_str().unwrap_or_default().trim();
    if tag == "*" {
        return Ok(None);
    }
    let version = tag.trim_matches('"').parse();
    version
        .map(Some)
        .map_err(|_| Failure::invalid("If-Match is the entity tag of an account, a number in quotes"))
}
