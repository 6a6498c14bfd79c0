//! What is kept of each account for those who read: a summary that follows the account's events, behind them by as much as
//! the outbox is.
//!
//! A summary is made of events alone, in their order, or of a whole stream at once; both come to the same.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tenure::{Error, Result};

use super::outbox::Notice;
use super::{AccountKey, Book, Event, EventKind, Fut, Timestamp};

/// The summaries of a store.
///
/// # Errors
/// Of every method: `Unavailable` when the store cannot be asked.
pub trait Summaries: Send + Sync {
    /// Summaries as they are at one moment, in the order of `keys`.
    fn summaries<'a>(&'a self, keys: &'a [AccountKey]) -> Fut<'a, Result<Vec<Option<Summary>>>>;

    /// Puts a summary in the place of the one of version `expected`, zero for none, and answers whether that was there still.
    fn replace_summary(&self, summary: Summary, expected: u64) -> Fut<'_, Result<bool>>;
}

/// What the events of an account come to, up to one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Which account.
    pub key: AccountKey,
    /// Whose it is, where that was said.
    pub owner: Option<Arc<str>>,
    /// Whether it takes part in anything.
    pub is_open: bool,
    /// What was on it.
    pub balance: i64,
    /// The version up to which it was followed.
    pub version: u64,
    /// What came in.
    pub paid_in: Flow,
    /// What went out.
    pub paid_out: Flow,
    /// When its last event was.
    pub changed_at: Timestamp,
}

/// Money that moved one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// How often.
    pub count: u64,
    /// How much: exact, however often.
    pub sum: i128,
}

/// What happened to an account, as far as a summary goes.
struct Fact<'a> {
    version: u64,
    kind: EventKind,
    change: i64,
    balance: i64,
    other: Option<&'a str>,
    at: Timestamp,
}

/// A notice that no summary can be made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a notice has a word that is unknown word={0:?}")]
pub struct UnknownWord(String);

impl Summary {
    fn empty(key: AccountKey) -> Self {
        Summary {
            key,
            owner: None,
            is_open: true,
            balance: 0,
            version: 0,
            paid_in: Flow::default(),
            paid_out: Flow::default(),
            changed_at: Timestamp::default(),
        }
    }

    /// What a notice makes of a summary; `None` for an account that has none yet.
    ///
    /// # Errors
    /// When the notice says something that nobody knows.
    pub fn next(known: Option<&Summary>, notice: &Notice) -> Result<Next, UnknownWord> {
        let version = known.map_or(0, |summary| summary.version);
        if notice.version <= version {
            return Ok(Next::Known);
        }
        if notice.version != version + 1 {
            return Ok(Next::Gap);
        }
        let kind = EventKind::of(&notice.kind).ok_or_else(|| UnknownWord(notice.kind.clone()))?;
        let mut summary = match known {
            Some(summary) => summary.clone(),
            None => Summary::empty(notice.key()?),
        };
        summary.add(&Fact {
            version: notice.version,
            kind,
            change: notice.change,
            balance: notice.balance,
            other: notice.other.as_deref(),
            at: Timestamp(notice.at),
        });
        Ok(Next::Changed(summary))
    }

    /// Adds events of the stream that lie before or behind what was added, in any order.
    pub fn add_events<'a>(
        known: Option<Summary>,
        events: impl IntoIterator<Item = &'a Event>,
    ) -> Option<Summary> {
        events.into_iter().fold(known, |known, event| {
            let mut summary = known.unwrap_or_else(|| Summary::empty(event.key.clone()));
            summary.add(&Fact {
                version: event.version,
                kind: event.kind,
                change: event.change,
                balance: event.balance,
                other: event.other.as_deref(),
                at: event.at,
            });
            Some(summary)
        })
    }

    fn add(&mut self, fact: &Fact<'_>) {
        // A balance that was set is no payment, and opening with money is one.
        if fact.kind != EventKind::Adjusted && fact.change != 0 {
            let flow = if fact.change > 0 { &mut self.paid_in } else { &mut self.paid_out };
            flow.count += 1;
            flow.sum += i128::from(fact.change).abs();
        }
        match fact.kind {
            EventKind::Opened => self.owner = fact.other.map(Into::into),
            EventKind::Closed => self.is_open = false,
            _ => {}
        }
        if fact.version > self.version {
            (self.version, self.balance, self.changed_at) = (fact.version, fact.balance, fact.at);
        }
    }
}

/// What a notice means to a summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// It was told before.
    Known,
    /// The summary is this now.
    Changed(Summary),
    /// Events are missing in between: the summary has to be made of the stream.
    Gap,
}

impl Notice {
    /// The account that it tells of.
    ///
    /// # Errors
    /// When its book is none.
    pub fn key(&self) -> Result<AccountKey, UnknownWord> {
        let book = Book::of(&self.book).ok_or_else(|| UnknownWord(self.book.clone()))?;
        Ok(AccountKey { book, id: self.id.as_str().into() })
    }
}

/// A summary as its row has it.
pub(super) fn body(summary: &Summary) -> String {
    serde_json::to_string(summary).expect("a summary has no maps, which alone could fail")
}

/// A summary from its row.
pub(super) fn of_body(body: &str) -> Result<Summary> {
    serde_json::from_str(body)
        .map_err(|error| Error::internal("books", "a summary cannot be read").with_source(error))
}
