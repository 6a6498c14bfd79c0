//! Rides in PostgreSQL: any number of processes may share them.

mod rows;

use std::sync::Arc;

use deadpool_postgres::{Object, Pool};
use tenure::{FencingToken, Result};
use tenure_server::postgres::{self, ask, connection, make_schema, pool, query, transact};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

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
/// The class of the locks of transactions that seed, and on idempotency keys: `ride` in letters.
const CLASS: i32 = 0x72_69_64_65;

type Answer<T> = Result<Result<T, Refusal>, Error>;

/// Rides in a database, in its schema `rides`.
#[derive(Clone, Debug)]
pub struct Postgres {
    pool: Pool,
    id: Arc<str>,
    stale: Arc<StaleWrites>,
}

impl Postgres {
    /// Connects to the database of `url`, and makes the tables where there are none.
    ///
    /// # Errors
    /// `InvalidInput` when the URL is none, `Unavailable` when the database cannot be reached or refuses.
    pub async fn connect(url: &str) -> Result<Self> {
        let pool = pool(url, "rides")?;
        make_schema(&pool, "rides", SCHEMA).await?;
        let id =
            ask(connection(&pool).await?, async |db| db.query_one("select id from rides.city", &[]).await);
        let id: String = id.await?.get(0);
        Ok(Postgres { pool, id: id.into(), stale: Arc::default() })
    }

    async fn rows(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        postgres::rows(&self.pool, sql, values).await
    }

    /// Does something to a driver, in place.
    async fn update_driver(
        &self,
        id: i64,
        update: impl FnOnce(&mut Loaded) -> Result<(), Refusal> + Send,
    ) -> Result<Result<Driver, Refusal>> {
        let at = Timestamp::now();
        let work = async |db: &Object| {
            let Some(mut loaded) = load_driver(db, id).await? else { return Ok(Err(Refusal::NoDriver)) };
            if let Err(refusal) = update(&mut loaded) {
                return Ok(Err(refusal));
            }
            rules::update(&mut loaded.driver, at);
            save_driver(db, &loaded.driver).await?;
            Ok(Ok(loaded.driver))
        };
        transact(connection(&self.pool).await?, work).await
    }
}

impl Store for Postgres {
    fn id(&self) -> &str {
        &self.id
    }

