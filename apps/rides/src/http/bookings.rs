//! Bookings, from the request to the end of the ride. Errors are 400 `{success, message, error}`.

use std::sync::Arc;

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
use crate::booking::{Booking, Candidate, Details, Status, User};
use crate::decimal::{Degrees, Hundredths};
use crate::rides::Rides;
use crate::store::{Done, NewBooking, Refusal};

const CREATE: &str = "Failed to create booking";
const ASSIGN: &str = "Failed to assign driver";
const ACCEPT: &str = "Failed to accept booking";
const CANCEL: &str = "Failed to cancel booking";
const COMPLETE: &str = "Failed to complete ride";
const READ: &str = "Failed to get bookings";
/// More than this a fare's column does not hold.
const DEAREST: Hundredths = Hundredths::of_parts(9_999_999_999);
/// How many bytes a kind of vehicle may have.
const LONGEST_TYPE: usize = 50;
/// How many bytes a reason may have.
const LONGEST_REASON: usize = 2_000;

pub(super) fn routes() -> OpenApiRouter<Arc<Rides>> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(read))
        .routes(routes!(assign))
        .routes(routes!(accept))
        .routes(routes!(cancel))
        .routes(routes!(complete))
        .routes(routes!(of_user))
}

/// What a change answers in all cases.
fn outcome(message: &'static str, answer: Result<Result<Done, Refusal>, Error>) -> Result<Done, Failure> {
    match answer {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(refusal)) => Err(Failure::refused(message, &refusal)),
        Err(error) => Err(Failure::of(message, &error)),
    }
}

/// The same where a booking is answered.
fn booking(message: &'static str, answer: Result<Result<Done, Refusal>, Error>) -> Result<Booking, Failure> {
    match outcome(message, answer)? {
        Done::Booking(booking) | Done::Assigned { booking, .. } => Ok(booking),
        // What was carried out under this key was something else.
        Done::Driver(_) => Err(Failure::refused(message, &Refusal::KeyReused)),
    }
}

/// A ride that is asked for.
#[derive(Deserialize, ToSchema)]
struct BookingRequest {
    /// Who rides.
    #[schema(required)]
    rider_id: Option<i64>,
    /// Where it begins: from -90 to 90.
    #[schema(value_type = f64, required)]
    pickup_lat: Option<Degrees>,
    /// Where it begins: from -180 to 180.
    #[schema(value_type = f64, required)]
    pickup_lng: Option<Degrees>,
    /// Where it ends: from -90 to 90.
    #[schema(value_type = f64, required)]
    dropoff_lat: Option<Degrees>,
    /// Where it ends: from -180 to 180.
    #[schema(value_type = f64, required)]
    dropoff_lng: Option<Degrees>,
    /// What it is said to cost, above zero.
    #[schema(value_type = f64, required)]
    estimated_fare: Option<Hundredths>,
    /// In what. Default `standard`.
    vehicle_type: Option<String>,
}

impl BookingRequest {
    fn check(self) -> Result<NewBooking, &'static str> {
        let all = (self.rider_id, self.pickup_lat, self.pickup_lng, self.dropoff_lat, self.dropoff_lng);
        let ((Some(rider_id), Some(from_lat), Some(from_lng), Some(to_lat), Some(to_lng)), Some(fare)) =
            (all, self.estimated_fare)
        else {
            return Err(
                "Missing required fields: rider_id, pickup_lat, pickup_lng, dropoff_lat, dropoff_lng, estimated_fare",
            );
        };
        if !is_latitude(from_lat) || !is_latitude(to_lat) {
            return Err("Latitude must be between -90 and 90");
        }
        if !is_longitude(from_lng) || !is_longitude(to_lng) {
            return Err("Longitude must be between -180 and 180");
        }
        check_fare(fare, "Estimated fare must be greater than 0")?;
        let vehicle_type = text(self.vehicle_type).unwrap_or_else(|| "standard".to_owned());
        if vehicle_type.len() > LONGEST_TYPE {
            return Err("Vehicle type must have at most 50 characters");
        }
        let (pickup, dropoff) = ((from_lat, from_lng), (to_lat, to_lng));
        Ok(NewBooking { rider_id, pickup, dropoff, estimated_fare: fare, vehicle_type })
    }
}

pub(super) fn is_latitude(degrees: Degrees) -> bool {
    (Degrees::whole(-90)..=Degrees::whole(90)).contains(&degrees)
}

pub(super) fn is_longitude(degrees: Degrees) -> bool {
    (Degrees::whole(-180)..=Degrees::whole(180)).contains(&degrees)
}

