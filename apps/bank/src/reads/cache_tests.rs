//! The cache over a source that the test holds in its hands: who shares a read, and what ends one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tenure::{Error, Result};
use tokio::sync::Semaphore;

use super::cache::HybridCache;
use super::metrics::Counters;
use super::settings::Settings;
use super::source::{Cached, Loaded, Source};
use crate::ledger::Fut;

const HOUR: Duration = Duration::from_secs(3_600);

#[derive(Debug, Serialize, Deserialize)]
struct Text {
    version: u64,
    bytes: usize,
}

impl Cached for Text {
    fn version(&self) -> u64 {
        self.version
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A source of one value, each read of which waits for a permit.
#[derive(Clone, Default)]
struct Gate(Arc<Inner>);

struct Inner {
    version: AtomicU64,
    bytes: AtomicU64,
    loads: AtomicU64,
    open: Semaphore,
    failure: Mutex<bool>,
}

impl Default for Inner {
    fn default() -> Self {
        Inner {
            version: AtomicU64::new(1),
            bytes: AtomicU64::new(8),
            loads: AtomicU64::new(0),
            open: Semaphore::new(0),
            failure: Mutex::new(false),
        }
    }
}

impl Source for Gate {
    type Key = String;
    type Value = Text;

    fn load<'a>(&'a self, wanted: &'a [(String, Option<u64>)]) -> Fut<'a, Result<Vec<Loaded<Text>>>> {
        // What is read is what is there when the read begins.
        let version = self.0.version.load(Ordering::SeqCst);
        let bytes = usize::try_from(self.0.bytes.load(Ordering::SeqCst)).unwrap();
        self.0.loads.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            self.0.open.acquire().await.unwrap().forget();
            if *self.0.failure.lock() {
                return Err(Error::unavailable("test", "it fails"));
            }
            let answer = |(_, known): &(String, Option<u64>)| match version {
                0 => Loaded::Nothing,
                version if *known == Some(version) => Loaded::Unchanged,
                version => Loaded::Changed(Text { version, bytes }),
            };
            Ok(wanted.iter().map(answer).collect())
        })
    }
}

impl Gate {
    fn cache(&self, consistency_timeout: Duration) -> Arc<HybridCache<Gate>> {
        let settings = Settings { consistency_timeout, ..Settings::default() };
        Arc::new(HybridCache::new(self.clone(), None, settings, Arc::<Counters>::default()))
    }

    fn permit(&self, reads: usize) {
        self.0.open.add_permits(reads);
    }

    fn loads(&self) -> u64 {
        self.0.loads.load(Ordering::SeqCst)
    }

    fn change(&self, version: u64) {
        self.0.version.store(version, Ordering::SeqCst);
    }
}

async fn version(cache: &HybridCache<Gate>) -> Option<u64> {
    cache.get(&"a".to_owned()).await.unwrap().map(|text| text.version)
}

#[tokio::test]
async fn those_who_ask_at_the_same_time_share_one_read() {
    let gate = Gate::default();
    let cache = gate.cache(HOUR);
    let asked = (0..50).map(|_| version(&cache));
    let (answers, ()) = tokio::join!(futures_util::future::join_all(asked), async {
        tokio::task::yield_now().await;
        gate.permit(1);
    });
    assert_eq!(answers, [Some(1); 50]);
    assert_eq!((gate.loads(), version(&cache).await), (1, Some(1)));
}

#[tokio::test]
async fn what_changes_while_it_is_read_is_read_again() {
    let (gate, key) = (Gate::default(), "a".to_owned());
    let cache = gate.cache(HOUR);
    let change = async {
        tokio::task::yield_now().await;
        assert_eq!(gate.loads(), 1);
        gate.change(2);
        cache.outdate(&key, Some(2)).await;
        gate.permit(2);
    };
    let (shown, ()) = tokio::join!(version(&cache), change);
    assert_eq!((shown, gate.loads()), (Some(2), 2));
    // Older news end nothing.
    cache.outdate(&key, Some(1)).await;
    assert_eq!((version(&cache).await, gate.loads()), (Some(2), 2));
}

#[tokio::test]
async fn a_value_that_is_too_old_is_compared_and_kept_where_it_is_the_same() {
    let gate = Gate::default();
    let cache = gate.cache(Duration::ZERO);
    gate.permit(10);
    let first = cache.get(&"a".to_owned()).await.unwrap().unwrap();
    let same = cache.get(&"a".to_owned()).await.unwrap().unwrap();
    assert!(Arc::ptr_eq(&first, &same), "the source said that it is unchanged");
    assert_eq!(gate.loads(), 2);
    gate.change(5);
    assert_eq!(version(&cache).await, Some(5));
}

#[tokio::test]
async fn what_is_not_there_fails_or_is_too_large_is_not_kept() {
    let gate = Gate::default();
    let cache = gate.cache(HOUR);
    gate.permit(10);
    gate.change(0);
    assert_eq!((version(&cache).await, version(&cache).await, gate.loads()), (None, None, 2));
    *gate.0.failure.lock() = true;
    assert!(cache.get(&"a".to_owned()).await.is_err());
    *gate.0.failure.lock() = false;
    gate.change(1);
    gate.0.bytes.store(1024 * 1024 + 1, Ordering::SeqCst);
    assert_eq!((version(&cache).await, version(&cache).await, gate.loads()), (Some(1), Some(1), 5));
    gate.0.bytes.store(1024 * 1024, Ordering::SeqCst);
    assert_eq!((version(&cache).await, version(&cache).await, gate.loads()), (Some(1), Some(1), 6));
}

#[tokio::test]
async fn a_reader_that_leaves_takes_nobody_with_it() {
    let (gate, key) = (Gate::default(), "a".to_owned());
    let cache = gate.cache(HOUR);
    let mut first = Box::pin(cache.get(&key));
    assert!(futures_util::poll!(&mut first).is_pending());
    let mut second = Box::pin(cache.get(&key));
    assert!(futures_util::poll!(&mut second).is_pending());
    drop(first);
    gate.permit(1);
    assert_eq!(second.await.unwrap().unwrap().version, 1);
}
