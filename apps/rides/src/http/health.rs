//! `GET /api/health`: the truth, asked of the stores each time.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::rides::Rides;
use crate::time::Timestamp;

/// How long a store is waited for, before it counts as away.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn routes() -> OpenApiRouter<Arc<Rides>> {
    OpenApiRouter::new().routes(routes!(health))
}

/// How the service is.
#[derive(Serialize, ToSchema)]
struct RidesHealth {
    /// Whether it serves.
    success: bool,
    /// The same in words.
    #[schema(value_type = String)]
    message: &'static str,
    /// When that was found.
    #[schema(value_type = String, format = "date-time")]
    timestamp: Timestamp,
    /// Of the API.
    #[schema(value_type = String)]
    version: &'static str,
    /// `healthy`, `degraded` or `unhealthy`.
    #[schema(value_type = String)]
    status: &'static str,
    services: Services,
}

/// How its stores are.
#[derive(Serialize, ToSchema)]
struct Services {
    /// `connected`, `disconnected`, or `not configured`: then `database` is a file.
    #[schema(value_type = String)]
    postgres: &'static str,
    /// `connected`, `disconnected` or `not configured`. The service does without it.
    #[schema(value_type = String)]
    redis: &'static str,
    /// The database, whichever it is: `connected` or `disconnected`.
    #[schema(value_type = String)]
    database: &'static str,
    /// The store of the locks: `connected`, or `degraded`: then the database alone excludes.
    #[schema(value_type = String)]
    locks: &'static str,
}

/// Whether rides can be served, and how their stores are.
#[utoipa::path(get, path = "/api/health", tag = "health", responses(
    (status = 200, description = "Healthy, or degraded: it does without Redis and locks.", body = RidesHealth),
    (status = 503, description = "Unhealthy: the database does not answer.", body = RidesHealth),
))]
async fn health(State(rides): State<Arc<Rides>>) -> impl IntoResponse {
    let index = async {
        match &rides.index {
            Some(index) => Some(answers(index.ping()).await),
            None => None,
        }
    };
    let (database, locks, redis) =
        tokio::join!(answers(rides.store.ping()), answers(rides.locks.provider().ping()), index);
    let word = |answers: bool| if answers { "connected" } else { "disconnected" };
    let services = Services {
        postgres: if rides.store.store() == "postgresql" { word(database) } else { "not configured" },
        redis: redis.map_or("not configured", word),
        database: word(database),
        locks: if locks { "connected" } else { "degraded" },
    };
    let (code, message, status) = match database {
        false => (StatusCode::SERVICE_UNAVAILABLE, "The database does not answer", "unhealthy"),
        true if !locks || redis == Some(false) => (
            StatusCode::OK,
            "Rides are served by the database alone: Redis or the locks do not answer",
            "degraded",
        ),
        true => (StatusCode::OK, "Rides are served", "healthy"),
    };
    let timestamp = Timestamp::now();
    let health = RidesHealth { success: database, message, timestamp, version: "3.0.0", status, services };
    (code, Json(health))
}

async fn answers(ping: impl Future<Output = tenure::Result<()>>) -> bool {
    match tokio::time::timeout(PATIENCE, ping).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::warn!(error = %error, "a store does not answer");
            false
        }
        Err(_) => false,
    }
}
