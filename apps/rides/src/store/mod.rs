//! The database: drivers, riders and bookings, in SQLite or PostgreSQL. It is the truth; locks and the geo index stand beside it.
//!
//! What a change does to a booking and its driver is decided in one place (`rules.rs`): a store loads both, in one transaction that
//! nobody else can be in with either of them, lets the rules decide, and saves both. So no driver is ever on two rides, whatever
//! becomes of the locks; a unique index over active bookings stands behind it.

mod postgres;
mod rules;
mod sqlite;

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tenure::{FencingToken, Result};

pub use self::postgres::Postgres;
pub use self::rules::Refusal;
pub use self::sqlite::Sqlite;
use crate::booking::{Booking, Candidate, Details, Driver, DriverStatus, Status, User};
use crate::city::City;
use crate::decimal::{Degrees, Hundredths};
use crate::geo::CellRange;
use crate::time::Timestamp;

/// A future of a store.
pub type Fut<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The database of rides.
///
/// Every method is one transaction, and may be dropped at any await: what was asked is then done as a whole or not at all.
///
/// # Errors
/// `Unavailable` when the database cannot be asked: whether a change was made is then unknown, unless it has a [`Key`], with which it may
/// be asked for again.
pub trait Store: fmt::Debug + Send + Sync {
    /// The id of this database: what stands elsewhere of its drivers is kept under it.
    fn id(&self) -> &str;

    /// Writes down a booking that waits for its driver.
    fn create(&self, asked: NewBooking, key: Option<Key>) -> Fut<'_, Result<Result<Done, Refusal>>>;

    /// Reads a booking for a change that is to follow, and raises its fence to `token`: from then on changes with an older token are
    /// refused, as this one is when a greater token was here.
    fn open(
        &self,
        booking: i64,
        token: Option<FencingToken>,
    ) -> Fut<'_, Result<Result<Option<Booking>, Refusal>>>;

    /// Makes a change, or refuses it and changes nothing.
    fn change(&self, change: Change) -> Fut<'_, Result<Result<Changed, Refusal>>>;

    /// What was answered to a request with this key, where one was carried out.
    fn repeated<'a>(&'a self, key: &'a Key) -> Fut<'a, Result<Option<Result<Done, Refusal>>>>;

    /// A booking.
    fn booking(&self, id: i64) -> Fut<'_, Result<Option<Details>>>;

    /// The bookings of somebody, the newest first.
    fn bookings(&self, of: User, status: Option<Status>) -> Fut<'_, Result<Vec<Details>>>;

    /// The newest bookings of everybody.
    fn newest(&self, limit: u32) -> Fut<'_, Result<Vec<Booking>>>;

    /// Writes down a driver.
    fn add_driver(&self, asked: NewDriver, key: Option<Key>) -> Fut<'_, Result<Result<Changed, Refusal>>>;

    /// Drivers by their numbers, those that there are.
    fn drivers_of<'a>(&'a self, ids: &'a [i64]) -> Fut<'a, Result<Vec<Driver>>>;

    /// Drivers with a number greater than `after`, by number, `limit` of them at most.
    fn drivers(&self, after: i64, limit: u32) -> Fut<'_, Result<Vec<Driver>>>;

    /// Drivers online whose cell is in one of these ranges.
    fn online_in<'a>(&'a self, ranges: &'a [CellRange]) -> Fut<'a, Result<Vec<Driver>>>;

    /// Says where a driver is.
    fn move_driver(&self, id: i64, lat: Degrees, lng: Degrees) -> Fut<'_, Result<Result<Driver, Refusal>>>;

    /// Says whether a driver may be had. Refused while the driver is on a ride.
    fn set_status(&self, id: i64, status: DriverStatus) -> Fut<'_, Result<Result<Driver, Refusal>>>;

    /// Writes down who of a city is not there yet, and tells how many that were.
    fn seed<'a>(&'a self, city: &'a City) -> Fut<'a, Result<u64>>;

    /// Forgets the idempotency keys that were used before a moment, and tells how many.
    fn forget_keys(&self, before: Timestamp) -> Fut<'_, Result<u64>>;

