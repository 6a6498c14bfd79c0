//! Private PostgreSQL servers: they keep what they wrote over a crash, stand behind a pool, and end with the test.

use tenure_testkit::{PgBouncer, PostgresServer};

#[test]
fn a_killed_server_comes_back_with_what_it_committed() {
    let mut server = PostgresServer::start();
    let database = server.database();
    server.sql(&database, "create table t (x int); insert into t values (7)");
    let (port, pid) = (server.port(), server.pid());
    server.restart();
    assert_eq!(server.sql(&database, "select x from t"), "7");
    server.restart_cleanly();
    assert_eq!(server.sql(&database, "select x from t"), "7");
    assert_eq!((server.port(), server.pid() == pid), (port, false));
}

#[test]
fn a_database_has_no_locks_but_its_own() {
    let server = PostgresServer::start();
    let (one, other) = (server.database(), server.database());
    let both = |database: &str| (server.advisory_locks(database), server.advisory_locks(&other));
    assert_eq!(both(&one), (0, 0));
    assert_ne!(one, other);
    let count = "select count(*) from pg_locks where locktype = 'advisory'";
    assert_eq!(server.sql(&one, &format!("select pg_advisory_lock(7); {count}")), "\n1");
    assert_eq!(both(&one), (0, 0));
}

#[test]
fn a_pool_in_transaction_mode_gives_one_session_to_many_clients() {
    let server = PostgresServer::start();
    let pool = PgBouncer::start(&server, 1);
    let session = || pool.sql("postgres", "select pg_backend_pid()");
    let first = session();
    assert_eq!(session(), first, "another client has the session of the first");
    assert_ne!(server.sql("postgres", "select pg_backend_pid()"), first);
}