fn check_fare(fare: Hundredths, too_low: &'static str) -> Result<(), &'static str> {
    match fare {
        fare if fare <= Hundredths::whole(0) => Err(too_low),
        fare if fare > DEAREST => Err("Fare must be at most 99999999.99"),
        _ => Ok(()),
    }
}

/// Asks for a ride.
#[utoipa::path(post, path = "/api/bookings", tag = "bookings", request_body = BookingRequest, responses(
    (status = 201, description = "It waits for its driver.", body = Success<Booking>),
    (status = 400, description = "A field is missing or out of range, or there is no such rider.", body = Failure),
    (status = 422, description = "The Idempotency-Key was used for another request.", body = Failure),
    (status = 503, description = "The database does not answer.", body = Failure),
))]
async fn create(
    State(rides): State<Arc<Rides>>,
    headers: HeaderMap,
    sent: Bytes,
) -> Result<impl IntoResponse, Failure> {
    let asked = parse::<BookingRequest>(CREATE, &sent)?;
    let asked = asked.check().map_err(|wrong| Failure::bad(CREATE, wrong))?;
    let key = key(CREATE, &headers, "POST /api/bookings", &asked)?;
    let made = booking(CREATE, rides.dispatch.create(asked, key).await)?;
    Ok((StatusCode::CREATED, Success::done("Booking request created successfully", made)))
}

/// A booking that was given to a driver.
#[derive(Serialize, ToSchema)]
struct Assignment {
    booking: Booking,
    driver: Candidate,
}

/// Gives a booking to the nearest driver who is free, of all online within 10 km: by distance, then by rating.
#[utoipa::path(post, path = "/api/bookings/{id}/assign", tag = "bookings", responses(
    (status = 200, description = "It has a driver.", body = Success<Assignment>),
    (status = 400, description = "It has not: nothing has changed.", body = Failure),
    (status = 503, description = "The database does not answer.", body = Failure),
))]
async fn assign(
    State(rides): State<Arc<Rides>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Failure> {
    let id = number(&id).ok_or_else(|| Failure::refused(ASSIGN, &Refusal::NotPending))?;
    let key = key(ASSIGN, &headers, &format!("POST /api/bookings/{id}/assign"), &())?;
    match outcome(ASSIGN, rides.dispatch.assign(id, key).await)? {
        Done::Assigned { booking, driver } => {
            Ok(Success::done("Driver assigned successfully", Assignment { booking, driver }))
        }
        _ => Err(Failure::refused(ASSIGN, &Refusal::KeyReused)),
    }
}

/// Who agrees.
#[derive(Serialize, Deserialize, ToSchema)]
struct Acceptance {
    /// The driver whom it was given to.
    #[schema(required)]
    driver_id: Option<i64>,
}

/// The driver agrees.
#[utoipa::path(post, path = "/api/bookings/{id}/accept", tag = "bookings", request_body = Acceptance, responses(
    (status = 200, description = "It is accepted.", body = Success<Booking>),
    (status = 400, description = "It is not: nothing has changed.", body = Failure),
    (status = 503, description = "The database does not answer.", body = Failure),
))]
async fn accept(
    State(rides): State<Arc<Rides>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    sent: Bytes,
) -> Result<impl IntoResponse, Failure> {
    let asked: Acceptance = parse(ACCEPT, &sent)?;
    let driver = asked.driver_id.ok_or_else(|| Failure::bad(ACCEPT, "Driver ID is required"))?;
    let id = number(&id).ok_or_else(|| Failure::refused(ACCEPT, &Refusal::NotAssigned))?;
    let key = key(ACCEPT, &headers, &format!("POST /api/bookings/{id}/accept"), &asked)?;
    let accepted = booking(ACCEPT, rides.dispatch.accept(id, driver, key).await)?;
    Ok(Success::done("Booking accepted successfully", accepted))
}

/// Why it is not to take place, and who says so.
#[derive(Serialize, Deserialize, ToSchema)]
struct Cancellation {
    /// Why.
    #[schema(required)]
    reason: Option<String>,
    /// Who says so.
    #[schema(required)]
    user_id: Option<i64>,
    /// `rider` or `driver`.
    #[schema(required)]
    user_type: Option<String>,
}

