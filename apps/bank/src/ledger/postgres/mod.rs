//! The books in PostgreSQL: any number of processes may share them.

mod letters;
mod rows;
mod summaries;
mod writer;

use deadpool_postgres::Pool;
use tenure::{FencingToken, Result};
use tenure_server::postgres::{self, ask, connection, make_schema, pool};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use self::rows::{ACCOUNT, an_account, an_event};
use self::writer::Writer;
use super::step::{IdempotencyKey, Posted, Refused, Step};
use super::{
    Account, AccountKey, Book, Event, Fut, Ledger, Replayed, Stale, Timestamp, Totals, signed, unsigned,
};

const SCHEMA: &str = include_str!("schema.sql");

/// Books in a database, in its schema `bank`.
#[derive(Clone, Debug)]
pub struct Postgres {
    pool: Pool,
    writer: Writer,
}

impl Postgres {
    /// Connects to the books of `url`, and makes them where there are none. The `sslmode` *require* is TLS with a certificate that
    /// is checked; every other connects in plain.
    ///
    /// # Errors
    /// `InvalidInput` when the URL is none, `Unavailable` when the database cannot be reached or refuses.
    pub async fn connect(url: &str) -> Result<Self> {
        let pool = pool(url, "bank")?;
        make_schema(&pool, "bank", SCHEMA).await?;
        Ok(Postgres { writer: Writer::start(pool.clone()), pool })
    }

    async fn rows(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        postgres::rows(&self.pool, sql, values).await
    }
}

impl Ledger for Postgres {
    fn apply(&self, steps: Vec<Step>) -> Fut<'_, Result<Vec<Result<Posted, Refused>>>> {
        Box::pin(self.writer.apply(steps))
    }

    fn repeated<'a>(&'a self, key: &'a IdempotencyKey) -> Fut<'a, Result<Option<Result<Posted, Refused>>>> {
        Box::pin(async move {
            let sql = "select request, outcome from bank.idempotency where key = $1";
            let rows = self.rows(sql, &[&&*key.key]).await?;
            Ok(rows.first().map(|row| key.answer(row.get(0), row.get(1))))
        })
    }

    fn read<'a>(&'a self, keys: &'a [AccountKey]) -> Fut<'a, Result<Vec<Option<Account>>>> {
        Box::pin(async move {
            let (books, ids) = rows::columns(keys);
            let sql = format!(
                "select {ACCOUNT} from bank.account as a join unnest($1::text[], $2::text[]) as k (book, id) using (book, id)"
            );
            let rows = self.rows(&sql, &[&books, &ids]).await?;
            let mut found = std::collections::HashMap::with_capacity(rows.len());
            for row in &rows {
                let account = an_account(row)?;
                found.insert(account.key.clone(), account);
            }
            Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
        })
    }

    fn open<'a>(
        &'a self,
        key: &'a AccountKey,
        token: FencingToken,
    ) -> Fut<'a, Result<Result<Option<Account>, Stale>>> {
        Box::pin(async move {
            let sql = format!(
                "with raised as (update bank.account as a set fence = $3 \
                 where book = $1 and id = $2 and fence <= $3 returning {ACCOUNT}) \
                 select * from raised union all \
                 select {ACCOUNT} from bank.account as a where book = $1 and id = $2 and not exists (select from raised)"
            );
            let number = signed(token.get());
            let rows = self.rows(&sql, &[&key.book.word(), &rows::id(key), &number]).await?;
            let Some(account) = rows.first().map(an_account).transpose()? else { return Ok(Ok(None)) };
            if account.fence == token.get() {
                return Ok(Ok(Some(account)));
            }
            // What is seen may be older than what refused: the fence that was in the way is above the token in any case.
            Ok(Err(Stale { fence: account.fence.max(token.get() + 1) }))
        })
    }

    fn list<'a>(&'a self, book: Book, after: Option<&'a str>, limit: u32) -> Fut<'a, Result<Vec<Account>>> {
        Box::pin(async move {
            let sql = format!(
                "select {ACCOUNT} from bank.account as a where book = $1 and ($2::text is null or id > $2) order by id limit $3"
            );
            let rows = self.rows(&sql, &[&book.word(), &after, &i64::from(limit)]).await?;
            rows.iter().map(an_account).collect()
        })
    }

    fn history<'a>(
        &'a self,
        key: &'a AccountKey,
        before: Option<u64>,
        limit: u32,
    ) -> Fut<'a, Result<Vec<Event>>> {
        Box::pin(async move {
            let sql = "select version, kind, change, balance, other, operation, at from bank.event \
                       where book = $1 and id = $2 and version < $3 order by version desc limit $4";
            let before = signed(before.unwrap_or(u64::MAX));
            let rows =
                self.rows(sql, &[&key.book.word(), &rows::id(key), &before, &i64::from(limit)]).await?;
            rows.iter().map(|row| an_event(key, row)).collect()
        })
    }

    fn replay<'a>(&'a self, key: &'a AccountKey) -> Fut<'a, Result<Option<Replayed>>> {
        Box::pin(async move {
            let sql = "with last as (select balance, version from bank.snapshot \
                       where book = $1 and id = $2 order by version desc limit 1) \
                       select balance, version, 0 as read from last union all \
                       select change, version, 1 as read from bank.event where book = $1 and id = $2 \
                       and version > coalesce((select version from last), 0) order by version";
            let rows = self.rows(sql, &[&key.book.word(), &rows::id(key)]).await?;
            let mut sum = Replayed { balance: 0, version: 0, events_read: 0 };
            for row in &rows {
                sum.balance = sum.balance.wrapping_add(row.get(0));
                sum.version = unsigned(row.get(1));
                sum.events_read += u64::from(row.get::<_, i32>(2) == 1);
            }
            Ok((sum.version > 0).then_some(sum))
        })
    }

    fn totals(&self, book: Book) -> Fut<'_, Result<Totals>> {
        Box::pin(async move {
            let sql = "select count(*), coalesce(sum(balance), 0)::text from bank.account where book = $1";
            let rows = self.rows(sql, &[&book.word()]).await?;
            let totals = rows.first().map(|row| Totals {
                accounts: unsigned(row.get(0)),
                balance: row.get::<_, &str>(1).parse().unwrap_or_default(),
            });
            Ok(totals.unwrap_or_default())
        })
    }

    fn forget_keys(&self, before: Timestamp) -> Fut<'_, Result<u64>> {
        Box::pin(async move {
            let sql = "delete from bank.idempotency where at < $1";
            ask(connection(&self.pool).await?, async |db| db.execute(sql, &[&before.0]).await).await
        })
    }

    fn ping(&self) -> Fut<'_, Result<()>> {
        Box::pin(async move { self.rows("select 1", &[]).await.map(|_| ()) })
    }

    fn stale_writes(&self) -> u64 {
        self.writer.stale.get()
    }

    fn store(&self) -> &'static str {
        "postgresql"
    }
}
