//! `POST /v1/batch`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use tenure::claim::Claim;
use tenure::lease::Kept;
use tenure::{Error, LeaseId, Result};
use tenure_wire::{
    AcquireRequest, BatchItem, BatchReply, BatchRequest, Problem, ReleaseRequest, RenewRequest,
};

use crate::acquire::busy;
use crate::answer::json;
use crate::asked::{Asked, asked, lease_id};
use crate::desk::{Desk, Held, Outcome, Patience};
use crate::extract::Json;
use crate::problem::Failure;
use crate::renew::{keep, word};
use crate::shape;
use crate::undo::Undo;

/// Many requests in one trip.
///
/// Each is a step of its own and answered by itself, so one that fails does not touch the others: the batch saves trips and
/// is no transaction. For all or nothing, give several names to one acquire.
#[utoipa::path(post, path = "/v1/batch", tag = "leases", request_body = BatchRequest, responses(
    (status = 200, description = "An item for each request.", body = BatchReply),
    (status = 400, description = "Malformed, or too many requests.", body = Problem),
    (status = 408, description = "The body took too long.", body = Problem),
    (status = 413, description = "The body is too large.", body = Problem),
    (status = 415, description = "The body is not application/json.", body = Problem),
))]
pub(crate) async fn batch(
    State(desk): State<Arc<Desk>>,
    Json(ask): Json<BatchRequest>,
) -> Result<Response, Failure> {
    let most = desk.config.max_batch;
    if ask.acquire.len() + ask.renew.len() + ask.release.len() > most {
        let detail = format!("a batch has at most {most} requests");
        return Err(Failure::invalid(detail).with_limit("max_batch"));
    }
    let mut items = Vec::new();
    let undo = acquire(&desk, ask.acquire, &mut items).await;
    renew(&desk, &ask.renew, &mut items).await;
    release(&desk, &ask.release, &mut items).await;
    Ok(json(StatusCode::OK, &BatchReply { items }, undo))
}

async fn acquire(desk: &Arc<Desk>, asks: Vec<AcquireRequest>, items: &mut Vec<BatchItem>) -> Vec<Undo> {
    let mut claims: Vec<Claim> = Vec::with_capacity(asks.len());
    let mut patience: Vec<Patience> = Vec::with_capacity(asks.len());
    // What is refused has its item at once, the rest a hole.
    let mut slots: Vec<Option<BatchItem>> = Vec::with_capacity(asks.len());
    for ask in asks {
        match single(ask, desk) {
            Ok(Asked { claims: mut made, patience: how, .. }) => {
                claims.append(&mut made);
                patience.push(how);
                slots.push(None);
            }
            Err(failure) => slots.push(Some(refused(failure))),
        }
    }
    let outcomes = if claims.is_empty() { Vec::new() } else { desk.claim(&claims, &patience).await };
    let mut undo = Vec::new();
    let mut answers = claims
        .iter()
        .zip(&patience)
        .zip(outcomes)
        .map(|((claim, how), outcome)| acquired(claim, outcome, *how, &mut undo));
    for slot in slots {
        items.extend(slot.or_else(|| answers.next()));
    }
    drop(answers);
    undo
}

fn single(ask: AcquireRequest, desk: &Desk) -> Result<Asked, Failure> {
    let asked = asked(ask, desk)?;
    if !asked.patience.wait.is_zero() {
        return Err(Failure::invalid("a batch does not wait").with_field("wait_ms"));
    }
    if asked.each {
        return Err(Failure::invalid("give each name an acquire of its own").with_field("want"));
    }
    Ok(asked)
}

fn acquired(
    claim: &Claim,
    outcome: Result<Outcome, Failure>,
    patience: Patience,
    undo: &mut Vec<Undo>,
) -> BatchItem {
    match outcome {
        Ok(Outcome::Granted(Held { grant, since, repeated, undo: one })) => {
            undo.push(one);
            let granted = Some(shape::granted(claim.lease, &grant, since, claim.ttl));
            BatchItem { status: if repeated { 200 } else { 201 }, granted, ..BatchItem::default() }
        }
        Ok(Outcome::Queued(queued)) => {
            BatchItem { status: 202, place: Some(shape::place(claim.lease, queued)), ..BatchItem::default() }
        }
        Ok(Outcome::Busy(held_by)) => refused(busy(&held_by, patience)),
        Ok(Outcome::Gone(why)) => refused(Failure::gone(why)),
        Err(failure) => refused(failure),
    }
}

async fn renew(desk: &Desk, asks: &[RenewRequest], items: &mut Vec<BatchItem>) {
    let judged: Vec<_> = asks.iter().map(|ask| keep(ask, desk)).collect();
    let keeps: Vec<_> = judged.iter().filter_map(|keep| keep.as_ref().ok()).copied().collect();
    let since = desk.clock.now();
    let mut answers = if keeps.is_empty() {
        Vec::new().into_iter()
    } else {
        spread(desk.step(desk.provider.keep(&keeps)).await, keeps.len()).into_iter()
    };
    for judged in judged {
        items.push(match judged {
            Err(failure) => refused(failure),
            Ok(keep) => match answers.next() {
                Some(Ok(kept)) => {
                    desk.tally_kept(keep.lease, &kept);
                    match kept {
                        Kept::Held(grant) => {
                            let granted = Some(shape::granted(keep.lease, &grant, since, keep.ttl));
                            BatchItem { status: 200, granted, ..BatchItem::default() }
                        }
                        Kept::Queued(queued) => {
                            let place = Some(shape::place(keep.lease, queued));
                            BatchItem { status: 202, place, ..BatchItem::default() }
                        }
                        Kept::Gone(why) => refused(Failure::gone(why)),
                    }
                }
                Some(Err(error)) => refused(error.into()),
                None => refused(Failure::unavailable("the store did not answer")),
            },
        });
    }
}

async fn release(desk: &Desk, asks: &[ReleaseRequest], items: &mut Vec<BatchItem>) {
    let judged: Vec<_> = asks.iter().map(|ask| lease_id(&ask.lease)).collect();
    let leases: Vec<LeaseId> = judged.iter().filter_map(|lease| lease.as_ref().ok()).copied().collect();
    leases.iter().for_each(|lease| desk.heard_of(*lease));
    let mut answers = if leases.is_empty() {
        Vec::new().into_iter()
    } else {
        spread(desk.step(desk.provider.end(&leases)).await, leases.len()).into_iter()
    };
    for judged in judged {
        items.push(match judged {
            Err(failure) => refused(failure),
            Ok(lease) => match answers.next() {
                Some(Ok(ended)) => {
                    desk.tally_ended(lease, ended);
                    BatchItem { status: 204, ended: Some(word(ended).to_owned()), ..BatchItem::default() }
                }
                Some(Err(error)) => refused(error.into()),
                None => refused(Failure::unavailable("the store did not answer")),
            },
        });
    }
}

/// A step that failed as a whole failed for each of its elements.
fn spread<T>(answers: Result<Vec<Result<T>>>, count: usize) -> Vec<Result<T>> {
    answers.unwrap_or_else(|error| {
        (0..count).map(|_| Err(Error::unavailable("store", error.what().to_owned()))).collect()
    })
}

fn refused(failure: Failure) -> BatchItem {
    let problem = failure.into_problem();
    BatchItem { status: problem.status, problem: Some(problem), ..BatchItem::default() }
}
