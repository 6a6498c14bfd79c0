//! A cache of two levels, and how old its answers may be: see [`HybridCache`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream::{StreamExt as _, TryStreamExt as _};
use moka::future::Cache;
use tenure::clock::{Clock, Instant};
use tenure::{Error, Result};

use super::metrics::{Counters, add};
use super::settings::Settings;
use super::shared::{Kind, Shared};
use super::source::{Cached, Loaded, Source};
use crate::ledger::Fut;

/// The greatest value that is kept, in bytes: a larger one is read each time.
const MAX_BYTES: usize = 1024 * 1024;
/// How often a value is read again that was outdated while it was read. Then it is answered as it is: it was read within the call.
const ROUNDS: usize = 3;

/// What is found of a value.
type Found<V> = Result<Option<Arc<V>>>;
/// What is found of several.
type Page<'a, V> = Fut<'a, Result<Vec<Option<Arc<V>>>>>;

/// A value as it was read: that there is none, or that it could not be, is told to those who waited, and not kept.
struct Slot<V> {
    value: Result<Option<Arc<V>>, Arc<Error>>,
    read_at: Instant,
}

impl<V> Clone for Slot<V> {
    fn clone(&self) -> Self {
        Slot { value: self.value.clone(), read_at: self.read_at }
    }
}

/// A value that is wanted, with what is cached of it.
struct Wanted<S: Source> {
    key: S::Key,
    slot: Option<Slot<S::Value>>,
}

/// A cache of two levels over a source: one in the process, and one that all instances share where there is Redis.
///
/// A cached value is trusted for as long as the consistency time-out says, counted from before it was read. An older one is compared by
/// version with where it came from, so that nobody is ever answered with what was outdated for longer than that, whatever message was lost.
/// News of a change end a value at once, also one that is being read.
pub struct HybridCache<S: Source> {
    source: S,
    local: Cache<S::Key, Slot<S::Value>>,
    /// Versions below which values are known to be outdated: of what changed while it may have been read. Older news are not
    /// needed, since what was read before them is compared by its age.
    floors: moka::sync::Cache<S::Key, u64>,
    shared: Option<(Arc<Shared>, Kind)>,
    settings: Settings,
    counters: Arc<Counters>,
    clock: Clock,
}

