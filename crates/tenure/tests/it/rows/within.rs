//! Locks that end with a transaction, in a database of either mode.

use std::time::Duration;

use tenure::{ErrorKind, Locks};
use tenure_testkit::PostgresServer;
use tokio_postgres::Client;

use super::{connect, in_time};
use crate::stands::{database, postgres};

/// A connection of the application.
async fn application(database: &str) -> Client {
    connect(&postgres().url(database)).await
}

/// A database of each mode, and its locks.
async fn stores() -> Vec<(String, Locks)> {
    let mut stores = Vec::new();
    for mode in ["rows", "advisory"] {
        let database = database().await;
        let url = format!("{}?mode={mode}", postgres().url(&database));
        stores.push((database, Locks::connect(&url).await.expect("the server is there")));
    }
    stores
}

/// A lock of a guard and a lock within a transaction exclude each other, either way; the transaction's ends with commit, with
/// rollback, and with the transaction that is dropped. Each has a greater token than the one before.
#[tokio::test(flavor = "multi_thread")]
async fn guards_and_transactions_exclude_each_other_until_commit_or_rollback() {
    for (database, locks) in stores().await {
        let mut client = application(&database).await;
        let mut last = None;
        for end in ["commit", "rollback", "drop"] {
            let guard = locks.lock("a").acquire().await.unwrap();
            assert!(Some(guard.token()) > last, "{database}: {end}");
            last = Some(guard.token());
            let transaction = client.transaction().await.unwrap();
            let within = locks.within(&transaction);
            assert_eq!(within.try_acquire("a").await.unwrap(), None);
            assert_eq!(within.try_acquire_for("a", Duration::from_millis(30)).await.unwrap(), None);
            let (token, ()) = tokio::join!(in_time("the transaction", within.acquire("a")), async {
                super::pass(Duration::from_millis(50)).await;
                guard.release().await.unwrap();
            });
            let token = token.unwrap();
            assert!(Some(token) > last, "{database}: {end}");
            last = Some(token);
            assert!(within.try_acquire("a").await.unwrap().is_some(), "it has it already");
            assert!(locks.lock("a").try_acquire().await.unwrap().is_none(), "{database}: {end}");
            assert!(locks.lock("b").try_acquire().await.unwrap().is_some(), "{database}: another name");
            match end {
                "commit" => transaction.commit().await.unwrap(),
                "rollback" => transaction.rollback().await.unwrap(),
                _ => drop(transaction),
            }
            client.simple_query("select").await.unwrap();
        }
        let wait = locks.lock("a");
        assert!(in_time("free again", wait.acquire()).await.is_ok());
    }
}

/// A claim of a guard that waits behind a transaction is granted after its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_waits_behind_a_transaction_is_granted_after_it() {
    for (database, locks) in stores().await {
        let mut client = application(&database).await;
        let transaction = client.transaction().await.unwrap();
        let token = locks.within(&transaction).acquire("a").await.unwrap();
        let wait = locks.lock("a");
        let (guard, ()) = tokio::join!(in_time("the guard", wait.acquire()), async {
            super::pass(Duration::from_millis(200)).await;
            transaction.commit().await.unwrap();
        });
        assert!(guard.unwrap().token() > token);
    }
}

/// A wait in vain, a wait that ends well and a try leave the settings of transaction and session, and no lock that was not
/// granted. The transaction goes on after a wait in vain.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_within_a_transaction_leaves_its_settings_and_no_lock() {
    for (database, locks) in stores().await {
        let (mut holder, mut client) = (application(&database).await, application(&database).await);
        client.batch_execute("set lock_timeout = '7s'; set statement_timeout = '50s'").await.unwrap();
        let held = holder.transaction().await.unwrap();
        locks.within(&held).acquire("a").await.unwrap();
        let transaction = client.transaction().await.unwrap();
        transaction
            .batch_execute("set local lock_timeout = '8s'; create temporary table mine (n int)")
            .await
            .unwrap();
        let within = locks.within(&transaction);
        let locked = "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()";
        for wait in [Duration::from_nanos(1), Duration::from_micros(900), Duration::from_millis(20)] {
            let taken = in_time("the end of a wait", within.try_acquire_for("a", wait)).await.unwrap();
            assert_eq!(taken, None, "{wait:?}");
        }
        assert_eq!(within.try_acquire("a").await.unwrap(), None);
        let locked: i64 = transaction.query_one(locked, &[]).await.unwrap().get(0);
        assert_eq!(locked, 0, "a wait in vain left a lock");
        within.acquire("b").await.unwrap();
        for (setting, value) in [("lock_timeout", "8s"), ("statement_timeout", "50s")] {
            let shown: String = transaction.query_one(&format!("show {setting}"), &[]).await.unwrap().get(0);
            assert_eq!(shown, value, "{setting}");
        }
        transaction.execute("insert into mine values (1)", &[]).await.unwrap();
        transaction.commit().await.unwrap();
        let shown: String = client.query_one("show lock_timeout", &[]).await.unwrap().get(0);
        assert_eq!(shown, "7s");
        held.rollback().await.unwrap();
    }
}

