//! Rides as a whole: the database, the locks, the index, and what goes on over them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tenure::{Locks, Result, Settings};
use tenure_server::stores::{self, Stores};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::city::City;
use crate::config::Config;
use crate::dispatch::Dispatch;
use crate::geo::Index;
use crate::store::{Postgres, Sqlite, Store};
use crate::time::Timestamp;

/// How long an ending service waits for the store of its locks.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// How long an idempotency key is kept: a day.
const KEYS_KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// How often old keys are removed; at the start too.
const CLEAN_EVERY: Duration = Duration::from_secs(60 * 60);
/// How many drivers are written down in one transaction.
const GROUP: usize = 500;

/// Everything that the routes stand on.
#[derive(Debug)]
#[non_exhaustive]
pub struct Rides {
    /// The database.
    pub store: Arc<dyn Store>,
    /// The locks.
    pub locks: Locks,
    /// What happens to bookings.
    pub dispatch: Dispatch,
    /// The index of drivers in Redis, where there is one.
    pub index: Option<Arc<Index>>,
}

impl Rides {
    /// Opens everything over what the environment names: the database in PostgreSQL, else in a file in `data`; the index of drivers in
    /// Redis where there is one; the locks as [`Stores::connect`] says. The demo city is there afterwards.
    ///
    /// # Errors
    /// `Unavailable` when a store cannot be reached, `InvalidInput` when a URL is none.
    pub async fn open(stores: &Stores, data: &Path, config: &Config) -> Result<Self> {
        let store = open_store(stores, data).await?;
        let mut settings = Settings::default();
        settings.ttl = config.lock_ttl();
        let locks = stores.connect(&data.join("locks"), settings).await?;
        let index = stores.redis.as_deref().map(|url| Index::open(url, &*store)).transpose()?.map(Arc::new);
        seed(&*store, &City::new(crate::city::DRIVERS)).await?;
        let dispatch = Dispatch::new(Arc::clone(&store), locks.clone(), index.clone());
        Ok(Rides { store, locks, dispatch, index })
    }

    /// Begins what goes on beside requests: the index is kept up to date, and old keys are removed.
    pub fn start(&self) -> Work {
        let mut work = Work { end: CancellationToken::new(), tasks: JoinSet::new() };
        if let Some(index) = &self.index {
            work.tasks.spawn(Arc::clone(index).run(Arc::clone(&self.store), work.end.clone()));
        }
        work.tasks.spawn(clean_up(Arc::clone(&self.store), work.end.clone()));
        work
    }

    /// Gives back what is held.
    pub async fn close(&self) {
        self.locks.close(CLOSE_WITHIN).await;
    }
}

/// Opens the database that the environment names, or the file in `data`.
///
/// # Errors
/// `Unavailable` when it cannot be reached, `InvalidInput` when its URL is none.
pub async fn open_store(stores: &Stores, data: &Path) -> Result<Arc<dyn Store>> {
    let store: Arc<dyn Store> = match &stores.database {
        Some(url) => Arc::new(Postgres::connect(url).await?),
        None => {
            stores::make(data)?;
            Arc::new(Sqlite::open(&data.join("rides.db")).await?)
        }
    };
    tracing::info!(store = store.store(), "the database is open");
    Ok(store)
}

/// Writes down who of a city is not there yet, and tells how many that were.
///
/// # Errors
/// `Unavailable`: a part may be there then.
pub async fn seed(store: &dyn Store, city: &City) -> Result<u64> {
    let mut added = store.seed(&City { riders: city.riders.clone(), drivers: Vec::new() }).await?;
    for drivers in city.drivers.chunks(GROUP) {
        added += store.seed(&City { riders: Vec::new(), drivers: drivers.to_vec() }).await?;
    }
    Ok(added)
}

async fn clean_up(store: Arc<dyn Store>, end: CancellationToken) {
    while !end.is_cancelled() {
        match store.forget_keys(Timestamp::now().minus(KEYS_KEPT)).await {
            Ok(keys) => tracing::debug!(keys, "idempotency keys were removed"),
            Err(error) => tracing::warn!(error = %error, "the clean-up failed"),
        }
        // The end, or the next time.
        tokio::select! {
            () = end.cancelled() => {}
            () = tokio::time::sleep(CLEAN_EVERY) => {}
        }
    }
}

/// What goes on beside requests. Dropped, it is cut where it stands.
#[derive(Debug)]
pub struct Work {
    end: CancellationToken,
    tasks: JoinSet<()>,
}

impl Work {
    /// Ends it, and waits for what it has in hand.
    ///
    /// # Cancel safety
    /// Dropped, the rest is cut where it stands.
    pub async fn stop(mut self) {
        self.end.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}
