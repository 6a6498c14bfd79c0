//! Rides in a SQLite file: several processes of one host may share it.

mod rows;

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};
use tenure::{FencingToken, Result};
use tenure_server::sqlite::File;

use self::rows::{
    BOOKING, DETAILS, DRIVER, a_booking, a_driver, details, load_booking, load_driver, save_booking,
    save_driver,
};
use super::rules::{self, Loaded, Refusal};
use super::{Change, Changed, Done, Fut, Key, NewBooking, NewDriver, StaleWrites, Store, signed};
use crate::booking::{Booking, Details, Driver, DriverStatus, Status, User};
use crate::city::City;
use crate::decimal::Degrees;
use crate::geo::{CellRange, cell};
use crate::time::Timestamp;

const SCHEMA: &str = include_str!("schema.sql");
type Answer<T> = rusqlite::Result<Result<T, Refusal>>;

/// Rides in a file.
#[derive(Clone, Debug)]
pub struct Sqlite {
    file: File,
    id: Arc<str>,
    stale: Arc<StaleWrites>,
}

impl Sqlite {
    /// Opens the database, and makes it where there is none.
    ///
    /// # Errors
    /// `Unavailable` when the file cannot be opened or written.
    pub async fn open(path: &Path) -> Result<Self> {
        let file = File::open(path, SCHEMA)?;
        let id: String = file.read(|db| db.query_row("select id from city", [], |row| row.get(0))).await?;
        Ok(Sqlite { file, id: id.into(), stale: Arc::default() })
    }

    /// Does something to a driver, in place.
    async fn update_driver(
        &self,
        id: i64,
        update: impl FnOnce(&mut Loaded) -> Result<(), Refusal> + Send + 'static,
    ) -> Result<Result<Driver, Refusal>> {
        let at = Timestamp::now();
        let work = move |db: &Connection| {
            let Some(mut loaded) = load_driver(db, id)? else { return Ok(Err(Refusal::NoDriver)) };
            if let Err(refusal) = update(&mut loaded) {
                return Ok(Err(refusal));
            }
            rules::update(&mut loaded.driver, at);
            save_driver(db, &loaded.driver)?;
            Ok(Ok(loaded.driver))
        };
        self.file.write(work).await
    }
}

impl Store for Sqlite {
    fn id(&self) -> &str {
        &self.id
    }

