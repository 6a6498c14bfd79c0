//! Looks at accounts, which take no lock.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, header};
use serde::{Deserialize, Serialize};
use tenure_wire::Problem;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::problem::Failure;
use super::{status_word, time};
use crate::amount::Cents;
use crate::bank::Bank;
use crate::ledger::{Account, AccountKey, Book, Event, Summary, is_text};
use crate::reads::RECENT_EVENTS;

/// The most of a page, and of ids in one request.
const MOST: u32 = 1_000;
const DEFAULT_LIST: u32 = 100;

/// An account.
#[derive(Serialize, ToSchema)]
pub(super) struct AccountView {
    id: String,
    owner_name: Option<String>,
    #[schema(value_type = f64)]
    balance: Cents,
    /// `active` or `closed`.
    status: &'static str,
    /// The number of its events.
    version: u64,
    created_at: String,
    updated_at: String,
}

impl AccountView {
    fn of(account: &Account) -> Self {
        AccountView {
            id: account.key.id.to_string(),
            owner_name: account.owner.as_deref().map(str::to_owned),
            balance: Cents(account.balance),
            status: status_word(account.is_open),
            version: account.version,
            created_at: time(account.opened_at),
            updated_at: time(account.changed_at),
        }
    }
}

/// Accounts of a page, or of a list of ids.
#[derive(Serialize, ToSchema)]
pub(super) struct AccountList {
    accounts: Vec<AccountView>,
    /// Where the next page begins: its `after`. Missing on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// Ids that were asked for and are unknown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unknown: Vec<String>,
}

/// Which accounts.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Listing {
    /// Only these ids, separated by commas; at most 1,000.
    ids: Option<String>,
    /// Behind this id.
    after: Option<String>,
    /// How many, 1 to 1,000. Default 100.
    limit: Option<u32>,
}

/// Lists accounts by id, or reads many at once from the cache.
#[utoipa::path(get, path = "/api/cqrs/accounts", tag = "accounts", params(Listing), responses(
    (status = 200, description = "The accounts.", body = AccountList),
    (status = 400, description = "A query that is wrong.", body = Problem),
))]
pub(super) async fn list(
    State(bank): State<Arc<Bank>>,
    query: Result<Query<Listing>, QueryRejection>,
) -> Result<Json<AccountList>, Failure> {
    let Query(query) = query.map_err(|error| Failure::invalid(error.body_text()))?;
    if let Some(ids) = &query.ids {
        return of_ids(&bank, ids).await;
    }
    let limit = page(query.limit, DEFAULT_LIST)?;
    if query.after.as_deref().is_some_and(|after| !is_text(after)) {
        return Err(Failure::invalid("after is the id of an account"));
    }
    let found = bank.reads.list(Book::Accounts, query.after.as_deref(), limit).await?;
    let is_full = found.len() == limit as usize;
    let next = found.last().filter(|_| is_full).map(|account| account.key.id.to_string());
    let accounts = found.iter().map(AccountView::of).collect();
    Ok(Json(AccountList { accounts, next, unknown: Vec::new() }))
}

async fn of_ids(bank: &Bank, ids: &str) -> Result<Json<AccountList>, Failure> {
    let keys: Vec<AccountKey> = ids.split(',').filter(|id| !id.is_empty()).map(AccountKey::account).collect();
    if keys.len() > MOST as usize {
        return Err(Failure::invalid(format!("at most {MOST} ids")));
    }
    let found = bank.reads.accounts(&keys).await?;
    let mut list = AccountList { accounts: Vec::new(), next: None, unknown: Vec::new() };
    for (key, found) in keys.iter().zip(found) {
        match found {
            Some(account) => list.accounts.push(AccountView::of(&account)),
            None => list.unknown.push(key.id.to_string()),
        }
    }
    Ok(Json(list))
}

/// Reads an account. Its entity tag is its version.
#[utoipa::path(get, path = "/api/cqrs/accounts/{id}", tag = "accounts", responses(
    (status = 200, description = "The account.", body = AccountView),
    (status = 404, description = "There is none.", body = Problem),
))]
pub(super) async fn read(
    State(bank): State<Arc<Bank>>,
    Path(id): Path<String>,
) -> Result<([(HeaderName, String); 1], Json<AccountView>), Failure> {
    let account = find(&bank, &id).await?;
    let tag = [(header::ETAG, format!("\"{}\"", account.version))];
    Ok((tag, Json(AccountView::of(&account))))
}

/// What is on an account.
#[derive(Serialize, ToSchema)]
pub(super) struct BalanceView {
    id: String,
    #[schema(value_type = f64)]
    balance: Cents,
    version: u64,
}

/// Reads a balance.
#[utoipa::path(get, path = "/api/cqrs/accounts/{id}/balance", tag = "accounts", responses(
    (status = 200, description = "The balance.", body = BalanceView),
    (status = 404, description = "There is no such account.", body = Problem),
))]
pub(super) async fn balance(
    State(bank): State<Arc<Bank>>,
    Path(id): Path<String>,
) -> Result<Json<BalanceView>, Failure> {
    let account = find(&bank, &id).await?;
    Ok(Json(BalanceView { id, balance: Cents(account.balance), version: account.version }))
}

/// Whether an account takes part in anything.
#[derive(Serialize, ToSchema)]
pub(super) struct StatusView {
    id: String,
    /// `active` or `closed`.
    status: &'static str,
    version: u64,
}

