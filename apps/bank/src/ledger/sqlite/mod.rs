//! The books in a SQLite file: several processes of one host may share it.

mod letters;
mod summaries;

use std::path::Path;
use std::sync::Arc;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use tenure::{FencingToken, Result};
use tenure_server::sqlite::File;
use uuid::Uuid;

use super::outbox::Notice;
use super::rules::{self, Loaded};
use super::step::{IdempotencyKey, Posted, Refused, StaleWrites, Step};
use super::{
    Account, AccountKey, Book, Event, EventKind, Fut, Ledger, Replayed, SNAPSHOT_EVERY, Stale, Timestamp,
    Totals, signed, unsigned,
};

const SCHEMA: &str = include_str!("schema.sql");
const ACCOUNT: &str =
    "select book, id, owner, is_open, balance, version, fence, opened_at, changed_at from account";

/// Books in a file.
#[derive(Clone, Debug)]
pub struct Sqlite {
    file: File,
    stale: Arc<StaleWrites>,
}

impl Sqlite {
    /// Opens the books, and makes them where there are none.
    ///
    /// # Errors
    /// `Unavailable` when the file cannot be opened or written.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Sqlite { file: File::open(path, SCHEMA)?, stale: Arc::default() })
    }
}

impl Ledger for Sqlite {
    fn apply(&self, steps: Vec<Step>) -> Fut<'_, Result<Vec<Result<Posted, Refused>>>> {
        let at = Timestamp::now();
        let stale = Arc::clone(&self.stale);
        Box::pin(self.file.write(move |db| {
            let answers =
                steps.iter().map(|step| apply(db, step, at)).collect::<rusqlite::Result<Vec<_>>>()?;
            stale.count(&answers);
            Ok(answers)
        }))
    }

    fn repeated<'a>(&'a self, key: &'a IdempotencyKey) -> Fut<'a, Result<Option<Result<Posted, Refused>>>> {
        let key = key.clone();
        Box::pin(self.file.read(move |db| repeated(db, &key)))
    }

    fn read<'a>(&'a self, keys: &'a [AccountKey]) -> Fut<'a, Result<Vec<Option<Account>>>> {
        let keys = keys.to_vec();
        Box::pin(self.file.read(move |db| keys.iter().map(|key| account(db, key)).collect()))
    }

    fn open<'a>(
        &'a self,
        key: &'a AccountKey,
        token: FencingToken,
    ) -> Fut<'a, Result<Result<Option<Account>, Stale>>> {
        let key = key.clone();
        Box::pin(self.file.write(move |db| {
            let Some(known) = account(db, &key)? else { return Ok(Ok(None)) };
            if token.get() < known.fence {
                return Ok(Err(Stale { fence: known.fence }));
            }
            let mut raise = db.prepare_cached("update account set fence = ?3 where book = ?1 and id = ?2")?;
            raise.execute(params![key.book.word(), &*key.id, signed(token.get())])?;
            Ok(Ok(Some(Account { fence: token.get(), ..known })))
        }))
    }

    fn list<'a>(&'a self, book: Book, after: Option<&'a str>, limit: u32) -> Fut<'a, Result<Vec<Account>>> {
        let after = after.map(str::to_owned);
        Box::pin(self.file.read(move |db| {
            let mut ask = db.prepare_cached(&format!(
                "{ACCOUNT} where book = ?1 and (?2 is null or id > ?2) order by id limit ?3"
            ))?;
            ask.query_map(params![book.word(), after, limit], an_account)?.collect()
        }))
    }

    fn history<'a>(
        &'a self,
        key: &'a AccountKey,
        before: Option<u64>,
        limit: u32,
    ) -> Fut<'a, Result<Vec<Event>>> {
        let key = key.clone();
        Box::pin(self.file.read(move |db| {
            let mut ask = db.prepare_cached(
                "select version, kind, change, balance, other, operation, at from event \
                 where book = ?1 and id = ?2 and version < ?3 order by version desc limit ?4",
            )?;
            let before = signed(before.unwrap_or(u64::MAX));
            let event = |row: &Row<'_>| an_event(&key, row);
            ask.query_map(params![key.book.word(), &*key.id, before, limit], event)?.collect()
        }))
    }

    fn replay<'a>(&'a self, key: &'a AccountKey) -> Fut<'a, Result<Option<Replayed>>> {
        let key = key.clone();
        Box::pin(self.file.read(move |db| replay(db, &key)))
    }

    fn totals(&self, book: Book) -> Fut<'_, Result<Totals>> {
        Box::pin(self.file.read(move |db| {
            // SQLite's sum is 64 bits wide.
            let mut ask = db.prepare_cached("select balance from account where book = ?1")?;
            let mut totals = Totals::default();
            for balance in ask.query_map([book.word()], |row| row.get::<_, i64>(0))? {
                totals.accounts += 1;
                totals.balance += i128::from(balance?);
            }
            Ok(totals)
        }))
    }

    fn forget_keys(&self, before: Timestamp) -> Fut<'_, Result<u64>> {
        Box::pin(self.file.write(move |db| {
            let forgotten = db.execute("delete from idempotency where at < ?1", [before.0])?;
            Ok(forgotten as u64)
        }))
    }

    fn ping(&self) -> Fut<'_, Result<()>> {
        Box::pin(
            self.file.read(|db| {
                db.query_row("select 1 from account limit 1", [], |_| Ok(())).optional().map(|_| ())
            }),
        )
    }

    fn stale_writes(&self) -> u64 {
        self.stale.get()
    }

    fn store(&self) -> &'static str {
        "sqlite"
    }
}

