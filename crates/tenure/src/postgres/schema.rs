//! The schema `tenure`: how it is made and brought up to date, and the identity of the store in it.
//!
//! Many processes may start at once: one of them migrates, in one transaction under an advisory lock, and the others find it
//! done. A user who may not change the schema needs only to find it there.

use sha2::{Digest as _, Sha256};
use tokio_postgres::error::SqlState;

use super::link::{Link, failed};
use super::url::Mode;
use crate::error::{Error, Result};
use crate::token::Epoch;

/// What brings the schema from each version to the next. Never changed once released; a change is a further one.
const MIGRATIONS: &[&str] = &[
    include_str!("schema.sql"),
    include_str!("advisory/advisory.sql"),
    super::rows::MIGRATION,
    include_str!("within.sql"),
];

/// Sees to it that the schema is there, and says how leases are kept in it.
///
/// `asked` is the mode of the URL. Where nothing is recorded it is recorded, or *advisory* without one.
///
/// # Errors
/// `InvalidInput` when the database is in another mode or of a later version, or the user may not make the schema.
pub(super) async fn prepare(link: &Link, asked: Option<Mode>) -> Result<Mode> {
    if version(link).await? < MIGRATIONS.len() {
        migrate(link).await?;
    }
    if version(link).await? > MIGRATIONS.len() {
        let what =
            "a later version of this library has changed the schema tenure; bring this process up to date";
        return Err(Error::invalid("url", what));
    }
    let mode = mode(link, asked).await?;
    // Before any transaction of a caller's could be the first to, which would keep all others from it until its end.
    begin(link).await?;
    Ok(mode)
}

/// The epoch of the present incarnation of the server. To be asked by each session before it draws a token.
///
/// # Errors
/// `Unavailable` when the server does not answer, `InvalidInput` when the user may not ask.
pub(super) async fn begin(link: &Link) -> Result<Epoch> {
    let row = link.client.query_typed("select tenure.begin()", &[]).await;
    let row = row.map_err(|error| failed("connect", &error))?;
    let epoch: i64 = row.first().map_or(0, |row| row.get(0));
    Epoch::new(u32::try_from(epoch).unwrap_or(0))
}

/// How many migrations were run.
async fn version(link: &Link) -> Result<usize> {
    match link.client.query_typed("select version from tenure.meta", &[]).await {
        Ok(rows) => {
            let version: i32 = rows.first().map_or(0, |row| row.get(0));
            Ok(usize::try_from(version).unwrap_or(0))
        }
        Err(error) if is_missing(&error) => Ok(0),
        Err(error) => Err(failed("connect", &error)),
    }
}

fn is_missing(error: &tokio_postgres::Error) -> bool {
    let missing = [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME];
    error.code().is_some_and(|code| missing.contains(code))
}

async fn migrate(link: &Link) -> Result<()> {
    let run =
        async |sql: &str| link.client.batch_execute(sql).await.map_err(|error| failed("connect", &error));
    run("begin").await?;
    let migrated = async {
        run(&format!("select pg_advisory_xact_lock({})", key("tenure/schema"))).await?;
        // In a transaction that a missing table has broken nothing more can be asked.
        run("savepoint look").await?;
        let done = version(link).await?;
        run("rollback to look").await?;
        for (number, migration) in MIGRATIONS.iter().enumerate().skip(done) {
            run(migration).await?;
            run(&format!("update tenure.meta set version = {}", number + 1)).await?;
        }
        run("commit").await
    };
    let migrated = migrated.await;
    if migrated.is_err() {
        run("rollback").await?;
    }
    migrated
}

/// The recorded mode; the first user's is recorded.
async fn mode(link: &Link, asked: Option<Mode>) -> Result<Mode> {
    let recorded = async || {
        let rows = link.client.query_typed("select mode from tenure.meta", &[]).await;
        let rows = rows.map_err(|error| failed("connect", &error))?;
        let word: Option<String> = rows.first().and_then(|row| row.get(0));
        Ok::<_, Error>(word.and_then(|word| Mode::from_word(&word)))
    };
    let mut found = recorded().await?;
    if found.is_none() {
        let mode = asked.unwrap_or(Mode::Advisory).word();
        let record = format!("update tenure.meta set mode = '{mode}' where mode is null");
        link.client.batch_execute(&record).await.map_err(|error| failed("connect", &error))?;
        found = recorded().await?;
    }
    let found = found.ok_or_else(|| Error::internal("connect", "the database has no mode"))?;
    match asked {
        Some(asked) if asked != found => {
            let (found, asked) = (found.word(), asked.word());
            Err(Error::invalid(
                "url",
                format!(
                    "the leases of this database are kept in another way, and one database has one; leave mode out to follow \
                    it, use another database, or stop all processes that lock here and run: update tenure.meta set mode = \
                    '{asked}' recorded={found} asked={asked}"
                ),
            ))
        }
        _ => Ok(found),
    }
}

/// The 64-bit key of a name for PostgreSQL's advisory locks: the first 8 bytes of SHA-256 over `tenure:` and the name.
///
/// Two names with one key exclude each other needlessly and never share. `tenure.key(name)` is the same in SQL.
pub(super) fn key(name: &str) -> i64 {
    let hash = Sha256::new().chain_update(b"tenure:").chain_update(name).finalize();
    let mut first = [0; 8];
    first.copy_from_slice(hash.get(..8).expect("a SHA-256 has 32 bytes"));
    i64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Processes of every version and language must compute the same keys: these never change.
    #[test]
    fn the_keys_of_names_are_these() {
        let vectors = [
            ("a", -244_021_003_847_079_895),
            ("order:process:42", 1_064_095_767_296_430_023),
            ("straße", 898_980_008_951_726_006),
        ];
        for (name, wanted) in vectors {
            assert_eq!(key(name), wanted, "{name}");
        }
    }
}
