//! The map: who is where, and what becomes of bookings, while it happens.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{Html, IntoResponse};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::Failure;
use crate::booking::{Booking, DriverStatus};
use crate::rides::Rides;

const PAGE: &str = include_str!("map.html");
/// How many drivers are shown: more would be one blot.
const DRIVERS: u32 = 1_000;
/// How many bookings are shown.
const BOOKINGS: u32 = 40;

pub(super) fn routes() -> OpenApiRouter<Arc<Rides>> {
    OpenApiRouter::new().routes(routes!(map))
}

/// The page, which asks for the rest itself.
pub(super) async fn page() -> Html<&'static str> {
    Html(PAGE)
}

/// What the page shows.
#[derive(Serialize, ToSchema)]
struct Map {
    drivers: Vec<Dot>,
    /// The newest ones, the newest first.
    bookings: Vec<Booking>,
}

/// A driver on the map.
#[derive(Serialize, ToSchema)]
struct Dot {
    id: i64,
    name: String,
    lat: f64,
    lng: f64,
    status: DriverStatus,
}

/// The drivers who have a place, and the newest bookings.
#[utoipa::path(get, path = "/api/map", tag = "map", responses(
    (status = 200, description = "As they are now.", body = Map),
    (status = 503, description = "The database does not answer.", body = Failure),
))]
async fn map(State(rides): State<Arc<Rides>>) -> Result<impl IntoResponse, Failure> {
    let (drivers, bookings) = tokio::join!(rides.store.drivers(0, DRIVERS), rides.store.newest(BOOKINGS));
    let failed = |error| Failure::of("Failed to get the map", &error);
    let (drivers, bookings) = (drivers.map_err(failed)?, bookings.map_err(failed)?);
    let dots = drivers.into_iter().filter_map(|driver| {
        let (lat, lng) = driver.lat.zip(driver.lng)?;
        let (lat, lng) = (lat.to_f64(), lng.to_f64());
        Some(Dot { id: driver.id, name: driver.name, lat, lng, status: driver.status })
    });
    Ok(Json(Map { drivers: dots.collect(), bookings }))
}