/// Reads whether an account is open.
#[utoipa::path(get, path = "/api/cqrs/accounts/{id}/status", tag = "accounts", responses(
    (status = 200, description = "The status.", body = StatusView),
    (status = 404, description = "There is no such account.", body = Problem),
))]
pub(super) async fn status(
    State(bank): State<Arc<Bank>>,
    Path(id): Path<String>,
) -> Result<Json<StatusView>, Failure> {
    let account = find(&bank, &id).await?;
    Ok(Json(StatusView { id, status: status_word(account.is_open), version: account.version }))
}

/// An event of an account.
#[derive(Serialize, ToSchema)]
struct TransactionView {
    version: u64,
    /// `opened`, `deposited`, `withdrawn`, `sent`, `received`, `fee_taken`, `adjusted` or `closed`.
    kind: &'static str,
    /// By how much the balance changed.
    #[schema(value_type = f64)]
    amount: Cents,
    #[schema(value_type = f64)]
    balance: Cents,
    /// The other account of a transfer.
    #[serde(skip_serializing_if = "Option::is_none")]
    other: Option<String>,
    #[schema(value_type = String, format = "uuid")]
    operation_id: Uuid,
    at: String,
}

/// Events of an account, the newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct Transactions {
    id: String,
    transactions: Vec<TransactionView>,
    /// Where the next page begins: its `before`. Missing on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

/// Which events.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Span {
    /// Before this version.
    before: Option<u64>,
    /// How many, 1 to 1,000. Default 50, which are cached.
    limit: Option<u32>,
}

/// Reads what happened to an account.
#[utoipa::path(get, path = "/api/cqrs/accounts/{id}/transactions", tag = "accounts", params(Span), responses(
    (status = 200, description = "Its events.", body = Transactions),
    (status = 400, description = "A query that is wrong.", body = Problem),
    (status = 404, description = "There is no such account.", body = Problem),
))]
pub(super) async fn transactions(
    State(bank): State<Arc<Bank>>,
    Path(id): Path<String>,
    query: Result<Query<Span>, QueryRejection>,
) -> Result<Json<Transactions>, Failure> {
    let Query(query) = query.map_err(|error| Failure::invalid(error.body_text()))?;
    let limit = page(query.limit, RECENT_EVENTS)?;
    let key = AccountKey::account(id.as_str());
    let events = if query.before.is_none() && limit <= RECENT_EVENTS {
        let recent = bank.reads.recent(&key).await?.ok_or_else(|| Failure::unknown(&id))?;
        recent.events.iter().take(limit as usize).cloned().collect()
    } else {
        find(&bank, &id).await?;
        bank.reads.history(&key, query.before.unwrap_or(u64::MAX), limit).await?
    };
    let next = events.last().map(|event: &Event| event.version).filter(|version| *version > 1);
    let transactions = events.into_iter().map(transaction).collect();
    Ok(Json(Transactions { id, transactions, next }))
}

fn transaction(event: Event) -> TransactionView {
    TransactionView {
        version: event.version,
        kind: event.kind.word(),
        amount: Cents(event.change),
        balance: Cents(event.balance),
        other: event.other.as_deref().map(str::to_owned),
        operation_id: event.operation,
        at: time(event.at),
    }
}

/// What is kept of an account for those who read: behind it by as much as the outbox is.
#[derive(Serialize, ToSchema)]
pub(super) struct SummaryView {
    id: String,
    owner_name: Option<String>,
    #[schema(value_type = f64)]
    balance: Cents,
    status: &'static str,
    /// The version up to which the account was followed.
    version: u64,
    paid_in: FlowView,
    paid_out: FlowView,
    last_activity: String,
}

/// Money that moved one way, in hundredths, as text: it may be more than fits a number.
#[derive(Serialize, ToSchema)]
struct FlowView {
    count: u64,
    sum_in_hundredths: String,
}

impl SummaryView {
    pub(super) fn of(summary: &Summary) -> Self {
        let flow = |flow: crate::ledger::Flow| FlowView {
            count: flow.count,
            sum_in_hundredths: flow.sum.to_string(),
        };
        SummaryView {
            id: summary.key.id.to_string(),
            owner_name: summary.owner.as_deref().map(str::to_owned),
            balance: Cents(summary.balance),
            status: status_word(summary.is_open),
            version: summary.version,
            paid_in: flow(summary.paid_in),
            paid_out: flow(summary.paid_out),
            last_activity: time(summary.changed_at),
        }
    }
}

/// Reads the summary of an account.
#[utoipa::path(get, path = "/api/cqrs/accounts/{id}/summary", tag = "accounts", responses(
    (status = 200, description = "The summary.", body = SummaryView),
    (status = 404, description = "There is none, or not yet.", body = Problem),
))]
pub(super) async fn summary(
    State(bank): State<Arc<Bank>>,
    Path(id): Path<String>,
) -> Result<Json<SummaryView>, Failure> {
    let found = bank.reads.summary(&AccountKey::account(id.as_str())).await?;
    found.map(|summary| Json(SummaryView::of(&summary))).ok_or_else(|| Failure::unknown(&id))
}

async fn find(bank: &Bank, id: &str) -> Result<Arc<Account>, Failure> {
    let found = bank.reads.account(&AccountKey::account(id)).await?;
    found.ok_or_else(|| Failure::unknown(id))
}

fn page(limit: Option<u32>, default: u32) -> Result<u32, Failure> {
    let limit = limit.unwrap_or(default);
    if (1..=MOST).contains(&limit) {
        Ok(limit)
    } else {
        Err(Failure::invalid(format!("limit is from 1 to {MOST}")))
    }
}