/// Cancels a booking that is not over, and sets its driver free.
#[utoipa::path(post, path = "/api/bookings/{id}/cancel", tag = "bookings", request_body = Cancellation, responses(
    (status = 200, description = "It is cancelled.", body = Success<Booking>),
    (status = 400, description = "It is not: nothing has changed.", body = Failure),
    (status = 503, description = "The database does not answer.", body = Failure),
))]
async fn cancel(
    State(rides): State<Arc<Rides>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    sent: Bytes,
) -> Result<impl IntoResponse, Failure> {
    let asked: Cancellation = parse(CANCEL, &sent)?;
    let id = number(&id).ok_or_else(|| Failure::refused(CANCEL, &Refusal::NoBooking))?;
    let key = key(CANCEL, &headers, &format!("POST /api/bookings/{id}/cancel"), &asked)?;
    let (Some(reason), Some(user), Some(side)) = (text(asked.reason), asked.user_id, text(asked.user_type))
    else {
        return Err(Failure::bad(CANCEL, "Reason, user ID and user type are required"));
    };
    if reason.len() > LONGEST_REASON {
        return Err(Failure::bad(CANCEL, "Reason must have at most 2000 characters"));
    }
    let by =
        User::of(&side, user).ok_or_else(|| Failure::bad(CANCEL, "User type must be rider or driver"))?;
    let cancelled = booking(CANCEL, rides.dispatch.cancel(id, reason, by, key).await)?;
    Ok(Success::done("Booking cancelled successfully", cancelled))
}

/// Who says that a ride is over, and what it has cost.
#[derive(Serialize, Deserialize, ToSchema)]
struct Completion {
    /// The driver who has accepted it.
    #[schema(required)]
    driver_id: Option<i64>,
    /// What it has cost, above zero.
    #[schema(value_type = f64, required)]
    actual_fare: Option<Hundredths>,
}

/// The ride is over, and its driver free.
#[utoipa::path(post, path = "/api/bookings/{id}/complete", tag = "bookings", request_body = Completion, responses(
    (status = 200, description = "It is completed.", body = Success<Booking>),
    (status = 400, description = "It is not: nothing has changed.", body = Failure),
    (status = 503, description = "The database does not answer.", body = Failure),
))]
async fn complete(
    State(rides): State<Arc<Rides>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    sent: Bytes,
) -> Result<impl IntoResponse, Failure> {
    let asked: Completion = parse(COMPLETE, &sent)?;
    let (Some(driver), Some(fare)) = (asked.driver_id, asked.actual_fare) else {
        return Err(Failure::bad(COMPLETE, "Driver ID and actual fare are required"));
    };
    check_fare(fare, "Actual fare must be greater than 0").map_err(|wrong| Failure::bad(COMPLETE, wrong))?;
    let id = number(&id).ok_or_else(|| Failure::refused(COMPLETE, &Refusal::NotAccepted))?;
    let key = key(COMPLETE, &headers, &format!("POST /api/bookings/{id}/complete"), &asked)?;
    let completed = booking(COMPLETE, rides.dispatch.complete(id, driver, fare, key).await)?;
    Ok(Success::done("Ride completed successfully", completed))
}

/// Reads a booking. Waits for no lock.
#[utoipa::path(get, path = "/api/bookings/{id}", tag = "bookings", responses(
    (status = 200, description = "The booking, and whom it concerns.", body = Success<Details>),
    (status = 404, description = "There is none.", body = Failure),
    (status = 503, description = "The database does not answer.", body = Failure),
))]
async fn read(State(rides): State<Arc<Rides>>, Path(id): Path<String>) -> Result<impl IntoResponse, Failure> {
    let absent = || Failure::absent("Booking not found");
    let id = number(&id).ok_or_else(absent)?;
    let found =
        rides.store.booking(id).await.map_err(|error| Failure::of("Failed to get booking", &error))?;
    Ok(Success::read(found.ok_or_else(absent)?))
}

/// Of which side, and which of the bookings.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Side {
    /// `rider` or `driver`.
    #[param(required)]
    user_type: Option<String>,
    /// Only bookings with this status.
    #[param(value_type = Option<Status>)]
    status: Option<String>,
}

/// The bookings of somebody, the newest first.
#[utoipa::path(get, path = "/api/users/{id}/bookings", tag = "bookings", params(Side), responses(
    (status = 200, description = "The bookings, and whom they concern.", body = List<Details>),
    (status = 400, description = "Of which side?", body = Failure),
    (status = 503, description = "The database does not answer.", body = Failure),
))]
async fn of_user(
    State(rides): State<Arc<Rides>>,
    Path(id): Path<String>,
    Query(side): Query<Side>,
) -> Result<impl IntoResponse, Failure> {
    let bad = |wrong: &str| Failure::bad(READ, wrong);
    let id = number(&id).ok_or_else(|| bad("User ID must be a number"))?;
    let word = text(side.user_type).ok_or_else(|| bad("User type is required (rider or driver)"))?;
    let user = User::of(&word, id).ok_or_else(|| bad("Invalid user type"))?;
    let status = match text(side.status) {
        Some(word) => Some(Status::of(&word).ok_or_else(|| bad("Invalid status"))?),
        None => None,
    };
    let found = rides.store.bookings(user, status).await;
    Ok(List::of(found.map_err(|error| Failure::of(READ, &error))?))
}
