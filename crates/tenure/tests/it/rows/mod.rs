//! What the rows of PostgreSQL must stand beyond the conformance suite, which runs over them directly and through a pool:
//! crashes of the server, lost connections, churn; and locks that end with a transaction.

mod churn;
mod crashes;
mod leftovers;
mod losses;
mod tls;
mod within;

use tenure::Clock;
use tenure_testkit::{Client, PostgresServer};

use crate::patience::{in_time, pass, rounds, until};
use crate::stands::postgres;

/// The URL of a database of rows on the server that the tests share.
fn url(database: &str) -> String {
    format!("{}?mode=rows", postgres().url(database))
}

/// A process of its own on a store.
async fn client(url: &str) -> Client {
    let clock = Clock::system();
    Client::new(tenure::postgres::connect(url, clock).await.expect("the server is there"), clock)
}

/// A connection of an application, which knows nothing of locks.
async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) =
        tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("the server is there");
    tokio::spawn(connection);
    client
}

/// What SQL answers, without blocking the runtime.
async fn sql(server: &'static PostgresServer, database: &str, sql: &str) -> String {
    let (database, sql) = (database.to_owned(), sql.to_owned());
    tokio::task::spawn_blocking(move || server.sql(&database, &sql)).await.expect("psql runs")
}

/// Ends all connections of a database, as an administrator does; how many.
async fn terminate_all(database: &str) -> usize {
    let all = "select count(pg_terminate_backend(pid)) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()";
    sql(postgres(), database, all).await.parse().expect("it is a number")
}
