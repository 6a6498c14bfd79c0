//! What is asked by itself: lists, force and a sign of life.

use tokio_postgres::types::{ToSql, Type};

use super::shared::Shared;
use super::words;
use crate::claim::Digest;
use crate::error::{Error, Result};
use crate::lease::{Kind, Page, Query};
use crate::provider::{Force, Forced};

/// A page of what there is.
pub(super) async fn list(shared: &Shared, query: &Query) -> Result<Page> {
    let (link, _) = shared.way().await?;
    let of_waiters = query.kind == Kind::Waiters;
    let after = query.after.map(|digest| digest.to_bytes().to_vec());
    let most = i64::try_from(query.limit).unwrap_or(i64::MAX).saturating_add(1);
    let prefix = query.prefix.as_bytes();
    let parameters: [(&(dyn ToSql + Sync), Type); 4] =
        [(&of_waiters, Type::BOOL), (&prefix, Type::BYTEA), (&after, Type::BYTEA), (&most, Type::INT8)];
    let asked = link.client.query_typed(include_str!("sql/listing.sql"), &parameters);
    let rows = link.within(shared.target.timeout, asked).await?;
    let more = rows.len() > query.limit;
    let listed = rows.iter().take(query.limit).map(|row| words::listed(row).ok_or_else(strange));
    let entries = listed.collect::<Result<Vec<_>>>()?;
    let next = more.then(|| entries.last().map(|listed| listed.lease)).flatten();
    Ok(Page { entries, next })
}

/// Takes a lease from its holder.
pub(super) async fn force(shared: &Shared, lease: Digest, how: Force) -> Result<Forced> {
    let (link, listener) = shared.way().await?;
    let (digest, how) = (lease.to_bytes().to_vec(), words::how(how));
    let parameters: [(&(dyn ToSql + Sync), Type); 3] =
        [(&listener, Type::INT8), (&digest, Type::BYTEA), (&how, Type::CHAR)];
    let asked = link.client.query_typed("select tenure.rows_force($1, $2, $3)", &parameters);
    let rows = link.within(shared.target.timeout, asked).await?;
    rows.first().map(|row| words::forced(row.get(0))).ok_or_else(strange)
}

/// Asks something that only has to be answered.
pub(super) async fn ping(shared: &Shared) -> Result<()> {
    let (link, _) = shared.way().await?;
    link.within(shared.target.timeout, link.client.query_typed("select 1", &[])).await.map(drop)
}

fn strange() -> Error {
    Error::internal("postgres", "the store gave an answer of another version")
}
