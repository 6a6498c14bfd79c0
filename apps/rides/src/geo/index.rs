//! The geo set in Redis: an index of the drivers online, never the truth about them.
//!
//! | key | what |
//! |---|---|
//! | `rides:{id of the database}:online` | the drivers online, by place |
//! | `rides:{id of the database}:version` | of each driver the version that was written last |
//!
//! It is told of every change after its commit, out of order if need be: an older version never replaces a newer one. What was not
//! written, since a process or Redis died in between, is repaired within 15 s; an instance that could not write does not
//! trust the index until it has repaired it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redis::Script;
use tenure::Result;
use tenure_server::redis::Link;
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Place, REACH};
use crate::booking::{Driver, DriverStatus};
use crate::store::Store;

/// How often the index is compared with the database: for so long at most a driver may stand wrong in it.
const REPAIR_EVERY: Duration = Duration::from_secs(15);
/// How soon it is compared when a write to it has failed, and again while that fails.
const REPAIR_SOON: Duration = Duration::from_secs(1);
/// How many drivers are told in one call.
const GROUP: u32 = 1_000;
/// How many changes may wait to be told.
const QUEUE: usize = 4_096;
/// How long a search waits for the changes before it to be written; then the database is asked.
const CATCH_UP: Duration = Duration::from_millis(50);
/// By how much more than the radius is searched, in km: a place in Redis is off by up to a metre.
const SLACK: f64 = 0.005;

/// The index, as one process uses it.
#[derive(Debug)]
pub struct Index {
    link: Link,
    place: Script,
    online: String,
    versions: String,
    /// Whether all that this process knows was written.
    is_current: AtomicBool,
    /// How often something could not be asked or written.
    failures: AtomicU64,
    /// How many changes were told.
    told: AtomicU64,
    /// How many of these are written by now, or have failed to be.
    done: watch::Sender<u64>,
    changed: mpsc::Sender<Driver>,
    to_tell: Mutex<mpsc::Receiver<Driver>>,
}

impl Index {
    /// The index of `store` at the server of `url`. Nothing was sent to it yet, and it is not trusted before [`run`](Index::run) has repaired it.
    ///
    /// # Errors
    /// `InvalidInput` when the URL is none.
    pub fn open(url: &str, store: &dyn Store) -> Result<Self> {
        let (changed, to_tell) = mpsc::channel(QUEUE);
        let key = |what| format!("rides:{{{}}}:{what}", store.id());
        Ok(Index {
            link: Link::open(url)?,
            place: Script::new(include_str!("place.lua")),
            online: key("online"),
            versions: key("version"),
            is_current: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            told: AtomicU64::new(0),
            done: watch::Sender::new(0),
            changed,
            to_tell: Mutex::new(to_tell),
        })
    }

    /// Notes how a driver is by now. Waits for nothing.
    pub fn tell(&self, driver: Driver) {
        match self.changed.try_send(driver) {
            Ok(()) => _ = self.told.fetch_add(1, Ordering::Relaxed),
            Err(_) => self.distrust(),
        }
    }

    fn distrust(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.is_current.store(false, Ordering::Relaxed);
    }

    /// The numbers of the drivers that the index has within `radius` km, the nearest first, `count` of them at most. `None` when the index
    /// cannot be asked or is not up to date. What was told before by this process is seen.
    pub(super) async fn search(&self, centre: Place, radius: f64, count: Option<usize>) -> Option<Vec<i64>> {
        if !self.is_current.load(Ordering::Relaxed) {
            return None;
        }
        let told = self.told.load(Ordering::Relaxed);
        let mut done = self.done.subscribe();
        if tokio::time::timeout(CATCH_UP, done.wait_for(|done| *done >= told)).await.is_err() {
            return None;
        }
        // A write that has failed is done too.
        if !self.is_current.load(Ordering::Relaxed) {
            return None;
        }
        let mut ask = redis::cmd("GEOSEARCH");
        ask.arg(&self.online).arg("FROMLONLAT").arg(centre.lng).arg(centre.lat);
        ask.arg("BYRADIUS").arg(radius + SLACK).arg("km").arg("ASC");
        if let Some(count) = count {
            ask.arg("COUNT").arg(count);
        }
        match self.link.ask(async |link| ask.query_async(link).await).await {
            Ok(ids) => Some(ids),
            Err(error) => {
                self.distrust();
                tracing::warn!(error = %error, "the index of drivers cannot be asked: the database is");
                None
            }
        }
    }

    /// Tells the index what changed, and repairs it at the start and from time to time, until it is told to end.
    pub async fn run(self: Arc<Self>, store: Arc<dyn Store>, end: CancellationToken) {
        let mut to_tell = self.to_tell.lock().await;
        let mut changed = Vec::new();
        let mut due = tokio::time::Instant::now();
        while !end.is_cancelled() {
            if tokio::time::Instant::now() >= due {
                let repaired = self.repair(&*store).await;
                due = tokio::time::Instant::now() + if repaired { REPAIR_EVERY } else { REPAIR_SOON };
            }
            // The end, a change, or the next repair.
            tokio::select! {
                () = end.cancelled() => {}
                count = to_tell.recv_many(&mut changed, GROUP as usize) => {
                    if let Err(error) = self.write(&changed).await {
                        tracing::warn!(error = %error, "the index of drivers cannot be told");
                    }
                    changed.clear();
                    self.done.send_modify(|done| *done += count as u64);
                }
                () = tokio::time::sleep_until(due) => {}
            }
            if !self.is_current.load(Ordering::Relaxed) {
                due = due.min(tokio::time::Instant::now() + REPAIR_SOON);
            }
        }
    }

    /// Compares the index with the database, and tells whether it is up to date from now on.
    async fn repair(&self, store: &dyn Store) -> bool {
        let failures = self.failures.load(Ordering::Relaxed);
        let mut after = 0;
        loop {
            let drivers = match store.drivers(after, GROUP).await {
                Ok(drivers) => drivers,
                Err(error) => {
                    tracing::warn!(error = %error, "the index of drivers cannot be repaired");
                    return false;
                }
            };
            let Some(last) = drivers.last() else {
                // Unless something was missed meanwhile.
                let is_whole = self.failures.load(Ordering::Relaxed) == failures;
                self.is_current.store(is_whole, Ordering::Relaxed);
                return is_whole;
            };
            after = last.id;
            if let Err(error) = self.write(&drivers).await {
                tracing::warn!(error = %error, "the index of drivers cannot be repaired");
                return false;
            }
        }
    }

    async fn write(&self, drivers: &[Driver]) -> Result<()> {
        let mut call = self.place.key(&self.online);
        call.key(&self.versions);
        for driver in drivers {
            let at = driver.lat.zip(driver.lng).filter(|(lat, _)| lat.to_f64().abs() < REACH);
            call.arg(driver.id).arg(driver.version);
            match at.filter(|_| driver.status == DriverStatus::Online) {
                Some((lat, lng)) => call.arg(lng.to_string()).arg(lat.to_string()),
                None => call.arg("").arg(""),
            };
        }
        let written: Result<u64> = self.link.ask(async |link| call.invoke_async(link).await).await;
        if written.is_err() {
            self.distrust();
        }
        written.map(|_| ())
    }

    /// A trip to the server.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn ping(&self) -> Result<()> {
        self.link.ask(async |link| redis::cmd("PING").exec_async(link).await).await
    }
}
