//! A server on PostgreSQL keeps its leases as rows.

use tenure_testkit::PostgresServer;

use crate::serve::{ask, serve};
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
