//! What answers look like: `success` first, then words for people, then data.

use axum::Json;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tenure::{Error, ErrorKind};
use tenure_server::idempotency;
use utoipa::ToSchema;

use crate::store::{Key, Refusal};

/// What is said when it is not known whether a request was carried out.
const SEND_AGAIN: &str =
    "The database does not answer; with an Idempotency-Key the request may be sent again";

/// Something was done, or read.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Success<T> {
    /// True.
    success: bool,
    /// What was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    message: Option<&'static str>,
    /// What it is now.
    data: T,
}

impl<T> Success<T> {
    pub(super) fn done(message: &'static str, data: T) -> Self {
        Success { success: true, message: Some(message), data }
    }

    pub(super) fn read(data: T) -> Self {
        Success { success: true, message: None, data }
    }
}

impl<T: Serialize> IntoResponse for Success<T> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

/// A list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct List<T> {
    /// True.
    success: bool,
    /// What was found.
    data: Vec<T>,
    /// How many that are.
    count: usize,
}

impl<T> List<T> {
    pub(super) fn of(data: Vec<T>) -> Self {
        List { success: true, count: data.len(), data }
    }
}

impl<T: Serialize> IntoResponse for List<T> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

/// Something was not done.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Failure {
    #[serde(skip)]
    status: StatusCode,
    /// False.
    success: bool,
    /// What was not done.
    #[schema(value_type = String)]
    message: &'static str,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Failure {
    /// There is no such thing.
    pub(super) fn absent(message: &'static str) -> Self {
        Failure { status: StatusCode::NOT_FOUND, success: false, message, error: None }
    }

    /// The request cannot be right.
    pub(super) fn bad(message: &'static str, error: impl Into<String>) -> Self {
        Failure { status: StatusCode::BAD_REQUEST, success: false, message, error: Some(error.into()) }
    }

    /// The same with another status.
    pub(super) fn with(self, status: StatusCode) -> Self {
        Failure { status, ..self }
    }

    /// A store could not be asked. What it said stays in the logs.
    pub(super) fn of(message: &'static str, error: &Error) -> Self {
        tracing::warn!(error = %error, "{message}");
        let status = match error.kind() {
            ErrorKind::InvalidInput => StatusCode::BAD_REQUEST,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Failure::bad(message, SEND_AGAIN).with(status)
    }

    /// What was asked for is refused.
    pub(super) fn refused(message: &'static str, refusal: &Refusal) -> Self {
        let status = match refusal {
            Refusal::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::BAD_REQUEST,
        };
        Failure::bad(message, refusal.to_string()).with(status)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(&self)).into_response()
    }
}

/// There is no such route.
#[derive(Serialize)]
struct NoRoute<'a> {
    success: bool,
    message: &'static str,
    path: &'a str,
}

pub(super) fn no_route(path: &str) -> Response {
    let answer = NoRoute { success: false, message: "Endpoint not found", path };
    (StatusCode::NOT_FOUND, Json(answer)).into_response()
}

/// Reads a body. What goes wrong is told in the words of the parser, which quote no more than the name of a field. No body is an empty
/// one.
pub(super) fn parse<T: DeserializeOwned>(message: &'static str, body: &Bytes) -> Result<T, Failure> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| Failure::bad(message, format!("Malformed request body: {error}")))
}

/// The key of a request, where its client gave one.
pub(super) fn key(
    message: &'static str,
    headers: &HeaderMap,
    route: &str,
    request: &impl Serialize,
) -> Result<Option<Key>, Failure> {
    let given = idempotency::key(headers, route, request).map_err(|wrong| Failure::bad(message, wrong))?;
    Ok(given.map(|(key, request)| Key { key, request }))
}

/// A number of a row, from a path.
pub(super) fn number(text: &str) -> Option<i64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

/// A text that is not blank.
pub(super) fn text(given: Option<String>) -> Option<String> {
    given.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty() && !text.contains('\0'))
}