impl<S: Source> fmt::Debug for HybridCache<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HybridCache").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl<S: Source> HybridCache<S> {
    pub(super) fn new(
        source: S,
        shared: Option<(Arc<Shared>, Kind)>,
        settings: Settings,
        counters: Arc<Counters>,
    ) -> Self {
        let local =
            Cache::builder().max_capacity(settings.max_cache_size).time_to_live(settings.cache_ttl).build();
        let floors = moka::sync::Cache::builder()
            .max_capacity(settings.max_cache_size)
            // A read that takes longer than this is compared by its age.
            .time_to_live(2 * settings.consistency_timeout + Duration::from_secs(1))
            .build();
        HybridCache { source, local, floors, shared, settings, counters, clock: Clock::system() }
    }

    /// A value; `None` when there is none. Those who ask at the same time for what is not cached share one read.
    ///
    /// # Errors
    /// As its source; a shared level that fails is passed over.
    ///
    /// # Cancel safety
    /// May be dropped at any time: another one who waits takes the read over.
    pub async fn get(&self, key: &S::Key) -> Result<Option<Arc<S::Value>>> {
        let began = self.clock.now();
        let value = self.find(key).await;
        self.counters.took(1, began.until(self.clock.now()));
        value
    }

    /// Values in the order of `keys`, which are read in pages. As [`get`](Self::get) otherwise.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    /// As [`get`](Self::get).
    pub async fn get_many(&self, keys: &[S::Key]) -> Result<Vec<Option<Arc<S::Value>>>> {
        let began = self.clock.now();
        let page = self.settings.batch_read_size.max(1);
        let at_once = if self.settings.enable_parallel_reads {
            self.settings.max_parallel_reads.clamp(1, keys.len().div_ceil(page).max(1))
        } else {
            1
        };
        let pages: Vec<Fut<'_, _>> = keys.chunks(page).map(|keys| self.page(keys)).collect();
        if at_once > 1 {
            self.counters.parallel.fetch_add(pages.len() as u64, Ordering::Relaxed);
        }
        let pages = futures_util::stream::iter(pages).buffered(at_once);
        let found: Vec<Vec<_>> = pages.try_collect().await?;
        self.counters.took(keys.len() as u64, began.until(self.clock.now()));
        Ok(found.into_iter().flatten().collect())
    }

    /// A value for a write that is to follow: cached or read, whatever the age, and not counted. It may be outdated: the write has
    /// to expect its version.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(crate) fn hint<'a>(&'a self, key: &'a S::Key) -> Fut<'a, Found<S::Value>> {
        Box::pin(async move {
            if let Some(slot) = self.local.get(key).await.filter(|slot| !self.is_outdated(key, slot)) {
                return told(slot);
            }
            let slot = self.read(key, None).await;
            self.keep(key, &slot).await;
            told(slot)
        })
    }

    /// Ends what is cached of a value and older than `version`; all of it without one.
    pub(crate) fn outdate<'a>(&'a self, key: &'a S::Key, version: Option<u64>) -> Fut<'a, ()> {
        Box::pin(async move {
            if let Some(version) = version {
                self.floors
                    .entry_by_ref(key)
                    .and_upsert_with(|known| known.map_or(version, |known| known.into_value().max(version)));
            }
            let known = self.local.get(key).await;
            if known.is_some_and(|slot| version.is_none() || self.is_outdated(key, &slot)) {
                self.local.invalidate(key).await;
            }
        })
    }

    /// Ends all that is cached in the process.
    pub(super) fn clear(&self) {
        self.local.invalidate_all();
    }

    /// How many values are in the process.
    pub(super) async fn size(&self) -> u64 {
        self.local.run_pending_tasks().await;
        self.local.entry_count()
    }

    fn find<'a>(&'a self, key: &'a S::Key) -> Fut<'a, Found<S::Value>> {
        Box::pin(async move {
            // Who waits for somebody else's read that takes long may be told what was outdated when the wait began.
            let oldest = self.clock.now() - self.settings.consistency_timeout;
            for _ in 0..ROUNDS {
                let known = self.local.get(key).await;
                if let Some(slot) = known.clone().filter(|slot| self.is_trusted(key, slot)) {
                    add(&self.counters.hits);
                    add(&self.counters.optimistic);
                    return told(slot);
                }
                // Who must not be told anything old shares no read that began before.
                let slot =
                    match self.settings.enable_eventual_consistency && self.settings.enable_read_caching {
                        true => self.share(key, known).await,
                        false => {
                            let slot = self.read(key, known).await;
                            self.keep(key, &slot).await;
                            slot
                        }
                    };
                if slot.read_at >= oldest && !self.is_outdated(key, &slot) {
                    return told(slot);
                }
            }
            told(self.read(key, None).await)
        })
    }

    /// Reads a value together with all who want it.
    fn share<'a>(&'a self, key: &'a S::Key, known: Option<Slot<S::Value>>) -> Fut<'a, Slot<S::Value>> {
        Box::pin(async move {
            let entry = self.local.entry_by_ref(key);
            let reading = Box::pin(self.read(key, known));
            let entry = entry.or_insert_with_if(reading, |slot| !self.is_trusted(key, slot)).await;
            let is_fresh = entry.is_fresh();
            let slot = entry.into_value();
            if !is_fresh {
                // Somebody else has read it.
                add(&self.counters.hits);
            } else if !is_worth_keeping(&slot) {
                self.local.invalidate(key).await;
            }
            slot
        })
    }

    /// Keeps a value in the process, where there is a cache.
    async fn keep(&self, key: &S::Key, slot: &Slot<S::Value>) {
        if self.settings.enable_read_caching && is_worth_keeping(slot) {
            self.local.insert(key.clone(), slot.clone()).await;
        }
    }

    async fn read(&self, key: &S::Key, known: Option<Slot<S::Value>>) -> Slot<S::Value> {
        let mut slots = self.fetch(vec![Wanted { key: key.clone(), slot: known }]).await;
        slots.pop().expect("a slot for each that is wanted")
    }

    fn page<'a>(&'a self, keys: &'a [S::Key]) -> Page<'a, S::Value> {
        Box::pin(async move {
            let mut found = vec![None; keys.len()];
            let (mut wanted, mut places) = (Vec::new(), Vec::new());
            for (place, key) in keys.iter().enumerate() {
                match self.local.get(key).await {
                    Some(slot) if self.is_trusted(key, &slot) => {
                        add(&self.counters.hits);
                        add(&self.counters.optimistic);
                        *found.get_mut(place).expect("one for each key") = told(slot)?;
                    }
                    slot => {
                        wanted.push(Wanted { key: key.clone(), slot });
                        places.push((place, key));
                    }
                }
            }
            if wanted.is_empty() {
                return Ok(found);
            }
            for (slot, (place, key)) in self.fetch(wanted).await.into_iter().zip(places) {
                self.keep(key, &slot).await;
                let value = if self.is_outdated(key, &slot) { self.find(key).await } else { told(slot) };
                *found.get_mut(place).expect("one for each key") = value?;
            }
            Ok(found)
        })
    }

    /// Reads values, in the order of `wanted`.
    fn fetch(&self, mut wanted: Vec<Wanted<S>>) -> Fut<'_, Vec<Slot<S::Value>>> {
        Box::pin(async move {
            let read_at = self.clock.now();
            for Wanted { key, slot } in &mut wanted {
                slot.take_if(|slot| !self.settings.enable_read_caching || self.is_outdated(key, slot));
            }
            let stamp = self.look_up(&mut wanted, read_at).await;
            let (mut asked, mut open) = (Vec::new(), Vec::new());
            for Wanted { key, slot } in &mut wanted {
                if slot.as_ref().is_some_and(|slot| self.is_trusted(key, slot)) {
                    self.count(&self.counters.hits);
                    self.count(&self.counters.optimistic);
                    continue;
                }
                let version =
                    slot.as_ref().filter(|_| self.settings.enable_optimistic_reads).and_then(version);
                if version.is_some() {
                    self.count(&self.counters.checks);
                }
                asked.push((key.clone(), version));
                open.push(slot);
            }
            if !asked.is_empty() {
                let fresh = self.load(asked, open, read_at).await;
                if let (Some((shared, kind)), Some(stamp)) = (&self.shared, stamp) {
                    shared.put(*kind, stamp, &fresh, self.settings.shared_ttl).await;
                }
            }
            wanted.into_iter().map(|wanted| wanted.slot.expect("each was cached or read")).collect()
        })
    }

    /// Fills the open slots from the source. Those that may be shared.
    async fn load(
        &self,
        asked: Vec<(S::Key, Option<u64>)>,
        open: Vec<&mut Option<Slot<S::Value>>>,
        read_at: Instant,
    ) -> Vec<(S::Key, Arc<S::Value>)> {
        let loaded: Vec<Result<_, Arc<Error>>> = match self.source.load(&asked).await {
            Ok(loaded) => loaded.into_iter().map(Ok).collect(),
            Err(error) => {
                let error = Arc::new(error);
                asked.iter().map(|_| Err(Arc::clone(&error))).collect()
            }
        };
        let mut fresh = Vec::new();
        for (((key, _), slot), loaded) in asked.into_iter().zip(open).zip(loaded) {
            let value = match loaded {
                Ok(Loaded::Unchanged) => {
                    self.count(&self.counters.hits);
                    slot.take().map_or(Ok(None), |known| known.value)
                }
                Ok(Loaded::Changed(value)) => {
                    self.count(&self.counters.misses);
                    let value = Arc::new(value);
                    if value.bytes() <= MAX_BYTES {
                        fresh.push((key, Arc::clone(&value)));
                    }
                    Ok(Some(value))
                }
                Ok(Loaded::Nothing) => {
                    self.count(&self.counters.misses);
                    Ok(None)
                }
                Err(error) => Err(error),
            };
            *slot = Some(Slot { value, read_at });
        }
        fresh
    }

    /// Looks in the shared level for what is missing. Its moment, for what is put there later.
    async fn look_up(&self, wanted: &mut [Wanted<S>], now: Instant) -> Option<u64> {
        let (shared, kind) = self.shared.as_ref().filter(|_| self.settings.enable_read_caching)?;
        let missing: Vec<&mut Wanted<S>> = wanted.iter_mut().filter(|wanted| wanted.slot.is_none()).collect();
        let keys: Vec<&S::Key> = missing.iter().map(|wanted| &wanted.key).collect();
        if keys.is_empty() {
            return None;
        }
        let (stamp, found) = shared.get::<S::Key, S::Value>(*kind, &keys).await?;
        for (Wanted { key, slot }, found) in missing.into_iter().zip(found) {
            let found =
                found.map(|(value, age)| Slot { value: Ok(Some(Arc::new(value))), read_at: now - age });
            *slot = found.filter(|found| !self.is_outdated(key, found));
        }
        Some(stamp)
    }

    /// Whether a value may be answered without asking anybody.
    fn is_trusted(&self, key: &S::Key, slot: &Slot<S::Value>) -> bool {
        let is_young = || slot.read_at.until(self.clock.now()) <= self.settings.consistency_timeout;
        let settings = &self.settings;
        settings.enable_read_caching
            && settings.enable_eventual_consistency
            && is_worth_keeping(slot)
            && is_young()
            && !self.is_outdated(key, slot)
    }

    /// Whether it is known that there is a newer one.
    fn is_outdated(&self, key: &S::Key, slot: &Slot<S::Value>) -> bool {
        slot.value.is_ok() && self.floors.get(key).is_some_and(|floor| version(slot).unwrap_or(0) < floor)
    }

    /// Counts a look into the cache, where there is one.
    fn count(&self, counter: &AtomicU64) {
        if self.settings.enable_read_caching {
            add(counter);
        }
    }
}

fn version<V: Cached>(slot: &Slot<V>) -> Option<u64> {
    slot.value.as_ref().ok()?.as_ref().map(|value| value.version())
}

fn is_worth_keeping<V: Cached>(slot: &Slot<V>) -> bool {
    matches!(&slot.value, Ok(Some(value)) if value.bytes() <= MAX_BYTES)
}

/// What a slot tells; an error without its cause, which only one could have.
fn told<V>(slot: Slot<V>) -> Result<Option<Arc<V>>> {
    slot.value.map_err(|error| Error::new(error.kind(), error.operation(), error.what().to_owned()))
}
