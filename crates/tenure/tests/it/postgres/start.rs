//! The first connection: schemas, users, modes, pools and keys.

use tenure::{ErrorKind, Locks};
use tenure_testkit::{PgBouncer, PostgresConfig};

use super::{connect, database, sql};
use crate::stands::postgres;

/// As when many instances of an application are deployed at once.
#[tokio::test(flavor = "multi_thread")]
async fn many_that_start_at_once_find_one_schema() {
    let database = database().await;
    let starts = (0..12).map(|_| tokio::spawn(connect_to(database.clone())));
    for locks in futures_util::future::join_all(starts).await {
        locks.unwrap().lock("x").acquire().await.unwrap().release().await.unwrap();
    }
    assert_eq!(sql(&database, "select count(*), min(mode) from tenure.meta").await, "1|advisory");
}

async fn connect_to(database: String) -> Locks {
    connect(&database).await
}

/// What docs/postgres.md grants is enough, once somebody has made the schema; before, the error says what is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_change_the_schema_can_lock() {
    let database = database().await;
    let user = format!("user_{database}");
    sql(&database, &format!("create role {user} login; revoke create on database {database} from public"))
        .await;
    let url = postgres().url(&database).replace("postgres@", &format!("{user}@"));
    let error = Locks::connect(&url).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::InvalidInput, "url"), "{error}");
    connect(&database).await;
    let grants = format!(
        "grant usage on schema tenure to {user}; grant usage, select, update on sequence tenure.token to {user};
        grant select, insert, update, delete on all tables in schema tenure to {user}"
    );
    sql(&database, &grants).await;
    let locks = Locks::connect(&url).await.unwrap();
    let guard = locks.lock("x").acquire().await.unwrap();
    assert!(connect(&database).await.lock("x").try_acquire().await.unwrap().is_none());
    guard.release().await.unwrap();
}

/// One database is kept in one way; who asks for the other is told what to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_in_another_mode_is_refused() {
    let database = database().await;
    connect(&database).await;
    let error = Locks::connect(&format!("{}?mode=rows", postgres().url(&database))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("recorded=advisory"), "{error}");
}

/// The failure: session locks through a pool stay with the pool's session, and the next client has them too.
#[tokio::test(flavor = "multi_thread")]
async fn a_pool_in_transaction_mode_is_refused_and_the_error_says_what_to_do() {
    let database = database().await;
    connect(&database).await;
    for size in [2, 20] {
        let pool = tokio::task::spawn_blocking(move || PgBouncer::start(postgres(), size)).await.unwrap();
        let error = Locks::connect(&pool.url(&database)).await.unwrap_err();
        assert!(error.to_string().contains("mode=rows"), "pool of {size}: {error}");
    }
    assert_eq!(postgres().advisory_locks(&database), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused_and_not_shown() {
    let rules = "host all all 127.0.0.1/32 scram-sha-256";
    let server =
        tokio::task::spawn_blocking(|| PostgresConfig::default().access(rules).start()).await.unwrap();
    server.sql("postgres", "create role carla login superuser password 'correct'");
    let url = |password: &str| format!("postgres://carla:{password}@127.0.0.1:{}/postgres", server.port());
    let error = Locks::connect(&url("hunter2")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    let locks = Locks::connect(&url("correct")).await.unwrap();
    assert!(!format!("{locks:?} {:?}", locks.provider()).contains("correct"));
    locks.lock("x").acquire().await.unwrap().release().await.unwrap();
}

/// Processes in other languages compute keys in SQL: these are also the vectors of the library's own test.
#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_name_is_the_same_in_sql() {
    let database = database().await;
    let locks = connect(&database).await;
    let held = locks.lock("order:process:42").acquire().await.unwrap();
    let other = "select pg_try_advisory_lock(tenure.key('order:process:42')), pg_try_advisory_lock(tenure.key('other'))";
    assert_eq!(sql(&database, other).await, "f|t");
    assert_eq!(sql(&database, "select tenure.key('order:process:42')").await, VECTOR);
    held.release().await.unwrap();
    assert_eq!(sql(&database, other).await, "t|t");
}

const VECTOR: &str = "1064095767296430023";
