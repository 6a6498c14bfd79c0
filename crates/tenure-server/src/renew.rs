//! `POST /v1/renew` and `POST /v1/release`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tenure::Error;
use tenure::lease::{Ended, Kept};
use tenure::provider::Keep;
use tenure_wire::{ENDED_HEADER, Granted, Place, Problem, ReleaseRequest, RenewRequest};

use crate::answer::json;
use crate::asked::{MOST_RESERVED, lease_id, ttl};
use crate::desk::Desk;
use crate::extract::Json;
use crate::problem::Failure;
use crate::shape;

/// Renew a lease, or touch a claim in the queue.
///
/// The lease lasts `ttl_ms` from now on, and never shorter than before. 410 is final: the lease is gone, and the work that it
/// protected must stop.
#[utoipa::path(post, path = "/v1/renew", tag = "leases", request_body = RenewRequest, responses(
    (status = 200, description = "Held, with its time from now on.", body = Granted),
    (status = 202, description = "Still in the queue.", body = Place),
    (status = 400, description = "Malformed or invalid, with the field.", body = Problem),
    (status = 408, description = "The body took too long.", body = Problem),
    (status = 410, description = "Gone, for good.", body = Problem),
    (status = 413, description = "The body is too large.", body = Problem),
    (status = 415, description = "The body is not application/json.", body = Problem),
    (status = 503, description = "The store cannot be asked. See Retry-After.", body = Problem),
))]
pub(crate) async fn renew(
    State(desk): State<Arc<Desk>>,
    Json(ask): Json<RenewRequest>,
) -> Result<Response, Failure> {
    let keep = keep(&ask, &desk)?;
    let (kept, since) = desk.keep(keep).await?;
    desk.tally_kept(keep.lease, &kept);
    match kept {
        Kept::Held(grant) => {
            Ok(json(StatusCode::OK, &shape::granted(keep.lease, &grant, since, keep.ttl), vec![]))
        }
        Kept::Queued(queued) => Ok(json(StatusCode::ACCEPTED, &shape::place(keep.lease, queued), vec![])),
        Kept::Gone(why) => Err(Failure::gone(why)),
    }
}

/// Judges the body of a renewal.
pub(crate) fn keep(ask: &RenewRequest, desk: &Desk) -> Result<Keep, Failure> {
    let lease = lease_id(&ask.lease)?;
    let ttl = ttl(ask.ttl_ms, desk)?;
    let tokens = ask.reserve.unwrap_or(0);
    if tokens > MOST_RESERVED {
        let detail = format!("at most {MOST_RESERVED} tokens are reserved at a time");
        return Err(Failure::invalid(detail).with_field("reserve").with_limit("reserve"));
    }
    desk.heard_of(lease);
    Ok(Keep { lease, ttl, tokens })
}

/// Release a lease, or withdraw a claim from the queue.
///
/// Always 204, also when there was nothing to release; the header `tenure-ended` says what there was. The lease id can never
/// be granted again.
#[utoipa::path(post, path = "/v1/release", tag = "leases", request_body = ReleaseRequest, responses(
    (status = 204, description = "Released, also when it was already gone.", headers(
        ("tenure-ended" = String, description = "released, lingering (hold_at_least_ms is not over), withdrawn or not-held"))),
    (status = 400, description = "Malformed or invalid, with the field.", body = Problem),
    (status = 408, description = "The body took too long.", body = Problem),
    (status = 413, description = "The body is too large.", body = Problem),
    (status = 415, description = "The body is not application/json.", body = Problem),
    (status = 503, description = "The store cannot be asked. See Retry-After.", body = Problem),
))]
pub(crate) async fn release(
    State(desk): State<Arc<Desk>>,
    Json(ask): Json<ReleaseRequest>,
) -> Result<Response, Failure> {
    let lease = lease_id(&ask.lease)?;
    desk.heard_of(lease);
    let leases = [lease];
    let ended = desk.step(desk.provider.end(&leases)).await?.pop();
    let ended = ended.ok_or_else(|| Error::internal("end", "the store answered no element"))??;
    desk.tally_ended(lease, ended);
    let header = (HeaderName::from_static(ENDED_HEADER), HeaderValue::from_static(word(ended)));
    Ok((StatusCode::NO_CONTENT, [header]).into_response())
}

/// What was ended, in the word of the API.
pub(crate) fn word(ended: Ended) -> &'static str {
    match ended {
        Ended::Released => "released",
        Ended::Lingering => "lingering",
        Ended::Withdrawn => "withdrawn",
        Ended::NotHeld => "not-held",
    }
}
