//! `POST /v1/acquire`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tenure::Claim;
use tenure::lease::HeldBy;
use tenure_wire::{AcquireRequest, Each, EachItem, Granted, Place, Problem};

use crate::answer::json;
use crate::asked::{Asked, asked};
use crate::desk::{Desk, Held, Outcome, Patience};
use crate::extract::Json;
use crate::problem::Failure;
use crate::shape;

/// Acquire a lease.
///
/// Asks for one lease on a name or on several names at once, or with want `each` for a lease per name, and waits for
/// it up to `wait_ms`. Safe to repeat with the same lease id: the same claim is answered again (200), and renewed.
///
/// A client that goes away while it waits withdraws its claim. With `queue` the claim keeps its place when `wait_ms` is
/// over, for as long as it is asked for again with the same lease id within three seconds. What it is granted after a wait is
/// an offer, which `ttl_ms` tells: renew it within that time to have the whole ttl.
///
/// When an answer with a grant is not taken, the lease ends: at once when the server made its id, else after three seconds
/// unless it is asked for again.
#[utoipa::path(post, path = "/v1/acquire", tag = "leases", request_body = AcquireRequest, responses(
    (status = 201, description = "Granted. With want `each`: an object with `leases`, one item a name, of which at \
        least one is granted.", body = Granted),
    (status = 200, description = "Granted before: the same lease id was asked again.", body = Granted),
    (status = 202, description = "Still in the queue (`queue` alone).", body = Place),
    (status = 400, description = "Malformed or invalid, with the field.", body = Problem),
    (status = 408, description = "The body took too long.", body = Problem),
    (status = 409, description = "Busy, at once or after `wait_ms`.", body = Problem),
    (status = 410, description = "The lease id was ended before.", body = Problem),
    (status = 413, description = "The body is too large.", body = Problem),
    (status = 415, description = "The body is not application/json.", body = Problem),
    (status = 429, description = "Too many wait for the name. See Retry-After.", body = Problem),
    (status = 503, description = "The store cannot be asked, or the server is shutting down. See Retry-After.", body = Problem),
))]
pub(crate) async fn acquire(
    State(desk): State<Arc<Desk>>,
    Json(ask): Json<AcquireRequest>,
) -> Result<Response, Failure> {
    let Asked { claims, patience, each } = asked(ask, &desk)?;
    let mut outcomes = desk.claim(&claims, &vec![patience; claims.len()]).await;
    if each {
        return answer_each(&claims, outcomes);
    }
    match (claims.first(), outcomes.pop()) {
        (Some(claim), Some(outcome)) => answer(claim, outcome?, patience),
        _ => Err(Failure::unavailable("the store did not answer")),
    }
}

fn answer(claim: &Claim, outcome: Outcome, patience: Patience) -> Result<Response, Failure> {
    match outcome {
        Outcome::Granted(Held { grant, since, repeated, undo }) => {
            let status = if repeated { StatusCode::OK } else { StatusCode::CREATED };
            let body = shape::granted(claim.lease, &grant, since, claim.ttl);
            Ok(json(status, &body, vec![undo]))
        }
        Outcome::Queued(queued) => Ok(json(StatusCode::ACCEPTED, &shape::place(claim.lease, queued), vec![])),
        Outcome::Busy(held_by) => Err(busy(&held_by, patience)),
        Outcome::Gone(why) => Err(Failure::gone(why)),
    }
}

pub(crate) fn busy(held_by: &HeldBy, patience: Patience) -> Failure {
    if patience.wait.is_zero() {
        Failure::busy(held_by, "somebody else holds it")
    } else {
        Failure::busy(held_by, "somebody else still holds it after the wait")
    }
}

/// One item a name. Nothing granted at all is busy, or the failure of the first name.
fn answer_each(claims: &[Claim], outcomes: Vec<Result<Outcome, Failure>>) -> Result<Response, Failure> {
    let mut undo = Vec::new();
    let mut leases = Vec::with_capacity(claims.len());
    let mut first = None;
    for (claim, outcome) in claims.iter().zip(outcomes) {
        let name = claim.names.first().to_string();
        match outcome {
            Ok(Outcome::Granted(held)) => {
                let granted = shape::granted(claim.lease, &held.grant, held.since, claim.ttl);
                undo.push(held.undo);
                leases.push(item(name, granted));
            }
            Ok(Outcome::Busy(held_by)) => {
                first.get_or_insert_with(|| Failure::busy(&held_by, "somebody else holds each of them"));
                leases.push(EachItem {
                    held_by: Some(shape::holder(&held_by)),
                    remaining_ms: held_by.remaining.map(shape::millis),
                    ..busy_item(name)
                });
            }
            Ok(Outcome::Queued(_) | Outcome::Gone(_)) => leases.push(busy_item(name)),
            // What was granted beside it goes back: `undo` is dropped.
            Err(failure) => return Err(failure),
        }
    }
    if undo.is_empty() {
        return Err(first.unwrap_or_else(|| Failure::busy(&HeldBy::default(), "none of them could be had")));
    }
    Ok(json(StatusCode::CREATED, &Each { leases }, undo).into_response())
}

fn item(name: String, granted: Granted) -> EachItem {
    EachItem {
        name,
        busy: false,
        lease: Some(granted.lease),
        token: Some(granted.token),
        tokens: Some(granted.tokens),
        ttl_ms: Some(granted.ttl_ms),
        contended: Some(granted.contended),
        held_by: None,
        remaining_ms: None,
    }
}

fn busy_item(name: String) -> EachItem {
    EachItem {
        name,
        busy: true,
        lease: None,
        token: None,
        tokens: None,
        ttl_ms: None,
        contended: None,
        held_by: None,
        remaining_ms: None,
    }
}
