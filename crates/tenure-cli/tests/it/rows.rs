//! A server on PostgreSQL keeps its leases as rows.

use tenure_testkit::{PostgresServer, RedisServer};

use crate::serve::{ask, serve, serve_with};
use crate::support::Home;

const LEASE: &str = "2f14e45f-ceea-467f-a83e-1d5b7c9d2a11";

fn acquire(address: &str) -> (u16, String) {
    let body =
        format!(r#"{{"lease":"{LEASE}","names":["a"],"mode":"exclusive","ttl_ms":60000,"wait_ms":0}}"#);
    ask(address, "POST /v1/acquire", &body)
}

/// What a server granted is there when the next one asks, and the database says from then on that it has rows.
#[test]
fn a_lease_over_http_outlives_its_server_in_postgres() {
    let (home, postgres) = (Home::new(), PostgresServer::start());
    let database = postgres.database();
    let options = format!("--url '{}'", postgres.url(&database));
    let (mut server, address, log) = serve(&home, &options);
    assert!(log.iter().any(|line| line.contains("PostgreSQL rows")), "{log:?}");
    assert_eq!(acquire(&address).0, 201);
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.wait(), 0);
    assert_eq!(postgres.sql(&database, "select mode from tenure.meta"), "rows");
    let (_next, address, _) = serve(&home, &options);
    assert_eq!(acquire(&address).0, 200, "the same lease, asked for again");
}

#[test]
fn a_server_refuses_a_database_of_advisory_locks_and_says_what_to_do() {
    let (home, postgres) = (Home::new(), PostgresServer::start());
    let database = postgres.database();
    let url = postgres.url(&database);
    let ran = home.tenure(&["--url", &format!("{url}?mode=advisory"), "list"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let said = home.tenure(&["--url", &url, "serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(said.code, 64, "{said:?}");
    assert!(
        said.err.contains("recorded=advisory asked=rows") && said.err.contains("another database"),
        "{said:?}"
    );
}

/// Beside an application that has a database, and perhaps a Redis, a server needs no setting of its own.
#[test]
fn a_server_without_a_store_of_its_own_uses_that_of_the_application() {
    let (home, postgres, redis) = (Home::new(), PostgresServer::start(), RedisServer::start());
    let database = format!("DATABASE_URL='{}'", postgres.url(&postgres.database()));
    let both = format!("{database} REDIS_URL='{}'", redis.url());
    let blank = format!("{database} REDIS_URL=' ' TENURE_URL=");
    for (environment, chosen) in [
        (database.as_str(), "Distributed locks: PostgreSQL rows (using existing database)"),
        (&blank, "Distributed locks: PostgreSQL rows (using existing database)"),
        (&both, "Distributed locks: Redis provider (high-performance mode)"),
        ("DATABASE_URL='mysql://h/d'", "Distributed locks: embedded provider (this process)"),
    ] {
        let (mut server, _, log) = serve_with(&home, environment, "");
        assert!(log.iter().any(|line| line.contains(chosen)), "{environment}: {log:?}");
        server.signal(rustix::process::Signal::TERM);
        assert_eq!(server.wait(), 0);
    }
}
