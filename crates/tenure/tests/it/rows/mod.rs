//! What the rows of PostgreSQL must stand beyond the conformance suite, which runs over them directly and through a pool:
//! crashes of the server, lost connections, churn; and locks that end with a transaction.
//!
//! Failures that were seen in other locks, and that have no test here, are shown by the suite (`postgres_rows`):
//!
//! | failure | shown by |
//! |---|---|
//! | two holders through one session, whose locks are re-entrant | `two_claims_of_one_process_are_two_owners` |
//! | a lost signal at once on a healthy lock, or never | `a_guard_that_is_renewed_is_held_for_as_long_as_it_lives`, `loss_is_told_before_the_store_grants_again_when_the_network_is_silent` |
//! | a renewal that brings a lost lease back, or makes one | `a_renewal_that_comes_too_late_is_told_that_the_lease_is_gone`, `an_unknown_id_keeps_and_ends_nothing` |
//! | tokens that begin anew after a release | `tokens_of_a_name_rise_in_every_mode_and_across_batches` |
//! | a row for each name that ever was | `a_hundred_thousand_names_that_were_used_once_leave_small_tables` |
//! | expiry by the clocks of clients | none: instants are the server's |

mod churn;
mod crashes;
mod failures;
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
