//! Drivers: who they are, where, whether they may be had, and who is near.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use tenure::Error;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{Failure, List, Success, key, number, parse, text};
use super::bookings::{is_latitude, is_longitude};
use crate::booking::{Candidate, Driver, DriverStatus};
use crate::decimal::{Degrees, Hundredths};
use crate::geo::{Method, Place};
use crate::rides::Rides;
use crate::store::{Done, NewDriver, Refusal};

const LIST: &str = "Failed to get drivers";
const NEARBY: &str = "Failed to find nearby drivers";
const ADD: &str = "Failed to create driver";
const MOVE: &str = "Failed to update driver location";
const STATUS: &str = "Failed to update driver status";
/// How many drivers are read at a time.
const PAGE: u32 = 1_000;
/// How many bytes a name, a phone number or an address may have.
const LONGEST: usize = 255;
/// The radius of a search when none is said, in km.
const RADIUS: f64 = 5.0;
/// Half the way around the earth, in km: everybody is nearer.
const FARTHEST: f64 = 20_040.0;

pub(super) fn routes() -> OpenApiRouter<Arc<Rides>> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(nearby))
        .routes(routes!(read))
        .routes(routes!(relocate))
        .routes(routes!(set_status))
}

/// All drivers, by number.
#[utoipa::path(get, path = "/api/drivers", tag = "drivers", responses(
    (status = 200, description = "The drivers.", body = List<Driver>),
    (status = 503, description = "The database does not answer.", body = Failure),
))]
async fn list(State(rides): State<Arc<Rides>>) -> Result<impl IntoResponse, Failure> {
    let mut all: Vec<Driver> = Vec::new();
    loop {
        let after = all.last().map_or(0, |driver| driver.id);
        let page = rides.store.drivers(after, PAGE).await.map_err(|error| Failure::of(LIST, &error))?;
        if page.is_empty() {
            return Ok(List::of(all));
        }
        all.extend(page);
    }
}

/// One driver.
#[utoipa::path(get, path = "/api/drivers/{id}", tag = "drivers", responses(
    (status = 200, description = "The driver.", body = Success<Driver>),
    (status = 404, description = "There is none.", body = Failure),
    (status = 503, description = "The database does not answer.", body = Failure),
))]
async fn read(State(rides): State<Arc<Rides>>, Path(id): Path<String>) -> Result<impl IntoResponse, Failure> {
    let absent = || Failure::absent("Driver not found");
    let id = number(&id).ok_or_else(absent)?;
    let found = rides.store.drivers_of(&[id]).await.map_err(|error| Failure::of(LIST, &error))?;
    Ok(Success::read(found.into_iter().next().ok_or_else(absent)?))
}

/// Where to look.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Around {
    /// From -90 to 90.
    #[param(value_type = f64, required)]
    lat: Option<String>,
    /// From -180 to 180.
    #[param(value_type = f64, required)]
    lng: Option<String>,
    /// In km, above 0. Default 5.
    #[param(value_type = Option<f64>)]
    radius: Option<String>,
}

/// Drivers who are near.
#[derive(Serialize, ToSchema)]
struct Neighbours {
    success: bool,
    data: Vec<Neighbour>,
    performance: Performance,
    #[serde(rename = "searchParams")]
    search_params: SearchParams,
}

/// A driver who is near.
#[derive(Serialize, ToSchema)]
struct Neighbour {
    id: i64,
    name: String,
    phone: String,
    #[schema(value_type = String)]
    lat: Degrees,
    #[schema(value_type = String)]
    lng: Degrees,
    status: DriverStatus,
    vehicle_type: String,
    #[schema(value_type = String)]
    rating: Hundredths,
    /// In km.
    distance: f64,
}

impl From<Candidate> for Neighbour {
    fn from(candidate: Candidate) -> Self {
        let Candidate { id, name, phone, lat, lng, vehicle_type, rating, distance } = candidate;
        let status = DriverStatus::Online;
        Neighbour { id, name, phone, lat, lng, status, vehicle_type, rating, distance }
    }
}

/// How the search went.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Performance {
    /// How long it took, as in `1.25ms`.
    query_time: String,
    drivers_found: usize,
    /// `redis_geo` or `h3_cells`.
    #[schema(value_type = String)]
    method: &'static str,
    #[schema(value_type = String)]
    note: &'static str,
}

/// What was looked for.
#[derive(Serialize, ToSchema)]
struct SearchParams {
    lat: f64,
    lng: f64,
    radius: f64,
}

