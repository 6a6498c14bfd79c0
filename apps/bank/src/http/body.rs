//! Bodies of requests: JSON that is read as what it is meant to be, or refused in words.

use axum::body::Bytes;
use serde::de::DeserializeOwned;

/// Reads a body. What goes wrong is told in the words of the parser, which quote no more than the name of a field.
pub(super) fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("Malformed request body: {error}"))
}
