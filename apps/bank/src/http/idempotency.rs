//! The header `Idempotency-Key`: by what a repeated request is known to be one.

use axum::http::HeaderMap;
use serde::Serialize;
use tenure_server::idempotency;

use crate::ledger::IdempotencyKey;

/// What is said when it is not known whether a request was carried out.
pub(super) const SEND_AGAIN: &str =
    "A store does not answer; with an Idempotency-Key the request may be sent again";

/// The key of a request to a route, where its client gave one. `request` is what it asks for: the same key with another
/// request is refused by the books.
///
/// # Errors
/// What is wrong with the header.
pub(super) fn key(
    headers: &HeaderMap,
    route: &str,
    request: &impl Serialize,
) -> Result<Option<IdempotencyKey>, &'static str> {
    let given = idempotency::key(headers, route, request)?;
    Ok(given.map(|(key, request)| IdempotencyKey { key: key.into(), request: request.into() }))
}
