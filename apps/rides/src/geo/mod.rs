//! Who is near: by the index in Redis where there is one that is up to date, else by cells in the database; exact in both cases.

mod cells;
mod index;

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use h3o::LatLng;
use tenure::Result;

pub use self::cells::CellRange;
pub(crate) use self::cells::cell;
pub use self::index::Index;
use crate::booking::{Candidate, Driver, DriverStatus};
use crate::decimal::Degrees;
use crate::store::Store;

/// The radius of the earth, in km.
const EARTH: f64 = 6_371.0;
/// The radii that are searched one after another, in km, until enough drivers are found.
const RINGS: [f64; 5] = [0.5, 1.0, 2.0, 5.0, MATCH_WITHIN];
/// How far away a driver may be from a pickup, in km.
pub const MATCH_WITHIN: f64 = 10.0;
/// How many degrees of latitude from the equator the geo sets of Redis reach.
const REACH: f64 = 85.0;

/// A place on the earth, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// From -90 to 90.
    pub lat: f64,
    /// From -180 to 180.
    pub lng: f64,
}

impl Place {
    /// The place with these degrees.
    pub fn of(lat: Degrees, lng: Degrees) -> Self {
        Place { lat: lat.to_f64(), lng: lng.to_f64() }
    }

    /// How far it is to another place, in km, by the haversine formula.
    pub fn distance(self, other: Place) -> f64 {
        let (from, to) = (self.lat.to_radians(), other.lat.to_radians());
        let (north, east) = ((to - from) / 2.0, (other.lng - self.lng).to_radians() / 2.0);
        let chord = north.sin().powi(2) + from.cos() * to.cos() * east.sin().powi(2);
        2.0 * EARTH * chord.sqrt().min(1.0).asin()
    }

    /// The place that lies `distance` km away in the direction `bearing`, in radians from the north.
    pub fn towards(self, bearing: f64, distance: f64) -> Place {
        let (angle, from) = (distance / EARTH, self.lat.to_radians());
        let sine = from.sin() * angle.cos() + from.cos() * angle.sin() * bearing.cos();
        let east = (bearing.sin() * angle.sin() * from.cos()).atan2(angle.cos() - from.sin() * sine);
        let lng = (self.lng + east.to_degrees() + 540.0).rem_euclid(360.0) - 180.0;
        Place { lat: sine.clamp(-1.0, 1.0).asin().to_degrees(), lng }
    }

    fn h3(self) -> LatLng {
        // Degrees are checked where they come in; only what is not finite would be refused.
        LatLng::new(self.lat, self.lng).unwrap_or_else(|_| LatLng::new(0.0, 0.0).expect("zero is a degree"))
    }
}

/// Drivers who were found.
#[derive(Clone, Debug)]
pub struct Found {
    /// They, by distance, and by rating where that is equal.
    pub drivers: Vec<Candidate>,
    /// How they were found.
    pub method: Method,
}

/// How drivers are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// By the index in Redis.
    Redis,
    /// By cells in the database.
    Cells,
}

impl Method {
    /// Its word in replies.
    pub fn word(self) -> &'static str {
        match self {
            Method::Redis => "redis_geo",
            Method::Cells => "h3_cells",
        }
    }
}

/// Finds drivers. A driver whom the index names is looked up in the database, which has the last word.
#[derive(Debug)]
pub struct Nearby {
    store: Arc<dyn Store>,
    index: Option<Arc<Index>>,
}

impl Nearby {
    /// Finds drivers in this database, by this index where there is one.
    pub fn new(store: Arc<dyn Store>, index: Option<Arc<Index>>) -> Self {
        Nearby { store, index }
    }

    /// All drivers online within `radius` km.
    ///
    /// # Errors
    /// `Unavailable` when the database cannot be asked.
    pub async fn within(&self, centre: Place, radius: f64) -> Result<Found> {
        if let Some(ids) = self.indexed(centre, radius, None).await {
            let drivers = self.store.drivers_of(&ids).await?;
            return Ok(Found { drivers: sorted(drivers, centre, radius), method: Method::Redis });
        }
        let drivers = self.store.online_in(&cells::cover(centre, radius)).await?;
        Ok(Found { drivers: sorted(drivers, centre, radius), method: Method::Cells })
    }

