//! Rows as values, and values as rows.

use deadpool_postgres::Object;
use tenure_server::postgres::query;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use crate::booking::{Booking, Details, Driver, DriverStatus, Status};
use crate::decimal::Decimal;
use crate::geo::cell;
use crate::store::rules::Loaded;
use crate::store::{signed, unsigned};
use crate::time::Timestamp;

/// The columns of [`a_booking`]: decimals as numbers of their smallest part, moments in milliseconds since 1970.
pub(super) const BOOKING: &str = "b.id, b.rider_id, b.driver_id, (b.pickup_lat * 1e8)::bigint, (b.pickup_lng * 1e8)::bigint, \
     (b.dropoff_lat * 1e8)::bigint, (b.dropoff_lng * 1e8)::bigint, (b.estimated_fare * 100)::bigint, \
     (b.actual_fare * 100)::bigint, b.vehicle_type, b.status, b.cancellation_reason, \
     (extract(epoch from b.created_at) * 1000)::bigint, (extract(epoch from b.assigned_at) * 1000)::bigint, \
     (extract(epoch from b.accepted_at) * 1000)::bigint, (extract(epoch from b.cancelled_at) * 1000)::bigint, \
     (extract(epoch from b.completed_at) * 1000)::bigint, b.fence";
/// The columns of [`a_driver`], likewise.
pub(super) const DRIVER: &str = "d.id, d.name, d.phone, d.email, (d.lat * 1e8)::bigint, (d.lng * 1e8)::bigint, d.status, \
     d.vehicle_type, (d.rating * 100)::bigint, d.total_rides, (extract(epoch from d.created_at) * 1000)::bigint, \
     (extract(epoch from d.updated_at) * 1000)::bigint, d.version, d.fence";
/// What [`details`] reads behind them.
pub(super) const DETAILS: &str = "d.name, d.phone, r.name, r.phone from rides.bookings as b \
     join rides.riders as r on r.id = b.rider_id left join rides.drivers as d on d.id = b.driver_id";

pub(super) async fn load_booking(db: &Object, id: i64) -> Result<Option<Booking>, Error> {
    let sql = format!("select {BOOKING} from rides.bookings as b where b.id = $1 for update");
    Ok(query(db, &sql, &[&id]).await?.first().map(a_booking))
}

pub(super) async fn load_driver(db: &Object, id: i64) -> Result<Option<Loaded>, Error> {
    let sql = format!("select {DRIVER} from rides.drivers as d where d.id = $1 for update");
    let Some(driver) = query(db, &sql, &[&id]).await?.first().map(a_driver) else { return Ok(None) };
    // A statement of its own: it sees what was committed while the row was waited for.
    let active = "select from rides.bookings where driver_id = $1 and status in ('assigned', 'accepted')";
    let is_riding = !query(db, active, &[&id]).await?.is_empty();
    Ok(Some(Loaded { driver, is_riding }))
}

pub(super) async fn save_booking(db: &Object, booking: &Booking) -> Result<(), Error> {
    let sql = "update rides.bookings set driver_id = $2, actual_fare = $3::bigint * 0.01, status = $4, cancellation_reason = $5, \
               assigned_at = to_timestamp($6::bigint / 1000.0), accepted_at = to_timestamp($7::bigint / 1000.0), \
               cancelled_at = to_timestamp($8::bigint / 1000.0), completed_at = to_timestamp($9::bigint / 1000.0), \
               fence = $10 where id = $1";
    let moment = |at: Option<Timestamp>| at.map(|at| at.0);
    let values: [&(dyn ToSql + Sync); 10] = [
        &booking.id,
        &booking.driver_id,
        &booking.actual_fare.map(Decimal::parts),
        &booking.status.word(),
        &booking.cancellation_reason,
        &moment(booking.assigned_at),
        &moment(booking.accepted_at),
        &moment(booking.cancelled_at),
        &moment(booking.completed_at),
        &signed(booking.fence),
    ];
    query(db, sql, &values).await.map(|_| ())
}

pub(super) async fn save_driver(db: &Object, driver: &Driver) -> Result<(), Error> {
    let sql = "update rides.drivers set lat = $2::bigint * 0.00000001, lng = $3::bigint * 0.00000001, cell = $4, status = $5, \
               total_rides = $6, updated_at = to_timestamp($7::bigint / 1000.0), version = $8, fence = $9 where id = $1";
    let values: [&(dyn ToSql + Sync); 9] = [
        &driver.id,
        &driver.lat.map(Decimal::parts),
        &driver.lng.map(Decimal::parts),
        &driver.lat.zip(driver.lng).map(|(lat, lng)| cell(lat, lng)),
        &driver.status.word(),
        &driver.total_rides,
        &driver.updated_at.0,
        &signed(driver.version),
        &signed(driver.fence),
    ];
    query(db, sql, &values).await.map(|_| ())
}

pub(super) fn a_booking(row: &Row) -> Booking {
    let moment = |column| row.get::<_, Option<i64>>(column).map(Timestamp);
    Booking {
        id: row.get(0),
        rider_id: row.get(1),
        driver_id: row.get(2),
        pickup_lat: Decimal::of_parts(row.get(3)),
        pickup_lng: Decimal::of_parts(row.get(4)),
        dropoff_lat: Decimal::of_parts(row.get(5)),
        dropoff_lng: Decimal::of_parts(row.get(6)),
        estimated_fare: Decimal::of_parts(row.get(7)),
        actual_fare: row.get::<_, Option<i64>>(8).map(Decimal::of_parts),
        vehicle_type: row.get(9),
        // The table checks the word.
        status: Status::of(row.get(10)).unwrap_or(Status::Cancelled),
        cancellation_reason: row.get(11),
        created_at: Timestamp(row.get(12)),
        assigned_at: moment(13),
        accepted_at: moment(14),
        cancelled_at: moment(15),
        completed_at: moment(16),
        fence: unsigned(row.get(17)),
    }
}

pub(super) fn a_driver(row: &Row) -> Driver {
    Driver {
        id: row.get(0),
        name: row.get(1),
        phone: row.get(2),
        email: row.get(3),
        lat: row.get::<_, Option<i64>>(4).map(Decimal::of_parts),
        lng: row.get::<_, Option<i64>>(5).map(Decimal::of_parts),
        status: DriverStatus::of(row.get(6)).unwrap_or(DriverStatus::Offline),
        vehicle_type: row.get(7),
        rating: Decimal::of_parts(row.get(8)),
        total_rides: row.get(9),
        created_at: Timestamp(row.get(10)),
        updated_at: Timestamp(row.get(11)),
        version: unsigned(row.get(12)),
        fence: unsigned(row.get(13)),
    }
}

pub(super) fn details(row: &Row) -> Details {
    Details {
        booking: a_booking(row),
        driver_name: row.get(18),
        driver_phone: row.get(19),
        rider_name: row.get(20),
        rider_phone: row.get(21),
    }
}
