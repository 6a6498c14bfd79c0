//! `GET /health`, `/health/live`, `/health/ready`: the truth, asked of the store each time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use tenure_wire::{Entry, Health, Status};

use crate::answer::json;
use crate::desk::Desk;

/// A store that takes longer than this to answer works, but not as it should.
const SLOW: Duration = Duration::from_secs(1);

/// Health of the server and its store.
#[utoipa::path(get, path = "/health", tag = "health", responses(
    (status = 200, description = "Healthy or degraded.", body = Health),
    (status = 503, description = "Unhealthy.", body = Health),
))]
pub(crate) async fn health(State(desk): State<Arc<Desk>>) -> Response {
    answer([("self", live()), ("store", store(&desk).await)])
}

/// Whether the process lives. Does not ask the store.
#[utoipa::path(get, path = "/health/live", tag = "health", responses(
    (status = 200, description = "It lives.", body = Health),
))]
pub(crate) async fn health_live() -> Response {
    answer([("self", live())])
}

/// Whether the server can serve: a real trip to the store.
#[utoipa::path(get, path = "/health/ready", tag = "health", responses(
    (status = 200, description = "Healthy or degraded.", body = Health),
    (status = 503, description = "Unhealthy.", body = Health),
))]
pub(crate) async fn health_ready(State(desk): State<Arc<Desk>>) -> Response {
    answer([("store", store(&desk).await)])
}

fn live() -> (Entry, Duration) {
    let entry = Entry {
        data: BTreeMap::new(),
        description: None,
        duration: clock_time(Duration::ZERO),
        status: Status::Healthy,
        tags: vec!["live".to_owned()],
    };
    (entry, Duration::ZERO)
}

async fn store(desk: &Desk) -> (Entry, Duration) {
    let began = desk.clock.now();
    let answer = desk.step(desk.provider.ping()).await.and_then(|answer| answer);
    let took = began.until(desk.clock.now());
    let (status, description) = match answer {
        Err(error) => {
            tracing::warn!(error = %error, "the store does not answer");
            (Status::Unhealthy, Some("the store does not answer".to_owned()))
        }
        Ok(()) if desk.config.shutdown.begun.is_cancelled() => {
            (Status::Unhealthy, Some("the server is shutting down".to_owned()))
        }
        Ok(()) if took > SLOW => (Status::Degraded, Some("the store is slow".to_owned())),
        Ok(()) => (Status::Healthy, None),
    };
    let provider = desk.provider.caps().provider.to_owned();
    let entry = Entry {
        data: BTreeMap::from([("provider".to_owned(), provider)]),
        description,
        duration: clock_time(took),
        status,
        tags: vec!["lock".to_owned(), "ready".to_owned()],
    };
    (entry, took)
}

fn answer<const N: usize>(entries: [(&str, (Entry, Duration)); N]) -> Response {
    let took = entries.iter().map(|(_, (_, took))| *took).sum();
    let worst = |a: Status, b: Status| match (a, b) {
        (Status::Unhealthy, _) | (_, Status::Unhealthy) => Status::Unhealthy,
        (Status::Degraded, _) | (_, Status::Degraded) => Status::Degraded,
        _ => Status::Healthy,
    };
    let status = entries.iter().map(|(_, (entry, _))| entry.status).fold(Status::Healthy, worst);
    let code = if status == Status::Unhealthy { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let entries = entries.into_iter().map(|(name, (entry, _))| (name.to_owned(), entry)).collect();
    json(code, &Health { status, total_duration: clock_time(took), entries }, vec![])
}

/// Hours, minutes, seconds and ten-millionths of a second, as in `00:00:00.0012345`.
fn clock_time(span: Duration) -> String {
    let seconds = span.as_secs();
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{:07}", seconds % 60, span.subsec_nanos() / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_told_to_ten_millionths_of_a_second() {
        assert_eq!(clock_time(Duration::from_nanos(3_723_001_234_567)), "01:02:03.0012345");
    }
}