    fn create(&self, asked: NewBooking, key: Option<Key>) -> Fut<'_, Result<Result<Done, Refusal>>> {
        let at = Timestamp::now();
        Box::pin(self.file.write(move |db| {
            once(db, key.as_ref(), at, |db| {
                let known = "select 1 from riders where id = ?1";
                if db.query_row(known, [asked.rider_id], |_| Ok(())).optional()?.is_none() {
                    return Ok(Err(Refusal::NoRider));
                }
                create(db, &asked, at).map(|booking| Ok(Done::Booking(booking)))
            })
        }))
    }

    fn open(
        &self,
        id: i64,
        token: Option<FencingToken>,
    ) -> Fut<'_, Result<Result<Option<Booking>, Refusal>>> {
        let stale = Arc::clone(&self.stale);
        Box::pin(self.file.write(move |db| {
            let Some(mut known) = load_booking(db, id)? else { return Ok(Ok(None)) };
            let raised = rules::raise(&mut known.fence, token);
            stale.count(&raised);
            if let Err(refusal) = raised {
                return Ok(Err(refusal));
            }
            let raise = "update bookings set fence = ?2 where id = ?1";
            db.prepare_cached(raise)?.execute(params![id, signed(known.fence)])?;
            Ok(Ok(Some(known)))
        }))
    }

    fn change(&self, change: Change) -> Fut<'_, Result<Result<Changed, Refusal>>> {
        let stale = Arc::clone(&self.stale);
        Box::pin(self.file.write(move |db| {
            // Now that nobody else writes: what comes later has a later moment.
            let (at, mut driver) = (Timestamp::now(), None);
            let done = once(db, change.key.as_ref(), at, |db| {
                let changed = make(db, &change, at)?;
                stale.count(&changed);
                Ok(changed.map(|changed| {
                    driver = changed.driver;
                    changed.done
                }))
            })?;
            Ok(done.map(|done| Changed { done, driver }))
        }))
    }

    fn repeated<'a>(&'a self, key: &'a Key) -> Fut<'a, Result<Option<Result<Done, Refusal>>>> {
        let key = key.clone();
        Box::pin(self.file.read(move |db| repeated(db, &key)))
    }

    fn booking(&self, id: i64) -> Fut<'_, Result<Option<Details>>> {
        Box::pin(self.file.read(move |db| {
            let mut ask = db.prepare_cached(&format!("select {BOOKING}, {DETAILS} where b.id = ?1"))?;
            ask.query_row([id], details).optional()
        }))
    }

    fn bookings(&self, of: User, status: Option<Status>) -> Fut<'_, Result<Vec<Details>>> {
        let (column, id) = match of {
            User::Rider(id) => ("rider_id", id),
            User::Driver(id) => ("driver_id", id),
        };
        Box::pin(self.file.read(move |db| {
            let mut ask = db.prepare_cached(&format!(
                "select {BOOKING}, {DETAILS} where b.{column} = ?1 and (?2 is null or b.status = ?2) order by b.id desc"
            ))?;
            ask.query_map(params![id, status.map(Status::word)], details)?.collect()
        }))
    }

    fn newest(&self, limit: u32) -> Fut<'_, Result<Vec<Booking>>> {
        Box::pin(self.file.read(move |db| {
            let sql = format!("select {BOOKING} from bookings as b order by b.id desc limit ?1");
            db.prepare_cached(&sql)?.query_map([limit], a_booking)?.collect()
        }))
    }

    fn add_driver(&self, asked: NewDriver, key: Option<Key>) -> Fut<'_, Result<Result<Changed, Refusal>>> {
        let at = Timestamp::now();
        Box::pin(self.file.write(move |db| {
            let mut driver = None;
            let done = once(db, key.as_ref(), at, |db| {
                driver = add_driver(db, &asked, at)?;
                Ok(driver.clone().map(Done::Driver).ok_or(Refusal::PhoneTaken))
            })?;
            Ok(done.map(|done| Changed { done, driver }))
        }))
    }

    fn drivers_of<'a>(&'a self, ids: &'a [i64]) -> Fut<'a, Result<Vec<Driver>>> {
        let ids = ids.to_vec();
        Box::pin(self.file.read(move |db| {
            let mut ask = db.prepare_cached(&format!("select {DRIVER} from drivers as d where d.id = ?1"))?;
            let found = ids.iter().map(|id| ask.query_row([id], a_driver).optional());
            found.filter_map(rusqlite::Result::transpose).collect()
        }))
    }

    fn drivers(&self, after: i64, limit: u32) -> Fut<'_, Result<Vec<Driver>>> {
        Box::pin(self.file.read(move |db| {
            let sql = format!("select {DRIVER} from drivers as d where d.id > ?1 order by d.id limit ?2");
            db.prepare_cached(&sql)?.query_map([after, i64::from(limit)], a_driver)?.collect()
        }))
    }

    fn online_in<'a>(&'a self, ranges: &'a [CellRange]) -> Fut<'a, Result<Vec<Driver>>> {
        let ranges = ranges.to_vec();
        Box::pin(self.file.read(move |db| {
            let mut ask = db.prepare_cached(&format!(
                "select {DRIVER} from drivers as d where d.status = 'online' and d.cell between ?1 and ?2"
            ))?;
            let mut found = Vec::new();
            for range in &ranges {
                for driver in ask.query_map([range.first, range.last], a_driver)? {
                    found.push(driver?);
                }
            }
            Ok(found)
        }))
    }

    fn move_driver(&self, id: i64, lat: Degrees, lng: Degrees) -> Fut<'_, Result<Result<Driver, Refusal>>> {
        Box::pin(self.update_driver(id, move |loaded| {
            (loaded.driver.lat, loaded.driver.lng) = (Some(lat), Some(lng));
            Ok(())
        }))
    }

    fn set_status(&self, id: i64, status: DriverStatus) -> Fut<'_, Result<Result<Driver, Refusal>>> {
        Box::pin(self.update_driver(id, move |loaded| rules::set_status(loaded, status)))
    }

    fn seed<'a>(&'a self, city: &'a City) -> Fut<'a, Result<u64>> {
        let (city, at) = (city.clone(), Timestamp::now());
        Box::pin(self.file.write(move |db| {
            let mut added = 0;
            let mut rider = db.prepare_cached(
                "insert into riders values (?1, ?2, ?3, ?4, ?5, ?6) on conflict do nothing",
            )?;
            for new in &city.riders {
                let values = params![new.id, new.name, new.phone, new.email, new.rating.parts(), at.0];
                added += rider.execute(values)? as u64;
            }
            for new in &city.drivers {
                added += u64::from(add_driver(db, new, at)?.is_some());
            }
            Ok(added)
        }))
    }

    fn forget_keys(&self, before: Timestamp) -> Fut<'_, Result<u64>> {
        Box::pin(self.file.write(move |db| {
            let forgotten = db.execute("delete from idempotency where at < ?1", [before.0])?;
            Ok(forgotten as u64)
        }))
    }

    fn ping(&self) -> Fut<'_, Result<()>> {
        Box::pin(self.file.read(|db| db.query_row("select 1 from city", [], |_| Ok(()))))
    }

    fn stale_writes(&self) -> u64 {
        self.stale.get()
    }

    fn store(&self) -> &'static str {
        "sqlite"
    }
}

