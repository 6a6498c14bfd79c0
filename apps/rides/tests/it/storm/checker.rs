//! What the answers of a storm and the database after it must have in common. It shares nothing with rides but the shape of rows.

use std::collections::{HashMap, HashSet};

use rides::booking::{Booking, Driver, DriverStatus, Status};

/// A ride as its client knows it to have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ride {
    pub(crate) id: i64,
    pub(crate) rider: i64,
    /// The driver, where the client was told of one.
    pub(crate) driver: Option<i64>,
    pub(crate) is_completed: bool,
}

/// What is wrong.
pub(crate) fn judge(rides: &[Ride], bookings: &[Booking], drivers: &[Driver]) -> Vec<String> {
    let mut wrong = Vec::new();
    answers(rides, bookings, &mut wrong);
    turns(bookings, &mut wrong);
    standings(bookings, drivers, &mut wrong);
    wrong
}

/// No booking was lost, none was made twice, and each ended as its client was told.
fn answers(rides: &[Ride], bookings: &[Booking], wrong: &mut Vec<String>) {
    let kept: HashMap<i64, &Booking> = bookings.iter().map(|booking| (booking.id, booking)).collect();
    let told: HashSet<i64> = rides.iter().map(|ride| ride.id).collect();
    if told.len() != rides.len() {
        wrong.push("two clients were told the same number".to_owned());
    }
    for booking in bookings.iter().filter(|booking| !told.contains(&booking.id)) {
        wrong.push(format!("nobody asked for booking {}", booking.id));
    }
    for ride in rides {
        let Some(booking) = kept.get(&ride.id) else {
            wrong.push(format!("booking {} is lost", ride.id));
            continue;
        };
        let status = if ride.is_completed { Status::Completed } else { Status::Cancelled };
        let is_theirs = ride.driver.is_none() || booking.driver_id == ride.driver;
        if booking.status != status || booking.rider_id != ride.rider || !is_theirs {
            wrong.push(format!("{ride:?} stands as {booking:?}"));
        }
    }
}

/// No driver was on two rides at a time: each began when the one before it had ended.
fn turns(bookings: &[Booking], wrong: &mut Vec<String>) {
    let mut of: HashMap<i64, Vec<(i64, i64, i64)>> = HashMap::new();
    for booking in bookings {
        let (Some(driver), Some(from)) = (booking.driver_id, booking.assigned_at) else { continue };
        let to = booking.cancelled_at.or(booking.completed_at).map_or(i64::MAX, |at| at.0);
        of.entry(driver).or_default().push((from.0, to, booking.id));
    }
    for (driver, mut turns) in of {
        turns.sort_unstable();
        for pair in turns.windows(2) {
            if pair[1].0 < pair[0].1 {
                wrong.push(format!("driver {driver} was on {} and {} at a time", pair[0].2, pair[1].2));
            }
        }
    }
}

/// Who is busy is on a ride, who is on a ride is busy, and rides are counted.
fn standings(bookings: &[Booking], drivers: &[Driver], wrong: &mut Vec<String>) {
    for driver in drivers {
        let own = || bookings.iter().filter(|booking| booking.driver_id == Some(driver.id));
        let active =
            own().filter(|booking| matches!(booking.status, Status::Assigned | Status::Accepted)).count();
        if active > 1 || (active == 1) != (driver.status == DriverStatus::Busy) {
            wrong.push(format!("driver {} is {:?} with {active} rides", driver.id, driver.status));
        }
        let completed = own().filter(|booking| booking.status == Status::Completed).count();
        if driver.total_rides != completed as i64 {
            wrong.push(format!(
                "driver {} has {} rides, and {completed} were completed",
                driver.id, driver.total_rides
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use rides::decimal::{Degrees, Hundredths};
    use rides::time::Timestamp;

    use super::*;

    fn booking(id: i64, driver: i64, from: i64, to: i64) -> Booking {
        let at = Degrees::whole(1);
        Booking {
            id,
            rider_id: 1,
            driver_id: Some(driver),
            pickup_lat: at,
            pickup_lng: at,
            dropoff_lat: at,
            dropoff_lng: at,
            estimated_fare: Hundredths::whole(1),
            actual_fare: None,
            vehicle_type: String::new(),
            status: Status::Completed,
            cancellation_reason: None,
            created_at: Timestamp(0),
            assigned_at: Some(Timestamp(from)),
            accepted_at: None,
            cancelled_at: None,
            completed_at: Some(Timestamp(to)),
            fence: 0,
        }
    }

    fn driver(id: i64, total_rides: i64) -> Driver {
        Driver {
            id,
            name: String::new(),
            phone: String::new(),
            email: None,
            lat: None,
            lng: None,
            status: DriverStatus::Online,
            vehicle_type: String::new(),
            rating: Hundredths::whole(5),
            total_rides,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
            version: 1,
            fence: 0,
        }
    }

    /// A sound history, and each kind of fault put into it.
    #[test]
    fn every_fault_is_found() {
        let ride = |id| Ride { id, rider: 1, driver: Some(7), is_completed: true };
        let rides = [ride(1), ride(2)];
        let bookings = [booking(1, 7, 10, 20), booking(2, 7, 20, 30)];
        let drivers = [driver(7, 2)];
        assert_eq!(judge(&rides, &bookings, &drivers), Vec::<String>::new());
        let faults =
            |rides: &[Ride], bookings: &[Booking], drivers: &[Driver]| judge(rides, bookings, drivers).len();
        assert!(faults(&rides, &bookings[..1], &[driver(7, 1)]) > 0, "a booking is lost");
        assert!(faults(&rides[..1], &bookings, &drivers) > 0, "a booking was made twice");
        assert!(faults(&[ride(1), ride(1)], &bookings[..1], &[driver(7, 1)]) > 0, "two have one number");
        let overlapping = [booking(1, 7, 10, 20), booking(2, 7, 19, 30)];
        assert!(faults(&rides, &overlapping, &drivers) > 0, "two rides at a time");
        let another = Ride { driver: Some(8), ..ride(1) };
        assert!(faults(&[another, ride(2)], &bookings, &drivers) > 0, "another driver than told");
        let cancelled = Ride { is_completed: false, ..ride(1) };
        assert!(faults(&[cancelled, ride(2)], &bookings, &drivers) > 0, "another end than told");
        assert!(faults(&rides, &bookings, &[driver(7, 1)]) > 0, "a ride is not counted");
        let left = Driver { status: DriverStatus::Busy, ..driver(7, 2) };
        assert!(faults(&rides, &bookings, &[left]) > 0, "busy without a ride");
        let active = Booking { status: Status::Accepted, completed_at: None, ..booking(2, 7, 20, 30) };
        assert!(faults(&rides, &[booking(1, 7, 10, 20), active], &[driver(7, 1)]) > 0, "free on a ride");
    }
}
