//! Locks that end with a transaction of the caller's: [`Within`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Transaction;
use tokio_postgres::types::Type;

use super::link::failed;
use crate::error::{Error, Result};
use crate::name::Name;
use crate::provider::Provider;
use crate::token::FencingToken;

/// Locks for the length of one transaction, made by [`Locks::within`](crate::Locks::within).
///
/// They exclude each other and every other lock on the name in the same database, whatever its mode, and end with commit or
/// rollback: there is no guard, no ttl and no renewal. They suit work that is nothing but this transaction. What outlasts it
/// or writes elsewhere needs [`Locks::lock`](crate::Locks::lock).
///
/// The settings and time-outs of the transaction stay as they are. While it waits, its connection can do nothing else, and
/// its `statement_timeout` counts. In SQL the same is `tenure.lock_xact(name, wait_ms)`.
///
/// # Limits
/// - Exclusive locks alone, one name at a time. Take several in the order of their names: of two transactions that wait for
///   each other PostgreSQL ends one.
/// - In a database of the mode `rows` the isolation level has to be *read committed*, and a transaction that waits for the end of a lease
///   looks for it up to every 50 ms. A claim that waits behind a transaction goes on with its next touch, within 1.2 s.
///
/// # Errors
/// Of every method: `InvalidInput` when the name is none, or the locks are not of PostgreSQL, or the database has no schema
/// `tenure`; `Unavailable` when the server refuses or cannot be reached, or was started anew since the locks were connected
/// and these do not reach it yet. Roll the transaction back then, and begin it again.
///
/// # Cancel safety
/// A future that is dropped leaves the statement under way: what it locks ends with the transaction.
pub struct Within<'t, 'c> {
    transaction: &'t Transaction<'c>,
    provider: Arc<dyn Provider>,
}

impl fmt::Debug for Within<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Within").finish_non_exhaustive()
    }
}

impl<'t, 'c> Within<'t, 'c> {
    pub(crate) fn new(transaction: &'t Transaction<'c>, provider: Arc<dyn Provider>) -> Self {
        Within { transaction, provider }
    }

    /// Locks a name, and waits for it as long as it takes. The token is greater than every one before for this name.
    pub async fn acquire(&self, name: impl AsRef<str>) -> Result<FencingToken> {
        let token = self.lock(name.as_ref(), None).await?;
        token.ok_or_else(|| Error::internal("within", "a lock without a time-out was not granted"))
    }

    /// Locks a name if it is free now; `None` when it is busy.
    pub async fn try_acquire(&self, name: impl AsRef<str>) -> Result<Option<FencingToken>> {
        self.lock(name.as_ref(), Some(0)).await
    }

    /// Locks a name, and waits for it at most so long; `None` when it was busy until then. A wait of less than a millisecond
    /// is one of a millisecond, and the longest is 24 days.
    pub async fn try_acquire_for(
        &self,
        name: impl AsRef<str>,
        wait: Duration,
    ) -> Result<Option<FencingToken>> {
        // Zero would be for ever to the server's lock_timeout, and one try to the function.
        let millis = wait.as_nanos().div_ceil(1_000_000).max(1);
        self.lock(name.as_ref(), Some(i32::try_from(millis).unwrap_or(i32::MAX))).await
    }

    async fn lock(&self, name: &str, wait: Option<i32>) -> Result<Option<FencingToken>> {
        if self.provider.caps().provider != "postgres" {
            let what = "locks within a transaction are for locks of postgres: alone";
            return Err(Error::invalid("within", what));
        }
        let name = Name::new(name)?;
        if let Some(token) = self.ask(&name, wait).await? {
            return Ok(token);
        }
        // The server was started anew. The transaction must not begin its epoch, which would keep all others waiting until its
        // end: each connection of the provider's does when it is made.
        self.provider.ping().await?;
        let again = self.ask(&name, wait).await?;
        again.ok_or_else(|| {
            Error::unavailable("within", "the server was started anew; begin the transaction again")
        })
    }

    /// The lock, or that it was busy; `None` while no epoch has begun.
    async fn ask(&self, name: &Name, wait: Option<i32>) -> Result<Option<Option<FencingToken>>> {
        let call =
            "select tenure.has_begun(), case when tenure.has_begun() then tenure.lock_xact($1, $2) end";
        let name = name.as_str();
        let rows = self.transaction.query_typed(call, &[(&name, Type::TEXT), (&wait, Type::INT4)]).await;
        let rows = rows.map_err(|error| failed("within", &error))?;
        let (has_begun, token): (bool, Option<i64>) =
            rows.first().map_or((false, None), |row| (row.get(0), row.get(1)));
        let token = token.map(|token| FencingToken::new(token.cast_unsigned())).transpose()?;
        Ok(has_begun.then_some(token))
    }
}
