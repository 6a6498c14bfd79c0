//! Connections of a service to its PostgreSQL database. With the feature `postgres`.

use std::convert::Infallible;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use tenure::{Error, Result};
use tokio_postgres::config::SslMode;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How many connections a process has at most.
const CONNECTIONS: usize = 8;
/// How long a connection may be waited for, and an answer of the database.
const PATIENCE: Duration = Duration::from_secs(5);

/// A pool over `url`, which nothing was asked of yet, of a service that the database knows as `name`. The `sslmode` *require* is TLS with a
/// certificate that is checked; every other connects in plain.
///
/// # Errors
/// `InvalidInput` when the URL is none; it is not shown, since it may have a password.
pub fn pool(url: &str, name: &str) -> Result<Pool> {
    let mut config = Config::from_str(url)
        .map_err(|_| Error::invalid("database", "the URL of the database is none that PostgreSQL knows"))?;
    if config.get_application_name().is_none() {
        config.application_name(name);
    }
    config.connect_timeout(PATIENCE).tcp_user_timeout(2 * PATIENCE).keepalives_idle(PATIENCE);
    let fast = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = match config.get_ssl_mode() {
        // A certificate that nobody could check proves nothing: encrypted means verified.
        SslMode::Require => Manager::from_config(config, tls()?, fast),
        _ => Manager::from_config(config, NoTls, fast),
    };
    let pool = Pool::builder(manager)
        .max_size(CONNECTIONS)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(PATIENCE))
        .create_timeout(Some(PATIENCE))
        .recycle_timeout(Some(PATIENCE))
        .build();
    pool.map_err(|error| Error::internal("database", "the pool cannot be built").with_source(error))
}

fn tls() -> Result<MakeRustlsConnect> {
    let mut trusted = rustls::RootCertStore::empty();
    trusted.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal("database", "no version of TLS").with_source(error))?
        .with_root_certificates(trusted)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// A connection of the pool, which is waited for up to 5 s.
///
/// # Errors
/// `Unavailable` when the database cannot be reached or refuses.
pub async fn connection(pool: &Pool) -> Result<Object> {
    pool.get().await.map_err(|error| {
        // The pool's own words for a refusal say nothing of the database's.
        let what = match &error {
            deadpool_postgres::PoolError::Backend(error) => {
                format!("the database refuses error={}", told(error))
            }
            _ => "the database cannot be reached".to_owned(),
        };
        Error::unavailable("database", what).with_source(error)
    })
}

/// Makes the tables of a service where they are not there: in the schema `name`, by `sql`, once however many instances start together. Its
/// table `meta` says that all of them are there.
///
/// Where they are, nothing is asked of them: who makes an index waits for those who write, and they may wait for it.
///
/// # Errors
/// As [`ask`].
pub async fn make_schema(pool: &Pool, name: &str, sql: &str) -> Result<()> {
    let is_made = async |db: &Object| -> Result<bool, tokio_postgres::Error> {
        let meta = format!("{name}.meta");
        Ok(db.query_one("select to_regclass($1) is not null", &[&meta]).await?.get(0))
    };
    if ask(connection(pool).await?, is_made).await? {
        return Ok(());
    }
    let making = async |db: &Object| -> Result<Result<(), Infallible>, tokio_postgres::Error> {
        db.query_one("select pg_advisory_xact_lock(hashtextextended('schema ' || $1, 0))", &[&name]).await?;
        if !is_made(db).await? {
            let meta = format!(
                "create table {name}.meta (version integer not null); insert into {name}.meta values (1);"
            );
            db.batch_execute(&format!("create schema if not exists {name}; {sql} {meta}")).await?;
        }
        Ok(Ok(()))
    };
    match transact(connection(pool).await?, making).await? {
        Ok(()) => Ok(()),
        Err(never) => match never {},
    }
}

/// Waits for what the database answers, up to 5 s. After a failure the connection is not used again.
///
/// # Errors
/// `Unavailable` when it refuses, in its own words but without the values that were sent, or does not answer.
pub async fn ask<T>(
    connection: Object,
    asking: impl AsyncFnOnce(&Object) -> Result<T, tokio_postgres::Error>,
) -> Result<T> {
    let answered = tokio::time::timeout(PATIENCE, asking(&connection)).await;
    let error = match answered {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => failed(error),
        Err(_) => Error::unavailable("database", "the database does not answer"),
    };
    drop(Object::take(connection));
    Err(error)
}

/// Runs one statement, which is prepared once a connection.
///
/// # Errors
/// As the database's.
pub async fn query(
    db: &Object,
    sql: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let prepared = db.prepare_cached(sql).await?;
    db.query(&prepared, values).await
}

/// Runs one statement on a connection of the pool, which is prepared once on each.
///
/// # Errors
/// As [`connection`] and [`ask`].
pub async fn rows(pool: &Pool, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
    ask(connection(pool).await?, async |db| query(db, sql, values).await).await
}

/// Does some work in a transaction, within 5 s; it is rolled back when the work refuses.
///
/// # Errors
/// As [`ask`]. Whether the transaction was committed is unknown when the connection ends with the commit.
///
/// # Cancel safety
/// Dropped, the connection is closed, and with it the transaction; only what was being committed may be done all the same.
pub async fn transact<T, R>(
    connection: Object,
    work: impl AsyncFnOnce(&Object) -> Result<Result<T, R>, tokio_postgres::Error>,
) -> Result<Result<T, R>> {
    let mut open = Open(Some(connection));
    let db = open.0.as_ref().expect("it is taken below alone");
    let transaction = async {
        db.batch_execute("begin").await?;
        let answer = work(db).await?;
        db.batch_execute(if answer.is_ok() { "commit" } else { "rollback" }).await?;
        Ok(answer)
    };
    match tokio::time::timeout(PATIENCE, transaction).await {
        Ok(Ok(answer)) => {
            // Back into the pool: nothing is open on it.
            drop(open.0.take());
            Ok(answer)
        }
        Ok(Err(error)) => Err(failed(error)),
        Err(_) => Err(Error::unavailable("database", "the database does not answer")),
    }
}

/// A connection with a transaction: it is closed, and not used again, unless it is taken out.
struct Open(Option<Object>);

impl Drop for Open {
    fn drop(&mut self) {
        drop(self.0.take().map(Object::take));
    }
}

fn failed(error: tokio_postgres::Error) -> Error {
    Error::unavailable("database", format!("the database refuses error={}", told(&error))).with_source(error)
}

/// What the server said, without the values that were sent.
fn told(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |said| said.message().to_owned())
}
