//! How locks and reads do. What the server of the locks says is said once: it is asked, not computed again.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{Request, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router};
use tenure_wire::{Alerts, LockMetrics, MonitorReport, Problem};
use tower::ServiceExt as _;

use super::problem::Failure;
use crate::accounts::Declined;
use crate::bank::Bank;
use crate::reads::ReadMetrics;

/// The most that a report has.
const MOST: usize = 1024 * 1024;

/// The API of the locks, which also stands under `/tenure`.
#[derive(Clone, Debug)]
pub(in crate::http) struct LockServer(pub(in crate::http) Router);

impl LockServer {
    async fn ask(self, path: &str) -> Response {
        let request = Request::get(path).body(Body::empty()).expect("a path of ours is one");
        match self.0.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// What was done with locks since the start.
#[utoipa::path(get, path = "/api/cqrs/locks/metrics", tag = "reports", responses(
    (status = 200, description = "The counters of this process.", body = LockMetrics),
    (status = 503, description = "The store of the locks does not answer.", body = Problem),
))]
pub(super) async fn lock_metrics(
    Extension(server): Extension<LockServer>,
) -> Result<Json<LockMetrics>, Failure> {
    let stats = server.ask("/v1/stats").await;
    let body = to_bytes(stats.into_body(), MOST).await.map_err(|_| Declined::Unavailable)?;
    Ok(Json(serde_json::from_slice(&body).map_err(|_| Declined::Unavailable)?))
}

/// What was read since the start.
#[utoipa::path(get, path = "/api/cqrs/reads/metrics", tag = "reports", responses(
    (status = 200, description = "The counters of this process.", body = ReadMetrics),
))]
pub(super) async fn read_metrics(State(bank): State<Arc<Bank>>) -> Json<ReadMetrics> {
    Json(bank.reads.metrics().await)
}

/// The report of the monitor of the locks.
#[utoipa::path(get, path = "/api/cqrs/monitor", tag = "reports", responses(
    (status = 200, description = "How the locks do.", body = MonitorReport),
))]
pub(super) async fn monitor(Extension(server): Extension<LockServer>) -> Response {
    passed_on(server.ask("/v1/monitor").await)
}

/// What is wrong with the locks, and what was.
#[utoipa::path(get, path = "/api/cqrs/alerts", tag = "reports", responses(
    (status = 200, description = "The alerts.", body = Alerts),
))]
pub(super) async fn alerts(Extension(server): Extension<LockServer>) -> Response {
    passed_on(server.ask("/v1/alerts").await)
}

/// An answer without what belongs to the connection that it would have come over.
fn passed_on(mut response: Response) -> Response {
    response.headers_mut().remove(header::CONNECTION);
    response.into_response()
}
