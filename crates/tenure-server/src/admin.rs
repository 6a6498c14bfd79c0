//! `DELETE /v1/leases/{digest}`.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tenure::provider::{Force, Forced};
use tenure_wire::Problem;

use crate::desk::Desk;
use crate::extract::{Params, Segment, digest};
use crate::problem::Failure;

/// Take a lease from its holder.
///
/// Asks the holder for it: its next renewal says `revoked`, and is not prolonged, so the lease ends by release or with its
/// ttl. With `now=true` it ends at once while its holder may still believe in it; only fencing protects from what
/// that holder still does. A waiting claim is withdrawn either way.
#[utoipa::path(delete, path = "/v1/leases/{digest}", tag = "administration", params(
    ("digest" = String, Path, description = "The digest of the lease, as lists show it."),
    ("now" = Option<bool>, Query, description = "End it at once. Default false."),
), responses(
    (status = 202, description = "Its holder is asked for it."),
    (status = 204, description = "It is ended."),
    (status = 400, description = "Not a digest, or an invalid parameter.", body = Problem),
    (status = 404, description = "There is no such lease.", body = Problem),
    (status = 503, description = "The store cannot be asked.", body = Problem),
))]
pub(crate) async fn force(
    State(desk): State<Arc<Desk>>,
    Segment(text): Segment,
    query: RawQuery,
) -> Result<Response, Failure> {
    let digest = digest(&text)?;
    let how = if Params::read(&query, &["now"])?.flag("now")? { Force::Now } else { Force::Revoke };
    let forced = desk.step(desk.provider.force(digest, how)).await??;
    tracing::warn!(lock.lease = %digest, how = ?how, outcome = ?forced, "a lease was forced");
    match forced {
        Forced::Ended => Ok(StatusCode::NO_CONTENT.into_response()),
        Forced::Asked => Ok(StatusCode::ACCEPTED.into_response()),
        Forced::NotFound => Err(Failure::not_found("there is no such lease or waiter")),
    }
}