    fn create(&self, asked: NewBooking, key: Option<Key>) -> Fut<'_, Result<Result<Done, Refusal>>> {
        let at = Timestamp::now();
        Box::pin(async move {
            let work = async |db: &Object| {
                if let Some(known) = begin_once(db, key.as_ref()).await? {
                    return Ok(known);
                }
                let known = "select from rides.riders where id = $1";
                if query(db, known, &[&asked.rider_id]).await?.is_empty() {
                    return Ok(Err(Refusal::NoRider));
                }
                let done = Done::Booking(create(db, &asked, at).await?);
                keep(db, key.as_ref(), &done, at).await?;
                Ok(Ok(done))
            };
            transact(connection(&self.pool).await?, work).await
        })
    }

    fn open(
        &self,
        id: i64,
        token: Option<FencingToken>,
    ) -> Fut<'_, Result<Result<Option<Booking>, Refusal>>> {
        Box::pin(async move {
            let work = async |db: &Object| {
                let Some(mut known) = load_booking(db, id).await? else { return Ok(Ok(None)) };
                if let Err(refusal) = rules::raise(&mut known.fence, token) {
                    return Ok(Err(refusal));
                }
                let raise = "update rides.bookings set fence = $2 where id = $1 and fence < $2";
                query(db, raise, &[&id, &signed(known.fence)]).await?;
                Ok(Ok(Some(known)))
            };
            let opened = transact(connection(&self.pool).await?, work).await?;
            self.stale.count(&opened);
            Ok(opened)
        })
    }

    fn change(&self, change: Change) -> Fut<'_, Result<Result<Changed, Refusal>>> {
        Box::pin(async move {
            let work = async |db: &Object| {
                if let Some(known) = begin_once(db, change.key.as_ref()).await? {
                    return Ok(known.map(|done| Changed { done, driver: None }));
                }
                let changed = make(db, &change).await?;
                if let Ok(changed) = &changed {
                    keep(db, change.key.as_ref(), &changed.done, Timestamp::now()).await?;
                }
                Ok(changed)
            };
            let changed = transact(connection(&self.pool).await?, work).await?;
            self.stale.count(&changed);
            Ok(changed)
        })
    }

    fn repeated<'a>(&'a self, key: &'a Key) -> Fut<'a, Result<Option<Result<Done, Refusal>>>> {
        Box::pin(async move { ask(connection(&self.pool).await?, async |db| repeated(db, key).await).await })
    }

    fn booking(&self, id: i64) -> Fut<'_, Result<Option<Details>>> {
        Box::pin(async move {
            let sql = format!("select {BOOKING}, {DETAILS} where b.id = $1");
            Ok(self.rows(&sql, &[&id]).await?.first().map(details))
        })
    }

    fn bookings(&self, of: User, status: Option<Status>) -> Fut<'_, Result<Vec<Details>>> {
        let (column, id) = match of {
            User::Rider(id) => ("rider_id", id),
            User::Driver(id) => ("driver_id", id),
        };
        Box::pin(async move {
            let sql = format!(
                "select {BOOKING}, {DETAILS} where b.{column} = $1 and ($2::text is null or b.status = $2) order by b.id desc"
            );
            let rows = self.rows(&sql, &[&id, &status.map(Status::word)]).await?;
            Ok(rows.iter().map(details).collect())
        })
    }

    fn newest(&self, limit: u32) -> Fut<'_, Result<Vec<Booking>>> {
        Box::pin(async move {
            let sql = format!("select {BOOKING} from rides.bookings as b order by b.id desc limit $1");
            Ok(self.rows(&sql, &[&i64::from(limit)]).await?.iter().map(a_booking).collect())
        })
    }

    fn add_driver(&self, asked: NewDriver, key: Option<Key>) -> Fut<'_, Result<Result<Changed, Refusal>>> {
        let at = Timestamp::now();
        Box::pin(async move {
            let work = async |db: &Object| {
                if let Some(known) = begin_once(db, key.as_ref()).await? {
                    return Ok(known.map(|done| Changed { done, driver: None }));
                }
                let Some(driver) = add_driver(db, &asked, at).await? else {
                    return Ok(Err(Refusal::PhoneTaken));
                };
                let done = Done::Driver(driver.clone());
                keep(db, key.as_ref(), &done, at).await?;
                Ok(Ok(Changed { done, driver: Some(driver) }))
            };
            transact(connection(&self.pool).await?, work).await
        })
    }

    fn drivers_of<'a>(&'a self, ids: &'a [i64]) -> Fut<'a, Result<Vec<Driver>>> {
        Box::pin(async move {
            let sql = format!("select {DRIVER} from rides.drivers as d where d.id = any($1)");
            Ok(self.rows(&sql, &[&ids]).await?.iter().map(a_driver).collect())
        })
    }

    fn drivers(&self, after: i64, limit: u32) -> Fut<'_, Result<Vec<Driver>>> {
        Box::pin(async move {
            let sql =
                format!("select {DRIVER} from rides.drivers as d where d.id > $1 order by d.id limit $2");
            Ok(self.rows(&sql, &[&after, &i64::from(limit)]).await?.iter().map(a_driver).collect())
        })
    }

    fn online_in<'a>(&'a self, ranges: &'a [CellRange]) -> Fut<'a, Result<Vec<Driver>>> {
        Box::pin(async move {
            let sql = format!(
                "select {DRIVER} from unnest($1::bigint[], $2::bigint[]) as r (first, last) \
                 join rides.drivers as d on d.cell between r.first and r.last where d.status = 'online'"
            );
            let (first, last): (Vec<i64>, Vec<i64>) =
                ranges.iter().map(|range| (range.first, range.last)).unzip();
            Ok(self.rows(&sql, &[&first, &last]).await?.iter().map(a_driver).collect())
        })
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
        let at = Timestamp::now();
        Box::pin(async move {
            let work = async |db: &Object| seed(db, city, at).await.map(Ok::<u64, Refusal>);
            Ok(transact(connection(&self.pool).await?, work).await?.unwrap_or_default())
        })
    }

    fn forget_keys(&self, before: Timestamp) -> Fut<'_, Result<u64>> {
        Box::pin(async move {
            let sql = "delete from rides.idempotency where at < $1";
            ask(connection(&self.pool).await?, async |db| db.execute(sql, &[&before.0]).await).await
        })
    }

    fn ping(&self) -> Fut<'_, Result<()>> {
        Box::pin(async move { self.rows("select 1", &[]).await.map(|_| ()) })
    }

    fn stale_writes(&self) -> u64 {
        self.stale.get()
    }

    fn store(&self) -> &'static str {
        "postgresql"
    }
}

/// What was answered to a request with this key. If nothing was, nobody else begins one with it until the transaction ends.
async fn begin_once(db: &Object, key: Option<&Key>) -> Result<Option<Result<Done, Refusal>>, Error> {
    let Some(key) = key else { return Ok(None) };
    query(db, "select pg_advisory_xact_lock($1, hashtext($2))", &[&CLASS, &key.key]).await?;
    repeated(db, key).await
}

