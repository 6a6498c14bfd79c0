//! What the PostgreSQL provider must stand beyond the conformance suite: sessions that end, pools, crashes, privileges.
//!
//! Each test is named after a failure that was seen in another lock. Those that have no test here are shown by the conformance
//! suite, which runs over advisory locks (`postgres_advisory`):
//!
//! | failure | shown by |
//! |---|---|
//! | two holders of one session, whose locks are re-entrant | `an_exclusive_lease_excludes_every_other`, `two_claims_of_one_process_are_two_owners` |
//! | a release that the server did not know is taken for one | `ending_twice_does_not_free_the_successor` |
//! | a drop that leaks the lock, or leaves a transaction | `nothing_is_left_after_panics_drops_cancellations_and_time_outs` |
//! | a lost signal at once on a healthy lock | `a_guard_that_is_renewed_is_held_for_as_long_as_it_lives` |

mod advisory;
mod start;

use tenure::Locks;

use crate::stands::postgres;

/// Locks of a database on the server that the tests share.
async fn connect(database: &str) -> Locks {
    Locks::connect(&postgres().url(database)).await.expect("the server is there")
}

/// A database of its own on that server.
async fn database() -> String {
    tokio::task::spawn_blocking(|| postgres().database()).await.expect("a database can be made")
}

/// What the server answers, without a pause for the tasks of the test.
async fn sql(database: &str, sql: &str) -> String {
    let (database, sql) = (database.to_owned(), sql.to_owned());
    tokio::task::spawn_blocking(move || postgres().sql(&database, &sql)).await.expect("the server answers")
}
