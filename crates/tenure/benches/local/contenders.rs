//! The ways to lock by name: this library, and two that programs use today at their best. All are given back by dropping the
//! guard, which here frees the lock at once.

use std::sync::Arc;

use dashmap::DashMap;
use lockable::{LockPool, Lockable};
use tenure::{Guard, Locks};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::contender::{Batches, Contender};

/// This library over `memory:`, with tokens, queues, lists and early loss.
#[derive(Debug)]
pub struct Tenure(Locks);

impl Tenure {
    pub fn make() -> &'static Tenure {
        Box::leak(Box::new(Tenure(Locks::memory())))
    }
}

impl Contender for Tenure {
    type Guard = Guard;

    async fn lock(&'static self, name: &str) -> Guard {
        self.0.lock(name).acquire().await.unwrap()
    }

    async fn unlock(guard: Guard) {
        drop(guard);
    }
}

impl Batches for Tenure {
    async fn lock_all(&'static self, names: &[String]) -> Vec<Guard> {
        vec![self.0.lock_all(names).acquire().await.unwrap()]
    }
}

/// A sharded map of async mutexes. It never forgets a name: to do so safely is most of the work of a lock table.
#[derive(Debug, Default)]
pub struct Dashed(DashMap<String, Arc<Mutex<()>>>);

impl Dashed {
    pub fn make() -> &'static Dashed {
        Box::leak(Box::default())
    }

    fn mutex(&self, name: &str) -> Arc<Mutex<()>> {
        if let Some(mutex) = self.0.get(name) {
            return Arc::clone(&mutex);
        }
        Arc::clone(&self.0.entry(name.to_owned()).or_default())
    }
}

impl Contender for Dashed {
    type Guard = OwnedMutexGuard<()>;

    async fn lock(&'static self, name: &str) -> Self::Guard {
        self.mutex(name).lock_owned().await
    }

    async fn unlock(guard: Self::Guard) {
        drop(guard);
    }
}

impl Batches for Dashed {
    async fn lock_all(&'static self, names: &[String]) -> Vec<Self::Guard> {
        let mut guards = Vec::with_capacity(names.len());
        for name in names {
            guards.push(self.lock(name).await);
        }
        guards
    }
}

/// The crate `lockable`, its async pool.
pub struct Pool(LockPool<String>);

impl Pool {
    pub fn make() -> &'static Pool {
        Box::leak(Box::new(Pool(LockPool::new())))
    }
}

impl Contender for Pool {
    type Guard = <LockPool<String> as Lockable<String, ()>>::Guard<'static>;

    async fn lock(&'static self, name: &str) -> Self::Guard {
        self.0.async_lock(name.to_owned()).await
    }

    async fn unlock(guard: Self::Guard) {
        drop(guard);
    }
}

impl Batches for Pool {
    async fn lock_all(&'static self, names: &[String]) -> Vec<Self::Guard> {
        let mut guards = Vec::with_capacity(names.len());
        for name in names {
            guards.push(self.lock(name).await);
        }
        guards
    }
}
