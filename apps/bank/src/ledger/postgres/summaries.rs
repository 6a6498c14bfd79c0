//! Summaries in PostgreSQL.

use std::collections::HashMap;

use tenure::Result;

use super::Postgres;
use super::rows::columns;
use crate::ledger::summary::{self, Summaries, Summary};
use crate::ledger::{AccountKey, Fut, signed};

impl Summaries for Postgres {
    fn summaries<'a>(&'a self, keys: &'a [AccountKey]) -> Fut<'a, Result<Vec<Option<Summary>>>> {
        Box::pin(async move {
            let (books, ids) = columns(keys);
            let sql = "select body from bank.summary join unnest($1::text[], $2::text[]) as k (book, id) using (book, id)";
            let rows = self.rows(sql, &[&books, &ids]).await?;
            let mut found = HashMap::with_capacity(rows.len());
            for row in &rows {
                let summary = summary::of_body(row.get(0))?;
                found.insert(summary.key.clone(), summary);
            }
            Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
        })
    }

    fn replace_summary(&self, summary: Summary, expected: u64) -> Fut<'_, Result<bool>> {
        Box::pin(async move {
            // The second condition holds where somebody else was faster, on the row as it is when it is locked.
            let sql = "insert into bank.summary as s select $1::text, $2::text, $3::bigint, $4::text where $5::bigint = coalesce( \
                       (select version from bank.summary where book = $1 and id = $2), 0) \
                       on conflict (book, id) do update set version = excluded.version, body = excluded.body \
                       where s.version = $5 returning version";
            let (book, id) = (summary.key.book.word(), &*summary.key.id);
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
                [&book, &id, &signed(summary.version), &summary::body(&summary), &signed(expected)];
            Ok(!self.rows(sql, &values).await?.is_empty())
        })
    }
}
