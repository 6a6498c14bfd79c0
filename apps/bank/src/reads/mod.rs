//! Reads that take no lock: accounts, their summaries and their last events, cached on two levels.
//!
//! How outdated an answer may be is written at [`HybridCache`]. News of changes come from [`Watched`], the store that every writer is
//! given, so that no writer can forget them.

mod cache;
#[cfg(test)]
mod cache_tests;
mod metrics;
mod settings;
mod shared;
mod source;
mod sources;
mod watched;

use std::sync::Arc;
use std::time::Duration;

use tenure::metrics::Operation;
use tenure::{Error, Locks, Result};
use tokio::task::AbortHandle;

pub use self::cache::HybridCache;
use self::metrics::Counters;
pub use self::metrics::ReadMetrics;
pub use self::settings::Settings;
use self::shared::{Kind, News, Shared};
pub use self::source::{Cached, Loaded, Source};
pub use self::sources::{RECENT_EVENTS, Recent};
pub use self::watched::Watched;
use crate::ledger::{Account, AccountKey, Book, Event, Fut, Store, Summary};
use crate::names::account_lock;

/// How long a read that takes the lock waits for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The reads of a process. Clones are the same.
#[derive(Clone, Debug)]
pub struct Reads(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    locks: Locks,
    settings: Settings,
    caches: Arc<Caches>,
    shared: Option<Arc<Shared>>,
    counters: Arc<Counters>,
    ear: Option<AbortHandle>,
}

#[derive(Debug)]
struct Caches {
    accounts: HybridCache<sources::Accounts>,
    summaries: HybridCache<sources::Summaries>,
    events: HybridCache<sources::Events>,
}

/// Where the level is that instances share.
#[derive(Clone)]
pub struct SharedLevel {
    /// The URL of a Redis.
    pub url: String,
    /// What its keys and its channel begin with.
    pub prefix: String,
}

/// The URL may have a password in it.
impl std::fmt::Debug for SharedLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedLevel").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(ear) = &self.ear {
            ear.abort();
        }
    }
}