    /// The nearest drivers online within [`MATCH_WITHIN`], `count` of them at most, without those of `except`.
    ///
    /// # Errors
    /// `Unavailable` when the database cannot be asked.
    pub async fn nearest(
        &self,
        centre: Place,
        count: usize,
        except: &HashSet<i64>,
    ) -> Result<Vec<Candidate>> {
        let first = |drivers: Vec<Driver>, radius| {
            let mut found = sorted(drivers, centre, radius);
            found.retain(|candidate| !except.contains(&candidate.id));
            found.truncate(count);
            found
        };
        // More than are asked for: the index may not have heard yet of those who were just given a ride.
        let asked = 2 * count + except.len();
        if let Some(ids) = self.indexed(centre, MATCH_WITHIN, Some(asked)).await {
            let found = first(self.store.drivers_of(&ids).await?, MATCH_WITHIN);
            if !found.is_empty() {
                return Ok(found);
            }
        }
        // Nobody is told that there is nobody without a look at the database.
        let mut found = Vec::new();
        for radius in RINGS {
            found = first(self.store.online_in(&cells::cover(centre, radius)).await?, radius);
            if found.len() >= count {
                break;
            }
        }
        Ok(found)
    }

    /// The numbers that the index has there, the nearest first; `None` where it cannot be trusted to have all.
    async fn indexed(&self, centre: Place, radius: f64, count: Option<usize>) -> Option<Vec<i64>> {
        let index = self.index.as_deref()?;
        // A degree of latitude is 111.2 km.
        if centre.lat.abs() + radius / 111.0 >= REACH {
            return None;
        }
        index.search(centre, radius, count).await
    }
}

/// Those of the drivers who are online within the radius, the nearest first, of two as near the better one.
fn sorted(drivers: Vec<Driver>, centre: Place, radius: f64) -> Vec<Candidate> {
    let near = |driver: Driver| {
        let (lat, lng) = driver.lat.zip(driver.lng)?;
        // To a millimetre: more would be noise.
        let distance = (centre.distance(Place::of(lat, lng)) * 1e6).round() / 1e6;
        let Driver { id, name, phone, vehicle_type, rating, .. } = driver;
        let is_near = driver.status == DriverStatus::Online && distance <= radius;
        is_near.then_some(Candidate { id, name, phone, lat, lng, vehicle_type, rating, distance })
    };
    let mut found: Vec<Candidate> = drivers.into_iter().filter_map(near).collect();
    found.sort_by(order);
    found
}

fn order(a: &Candidate, b: &Candidate) -> Ordering {
    a.distance.total_cmp(&b.distance).then(b.rating.cmp(&a.rating)).then(a.id.cmp(&b.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_atlas() {
        let place = |lat, lng| Place { lat, lng };
        for (from, to, km) in [
            (place(0.0, 0.0), place(0.0, 0.0), 0.0),
            (place(0.0, 0.0), place(0.0, 180.0), 20_015.1),
            (place(90.0, 0.0), place(-90.0, 77.0), 20_015.1),
            (place(0.0, 179.5), place(0.0, -179.5), 111.2),
            (place(40.7128, -74.006), place(51.5074, -0.1278), 5_570.2),
        ] {
            assert!((from.distance(to) - km).abs() < 0.1, "{from:?} {to:?}: {}", from.distance(to));
        }
    }

    #[test]
    fn of_two_who_are_as_near_the_better_one_comes_first() {
        let candidate = |id, rating, distance| Candidate {
            id,
            name: String::new(),
            phone: String::new(),
            lat: Degrees::whole(0),
            lng: Degrees::whole(0),
            vehicle_type: String::new(),
            rating: crate::decimal::Hundredths::of_parts(rating),
            distance,
        };
        let mut found =
            [candidate(1, 500, 2.0), candidate(2, 300, 1.0), candidate(3, 400, 1.0), candidate(4, 400, 1.0)];
        found.sort_by(order);
        assert_eq!(found.map(|candidate| candidate.id), [3, 4, 2, 1]);
    }
}
