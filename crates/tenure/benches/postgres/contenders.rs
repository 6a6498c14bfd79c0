//! The ways to lock through PostgreSQL's advisory locks: this library, the bare protocol, and sqlx.

use std::hint::black_box;
use std::sync::Arc;

use sqlx::postgres::{PgAdvisoryLock, PgAdvisoryLockGuard, PgPool, PgPoolOptions};
use tenure::{Guard, Locks};
use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio_postgres::{Client, NoTls, Statement};

use crate::contender::{Batches, Contender};

/// Connections of the contenders that take one for each lock.
pub const CONNECTIONS: usize = 16;

/// This library, over few connections whatever the number of locks.
pub struct Tenure(Locks);

impl Tenure {
    pub async fn make(url: &str) -> &'static Tenure {
        Box::leak(Box::new(Tenure(Locks::connect(url).await.unwrap())))
    }
}

impl Contender for Tenure {
    type Guard = Guard;

    async fn lock(&'static self, name: &str) -> Guard {
        let guard = self.0.lock(name).acquire().await.unwrap();
        black_box(guard.token());
        guard
    }

    async fn unlock(guard: Guard) {
        guard.release().await.unwrap();
    }
}

impl Batches for Tenure {
    async fn lock_all(&'static self, names: &[String]) -> Vec<Guard> {
        vec![self.0.lock_all(names).acquire().await.unwrap()]
    }
}

/// `pg_advisory_lock` and `pg_advisory_unlock` by prepared statements, on a connection of its own for each lock that is held.
/// It gives no token and does not notice a loss.
pub struct Raw {
    url: String,
    idle: parking_lot::Mutex<Vec<Session>>,
    places: Arc<Semaphore>,
}

struct Session {
    client: Client,
    lock: Statement,
    unlock: Statement,
    lock_all: Statement,
    unlock_all: Statement,
}

/// What is held, and with what.
pub struct Held {
    raw: &'static Raw,
    session: Option<Session>,
    keys: Vec<i64>,
    _place: OwnedSemaphorePermit,
}

impl Session {
    async fn open(url: &str) -> Session {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        let prepare = async |sql| client.prepare(sql).await.unwrap();
        let lock = prepare("select pg_advisory_lock($1)").await;
        let unlock = prepare("select pg_advisory_unlock($1)").await;
        let lock_all = prepare("select pg_advisory_lock(k) from unnest($1::bigint[]) k").await;
        let unlock_all = prepare("select pg_advisory_unlock(k) from unnest($1::bigint[]) k").await;
        Session { client, lock, unlock, lock_all, unlock_all }
    }
}

impl Raw {
    pub async fn make(url: &str) -> &'static Raw {
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS {
            idle.push(Session::open(url).await);
        }
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        Box::leak(Box::new(Raw { url: url.to_owned(), idle: parking_lot::Mutex::new(idle), places }))
    }

    async fn hold(&'static self, keys: Vec<i64>) -> Held {
        let place = Arc::clone(&self.places).acquire_owned().await.unwrap();
        // Those of tasks that were aborted are lost with their locks.
        let idle = self.idle.lock().pop();
        let session = match idle {
            Some(session) => session,
            None => Session::open(&self.url).await,
        };
        if let [key] = keys.as_slice() {
            session.client.query_one(&session.lock, &[key]).await.unwrap();
        } else {
            session.client.query(&session.lock_all, &[&keys]).await.unwrap();
        }
        Held { raw: self, session: Some(session), keys, _place: place }
    }
}

impl Contender for Raw {
    type Guard = Held;

    async fn lock(&'static self, name: &str) -> Held {
        self.hold(vec![key(name)]).await
    }

    async fn unlock(mut guard: Held) {
        let session = guard.session.take().unwrap();
        if let [key] = guard.keys.as_slice() {
            session.client.query_one(&session.unlock, &[key]).await.unwrap();
        } else {
            session.client.query(&session.unlock_all, &[&guard.keys]).await.unwrap();
        }
        guard.raw.idle.lock().push(session);
    }
}

impl Batches for Raw {
    async fn lock_all(&'static self, names: &[String]) -> Vec<Held> {
        vec![self.hold(names.iter().map(|name| key(name)).collect()).await]
    }
}

/// A key of no meaning elsewhere: of another range than this library's, so that nobody waits for another contender.
fn key(name: &str) -> i64 {
    name.bytes().fold(7, |key: i64, byte| key.wrapping_mul(31).wrapping_add(byte.into()))
}

/// The crate `sqlx`, its `PgAdvisoryLock` over a pool.
pub struct Sqlx(PgPool);

type Pooled = sqlx::pool::PoolConnection<sqlx::Postgres>;

impl Sqlx {
    pub async fn make(url: &str) -> &'static Sqlx {
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS as u32).connect(url).await.unwrap();
        Box::leak(Box::new(Sqlx(pool)))
    }
}

impl Contender for Sqlx {
    type Guard = PgAdvisoryLockGuard<Pooled>;

    async fn lock(&'static self, name: &str) -> Self::Guard {
        let lock = PgAdvisoryLock::new(name);
        lock.acquire(self.0.acquire().await.unwrap()).await.unwrap()
    }

    async fn unlock(guard: Self::Guard) {
        drop(guard.release_now().await.unwrap());
    }
}

/// A mutex of this process: no store at all.
#[derive(Debug, Default)]
pub struct Local(Arc<Mutex<()>>);

impl Local {
    pub fn make() -> &'static Local {
        Box::leak(Box::default())
    }
}

impl Contender for Local {
    type Guard = OwnedMutexGuard<()>;

    async fn lock(&'static self, _name: &str) -> Self::Guard {
        Arc::clone(&self.0).lock_owned().await
    }

    async fn unlock(guard: Self::Guard) {
        drop(guard);
    }
}
