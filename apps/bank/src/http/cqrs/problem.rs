//! Everything that is not a success, as problem+json.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tenure_wire::{PROBLEM_JSON, Problem};

use crate::accounts::{Declined, NoBatch};

/// An answer that is not a success.
#[derive(Debug)]
pub(super) struct Failure(Box<Problem>);

impl Failure {
    fn new(status: StatusCode, word: &str, title: &str, detail: impl Into<String>) -> Self {
        Failure(Box::new(Problem {
            kind: format!("urn:bank:problem:{word}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            ..Problem::default()
        }))
    }

    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Failure::new(StatusCode::BAD_REQUEST, "invalid", "Invalid request", detail)
    }

    pub(super) fn unknown(id: &str) -> Self {
        Declined::Unknown(id.into()).into()
    }

    /// The word of its kind, and what went wrong: for an answer that has several.
    pub(super) fn into_parts(self) -> (String, String) {
        let word = self.0.kind.rsplit(':').next().unwrap_or_default().to_owned();
        (word, self.0.detail)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<tenure::Error> for Failure {
    fn from(error: tenure::Error) -> Self {
        tracing::warn!(error = %error, "a store did not answer");
        Declined::Unavailable.into()
    }
}

impl From<Declined> for Failure {
    fn from(declined: Declined) -> Self {
        let unprocessable = StatusCode::UNPROCESSABLE_ENTITY;
        let (status, word, title) = match &declined {
            Declined::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid", "Invalid request"),
            Declined::Unknown(_) => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            Declined::Closed(_) => (StatusCode::CONFLICT, "closed", "Account closed"),
            Declined::Insufficient(_) => (unprocessable, "insufficient-funds", "Insufficient funds"),
            Declined::Overflow(_) => (unprocessable, "balance-limit", "Balance limit exceeded"),
            Declined::Modified(_) => (StatusCode::CONFLICT, "modified", "Version conflict"),
            Declined::Busy(_) => (StatusCode::CONFLICT, "busy", "Busy"),
            Declined::Conflict(_) => (StatusCode::CONFLICT, "conflict", "Conflict"),
            Declined::KeyReused => (unprocessable, "key-reused", "Idempotency-Key reused"),
            Declined::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Unavailable"),
        };
        Failure::new(status, word, title, declined.to_string())
    }
}

impl From<NoBatch> for Failure {
    fn from(none: NoBatch) -> Self {
        match none {
            NoBatch::Empty | NoBatch::TooLarge(_) => Failure::invalid(none.to_string()),
            NoBatch::KeyReused => Declined::KeyReused.into(),
            NoBatch::Unavailable => Declined::Unavailable.into(),
        }
    }
}
