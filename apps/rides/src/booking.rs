//! What is booked, and who drives: values, as they are kept and as they are told.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::decimal::{Degrees, Hundredths};
use crate::time::Timestamp;

/// A ride that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Booking {
    /// Its number.
    pub id: i64,
    /// Who rides.
    pub rider_id: i64,
    /// Who drives, from its assignment on.
    pub driver_id: Option<i64>,
    /// Where it begins.
    #[schema(value_type = String, example = "40.71280000")]
    pub pickup_lat: Degrees,
    /// Where it begins.
    #[schema(value_type = String)]
    pub pickup_lng: Degrees,
    /// Where it ends.
    #[schema(value_type = String)]
    pub dropoff_lat: Degrees,
    /// Where it ends.
    #[schema(value_type = String)]
    pub dropoff_lng: Degrees,
    /// What it was said to cost.
    #[schema(value_type = String, example = "15.50")]
    pub estimated_fare: Hundredths,
    /// What it has cost.
    #[schema(value_type = Option<String>)]
    pub actual_fare: Option<Hundredths>,
    /// In what.
    pub vehicle_type: String,
    /// How far it is.
    pub status: Status,
    /// Why it was cancelled.
    pub cancellation_reason: Option<String>,
    /// When it was asked for.
    #[schema(value_type = String, format = "date-time")]
    pub created_at: Timestamp,
    /// When a driver was found.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub assigned_at: Option<Timestamp>,
    /// When the driver agreed.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub accepted_at: Option<Timestamp>,
    /// When it was cancelled.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub cancelled_at: Option<Timestamp>,
    /// When it was over.
    #[schema(value_type = Option<String>, format = "date-time")]
    pub completed_at: Option<Timestamp>,
    /// The greatest fencing token that a write came with; 0 for none.
    #[serde(skip)]
    pub fence: u64,
}

/// How far a booking is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nobody drives yet.
    Pending,
    /// A driver was found.
    Assigned,
    /// The driver agreed.
    Accepted,
    /// It does not take place.
    Cancelled,
    /// It is over.
    Completed,
}

impl Status {
    const ALL: [Status; 5] =
        [Status::Pending, Status::Assigned, Status::Accepted, Status::Cancelled, Status::Completed];

    /// Its word in stores and replies.
    pub fn word(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Assigned => "assigned",
            Status::Accepted => "accepted",
            Status::Cancelled => "cancelled",
            Status::Completed => "completed",
        }
    }

    /// The status with this word.
    pub fn of(word: &str) -> Option<Self> {
        Status::ALL.into_iter().find(|status| status.word() == word)
    }
}

/// Somebody who drives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Driver {
    /// The number.
    pub id: i64,
    /// The name.
    pub name: String,
    /// The number to call, which no other driver has.
    pub phone: String,
    /// Where to write to.
    pub email: Option<String>,
    /// Where the driver is, once that was said.
    #[schema(value_type = Option<String>)]
    pub lat: Option<Degrees>,
    /// Where the driver is, once that was said.
    #[schema(value_type = Option<String>)]
    pub lng: Option<Degrees>,
    /// Whether the driver may be had.
    pub status: DriverStatus,
    /// In what.
    pub vehicle_type: String,
    /// What riders say.
    #[schema(value_type = String, example = "4.85")]
    pub rating: Hundredths,
    /// How many rides were completed.
    pub total_rides: i64,
    /// Since when the driver is known.
    #[schema(value_type = String, format = "date-time")]
    pub created_at: Timestamp,
    /// When something of this changed last.
    #[schema(value_type = String, format = "date-time")]
    pub updated_at: Timestamp,
    /// How often something of this changed: what is newer of two that an index was told.
    #[serde(skip)]
    pub version: u64,
    /// The greatest fencing token that a write came with; 0 for none.
    #[serde(skip)]
    pub fence: u64,
}

/// Whether a driver may be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DriverStatus {
    /// Not at work.
    Offline,
    /// Free for a ride.
    Online,
    /// On a ride, or busy with something else.
    Busy,
}

impl DriverStatus {
    const ALL: [DriverStatus; 3] = [DriverStatus::Offline, DriverStatus::Online, DriverStatus::Busy];

    /// Its word in stores and replies.
    pub fn word(self) -> &'static str {
        match self {
            DriverStatus::Offline => "offline",
            DriverStatus::Online => "online",
            DriverStatus::Busy => "busy",
        }
    }

    /// The status with this word.
    pub fn of(word: &str) -> Option<Self> {
        DriverStatus::ALL.into_iter().find(|status| status.word() == word)
    }
}

/// A driver as one of those who are near a pickup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Candidate {
    /// The number.
    pub id: i64,
    /// The name.
    pub name: String,
    /// The number to call.
    pub phone: String,
    /// Where the driver is.
    #[schema(value_type = String)]
    pub lat: Degrees,
    /// Where the driver is.
    #[schema(value_type = String)]
    pub lng: Degrees,
    /// In what.
    pub vehicle_type: String,
    /// What riders say.
    #[schema(value_type = String)]
    pub rating: Hundredths,
    /// How far away, in km.
    pub distance: f64,
}

/// A booking, with whom it concerns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Details {
    /// The booking.
    #[serde(flatten)]
    pub booking: Booking,
    /// Who drives.
    pub driver_name: Option<String>,
    /// The driver's number to call.
    pub driver_phone: Option<String>,
    /// Who rides.
    pub rider_name: String,
    /// The rider's number to call.
    pub rider_phone: String,
}

/// Somebody of a booking: of which side, and the number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// Who rides.
    Rider(i64),
    /// Who drives.
    Driver(i64),
}

impl User {
    /// The user of this side: `rider` or `driver`.
    pub fn of(side: &str, id: i64) -> Option<Self> {
        match side {
            "rider" => Some(User::Rider(id)),
            "driver" => Some(User::Driver(id)),
            _ => None,
        }
    }
}
