//! Summaries in SQLite.

use rusqlite::{OptionalExtension as _, params};
use tenure::Result;

use super::Sqlite;
use crate::ledger::summary::{self, Summaries, Summary};
use crate::ledger::{AccountKey, Fut, signed};

impl Summaries for Sqlite {
    fn summaries<'a>(&'a self, keys: &'a [AccountKey]) -> Fut<'a, Result<Vec<Option<Summary>>>> {
        let keys = keys.to_vec();
        let bodies = self.file.read(move |db| {
            let mut ask = db.prepare_cached("select body from summary where book = ?1 and id = ?2")?;
            let mut body = |key: &AccountKey| {
                ask.query_row(params![key.book.word(), &*key.id], |row| row.get::<_, String>(0)).optional()
            };
            keys.iter().map(&mut body).collect::<rusqlite::Result<Vec<_>>>()
        });
        Box::pin(async move {
            bodies.await?.iter().map(|body| body.as_deref().map(summary::of_body).transpose()).collect()
        })
    }

    fn replace_summary(&self, summary: Summary, expected: u64) -> Fut<'_, Result<bool>> {
        Box::pin(self.file.write(move |db| {
            let mut replace = db.prepare_cached(
                "insert into summary select ?1, ?2, ?3, ?4 where ?5 = coalesce( \
                 (select version from summary where book = ?1 and id = ?2), 0) \
                 on conflict (book, id) do update set version = excluded.version, body = excluded.body",
            )?;
            let (book, id, version) = (summary.key.book.word(), &*summary.key.id, signed(summary.version));
            let values = params![book, id, version, summary::body(&summary), signed(expected)];
            Ok(replace.execute(values)? == 1)
        }))
    }
}