    /// A trip to the database.
    fn ping(&self) -> Fut<'_, Result<()>>;

    /// How many writes this process had refused because their lock had passed on.
    fn stale_writes(&self) -> u64;

    /// The store's word in logs and reports.
    fn store(&self) -> &'static str;
}

/// A ride that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewBooking {
    /// Who rides.
    pub rider_id: i64,
    /// Where it begins.
    pub pickup: (Degrees, Degrees),
    /// Where it ends.
    pub dropoff: (Degrees, Degrees),
    /// What it is said to cost.
    pub estimated_fare: Hundredths,
    /// In what.
    pub vehicle_type: String,
}

/// A driver to be written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewDriver {
    /// The name.
    pub name: String,
    /// The number to call.
    pub phone: String,
    /// Where to write to.
    pub email: Option<String>,
    /// Where the driver is.
    pub at: Option<(Degrees, Degrees)>,
    /// Whether the driver may be had.
    pub status: DriverStatus,
    /// In what.
    pub vehicle_type: String,
    /// What riders say.
    pub rating: Hundredths,
}

/// A change to a booking, and with it to its driver.
#[derive(Clone, Debug)]
pub struct Change {
    /// Which booking.
    pub booking: i64,
    /// What is done.
    pub action: Action,
    /// The locks that it is made under. Without them the transaction alone decides.
    pub tokens: Option<Tokens>,
    /// By what a repetition of it is known.
    pub key: Option<Key>,
}

/// The fencing tokens of a change.
#[derive(Clone, Copy, Debug)]
pub struct Tokens {
    /// Of the lock on the booking.
    pub booking: FencingToken,
    /// Of the lock on this driver, where one is locked.
    pub driver: Option<(i64, FencingToken)>,
}

/// What can be done to a booking.
#[derive(Clone, Debug)]
pub enum Action {
    /// Gives it to a driver.
    Assign(Candidate),
    /// The driver agrees.
    Accept {
        /// Who says so.
        driver: i64,
    },
    /// It is not to take place.
    Cancel {
        /// Why.
        reason: String,
        /// Who says so.
        by: User,
    },
    /// It is over.
    Complete {
        /// Who says so.
        driver: i64,
        /// What it has cost.
        fare: Hundredths,
    },
}

impl Action {
    /// The driver that it names, if it does.
    fn driver(&self) -> Option<i64> {
        match self {
            Action::Assign(candidate) => Some(candidate.id),
            Action::Accept { driver } | Action::Complete { driver, .. } => Some(*driver),
            Action::Cancel { .. } => None,
        }
    }
}

/// A request that was carried out, as its client is told, also when it is repeated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Done {
    /// A booking was made or changed.
    Booking(Booking),
    /// A booking was given to a driver.
    Assigned {
        /// The booking.
        booking: Booking,
        /// The driver, and how far away.
        driver: Candidate,
    },
    /// A driver was written down.
    Driver(Driver),
}

impl Done {
    /// As it is kept under an idempotency key.
    fn to_text(&self) -> String {
        serde_json::to_string(self).expect("plain data has no maps, which alone could fail")
    }
}

/// A change that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// What its client is told.
    pub done: Done,
    /// The driver as the change left them: for the geo index. `None` where there is none, or the change was made before.
    pub driver: Option<Driver>,
}

/// By what a repeated request is known to be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The client's word, and the route.
    pub key: String,
    /// What was asked for.
    pub request: String,
}

impl Key {
    /// What a repetition is answered, where `request` was asked for and `outcome` answered before.
    fn answer(&self, request: &str, outcome: &str) -> Result<Done, Refusal> {
        if self.request != request {
            return Err(Refusal::KeyReused);
        }
        serde_json::from_str(outcome).map_err(|_| Refusal::KeyReused)
    }
}

/// Counts the writes that were refused because their lock had passed on.
#[derive(Debug, Default)]
struct StaleWrites(AtomicU64);

impl StaleWrites {
    /// Counts an answer, if it is one.
    fn count<T>(&self, answer: &Result<T, Refusal>) {
        if matches!(answer, Err(Refusal::Stale)) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// SQL has no unsigned integers; ours stay below 2^63.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
