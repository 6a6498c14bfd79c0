//! How the suite has the rows of PostgreSQL, directly and through a pool.

use std::sync::{Arc, OnceLock};

use tenure::Clock;
use tenure::provider::{Fut, Provider};
use tenure_testkit::{PgBouncer, PostgresServer, Stand, Time};

use super::postgres;

/// A database of its own on a PostgreSQL server that all tests share, in the mode of rows. Every process of a test connects
/// anew.
pub(crate) struct RowsStand(String, Clock);

/// Connections of the pool to each database.
pub(crate) const POOL: u32 = 3;

/// A pool in front of it, in transaction mode.
pub(crate) fn pool() -> &'static PgBouncer {
    static SHARED: OnceLock<PgBouncer> = OnceLock::new();
    SHARED.get_or_init(|| PgBouncer::start(postgres(), POOL))
}

/// An empty database.
pub(crate) async fn database() -> String {
    let made = tokio::task::spawn_blocking(|| postgres().database()).await;
    made.expect("a database can be made")
}

/// How many rows a database has; ended claims, which are remembered for a minute, apart.
fn rows_of(server: &PostgresServer, database: &str) -> u64 {
    let count = "select (select count(*) from tenure.leases) + (select count(*) from tenure.places)";
    server.sql(database, count).parse().expect("it is a number")
}

impl Stand for RowsStand {
    fn start(clock: Clock) -> Fut<'static, Self> {
        Box::pin(async move { RowsStand(database().await, clock) })
    }

    fn time() -> Time {
        Time::Real
    }

    fn open(&self) -> Fut<'_, Arc<dyn Provider>> {
        Box::pin(async {
            let url = format!("{}?mode=rows", postgres().url(&self.0));
            tenure::postgres::connect(&url, self.1).await.expect("the server is there")
        })
    }

    fn records(&self) -> Fut<'_, Option<u64>> {
        Box::pin(async { Some(rows_of(postgres(), &self.0)) })
    }
}

/// The same through a pool in transaction mode, which hears what is pushed from the server itself.
pub(crate) struct PooledRowsStand(String, Clock);

impl Stand for PooledRowsStand {
    fn start(clock: Clock) -> Fut<'static, Self> {
        Box::pin(async move { PooledRowsStand(database().await, clock) })
    }

    fn time() -> Time {
        Time::Real
    }

    fn open(&self) -> Fut<'_, Arc<dyn Provider>> {
        Box::pin(async {
            let url = format!("{}?mode=rows&listen={}", pool().url(&self.0), postgres().url(&self.0));
            tenure::postgres::connect(&url, self.1).await.expect("the server is there")
        })
    }

    fn records(&self) -> Fut<'_, Option<u64>> {
        Box::pin(async { Some(rows_of(postgres(), &self.0)) })
    }
}
