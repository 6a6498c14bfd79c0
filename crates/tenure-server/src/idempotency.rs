//! The header `Idempotency-Key`: by what a repeated request of a service is known to be one.

use axum::http::HeaderMap;
use serde::Serialize;

const HEADER: &str = "idempotency-key";
const LONGEST: usize = 255;

/// The key of a request to a route, where its client gave one, and what the request asks for: the same key with something else is to be
/// refused.
///
/// # Errors
/// What is wrong with the header.
pub fn key(
    headers: &HeaderMap,
    route: &str,
    request: &impl Serialize,
) -> Result<Option<(String, String)>, &'static str> {
    let mut given = headers.get_all(HEADER).iter();
    let Some(value) = given.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let is_visible = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_visible || text.len() > LONGEST || given.next().is_some() {
        return Err("Idempotency-Key is one header of 1 to 255 visible characters");
    }
    let request = serde_json::to_string(request).map_err(|_| "The request cannot be told from others")?;
    Ok(Some((format!("{route} {text}"), request)))
}
