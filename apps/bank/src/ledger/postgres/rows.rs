//! Rows as values, and values as columns.

use tenure::{Error, Result};
use tokio_postgres::Row;

use crate::ledger::{Account, AccountKey, Book, Event, EventKind, Timestamp, is_text, unsigned};

/// The columns of [`an_account`].
pub(super) const ACCOUNT: &str =
    "a.book, a.id, a.owner, a.is_open, a.balance, a.version, a.fence, a.opened_at, a.changed_at";

pub(super) fn an_account(row: &Row) -> Result<Account> {
    let book = Book::of(row.get(0)).ok_or_else(|| unknown("book"))?;
    let key = AccountKey { book, id: row.get::<_, String>(1).into() };
    Ok(Account {
        key,
        owner: row.get::<_, Option<String>>(2).map(Into::into),
        is_open: row.get(3),
        balance: row.get(4),
        version: unsigned(row.get(5)),
        fence: unsigned(row.get(6)),
        opened_at: Timestamp(row.get(7)),
        changed_at: Timestamp(row.get(8)),
    })
}

pub(super) fn an_event(key: &AccountKey, row: &Row) -> Result<Event> {
    Ok(Event {
        key: key.clone(),
        version: unsigned(row.get(0)),
        kind: EventKind::of(row.get(1)).ok_or_else(|| unknown("kind"))?,
        change: row.get(2),
        balance: row.get(3),
        other: row.get::<_, Option<String>>(4).map(Into::into),
        operation: row.get(5),
        at: Timestamp(row.get(6)),
    })
}

fn unknown(column: &str) -> Error {
    Error::internal("books", format!("the books have a word that is unknown column={column}"))
}

/// Keys as two columns.
pub(super) fn columns(keys: &[AccountKey]) -> (Vec<&'static str>, Vec<Option<&str>>) {
    keys.iter().map(|key| (key.book.word(), id(key))).unzip()
}

/// The id in a key, to be compared with; nothing, which is equal to nothing, where no account could have it.
pub(super) fn id(key: &AccountKey) -> Option<&str> {
    is_text(&key.id).then_some(&*key.id)
}