/// Carries out a step within the transaction of `db`. What it refuses has changed nothing.
fn apply(db: &Connection, step: &Step, at: Timestamp) -> rusqlite::Result<Result<Posted, Refused>> {
    if let Some(key) = &step.key
        && let Some(known) = repeated(db, key)?
    {
        return Ok(known);
    }
    let mut accounts = Loaded::new();
    for entry in &step.entries {
        if !accounts.contains_key(&entry.account)
            && let Some(known) = account(db, &entry.account)?
        {
            accounts.insert(entry.account.clone(), known);
        }
    }
    let mut events = Vec::with_capacity(step.entries.len());
    let posted = match rules::decide(&mut accounts, &mut events, step, at) {
        Ok(posted) => posted,
        Err(refused) => return Ok(Err(refused)),
    };
    for account in accounts.values() {
        save(db, account)?;
    }
    for event in &events {
        tell(db, event)?;
    }
    if let Some(key) = &step.key {
        let mut keep = db.prepare_cached("insert into idempotency values (?1, ?2, ?3, ?4)")?;
        keep.execute(params![&*key.key, &*key.request, posted.to_text(), at.0])?;
    }
    Ok(Ok(posted))
}

fn repeated(db: &Connection, key: &IdempotencyKey) -> rusqlite::Result<Option<Result<Posted, Refused>>> {
    let mut ask = db.prepare_cached("select request, outcome from idempotency where key = ?1")?;
    let known: Option<(String, String)> =
        ask.query_row([&*key.key], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    Ok(known.map(|(request, outcome)| key.answer(&request, &outcome)))
}

fn account(db: &Connection, key: &AccountKey) -> rusqlite::Result<Option<Account>> {
    let mut ask = db.prepare_cached(&format!("{ACCOUNT} where book = ?1 and id = ?2"))?;
    ask.query_row(params![key.book.word(), &*key.id], an_account).optional()
}

fn save(db: &Connection, account: &Account) -> rusqlite::Result<()> {
    let mut save = db.prepare_cached(
        "insert into account values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) on conflict (book, id) do update set \
         is_open = excluded.is_open, balance = excluded.balance, version = excluded.version, fence = excluded.fence, \
         changed_at = excluded.changed_at",
    )?;
    save.execute(params![
        account.key.book.word(),
        &*account.key.id,
        account.owner.as_deref(),
        account.is_open,
        account.balance,
        signed(account.version),
        signed(account.fence),
        account.opened_at.0,
        account.changed_at.0,
    ])?;
    Ok(())
}

/// Writes an event, the message that tells of it, and a snapshot where one is due.
fn tell(db: &Connection, event: &Event) -> rusqlite::Result<()> {
    let (book, id, version) = (event.key.book.word(), &*event.key.id, signed(event.version));
    let operation = event.operation.as_bytes();
    let mut append = db.prepare_cached("insert into event values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?;
    append.execute(params![
        book,
        id,
        version,
        event.kind.word(),
        event.change,
        event.balance,
        event.other.as_deref(),
        operation,
        event.at.0,
    ])?;
    let mut post = db.prepare_cached(
        "insert into message (account, version, operation, body, written_at) values (?1, ?2, ?3, ?4, ?5)",
    )?;
    post.execute(params![event.key.to_string(), version, operation, Notice::body(event), event.at.0])?;
    if event.version.is_multiple_of(SNAPSHOT_EVERY) {
        let mut keep = db.prepare_cached("insert into snapshot values (?1, ?2, ?3, ?4)")?;
        keep.execute(params![book, id, version, event.balance])?;
    }
    Ok(())
}

fn replay(db: &Connection, key: &AccountKey) -> rusqlite::Result<Option<Replayed>> {
    let (book, id) = (key.book.word(), &*key.id);
    let mut last = db.prepare_cached(
        "select balance, version from snapshot where book = ?1 and id = ?2 order by version desc limit 1",
    )?;
    let snapshot = last.query_row(params![book, id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let (mut balance, mut version): (i64, i64) = snapshot.unwrap_or_default();
    let mut since = db.prepare_cached(
        "select change, version from event where book = ?1 and id = ?2 and version > ?3 order by version",
    )?;
    let mut events_read = 0;
    for event in since.query_map(params![book, id, version], |row| Ok((row.get(0)?, row.get(1)?)))? {
        let (change, next): (i64, i64) = event?;
        (balance, version) = (balance.wrapping_add(change), next);
        events_read += 1;
    }
    Ok((version > 0).then_some(Replayed { balance, version: unsigned(version), events_read }))
}

fn an_account(row: &Row<'_>) -> rusqlite::Result<Account> {
    let id: String = row.get(1)?;
    Ok(Account {
        key: AccountKey { book: row.get(0)?, id: id.into() },
        owner: row.get::<_, Option<String>>(2)?.map(Into::into),
        is_open: row.get(3)?,
        balance: row.get(4)?,
        version: unsigned(row.get(5)?),
        fence: unsigned(row.get(6)?),
        opened_at: Timestamp(row.get(7)?),
        changed_at: Timestamp(row.get(8)?),
    })
}

fn an_event(key: &AccountKey, row: &Row<'_>) -> rusqlite::Result<Event> {
    Ok(Event {
        key: key.clone(),
        version: unsigned(row.get(0)?),
        kind: row.get(1)?,
        change: row.get(2)?,
        balance: row.get(3)?,
        other: row.get::<_, Option<String>>(4)?.map(Into::into),
        operation: Uuid::from_bytes(row.get(5)?),
        at: Timestamp(row.get(6)?),
    })
}

impl FromSql for Book {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Book::of(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}

impl FromSql for EventKind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        EventKind::of(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}
