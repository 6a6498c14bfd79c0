//! Rows as values, and values as rows.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::booking::{Booking, Details, Driver, DriverStatus, Status};
use crate::decimal::Decimal;
use crate::geo::cell;
use crate::store::rules::Loaded;
use crate::store::{signed, unsigned};
use crate::time::Timestamp;

/// The columns of [`a_booking`].
pub(super) const BOOKING: &str = "b.id, b.rider_id, b.driver_id, b.pickup_lat, b.pickup_lng, b.dropoff_lat, b.dropoff_lng, b.estimated_fare, \
                       b.actual_fare, b.vehicle_type, b.status, b.cancellation_reason, b.created_at, b.assigned_at, \
                       b.accepted_at, b.cancelled_at, b.completed_at, b.fence";
/// The columns of [`a_driver`].
pub(super) const DRIVER: &str = "d.id, d.name, d.phone, d.email, d.lat, d.lng, d.status, d.vehicle_type, d.rating, d.total_rides, d.created_at, \
                      d.updated_at, d.version, d.fence";
/// What [`details`] reads.
pub(super) const DETAILS: &str = "d.name, d.phone, r.name, r.phone from bookings as b join riders as r on r.id = b.rider_id \
                       left join drivers as d on d.id = b.driver_id";

pub(super) fn load_booking(db: &Connection, id: i64) -> rusqlite::Result<Option<Booking>> {
    let sql = format!("select {BOOKING} from bookings as b where b.id = ?1");
    db.prepare_cached(&sql)?.query_row([id], a_booking).optional()
}

pub(super) fn load_driver(db: &Connection, id: i64) -> rusqlite::Result<Option<Loaded>> {
    let mut ask = db.prepare_cached(&format!(
        "select {DRIVER}, exists (select 1 from bookings as b where b.driver_id = d.id and b.status in ('assigned', 'accepted')) \
         from drivers as d where d.id = ?1"
    ))?;
    let loaded = |row: &Row<'_>| Ok(Loaded { driver: a_driver(row)?, is_riding: row.get(14)? });
    ask.query_row([id], loaded).optional()
}

pub(super) fn save_booking(db: &Connection, booking: &Booking) -> rusqlite::Result<()> {
    let mut save = db.prepare_cached(
        "update bookings set driver_id = ?2, actual_fare = ?3, status = ?4, cancellation_reason = ?5, assigned_at = ?6, \
         accepted_at = ?7, cancelled_at = ?8, completed_at = ?9, fence = ?10 where id = ?1",
    )?;
    save.execute(params![
        booking.id,
        booking.driver_id,
        booking.actual_fare.map(Decimal::parts),
        booking.status.word(),
        booking.cancellation_reason,
        booking.assigned_at.map(|at| at.0),
        booking.accepted_at.map(|at| at.0),
        booking.cancelled_at.map(|at| at.0),
        booking.completed_at.map(|at| at.0),
        signed(booking.fence),
    ])?;
    Ok(())
}

pub(super) fn save_driver(db: &Connection, driver: &Driver) -> rusqlite::Result<()> {
    let mut save = db.prepare_cached(
        "update drivers set lat = ?2, lng = ?3, cell = ?4, status = ?5, total_rides = ?6, updated_at = ?7, version = ?8, fence = ?9 \
         where id = ?1",
    )?;
    save.execute(params![
        driver.id,
        driver.lat.map(Decimal::parts),
        driver.lng.map(Decimal::parts),
        driver.lat.zip(driver.lng).map(|(lat, lng)| cell(lat, lng)),
        driver.status.word(),
        driver.total_rides,
        driver.updated_at.0,
        signed(driver.version),
        signed(driver.fence),
    ])?;
    Ok(())
}

pub(super) fn a_booking(row: &Row<'_>) -> rusqlite::Result<Booking> {
    let moment = |column| row.get::<_, Option<i64>>(column).map(|at| at.map(Timestamp));
    Ok(Booking {
        id: row.get(0)?,
        rider_id: row.get(1)?,
        driver_id: row.get(2)?,
        pickup_lat: Decimal::of_parts(row.get(3)?),
        pickup_lng: Decimal::of_parts(row.get(4)?),
        dropoff_lat: Decimal::of_parts(row.get(5)?),
        dropoff_lng: Decimal::of_parts(row.get(6)?),
        estimated_fare: Decimal::of_parts(row.get(7)?),
        actual_fare: row.get::<_, Option<i64>>(8)?.map(Decimal::of_parts),
        vehicle_type: row.get(9)?,
        // The table checks the word.
        status: Status::of(&row.get::<_, String>(10)?).unwrap_or(Status::Cancelled),
        cancellation_reason: row.get(11)?,
        created_at: Timestamp(row.get(12)?),
        assigned_at: moment(13)?,
        accepted_at: moment(14)?,
        cancelled_at: moment(15)?,
        completed_at: moment(16)?,
        fence: unsigned(row.get(17)?),
    })
}

pub(super) fn a_driver(row: &Row<'_>) -> rusqlite::Result<Driver> {
    Ok(Driver {
        id: row.get(0)?,
        name: row.get(1)?,
        phone: row.get(2)?,
        email: row.get(3)?,
        lat: row.get::<_, Option<i64>>(4)?.map(Decimal::of_parts),
        lng: row.get::<_, Option<i64>>(5)?.map(Decimal::of_parts),
        status: DriverStatus::of(&row.get::<_, String>(6)?).unwrap_or(DriverStatus::Offline),
        vehicle_type: row.get(7)?,
        rating: Decimal::of_parts(row.get(8)?),
        total_rides: row.get(9)?,
        created_at: Timestamp(row.get(10)?),
        updated_at: Timestamp(row.get(11)?),
        version: unsigned(row.get(12)?),
        fence: unsigned(row.get(13)?),
    })
}

pub(super) fn details(row: &Row<'_>) -> rusqlite::Result<Details> {
    Ok(Details {
        booking: a_booking(row)?,
        driver_name: row.get(18)?,
        driver_phone: row.get(19)?,
        rider_name: row.get(20)?,
        rider_phone: row.get(21)?,
    })
}