/// The drivers online within a radius, the nearest first, of two as near the better one.
#[utoipa::path(get, path = "/api/drivers/nearby", tag = "drivers", params(Around), responses(
    (status = 200, description = "All of them.", body = Neighbours),
    (status = 400, description = "Where?", body = Failure),
    (status = 503, description = "The database does not answer.", body = Failure),
))]
async fn nearby(
    State(rides): State<Arc<Rides>>,
    Query(around): Query<Around>,
) -> Result<impl IntoResponse, Failure> {
    let bad = |wrong: &str| Failure::bad(NEARBY, wrong);
    let (Some(lat), Some(lng)) = (text(around.lat), text(around.lng)) else {
        return Err(bad("Latitude and longitude are required"));
    };
    let degrees = |text: &str| text.parse::<Degrees>().ok();
    let lat = degrees(&lat).filter(|lat| is_latitude(*lat));
    let lng = degrees(&lng).filter(|lng| is_longitude(*lng));
    let lat = lat.ok_or_else(|| bad("Latitude must be between -90 and 90"))?;
    let lng = lng.ok_or_else(|| bad("Longitude must be between -180 and 180"))?;
    let radius = match text(around.radius) {
        Some(text) => text.parse().ok().filter(|radius| (f64::MIN_POSITIVE..=FARTHEST).contains(radius)),
        None => Some(RADIUS),
    };
    let radius = radius.ok_or_else(|| bad("Radius must be above 0 and at most 20040"))?;
    let place = Place::of(lat, lng);
    let clock = rides.locks.clock();
    let began = clock.now();
    let found = rides.dispatch.nearby.within(place, radius).await;
    let found = found.map_err(|error| Failure::of(NEARBY, &error))?;
    let took = began.until(clock.now()).as_secs_f64() * 1e3;
    let note = match found.method {
        Method::Redis => "Found by GEOSEARCH in Redis, checked in the database",
        Method::Cells => "Found by H3 cells in the database",
    };
    let performance = Performance {
        query_time: format!("{took:.2}ms"),
        drivers_found: found.drivers.len(),
        method: found.method.word(),
        note,
    };
    let data = found.drivers.into_iter().map(Neighbour::from).collect();
    let search_params = SearchParams { lat: place.lat, lng: place.lng, radius };
    Ok(Json(Neighbours { success: true, data, performance, search_params }))
}

/// A driver to be written down.
#[derive(Deserialize, ToSchema)]
struct DriverRequest {
    #[schema(required)]
    name: Option<String>,
    /// No other driver has it.
    #[schema(required)]
    phone: Option<String>,
    email: Option<String>,
    /// From -90 to 90; with `lng`, or not at all.
    #[schema(value_type = Option<f64>)]
    lat: Option<Degrees>,
    /// From -180 to 180.
    #[schema(value_type = Option<f64>)]
    lng: Option<Degrees>,
    /// Default `offline`.
    status: Option<DriverStatus>,
    /// Default `standard`.
    vehicle_type: Option<String>,
    /// From 0 to 5. Default 5.
    #[schema(value_type = Option<f64>)]
    rating: Option<Hundredths>,
}

impl DriverRequest {
    fn check(self) -> Result<NewDriver, &'static str> {
        let (Some(name), Some(phone)) = (text(self.name), text(self.phone)) else {
            return Err("Name and phone are required");
        };
        let email = text(self.email);
        let vehicle_type = text(self.vehicle_type).unwrap_or_else(|| "standard".to_owned());
        let texts = [Some(&name), Some(&phone), email.as_ref(), Some(&vehicle_type)];
        if texts.into_iter().flatten().any(|text| text.len() > LONGEST) {
            return Err("A text must have at most 255 characters");
        }
        let at = match (self.lat, self.lng) {
            (Some(lat), Some(lng)) => Some(check_place(lat, lng)?),
            (None, None) => None,
            _ => return Err("Latitude and longitude are required"),
        };
        let rating = self.rating.unwrap_or(Hundredths::whole(5));
        if !(Hundredths::whole(0)..=Hundredths::whole(5)).contains(&rating) {
            return Err("Rating must be between 0 and 5");
        }
        let status = self.status.unwrap_or(DriverStatus::Offline);
        Ok(NewDriver { name, phone, email, at, status, vehicle_type, rating })
    }
}

fn check_place(lat: Degrees, lng: Degrees) -> Result<(Degrees, Degrees), &'static str> {
    match (is_latitude(lat), is_longitude(lng)) {
        (false, _) => Err("Latitude must be between -90 and 90"),
        (_, false) => Err("Longitude must be between -180 and 180"),
        _ => Ok((lat, lng)),
    }
}