/// A snapshot that is older than the lock would not see a lease that was granted meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_with_one_snapshot_is_refused_among_rows() {
    let (database, locks) = stores().await.swap_remove(0);
    let mut client = application(&database).await;
    let level = tokio_postgres::IsolationLevel::RepeatableRead;
    let transaction = client.build_transaction().isolation_level(level).start().await.unwrap();
    let error = locks.within(&transaction).acquire("a").await.unwrap_err();
    assert!(error.what().contains("read committed"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_of_another_store_are_refused_within_a_transaction() {
    let (database, _) = stores().await.swap_remove(0);
    let mut client = application(&database).await;
    let transaction = client.transaction().await.unwrap();
    let memory = Locks::connect("memory:").await.unwrap();
    let error = memory.within(&transaction).acquire("a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert_eq!(transaction.query_one("select 1", &[]).await.unwrap().get::<_, i32>(0), 1);
}

/// Clients of every kind have it in SQL. A pooled connection goes back without a lock.
#[tokio::test(flavor = "multi_thread")]
async fn sqlx_locks_within_a_transaction_by_a_function() {
    for (database, locks) in stores().await {
        let pool = sqlx::postgres::PgPoolOptions::new().max_connections(1);
        let pool = pool.connect(&postgres().url(&database)).await.unwrap();
        let mut transaction = pool.begin().await.unwrap();
        let lock = "select tenure.lock_xact($1, $2)";
        let token: Option<i64> =
            sqlx::query_scalar(lock).bind("a").bind(2_000_i32).fetch_one(&mut *transaction).await.unwrap();
        assert!(token.is_some());
        assert!(locks.lock("a").try_acquire().await.unwrap().is_none(), "{database}");
        transaction.rollback().await.unwrap();
        let guard = in_time("free again", locks.lock("a").acquire()).await.unwrap();
        let mut transaction = pool.begin().await.unwrap();
        let token: Option<i64> =
            sqlx::query_scalar(lock).bind("a").bind(0_i32).fetch_one(&mut *transaction).await.unwrap();
        assert_eq!(token, None);
        transaction.commit().await.unwrap();
        guard.release().await.unwrap();
    }
}

/// The failure: after a crash a caller's own transaction was the first to draw a token, began the new epoch, and kept all others from
/// drawing one until its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_after_a_crash_keeps_nobody_waiting() {
    for mode in ["rows", "advisory"] {
        let mut server = tokio::task::spawn_blocking(PostgresServer::start).await.unwrap();
        let database = server.database();
        let url = format!("{}?mode={mode}", server.url(&database));
        let locks = Locks::connect(&url).await.unwrap();
        let before = locks.lock("a").ttl(Duration::from_secs(1)).acquire().await.unwrap().token();
        tokio::task::block_in_place(|| server.restart());
        let mut client = connect(&server.url(&database)).await;
        in_time("a transaction that locks", async {
            loop {
                let transaction = client.transaction().await.unwrap();
                // Where the locks are not connected again yet, it fails and is begun again.
                let Ok(token) = locks.within(&transaction).acquire("a").await else { continue };
                assert!(token > before, "{mode}: the tokens went back");
                let others = in_time("others can connect meanwhile", Locks::connect(&url)).await.unwrap();
                drop(in_time("others can lock meanwhile", others.lock("b").acquire()).await.unwrap());
                return transaction.commit().await.unwrap();
            }
        })
        .await;
    }
}

/// The same where no process of ours runs: SQL alone is told what to do, and nobody waits for whom.
#[tokio::test(flavor = "multi_thread")]
async fn sql_that_comes_first_after_a_start_is_told_to_begin_an_epoch() {
    let mut server = tokio::task::spawn_blocking(PostgresServer::start).await.unwrap();
    let database = server.database();
    drop(Locks::connect(&server.url(&database)).await.unwrap());
    for crash in [false, true] {
        tokio::task::block_in_place(|| if crash { server.restart() } else { server.restart_cleanly() });
        let mut client = connect(&server.url(&database)).await;
        let transaction = client.transaction().await.unwrap();
        let lock = "select tenure.lock_xact('a', 0)";
        let error = transaction.query_one(lock, &[]).await.unwrap_err();
        assert_eq!(error.code().map(tokio_postgres::error::SqlState::code), Some("TN002"), "{error}");
        // It is still open.
        let other = connect(&server.url(&database)).await;
        in_time("another can begin", other.batch_execute("select tenure.begin()")).await.unwrap();
        transaction.rollback().await.unwrap();
        let transaction = client.transaction().await.unwrap();
        assert!(transaction.query_one(lock, &[]).await.unwrap().get::<_, Option<i64>>(0).is_some());
    }
}
