//! The demo city: who is there from the start. The same each time, so that whoever is there already is left alone.

use std::f64::consts::PI;

use crate::booking::DriverStatus;
use crate::decimal::{Degrees, Hundredths};
use crate::geo::Place;
use crate::store::NewDriver;

/// The middle of the city.
pub const CENTRE: Place = Place { lat: 40.7128, lng: -74.006 };
/// How many drivers the demo city has online.
pub const DRIVERS: usize = 24;
/// How far from the middle they are at most, in km.
const RADIUS: f64 = 4.5;
/// The same for a city of more drivers than that.
const LARGE_RADIUS: f64 = 9.0;
/// How many more there are who are not at work.
const OFFLINE: usize = 4;
/// The angle between one driver and the next: by the golden section no two are in one line.
const TURN: f64 = PI * (3.0 - 2.236_067_977_499_79);

const NAMES: [&str; 14] = [
    "Ada", "Ben", "Chloe", "David", "Elena", "Farid", "Grace", "Hiro", "Ines", "Jamal", "Kira", "Luis",
    "Mona", "Noah",
];
const SURNAMES: [&str; 9] =
    ["Adler", "Baker", "Costa", "Diaz", "Evans", "Fischer", "Gupta", "Hassan", "Ivanova"];
const VEHICLES: [&str; 3] = ["standard", "premium", "suv"];

/// Who is in a city.
#[derive(Clone, Debug)]
pub struct City {
    /// Who may ride.
    pub riders: Vec<NewRider>,
    /// Who may drive.
    pub drivers: Vec<NewDriver>,
}

/// A rider to be written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRider {
    /// The number.
    pub id: i64,
    /// The name.
    pub name: String,
    /// The number to call.
    pub phone: String,
    /// Where to write to.
    pub email: String,
    /// What drivers say.
    pub rating: Hundredths,
}

impl City {
    /// Riders 1 to 10, so many drivers online, spread evenly around the middle, and a few who are not at work.
    pub fn new(drivers: usize) -> Self {
        let riders = (1..=10).map(|id| NewRider {
            id,
            name: name(id as usize + 5),
            phone: format!("+1-555-01{id:02}"),
            email: format!("rider{id}@example.com"),
            rating: rating(id as usize),
        });
        let online = (0..drivers).map(|number| driver(number, drivers, DriverStatus::Online));
        let offline = (0..OFFLINE).map(|number| NewDriver {
            phone: format!("+1-555-7{number:05}"),
            ..driver(number * 5 + 2, DRIVERS, DriverStatus::Offline)
        });
        City { riders: riders.collect(), drivers: online.chain(offline).collect() }
    }
}

fn driver(number: usize, of: usize, status: DriverStatus) -> NewDriver {
    let radius = if of > DRIVERS { LARGE_RADIUS } else { RADIUS };
    // Even by area.
    let away = radius * ((number as f64 + 0.5) / of as f64).sqrt();
    let at = CENTRE.towards(number as f64 * TURN, away);
    NewDriver {
        name: name(number),
        phone: format!("+1-555-2{number:05}"),
        email: Some(format!("driver{}@example.com", number + 1)),
        at: Some((Degrees::of_f64(at.lat), Degrees::of_f64(at.lng))),
        status,
        vehicle_type: VEHICLES.get(number % VEHICLES.len()).copied().unwrap_or("standard").to_owned(),
        rating: rating(number),
    }
}

fn name(number: usize) -> String {
    let of = |names: &[&str]| names.get(number % names.len()).copied().unwrap_or_default().to_owned();
    format!("{} {}", of(&NAMES), of(&SURNAMES))
}

/// From 4.20 to 4.99.
fn rating(number: usize) -> Hundredths {
    Hundredths::of_parts(420 + (number as i64 * 37) % 80)
}