impl Reads {
    /// Reads of `store`, which share what they cache through `shared` where there is one.
    ///
    /// # Errors
    /// `InvalidInput` when the URL of the shared level is none. That it cannot be reached is no error.
    ///
    /// # Panics
    /// Outside a tokio runtime, with a shared level.
    pub fn start(
        store: Arc<dyn Store>,
        locks: Locks,
        settings: Settings,
        shared: Option<SharedLevel>,
    ) -> Result<Self> {
        let counters = Arc::new(Counters::default());
        let shared = shared.map(|level| Shared::new(&level.url, &level.prefix)).transpose()?.map(Arc::new);
        let level = |kind| shared.clone().map(|shared| (shared, kind));
        let caches = Arc::new(Caches {
            accounts: HybridCache::new(
                sources::Accounts(Arc::clone(&store)),
                level(Kind::Account),
                settings,
                Arc::clone(&counters),
            ),
            summaries: HybridCache::new(
                sources::Summaries(Arc::clone(&store)),
                level(Kind::Summary),
                settings,
                Arc::clone(&counters),
            ),
            events: HybridCache::new(
                sources::Events(Arc::clone(&store)),
                level(Kind::Events),
                settings,
                Arc::clone(&counters),
            ),
        });
        let ear = shared.clone().filter(|_| settings.enable_read_caching).map(|shared| {
            let caches = Arc::clone(&caches);
            let on = move |news| -> Fut<'static, ()> {
                let caches = Arc::clone(&caches);
                Box::pin(async move { caches.on(news).await })
            };
            tokio::spawn(async move { shared.listen(on).await }).abort_handle()
        });
        Ok(Reads(Arc::new(Inner { store, locks, settings, caches, shared, counters, ear })))
    }

    /// An account.
    ///
    /// # Errors
    /// `Unavailable` when the store cannot be asked.
    ///
    /// # Cancel safety
    /// May be dropped at any time, as the others here.
    pub async fn account(&self, key: &AccountKey) -> Result<Option<Arc<Account>>> {
        if !self.is_lock_free() {
            let lock = self.0.locks.lock(account_lock(&key.id)).sticky(true);
            let _held = lock
                .try_acquire_for(PATIENCE)
                .await?
                .ok_or_else(|| Error::unavailable("read", "the account is busy"))?;
            let found = self.0.store.read(std::slice::from_ref(key)).await?;
            return Ok(found.into_iter().flatten().next().map(Arc::new));
        }
        self.record(1);
        self.0.caches.accounts.get(key).await
    }

    /// Accounts in the order of `keys`, read in pages side by side.
    ///
    /// # Errors
    /// As [`account`](Self::account).
    pub async fn accounts(&self, keys: &[AccountKey]) -> Result<Vec<Option<Arc<Account>>>> {
        self.record(keys.len());
        self.0.caches.accounts.get_many(keys).await
    }

    /// The summary of an account: behind the account by as much as the outbox is.
    ///
    /// # Errors
    /// As [`account`](Self::account).
    pub async fn summary(&self, key: &AccountKey) -> Result<Option<Arc<Summary>>> {
        self.record(1);
        self.0.caches.summaries.get(key).await
    }

    /// The last [`RECENT_EVENTS`] events of an account, the newest first. `None` when there is no such account.
    ///
    /// # Errors
    /// As [`account`](Self::account).
    pub async fn recent(&self, key: &AccountKey) -> Result<Option<Arc<Recent>>> {
        self.record(1);
        self.0.caches.events.get(key).await
    }

    /// Accounts of a book by id, uncached: those whose id is greater than `after`, `limit` of them at most.
    ///
    /// # Errors
    /// As [`account`](Self::account).
    pub async fn list(&self, book: Book, after: Option<&str>, limit: u32) -> Result<Vec<Account>> {
        self.record(1);
        self.0.store.list(book, after, limit).await
    }

    /// Older events of an account, uncached: those with a version below `before`, the newest first.
    ///
    /// # Errors
    /// As [`account`](Self::account).
    pub async fn history(&self, key: &AccountKey, before: u64, limit: u32) -> Result<Vec<Event>> {
        self.record(1);
        self.0.store.history(key, Some(before), limit).await
    }

    /// Whether a read takes no lock.
    pub(crate) fn is_lock_free(&self) -> bool {
        self.0.settings.enable_lock_free_reads
    }

    /// Learns that an account has a version.
    pub(crate) async fn learn(&self, key: &AccountKey, version: u64) {
        self.0.caches.outdate(Kind::Account, key, Some(version)).await;
        self.0.caches.outdate(Kind::Events, key, Some(version)).await;
    }

    /// The account as it may be, for a write that expects its version.
    pub(crate) async fn hint(&self, key: &AccountKey) -> Result<Option<Arc<Account>>> {
        self.0.caches.accounts.hint(key).await
    }

    /// Accounts as they may be, uncounted as reads without a lock.
    pub(crate) async fn hints(&self, keys: &[AccountKey]) -> Result<Vec<Option<Arc<Account>>>> {
        self.0.caches.accounts.get_many(keys).await
    }

    /// Tells all instances that accounts have changed, with their versions where they are known.
    pub(crate) async fn changed(&self, changed: &[(AccountKey, Option<u64>)]) {
        self.ended(&[Kind::Account, Kind::Events], changed).await;
    }

    /// Tells all instances that a summary has changed.
    pub(crate) async fn summed_up(&self, key: &AccountKey, version: u64) {
        self.ended(&[Kind::Summary], &[(key.clone(), Some(version))]).await;
    }

    fn ended<'a>(&'a self, kinds: &'a [Kind], changed: &'a [(AccountKey, Option<u64>)]) -> Fut<'a, ()> {
        Box::pin(async move {
            if !self.0.settings.enable_read_caching {
                return;
            }
            for (key, version) in changed {
                for kind in kinds {
                    self.0.caches.outdate(*kind, key, *version).await;
                }
            }
            if let Some(shared) = &self.0.shared {
                shared.end(kinds, changed, self.0.settings.shared_ttl).await;
            }
        })
    }

    /// What was read so far.
    pub async fn metrics(&self) -> ReadMetrics {
        let caches = &self.0.caches;
        let sizes = [caches.accounts.size().await, caches.summaries.size().await, caches.events.size().await];
        ReadMetrics::of(&self.0.counters, sizes)
    }

    fn record(&self, reads: usize) {
        for _ in 0..reads {
            self.0.locks.metrics().record(Operation::Read);
        }
    }
}

impl Caches {
    async fn on(&self, news: News) {
        match news {
            News::Changed { kind, key, version } => {
                if let Some(key) = AccountKey::of_text(&key) {
                    self.outdate(kind, &key, version).await;
                }
            }
            News::Gap => {
                self.accounts.clear();
                self.summaries.clear();
                self.events.clear();
            }
        }
    }

    async fn outdate(&self, kind: Kind, key: &AccountKey, version: Option<u64>) {
        match kind {
            Kind::Account => self.accounts.outdate(key, version).await,
            Kind::Summary => self.summaries.outdate(key, version).await,
            Kind::Events => self.events.outdate(key, version).await,
        }
    }
}
