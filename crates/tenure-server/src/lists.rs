//! What is held and who waits: `GET /v1/leases`, `/v1/waiters`, `/v1/why/{name}`.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use tenure::lease::{Kind, Listed, Page, Query};
use tenure::{Digest, Name};
use tenure_wire::{Lease, Leases, Problem, Waiters, WhyHeld};

use crate::answer::json;
use crate::desk::Desk;
use crate::extract::{Params, Segment, digest};
use crate::problem::Failure;
use crate::shape;

/// Entries of one page at the most.
pub(crate) const PAGE: usize = 1_000;

/// Pages that one answer looks through for a lease or a name, so that a request has a bound.
const PAGES: usize = 100;

/// List leases.
///
/// In the order of their digests, a page at a time. Lease ids are never shown.
#[utoipa::path(get, path = "/v1/leases", tag = "lists", params(
    ("prefix" = Option<String>, Query, description = "Only leases with a name that begins so."),
    ("limit" = Option<u32>, Query, description = "From 1 to 1000, which is the default."),
    ("after" = Option<String>, Query, description = "The `next` of the page before."),
), responses(
    (status = 200, description = "A page.", body = Leases),
    (status = 400, description = "An invalid parameter.", body = Problem),
    (status = 503, description = "The store cannot be asked.", body = Problem),
))]
pub(crate) async fn leases(State(desk): State<Arc<Desk>>, query: RawQuery) -> Result<Response, Failure> {
    let page = desk.list(asked(Kind::Leases, &query)?).await?;
    let next = page.next.map(|digest| digest.to_string());
    let leases = page.entries.iter().map(shape::lease).collect();
    Ok(json(StatusCode::OK, &Leases { leases, next }, vec![]))
}

/// Show one lease.
#[utoipa::path(get, path = "/v1/leases/{digest}", tag = "lists", params(
    ("digest" = String, Path, description = "The digest of the lease, as lists show it."),
), responses(
    (status = 200, description = "The lease.", body = Lease),
    (status = 400, description = "Not a digest.", body = Problem),
    (status = 404, description = "There is no such lease.", body = Problem),
    (status = 503, description = "The store cannot be asked.", body = Problem),
))]
pub(crate) async fn lease(
    State(desk): State<Arc<Desk>>,
    Segment(text): Segment,
) -> Result<Response, Failure> {
    let lease = desk.find(digest(&text)?).await?;
    let lease = lease.ok_or_else(|| Failure::not_found("there is no such lease"))?;
    Ok(json(StatusCode::OK, &shape::lease(&lease), vec![]))
}

/// List claims that wait.
#[utoipa::path(get, path = "/v1/waiters", tag = "lists", params(
    ("prefix" = Option<String>, Query, description = "Only claims for a name that begins so."),
    ("limit" = Option<u32>, Query, description = "From 1 to 1000, which is the default."),
    ("after" = Option<String>, Query, description = "The `next` of the page before."),
), responses(
    (status = 200, description = "A page.", body = Waiters),
    (status = 400, description = "An invalid parameter.", body = Problem),
    (status = 503, description = "The store cannot be asked.", body = Problem),
))]
pub(crate) async fn waiters(State(desk): State<Arc<Desk>>, query: RawQuery) -> Result<Response, Failure> {
    let page = desk.list(asked(Kind::Waiters, &query)?).await?;
    let next = page.next.map(|digest| digest.to_string());
    let waiters = page.entries.iter().map(shape::waiter).collect();
    Ok(json(StatusCode::OK, &Waiters { waiters, next }, vec![]))
}

/// Why a name is not free.
///
/// Who holds it, and who waits for it in which order.
#[utoipa::path(get, path = "/v1/why/{name}", tag = "lists", params(
    ("name" = String, Path, description = "The name, percent-encoded."),
), responses(
    (status = 200, description = "Its holders and waiters.", body = WhyHeld),
    (status = 400, description = "Not a name.", body = Problem),
    (status = 503, description = "The store cannot be asked.", body = Problem),
))]
pub(crate) async fn why(State(desk): State<Arc<Desk>>, Segment(text): Segment) -> Result<Response, Failure> {
    let name = Name::new(text)?;
    let (mut holders, more_holders) = desk.on(Kind::Leases, &name).await?;
    let (mut waiters, more_waiters) = desk.on(Kind::Waiters, &name).await?;
    holders.sort_by_key(|listed| std::cmp::Reverse(listed.age));
    waiters.sort_by_key(|listed| (listed.ahead, std::cmp::Reverse(listed.age)));
    let why = WhyHeld {
        name: name.to_string(),
        free: holders.is_empty() && waiters.is_empty(),
        holders: holders.iter().map(shape::lease).collect(),
        waiters: waiters.iter().map(shape::waiter).collect(),
        more: more_holders || more_waiters,
    };
    Ok(json(StatusCode::OK, &why, vec![]))
}

fn asked(kind: Kind, query: &RawQuery) -> Result<Query, Failure> {
    let params = Params::read(query, &["prefix", "limit", "after"])?;
    let mut query = Query::new(kind, params.prefix()?);
    query.limit = params.number("limit", PAGE, PAGE)?;
    query.after = params.after()?;
    Ok(query)
}

impl Desk {
    /// One page.
    pub(crate) async fn list(&self, query: Query) -> Result<Page, Failure> {
        Ok(self.step(self.provider.list(&query)).await??)
    }

    /// The lease of a digest.
    async fn find(&self, digest: Digest) -> Result<Option<Listed>, Failure> {
        let mut query = Query::new(Kind::Leases, "");
        // A page begins after a digest: this one's is the first of those after its predecessor.
        let before = u64::from_be_bytes(digest.to_bytes()).checked_sub(1);
        query.after = before.map(|number| Digest::from_bytes(number.to_be_bytes()));
        query.limit = 1;
        let page = self.list(query).await?;
        Ok(page.entries.into_iter().next().filter(|listed| listed.lease == digest))
    }

    /// What is listed on one name, and whether there was more than an answer shows.
    async fn on(&self, kind: Kind, name: &Name) -> Result<(Vec<Listed>, bool), Failure> {
        let mut query = Query::new(kind, name.as_str());
        let mut found = Vec::new();
        for _ in 0..PAGES {
            let page = self.list(query.clone()).await?;
            let on_it = page.entries.into_iter().filter(|listed| listed.names.iter().any(|n| n == name));
            found.extend(on_it);
            query.after = page.next;
            if page.next.is_none() || found.len() >= PAGE {
                break;
            }
        }
        found.truncate(PAGE);
        Ok((found, query.after.is_some()))
    }
}
