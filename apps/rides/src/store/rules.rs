//! What a change does to a booking and its driver, whatever the store.

use tenure::FencingToken;

use super::{Action, Change, Changed, Done};
use crate::booking::{Booking, Driver, DriverStatus, Status, User};
use crate::time::Timestamp;

/// Why something is not done. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such booking, or it does not wait for a driver any more.
    #[error("Booking not found or already processed")]
    NotPending,
    /// There is no such booking, or it was not given to that driver.
    #[error("Booking not found or not assigned to this driver")]
    NotAssigned,
    /// There is no such booking, or that driver has not agreed to it.
    #[error("Booking not found or not accepted by this driver")]
    NotAccepted,
    /// There is no such booking.
    #[error("Booking not found")]
    NoBooking,
    /// It is somebody else's.
    #[error("Unauthorized: Not your booking")]
    NotYours,
    /// It was over, or cancelled, before.
    #[error("Booking cannot be cancelled in current state")]
    Ended,
    /// Nobody is online within reach.
    #[error("No available drivers found")]
    NoDrivers,
    /// All who were online are somebody else's by now.
    #[error("All nearby drivers are currently busy")]
    AllBusy,
    /// This driver is not to be had any more.
    #[error("This driver is not available any more")]
    DriverTaken,
    /// The booking has another driver than the one who is locked.
    #[error("The booking has changed meanwhile, please try again")]
    Moved,
    /// Somebody else has the lock, and kept it for as long as it was waited for.
    #[error("Failed to acquire lock for {0}: Failed to acquire lock after 3 attempts")]
    Locked(String),
    /// The lock has passed on.
    #[error("The lock has passed to another request, please try again")]
    Stale,
    /// There is no such rider.
    #[error("Rider not found")]
    NoRider,
    /// There is no such driver.
    #[error("Driver not found")]
    NoDriver,
    /// Another driver has this phone number.
    #[error("Driver with this phone number already exists")]
    PhoneTaken,
    /// The driver is on a ride, which says how busy they are.
    #[error("Driver has an active booking")]
    OnRide,
    /// The idempotency key was used for another request.
    #[error("Idempotency-Key was used for another request")]
    KeyReused,
}

/// A driver as a transaction has loaded them.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    pub(super) driver: Driver,
    /// Whether they have an active booking.
    pub(super) is_riding: bool,
}

/// Raises a fence to a token.
pub(super) fn raise(fence: &mut u64, token: Option<FencingToken>) -> Result<(), Refusal> {
    let Some(token) = token else { return Ok(()) };
    if token.get() < *fence {
        return Err(Refusal::Stale);
    }
    *fence = token.get();
    Ok(())
}

/// Makes a change to the booking and its driver, in place, or refuses it; what was half done is then to be thrown away.
pub(super) fn decide(
    booking: Option<Booking>,
    driver: Option<Loaded>,
    change: &Change,
    at: Timestamp,
) -> Result<(Booking, Changed), Refusal> {
    let mut booking = booking.ok_or_else(|| absent(&change.action))?;
    raise(&mut booking.fence, change.tokens.map(|tokens| tokens.booking))?;
    let mut driver = driver;
    if let (Some(tokens), Some(loaded)) = (change.tokens, &mut driver) {
        let token = tokens.driver.filter(|(id, _)| *id == loaded.driver.id);
        let (_, token) = token.ok_or(Refusal::Moved)?;
        raise(&mut loaded.driver.fence, Some(token))?;
    }
    let status = step(&mut booking, driver.as_ref(), &change.action, at)?;
    let driver = driver.map(|Loaded { mut driver, .. }| {
        driver.status = status;
        driver.total_rides += i64::from(booking.status == Status::Completed);
        update(&mut driver, at);
        driver
    });
    let done = match &change.action {
        Action::Assign(candidate) => Done::Assigned { booking: booking.clone(), driver: candidate.clone() },
        _ => Done::Booking(booking.clone()),
    };
    Ok((booking, Changed { done, driver }))
}

/// Takes the booking a step further, and tells what its driver is from then on.
fn step(
    booking: &mut Booking,
    driver: Option<&Loaded>,
    action: &Action,
    at: Timestamp,
) -> Result<DriverStatus, Refusal> {
    let is_with = |id: i64, status| booking.driver_id == Some(id) && booking.status == status;
    match action {
        Action::Assign(candidate) => {
            if booking.status != Status::Pending {
                return Err(Refusal::NotPending);
            }
            let is_free =
                |loaded: &&Loaded| loaded.driver.status == DriverStatus::Online && !loaded.is_riding;
            driver.filter(is_free).ok_or(Refusal::DriverTaken)?;
            (booking.status, booking.driver_id, booking.assigned_at) =
                (Status::Assigned, Some(candidate.id), Some(at));
            Ok(DriverStatus::Busy)
        }
        Action::Accept { driver } => {
            if !is_with(*driver, Status::Assigned) {
                return Err(Refusal::NotAssigned);
            }
            (booking.status, booking.accepted_at) = (Status::Accepted, Some(at));
            Ok(DriverStatus::Busy)
        }
        Action::Cancel { reason, by } => {
            let is_theirs = match by {
                User::Rider(id) => booking.rider_id == *id,
                User::Driver(id) => booking.driver_id == Some(*id),
            };
            if !is_theirs {
                return Err(Refusal::NotYours);
            }
            if matches!(booking.status, Status::Cancelled | Status::Completed) {
                return Err(Refusal::Ended);
            }
            (booking.status, booking.cancelled_at) = (Status::Cancelled, Some(at));
            booking.cancellation_reason = Some(reason.clone());
            Ok(DriverStatus::Online)
        }
        Action::Complete { driver, fare } => {
            if !is_with(*driver, Status::Accepted) {
                return Err(Refusal::NotAccepted);
            }
            (booking.status, booking.completed_at) = (Status::Completed, Some(at));
            booking.actual_fare = Some(*fare);
            Ok(DriverStatus::Online)
        }
    }
}

/// What is said where there is no such booking.
fn absent(action: &Action) -> Refusal {
    match action {
        Action::Assign(_) => Refusal::NotPending,
        Action::Accept { .. } => Refusal::NotAssigned,
        Action::Cancel { .. } => Refusal::NoBooking,
        Action::Complete { .. } => Refusal::NotAccepted,
    }
}

/// Says whether a driver may be had, who is not on a ride.
pub(super) fn set_status(loaded: &mut Loaded, status: DriverStatus) -> Result<(), Refusal> {
    if loaded.is_riding && status != DriverStatus::Busy {
        return Err(Refusal::OnRide);
    }
    loaded.driver.status = status;
    Ok(())
}

/// Notes that a driver has changed.
pub(super) fn update(driver: &mut Driver, at: Timestamp) {
    driver.version += 1;
    driver.updated_at = at;
}
