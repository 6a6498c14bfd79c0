//! Failures that were seen in other locks of PostgreSQL, and that rows and transactions could have too.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tenure::Locks;
use tenure_testkit::seed;
use tokio::task::JoinSet;

use super::{connect, in_time, pass, rounds, sql, until, url};
use crate::stands::{POOL, database, pool, postgres};

/// The failure: a time-out is rounded down to whole milliseconds, and zero is for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_time_out_below_a_millisecond_ends() {
    let database = database().await;
    for url in [url(&database), format!("{}?mode=rows", pool().url(&database))] {
        let (locks, others) = (Locks::connect(&url).await.unwrap(), Locks::connect(&url).await.unwrap());
        let guard = locks.lock("x").acquire().await.unwrap();
        for wait in [Duration::from_nanos(1), Duration::from_micros(1), Duration::from_micros(999)] {
            let request = others.lock("x").try_acquire_for(wait);
            assert!(in_time("the end of a wait", request).await.unwrap().is_none(), "{wait:?}");
        }
        guard.release().await.unwrap();
    }
}

/// The failure: the wait has run out, and says so, though the lock was granted in the same moment; it stays for nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_ends_as_the_lock_comes_leaves_no_lock() {
    let mut random = StdRng::seed_from_u64(seed());
    for mode in ["rows", "advisory"] {
        let database = database().await;
        let url = postgres().url(&database);
        let locks = Locks::connect(&format!("{url}?mode={mode}")).await.unwrap();
        let (mut holder, mut waiter) = (connect(&url).await, connect(&url).await);
        for _ in 0..rounds(300) {
            let held = holder.transaction().await.unwrap();
            locks.within(&held).acquire("x").await.unwrap();
            let transaction = waiter.transaction().await.unwrap();
            let within = locks.within(&transaction);
            let wait = within.try_acquire_for("x", Duration::from_millis(3));
            let (taken, ()) = tokio::join!(in_time("the end of a wait", wait), async {
                pass(Duration::from_micros(random.random_range(1_500..4_500))).await;
                held.commit().await.unwrap();
            });
            let locks =
                "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()";
            let locks: i64 = transaction.query_one(locks, &[]).await.unwrap().get(0);
            assert_eq!(locks > 0, taken.unwrap().is_some(), "{mode}");
            transaction.rollback().await.unwrap();
        }
    }
}

/// The failure: what was dropped leaves the pooled connection in its transaction with its lock; the next borrower has the lock too,
/// and its writes vanish.
#[tokio::test(flavor = "multi_thread")]
async fn a_pooled_connection_whose_transaction_was_dropped_has_no_lock_and_keeps_later_writes() {
    let database = database().await;
    let locks = Locks::connect(&url(&database)).await.unwrap();
    let connections = sqlx::postgres::PgPoolOptions::new().max_connections(1);
    let connections = connections.connect(&postgres().url(&database)).await.unwrap();
    sqlx::query("create table written (n int)").execute(&connections).await.unwrap();
    let lock = "select tenure.lock_xact('x', null)";
    for round in 1..=20 {
        let mut transaction = connections.begin().await.unwrap();
        sqlx::query("insert into written values (0)").execute(&mut *transaction).await.unwrap();
        if round % 2 == 0 {
            sqlx::query(lock).execute(&mut *transaction).await.unwrap();
            drop(transaction);
        } else {
            // In the middle of a wait, which ends when the lock is free.
            let guard = locks.lock("x").acquire().await.unwrap();
            let wait = sqlx::query(lock).execute(&mut *transaction);
            assert!(tokio::time::timeout(Duration::from_millis(5), wait).await.is_err());
            drop(transaction);
            guard.release().await.unwrap();
        }
        let write = sqlx::query("insert into written values (1)").execute(&connections);
        in_time("the next borrower", write).await.unwrap();
        let seen = sql(postgres(), &database, "select count(*), sum(n) from written").await;
        assert_eq!(seen, format!("{round}|{round}"), "writes of the dropped are gone, others stay");
        let free = in_time("the name", locks.lock("x").acquire()).await.unwrap();
        free.release().await.unwrap();
    }
}

/// The failure: each waiter keeps a connection of the pool, until nobody can release.
#[tokio::test(flavor = "multi_thread")]
async fn waiters_take_no_connection_of_a_pool() {
    const WAITERS: usize = 100;
    let database = database().await;
    let url = format!("{}?mode=rows&listen={}", pool().url(&database), postgres().url(&database));
    let locks = Locks::connect(&url).await.unwrap();
    let guard = locks.permit("x", 1).acquire().await.unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..WAITERS {
        let locks = locks.clone();
        // Permits are not handed on inside of the process: each waits at the store.
        tasks.spawn(async move { drop(locks.permit("x", 1).acquire().await.unwrap()) });
    }
    let waiting = "select count(*) from tenure.leases where ticket is not null";
    until("all wait", async || sql(postgres(), &database, waiting).await == WAITERS.to_string()).await;
    let sessions = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
    let sessions: u32 = sql(postgres(), &database, sessions).await.parse().unwrap();
    // Those of the pool, and the one that hears what is pushed.
    assert!(sessions <= POOL + 1, "sessions={sessions}");
    let other = in_time("another name", locks.lock("y").acquire()).await.unwrap();
    other.release().await.unwrap();
    guard.release().await.unwrap();
    while let Some(done) = in_time("all waiters", tasks.join_next()).await {
        done.unwrap();
    }
}
