//! The ways to lock through Redis: this library, and the crates that Rust programs use today.

use std::hint::black_box;
use std::time::Duration;

use distributed_lock_core::traits::{DistributedLock, LockHandle, LockProvider};
use distributed_lock_redis::{RedisLockHandle, RedisLockProvider};
use futures_util::future::join_all;
use rslock::{Lock, LockManager};
use tenure::lease::{Kind, Query};
use tenure::{ErrorKind, Guard, Locks};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::contender::{Batches, Contender};

/// The ttl of all contenders.
pub const TTL: Duration = Duration::from_secs(30);

/// How long one that polls pauses between two tries.
pub const POLL: Duration = Duration::from_millis(1);

/// This library, through its one connection to the store.
pub struct Tenure {
    locks: Locks,
    flavour: Flavour,
}

/// What a user of the library does otherwise than lock and release.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flavour {
    /// Nothing.
    Plain,
    /// Drops guards, and does not wait until they are released.
    Dropped,
    /// Lets leases stay with the process.
    Sticky,
}

/// The library on the store at `url` in each flavour, or `None` where it has no provider for Redis.
pub async fn tenure(url: &str) -> Option<[&'static Tenure; 3]> {
    let locks = match Locks::connect(url).await {
        Err(error) if error.kind() == ErrorKind::InvalidInput => return None,
        locks => locks.unwrap(),
    };
    let make = |flavour| &*Box::leak(Box::new(Tenure { locks: locks.clone(), flavour }));
    Some([Flavour::Plain, Flavour::Dropped, Flavour::Sticky].map(make))
}

impl Tenure {
    /// Waits until nothing is held: what was dropped is released.
    pub async fn settle(&self) {
        let leases = Query::new(Kind::Leases, "");
        while !self.locks.provider().list(&leases).await.unwrap().entries.is_empty() {
            tokio::task::yield_now().await;
        }
    }
}

impl Contender for Tenure {
    type Guard = (Guard, Flavour);

    async fn lock(&'static self, name: &str) -> Self::Guard {
        let request = self.locks.lock(name);
        let request = if self.flavour == Flavour::Sticky { request.sticky(true) } else { request };
        let guard = request.acquire().await.unwrap();
        black_box(guard.token());
        (guard, self.flavour)
    }

    async fn unlock((guard, flavour): Self::Guard) {
        match flavour {
            Flavour::Plain | Flavour::Sticky => guard.release().await.unwrap(),
            Flavour::Dropped => drop(guard),
        }
    }
}

impl Batches for Tenure {
    async fn lock_all(&'static self, names: &[String]) -> Vec<Self::Guard> {
        let guard = self.locks.lock_all(names).acquire().await.unwrap();
        black_box(guard.token());
        vec![(guard, self.flavour)]
    }
}

/// The crate `rslock`, with the pause between its tries that it has by default. Not all or nothing: a batch is many locks.
pub struct Rslock(LockManager);

impl Rslock {
    pub fn make(url: &str) -> &'static Rslock {
        Box::leak(Box::new(Rslock(LockManager::new(vec![url]))))
    }
}

impl Contender for Rslock {
    type Guard = Lock;

    async fn lock(&'static self, name: &str) -> Lock {
        self.0.acquire_no_guard(format!("rslock:{name}").as_str(), TTL).await.unwrap()
    }

    async fn unlock(guard: Lock) {
        guard.release().await;
    }
}

impl Batches for Rslock {
    async fn lock_all(&'static self, names: &[String]) -> Vec<Lock> {
        join_all(names.iter().map(|name| self.lock(name))).await
    }
}

/// The crate `distributed-lock`, its part for Redis. Not all or nothing: a batch is many locks.
///
/// It has no way to wait: `acquire(timeout)` asks once and says that the time is over (0.2.0). So it is asked again here
/// where two tasks meet on a name by chance, and is left out where they contend.
pub struct Distributed(RedisLockProvider);

impl Distributed {
    pub async fn make(url: &str) -> &'static Distributed {
        Box::leak(Box::new(Distributed(RedisLockProvider::new(url).await.unwrap())))
    }
}

impl Contender for Distributed {
    type Guard = RedisLockHandle;

    async fn lock(&'static self, name: &str) -> RedisLockHandle {
        // Its holder's id is made with the lock, not with the acquisition: a lock is for one use.
        let lock = self.0.create_lock(name);
        loop {
            if let Some(handle) = lock.try_acquire().await.unwrap() {
                return handle;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn unlock(guard: RedisLockHandle) {
        guard.release().await.unwrap();
    }
}

impl Batches for Distributed {
    async fn lock_all(&'static self, names: &[String]) -> Vec<RedisLockHandle> {
        join_all(names.iter().map(|name| self.lock(name))).await
    }
}

/// A mutex of this process: no store at all, and nothing to be had between processes.
#[derive(Debug, Default)]
pub struct Local(std::sync::Arc<Mutex<()>>);

impl Local {
    pub fn make() -> &'static Local {
        Box::leak(Box::default())
    }
}

impl Contender for Local {
    type Guard = OwnedMutexGuard<()>;

    async fn lock(&'static self, _name: &str) -> Self::Guard {
        std::sync::Arc::clone(&self.0).lock_owned().await
    }

    async fn unlock(guard: Self::Guard) {
        drop(guard);
    }
}
