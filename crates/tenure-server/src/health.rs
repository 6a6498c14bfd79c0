//! `GET /health`, `/health/live`, `/health/ready`: the truth, asked of the store each time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use tenure::Clock;
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
    answer([Check::live(), store(&desk).await])
}

/// Whether the process lives. Does not ask the store.
#[utoipa::path(get, path = "/health/live", tag = "health", responses(
    (status = 200, description = "It lives.", body = Health),
))]
pub(crate) async fn health_live() -> Response {
    answer([Check::live()])
}

/// Whether the server can serve: a real trip to the store.
#[utoipa::path(get, path = "/health/ready", tag = "health", responses(
    (status = 200, description = "Healthy or degraded.", body = Health),
    (status = 503, description = "Unhealthy.", body = Health),
))]
pub(crate) async fn health_ready(State(desk): State<Arc<Desk>>) -> Response {
    answer([store(&desk).await])
}

async fn store(desk: &Desk) -> Check {
    let ping = async { desk.step(desk.provider.ping()).await.and_then(|answer| answer) };
    let mut check = Check::of("store", &["lock", "ready"], desk.clock, ping).await;
    if check.entry.status != Status::Unhealthy && desk.config.shutdown.begun.is_cancelled() {
        check.entry.status = Status::Unhealthy;
        check.entry.description = Some("the server is shutting down".to_owned());
    }
    check.with("provider", desk.provider.caps().provider)
}

/// One thing that a service needs, and how it is.
#[derive(Debug)]
pub struct Check {
    name: &'static str,
    entry: Entry,
    took: Duration,
}

impl Check {
    /// The process itself, which is alive if it says so.
    pub fn live() -> Self {
        let tags = vec!["live".to_owned()];
        let duration = clock_time(Duration::ZERO);
        let entry =
            Entry { data: BTreeMap::new(), description: None, duration, status: Status::Healthy, tags };
        Check { name: "self", entry, took: Duration::ZERO }
    }

    /// What a real trip to a store says of it. A store that takes longer than a second works, but not as it should.
    pub async fn of(
        name: &'static str,
        tags: &[&str],
        clock: Clock,
        ping: impl Future<Output = tenure::Result<()>>,
    ) -> Self {
        let began = clock.now();
        let answer = ping.await;
        let took = began.until(clock.now());
        let (status, description) = match answer {
            Err(error) => {
                tracing::warn!(store = name, error = %error, "the store does not answer");
                (Status::Unhealthy, Some("the store does not answer".to_owned()))
            }
            Ok(()) if took > SLOW => (Status::Degraded, Some("the store is slow".to_owned())),
            Ok(()) => (Status::Healthy, None),
        };
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        Check {
            name,
            entry: Entry { data: BTreeMap::new(), description, duration: clock_time(took), status, tags },
            took,
        }
    }

    /// With something else that is known of it.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.entry.data.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The same, but at worst degraded: the service can do without it.
    #[must_use]
    pub fn dispensable(mut self) -> Self {
        if self.entry.status == Status::Unhealthy {
            self.entry.status = Status::Degraded;
        }
        self
    }
}

/// What several checks amount to, with the status that it is answered with: 503 when one is unhealthy, else 200.
pub fn report(checks: impl IntoIterator<Item = Check>) -> (StatusCode, Health) {
    let (mut status, mut took, mut entries) = (Status::Healthy, Duration::ZERO, BTreeMap::new());
    for check in checks {
        status = match (status, check.entry.status) {
            (Status::Unhealthy, _) | (_, Status::Unhealthy) => Status::Unhealthy,
            (Status::Degraded, _) | (_, Status::Degraded) => Status::Degraded,
            _ => Status::Healthy,
        };
        took += check.took;
        entries.insert(check.name.to_owned(), check.entry);
    }
    let code = if status == Status::Unhealthy { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (code, Health { status, total_duration: clock_time(took), entries })
}

fn answer(checks: impl IntoIterator<Item = Check>) -> Response {
    let (code, health) = report(checks);
    json(code, &health, vec![])
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