/// Writes down a driver.
#[utoipa::path(post, path = "/api/drivers", tag = "drivers", request_body = DriverRequest, responses(
    (status = 201, description = "The driver is known from now on.", body = Success<Driver>),
    (status = 400, description = "A field is missing or out of range.", body = Failure),
    (status = 409, description = "Another driver has this phone number.", body = Failure),
    (status = 422, description = "The Idempotency-Key was used for another request.", body = Failure),
    (status = 503, description = "The database does not answer.", body = Failure),
))]
async fn add(
    State(rides): State<Arc<Rides>>,
    headers: HeaderMap,
    sent: Bytes,
) -> Result<impl IntoResponse, Failure> {
    let asked = parse::<DriverRequest>(ADD, &sent)?.check().map_err(|wrong| Failure::bad(ADD, wrong))?;
    let key = key(ADD, &headers, "POST /api/drivers", &asked)?;
    let added = rides.dispatch.add_driver(asked, key).await.map_err(|error| Failure::of(ADD, &error))?;
    match added {
        Ok(Done::Driver(driver)) => {
            Ok((StatusCode::CREATED, Success::done("Driver created successfully", driver)))
        }
        Ok(_) => Err(Failure::refused(ADD, &Refusal::KeyReused)),
        Err(refusal @ Refusal::PhoneTaken) => Err(Failure::refused(ADD, &refusal).with(StatusCode::CONFLICT)),
        Err(refusal) => Err(Failure::refused(ADD, &refusal)),
    }
}

/// Where a driver is.
#[derive(Deserialize, ToSchema)]
struct Location {
    /// From -90 to 90.
    #[schema(value_type = f64, required)]
    lat: Option<Degrees>,
    /// From -180 to 180.
    #[schema(value_type = f64, required)]
    lng: Option<Degrees>,
}

/// Says where a driver is.
#[utoipa::path(post, path = "/api/drivers/{id}/location", tag = "drivers", request_body = Location, responses(
    (status = 200, description = "The driver is there.", body = Success<Driver>),
    (status = 400, description = "Where?", body = Failure),
    (status = 404, description = "There is no such driver.", body = Failure),
    (status = 503, description = "The database does not answer.", body = Failure),
))]
async fn relocate(
    State(rides): State<Arc<Rides>>,
    Path(id): Path<String>,
    sent: Bytes,
) -> Result<impl IntoResponse, Failure> {
    let Location { lat: Some(lat), lng: Some(lng) } = parse(MOVE, &sent)? else {
        return Err(Failure::bad(MOVE, "Latitude and longitude are required"));
    };
    let (lat, lng) = check_place(lat, lng).map_err(|wrong| Failure::bad(MOVE, wrong))?;
    let id = number(&id).ok_or_else(|| Failure::absent("Driver not found"))?;
    let moved = changed(MOVE, rides.dispatch.move_driver(id, lat, lng).await)?;
    Ok(Success::done("Driver location updated successfully", moved))
}

/// Whether a driver may be had.
#[derive(Deserialize, ToSchema)]
struct Standing {
    /// `offline`, `online` or `busy`.
    #[schema(value_type = DriverStatus, required)]
    status: Option<String>,
}

/// Says whether a driver may be had. A driver on a ride stays busy until it is over.
#[utoipa::path(patch, path = "/api/drivers/{id}/status", tag = "drivers", request_body = Standing, responses(
    (status = 200, description = "So it is.", body = Success<Driver>),
    (status = 400, description = "No such status.", body = Failure),
    (status = 404, description = "There is no such driver.", body = Failure),
    (status = 409, description = "The driver is on a ride.", body = Failure),
    (status = 503, description = "The database does not answer.", body = Failure),
))]
async fn set_status(
    State(rides): State<Arc<Rides>>,
    Path(id): Path<String>,
    sent: Bytes,
) -> Result<impl IntoResponse, Failure> {
    let Standing { status } = parse(STATUS, &sent)?;
    let status = text(status).as_deref().and_then(DriverStatus::of);
    let status = status.ok_or_else(|| Failure::bad(STATUS, "Status must be offline, online or busy"))?;
    let id = number(&id).ok_or_else(|| Failure::absent("Driver not found"))?;
    let set = changed(STATUS, rides.dispatch.set_status(id, status).await)?;
    Ok(Success::done("Driver status updated successfully", set))
}

fn changed(message: &'static str, answer: Result<Result<Driver, Refusal>, Error>) -> Result<Driver, Failure> {
    match answer.map_err(|error| Failure::of(message, &error))? {
        Ok(driver) => Ok(driver),
        Err(Refusal::NoDriver) => Err(Failure::absent("Driver not found")),
        Err(refusal) => Err(Failure::refused(message, &refusal).with(StatusCode::CONFLICT)),
    }
}