/// Does something once for all requests with the same key.
fn once(
    db: &Connection,
    key: Option<&Key>,
    at: Timestamp,
    work: impl FnOnce(&Connection) -> Answer<Done>,
) -> Answer<Done> {
    let Some(key) = key else { return work(db) };
    if let Some(known) = repeated(db, key)? {
        return Ok(known);
    }
    let done = work(db)?;
    if let Ok(done) = &done {
        let mut keep = db.prepare_cached("insert into idempotency values (?1, ?2, ?3, ?4)")?;
        keep.execute(params![key.key, key.request, done.to_text(), at.0])?;
    }
    Ok(done)
}

fn repeated(db: &Connection, key: &Key) -> rusqlite::Result<Option<Result<Done, Refusal>>> {
    let mut ask = db.prepare_cached("select request, outcome from idempotency where key = ?1")?;
    let known: Option<(String, String)> =
        ask.query_row([&key.key], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    Ok(known.map(|(request, outcome)| key.answer(&request, &outcome)))
}

fn create(db: &Connection, asked: &NewBooking, at: Timestamp) -> rusqlite::Result<Booking> {
    let mut insert = db.prepare_cached(&format!(
        "insert into bookings (rider_id, pickup_lat, pickup_lng, dropoff_lat, dropoff_lng, estimated_fare, vehicle_type, status, \
         created_at, fence) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'pending', ?8, 0) returning {}",
        BOOKING.replace("b.", "")
    ))?;
    let values = params![
        asked.rider_id,
        asked.pickup.0.parts(),
        asked.pickup.1.parts(),
        asked.dropoff.0.parts(),
        asked.dropoff.1.parts(),
        asked.estimated_fare.parts(),
        asked.vehicle_type,
        at.0,
    ];
    insert.query_row(values, a_booking)
}

/// Writes a driver down, unless one has this phone number.
fn add_driver(db: &Connection, asked: &NewDriver, at: Timestamp) -> rusqlite::Result<Option<Driver>> {
    // Asked first: an insert in vain would use up a number.
    let known = "select 1 from drivers where phone = ?1";
    if db.prepare_cached(known)?.query_row([&asked.phone], |_| Ok(())).optional()?.is_some() {
        return Ok(None);
    }
    let mut insert = db.prepare_cached(&format!(
        "insert into drivers (name, phone, email, lat, lng, cell, status, vehicle_type, rating, total_rides, created_at, updated_at, \
         version, fence) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, ?10, ?10, 1, 0) returning {}",
        DRIVER.replace("d.", "")
    ))?;
    let values = params![
        asked.name,
        asked.phone,
        asked.email,
        asked.at.map(|at| at.0.parts()),
        asked.at.map(|at| at.1.parts()),
        asked.at.map(|(lat, lng)| cell(lat, lng)),
        asked.status.word(),
        asked.vehicle_type,
        asked.rating.parts(),
        at.0,
    ];
    insert.query_row(values, a_driver).map(Some)
}

fn make(db: &Connection, change: &Change, at: Timestamp) -> Answer<Changed> {
    let booking = load_booking(db, change.booking)?;
    let named = change.action.driver().or_else(|| booking.as_ref()?.driver_id);
    let driver = named.map(|id| load_driver(db, id)).transpose()?.flatten();
    let (booking, changed) = match rules::decide(booking, driver, change, at) {
        Ok(decided) => decided,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if let Some(driver) = &changed.driver {
        save_driver(db, driver)?;
    }
    save_booking(db, &booking)?;
    Ok(Ok(changed))
}
