//! Everything that is not a success, as problem+json.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tenure::lease::{HeldBy, Why};
use tenure::{Error, ErrorKind};
use tenure_wire::{Malformed, PROBLEM_JSON, Problem};

use crate::shape;

/// An answer that is not a success.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    problem: Box<Problem>,
    retry_after: bool,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, word: &str, title: &str, detail: impl Into<String>) -> Self {
        let problem = Problem {
            kind: format!("urn:tenure:problem:{word}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            ..Problem::default()
        };
        Failure { status, problem: Box::new(problem), retry_after: false }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Failure::new(StatusCode::BAD_REQUEST, "invalid", "Invalid request", detail)
    }

    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Failure::new(status, "unavailable", "Unavailable", detail).with_retry_after()
    }

    pub(crate) fn busy(held_by: &HeldBy, detail: &str) -> Self {
        let mut failure = Failure::new(StatusCode::CONFLICT, "busy", "Busy", detail);
        failure.problem.held_by = Some(shape::holder(held_by));
        failure.problem.remaining_ms = held_by.remaining.map(shape::millis);
        failure.problem.position = Some(held_by.waiting.saturating_add(1));
        failure
    }

    pub(crate) fn gone(why: Why) -> Self {
        let detail = "there is no such lease any more, and it will not come back; claim with a new lease id";
        let mut failure = Failure::new(StatusCode::GONE, "gone", "Gone", detail);
        failure.problem.why = Some(why.word().to_owned());
        failure
    }

    pub(crate) fn not_found(detail: &str) -> Self {
        Failure::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    pub(crate) fn too_many(limit: &str, detail: &str) -> Self {
        Failure::new(StatusCode::TOO_MANY_REQUESTS, "too-many", "Too many", detail)
            .with_limit(limit)
            .with_retry_after()
    }

    pub(crate) fn with_field(mut self, field: &str) -> Self {
        self.problem.field = Some(field.to_owned());
        self
    }

    pub(crate) fn with_limit(mut self, limit: &str) -> Self {
        self.problem.limit = Some(limit.to_owned());
        self
    }

    /// The problem by itself, for an answer that has several.
    pub(crate) fn into_problem(self) -> Problem {
        *self.problem
    }

    /// Whether the server is to blame, or its store.
    pub(crate) fn is_ours(&self) -> bool {
        self.status.is_server_error()
    }

    fn with_retry_after(mut self) -> Self {
        self.retry_after = true;
        self
    }
}

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Self {
        let failure = Failure::new(StatusCode::BAD_REQUEST, "malformed", "Malformed request", malformed.what);
        match malformed.field {
            Some(field) => failure.with_field(field),
            None => failure,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidInput if error.operation() == "waiters" => {
                Failure::too_many("max_waiters", "too many claims wait for the name")
            }
            ErrorKind::InvalidInput => invalid(&error),
            ErrorKind::Lost => Failure::gone(Why::Unknown),
            ErrorKind::Unavailable => {
                tracing::warn!(error = %error, "the store is unavailable");
                Failure::unavailable("the store could not be asked; whether it acted is unknown")
            }
            _ => {
                tracing::error!(error = %error, "a fault of the server");
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Failure::new(status, "internal", "Internal error", "a fault of the server")
            }
        }
    }
}

/// The field of the request and the limit that an error of the library speaks of.
fn invalid(error: &Error) -> Failure {
    // The library ends with the values, of which names are the caller's own words: they are not repeated.
    let what = error.what();
    let detail = what.split(" name=").next().unwrap_or(what);
    let (field, limit) = match error.operation() {
        "ttl" => ("ttl_ms", Some("ttl")),
        "hold_at_least" => ("hold_at_least_ms", Some("hold_at_least")),
        "name" => ("name", Some("name_bytes")),
        "names" => ("names", None),
        "holder" => ("holder", Some("holder_bytes")),
        "of" => ("of", Some("permits")),
        other => (other, None),
    };
    let failure = Failure::invalid(detail).with_field(field);
    match limit.filter(|_| detail.contains('=') || detail.contains("at least") || detail.contains("at most"))
    {
        Some(limit) => failure.with_limit(limit),
        None => failure,
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.problem).expect("a problem is plain data");
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