async fn repeated(db: &Object, key: &Key) -> Result<Option<Result<Done, Refusal>>, Error> {
    let sql = "select request, outcome from rides.idempotency where key = $1";
    Ok(query(db, sql, &[&key.key]).await?.first().map(|row| key.answer(row.get(0), row.get(1))))
}

async fn keep(db: &Object, key: Option<&Key>, done: &Done, at: Timestamp) -> Result<(), Error> {
    let Some(key) = key else { return Ok(()) };
    let sql = "insert into rides.idempotency values ($1, $2, $3, $4)";
    query(db, sql, &[&key.key, &key.request, &done.to_text(), &at.0]).await.map(|_| ())
}

async fn make(db: &Object, change: &Change) -> Answer<Changed> {
    let booking = load_booking(db, change.booking).await?;
    let named = change.action.driver().or_else(|| booking.as_ref()?.driver_id);
    let driver = match named {
        Some(id) => load_driver(db, id).await?,
        None => None,
    };
    // Now that both rows are held: what comes later has a later moment.
    let (booking, changed) = match rules::decide(booking, driver, change, Timestamp::now()) {
        Ok(decided) => decided,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if let Some(driver) = &changed.driver {
        save_driver(db, driver).await?;
    }
    save_booking(db, &booking).await?;
    Ok(Ok(changed))
}

async fn create(db: &Object, asked: &NewBooking, at: Timestamp) -> Result<Booking, Error> {
    let sql = format!(
        "insert into rides.bookings as b (rider_id, pickup_lat, pickup_lng, dropoff_lat, dropoff_lng, estimated_fare, \
         vehicle_type, status, created_at, fence) values ($1, $2::bigint * 0.00000001, $3::bigint * 0.00000001, \
         $4::bigint * 0.00000001, $5::bigint * 0.00000001, $6::bigint * 0.01, $7, 'pending', \
         to_timestamp($8::bigint / 1000.0), 0) returning {BOOKING}"
    );
    let values: [&(dyn ToSql + Sync); 8] = [
        &asked.rider_id,
        &asked.pickup.0.parts(),
        &asked.pickup.1.parts(),
        &asked.dropoff.0.parts(),
        &asked.dropoff.1.parts(),
        &asked.estimated_fare.parts(),
        &asked.vehicle_type,
        &at.0,
    ];
    let prepared = db.prepare_cached(&sql).await?;
    db.query_one(&prepared, &values).await.map(|row| a_booking(&row))
}

/// Writes a driver down, unless one has this phone number.
async fn add_driver(db: &Object, asked: &NewDriver, at: Timestamp) -> Result<Option<Driver>, Error> {
    // Asked first: an insert in vain would use up a number.
    if !query(db, "select from rides.drivers where phone = $1", &[&asked.phone]).await?.is_empty() {
        return Ok(None);
    }
    let sql = format!(
        "insert into rides.drivers as d (name, phone, email, lat, lng, cell, status, vehicle_type, rating, total_rides, \
         created_at, updated_at, version, fence) values ($1, $2, $3, $4::bigint * 0.00000001, $5::bigint * 0.00000001, $6, $7, $8, \
         $9::bigint * 0.01, 0, to_timestamp($10::bigint / 1000.0), to_timestamp($10::bigint / 1000.0), 1, 0) \
         on conflict do nothing returning {DRIVER}"
    );
    let values: [&(dyn ToSql + Sync); 10] = [
        &asked.name,
        &asked.phone,
        &asked.email,
        &asked.at.map(|at| at.0.parts()),
        &asked.at.map(|at| at.1.parts()),
        &asked.at.map(|(lat, lng)| cell(lat, lng)),
        &asked.status.word(),
        &asked.vehicle_type,
        &asked.rating.parts(),
        &at.0,
    ];
    Ok(query(db, &sql, &values).await?.first().map(a_driver))
}

async fn seed(db: &Object, city: &City, at: Timestamp) -> Result<u64, Error> {
    // One at a time, or two that begin together would both find nobody.
    query(db, "select pg_advisory_xact_lock($1, 0)", &[&CLASS]).await?;
    let mut added = 0;
    let rider = "insert into rides.riders values ($1, $2, $3, $4, $5::bigint * 0.01, to_timestamp($6::bigint / 1000.0)) \
                 on conflict do nothing";
    let prepared = db.prepare_cached(rider).await?;
    for new in &city.riders {
        let values: [&(dyn ToSql + Sync); 6] =
            [&new.id, &new.name, &new.phone, &new.email, &new.rating.parts(), &at.0];
        added += db.execute(&prepared, &values).await?;
    }
    for new in &city.drivers {
        added += u64::from(add_driver(db, new, at).await?.is_some());
    }
    Ok(added)
}
