//! The books: accounts, what happened to them, and what is to be told about it; one contract over three stores.
//!
//! Everything that changes money is a [`Step`]: entries that are carried out together or not at all, in one durable
//! transaction that also writes their events and the messages of the outbox. What a step does to an account is decided in one place
//! (`rules.rs`), whatever the store; a store loads, lets the rules decide, and saves.
//!
//! An account's row is what its events amount to, kept with each of them: nobody replays a stream to read a balance.
//! [`Ledger::replay`] does it all the same, to compare.

mod memory;
mod outbox;
mod postgres;
mod rules;
mod sqlite;
mod step;
mod summary;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tenure::{FencingToken, Result};

pub use memory::Memory;
pub use outbox::{Message, Notice, Outbox, Outcome, State, Tally};

pub use postgres::Postgres;
pub use sqlite::Sqlite;
pub use step::{Action, Balance, Entry, IdempotencyKey, Posted, Refusal, Refused, Step};
pub use summary::{Flow, Next, Summaries, Summary, UnknownWord};

/// A future of a store.
pub type Fut<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A store with all its sides.
pub trait Store: Ledger + Outbox + Summaries {}

impl<T: Ledger + Outbox + Summaries> Store for T {}

/// The books of the bank.
///
/// Every method is one atomic step of the store, and may be dropped at any await: what was asked is then done as a whole or
/// not at all.
///
/// # Errors
/// `Unavailable` when the store cannot be asked; whether a step was carried out is then unknown, unless it has an
/// [`IdempotencyKey`], with which it may be asked again.
pub trait Ledger: fmt::Debug + Send + Sync {
    /// Carries out steps, each as a whole or not at all, in order, and answers when they are durable. A step that is refused
    /// changes nothing and stops no other.
    fn apply(&self, steps: Vec<Step>) -> Fut<'_, Result<Vec<Result<Posted, Refused>>>>;

    /// What was answered to a step with this key, where one was carried out: for those who would not ask for it again.
    fn repeated<'a>(&'a self, key: &'a IdempotencyKey) -> Fut<'a, Result<Option<Result<Posted, Refused>>>>;

    /// Accounts as they are at one moment, in the order of `keys`. Waits for no lock and no writer.
    fn read<'a>(&'a self, keys: &'a [AccountKey]) -> Fut<'a, Result<Vec<Option<Account>>>>;

    /// Reads an account for a write that is to follow, and raises its fence to `token`: from then on writes with an older
    /// token are refused. `Err` when a greater token was here.
    fn open<'a>(
        &'a self,
        key: &'a AccountKey,
        token: FencingToken,
    ) -> Fut<'a, Result<Result<Option<Account>, Stale>>>;

    /// Accounts of a book whose id is greater than `after`, by id, `limit` of them at most.
    fn list<'a>(&'a self, book: Book, after: Option<&'a str>, limit: u32) -> Fut<'a, Result<Vec<Account>>>;

    /// Events of an account with a version below `before`, the newest first, `limit` of them at most.
    fn history<'a>(
        &'a self,
        key: &'a AccountKey,
        before: Option<u64>,
        limit: u32,
    ) -> Fut<'a, Result<Vec<Event>>>;

    /// What the last snapshot of an account and the events since amount to; for comparison with [`Ledger::read`].
    fn replay<'a>(&'a self, key: &'a AccountKey) -> Fut<'a, Result<Option<Replayed>>>;

    /// How many accounts a book has, and what they have together.
    fn totals(&self, book: Book) -> Fut<'_, Result<Totals>>;

    /// Forgets the idempotency keys that were used before a moment, and tells how many.
    fn forget_keys(&self, before: Timestamp) -> Fut<'_, Result<u64>>;

    /// A trip to the store.
    fn ping(&self) -> Fut<'_, Result<()>>;

    /// How many writes this process had refused because their lock had passed on.
    fn stale_writes(&self) -> u64;

    /// The store's word in logs and reports.
    fn store(&self) -> &'static str;
}

/// How many events of an account lie between two of its snapshots.
pub const SNAPSHOT_EVERY: u64 = 100;

/// Which book an account is in. The books do not mix: a wallet is in whole units, an account in hundredths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Book {
    /// Accounts of customers, and the account of the fees; in minor units.
    Accounts,
    /// Wallets; in whole units, any `i64` of them.
    Wallets,
}

impl Book {
    /// Its word in stores, names of locks and messages.
    pub fn word(self) -> &'static str {
        match self {
            Book::Accounts => "account",
            Book::Wallets => "wallet",
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Book::Accounts, Book::Wallets].into_iter().find(|book| book.word() == word)
    }
}

/// The longest text that the books keep, in bytes: PostgreSQL has no entries of 2,704 bytes and more in an index.
const LONGEST_TEXT: usize = 1_024;

/// Whether the books keep this as an id or an owner: up to 1,024 bytes without the character U+0000, which PostgreSQL has not.
pub fn is_text(text: &str) -> bool {
    text.len() <= LONGEST_TEXT && !text.contains('\0')
}

/// The name of an account: any [text](is_text) of its book. With another one it names no account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccountKey {
    /// Which book it is in.
    pub book: Book,
    /// Its id there.
    pub id: Arc<str>,
}

impl AccountKey {
    /// An account of customers.
    pub fn account(id: impl Into<Arc<str>>) -> Self {
        AccountKey { book: Book::Accounts, id: id.into() }
    }

    /// A wallet.
    pub fn wallet(id: impl Into<Arc<str>>) -> Self {
        AccountKey { book: Book::Wallets, id: id.into() }
    }
}

impl AccountKey {
    /// The key that is written so.
    pub(crate) fn of_text(text: &str) -> Option<Self> {
        let (book, id) = text.split_once(':')?;
        Some(AccountKey { book: Book::of(book)?, id: id.into() })
    }
}

impl fmt::Display for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.book.word(), self.id)
    }
}

/// An account as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// What it is called.
    pub key: AccountKey,
    /// Whose it is, where that was said.
    pub owner: Option<Arc<str>>,
    /// Whether it takes part in anything.
    pub is_open: bool,
    /// What is on it.
    pub balance: i64,
    /// How many events it has had.
    pub version: u64,
    /// The greatest token that a write or a read for a write came with; 0 for none.
    pub fence: u64,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When its last event was.
    pub changed_at: Timestamp,
}

/// Something that happened to an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Which account.
    pub key: AccountKey,
    /// Its number in the account's stream, from 1 on, without gaps.
    pub version: u64,
    /// What happened.
    pub kind: EventKind,
    /// By how much the balance changed.
    pub change: i64,
    /// The balance afterwards.
    pub balance: i64,
    /// The other account of a transfer, or the owner of an account that was opened.
    pub other: Option<Arc<str>>,
    /// The step that it was part of.
    pub operation: uuid::Uuid,
    /// When.
    pub at: Timestamp,
}

/// What can happen to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EventKind {
    /// It was opened.
    Opened,
    /// Money was paid in.
    Deposited,
    /// Money was paid out.
    Withdrawn,
    /// Money was sent to another account, its fee included.
    Sent,
    /// Money came from another account.
    Received,
    /// A fee was taken in.
    FeeTaken,
    /// The balance was set.
    Adjusted,
    /// It was closed.
    Closed,
}

impl EventKind {
    const ALL: [EventKind; 8] = [
        EventKind::Opened,
        EventKind::Deposited,
        EventKind::Withdrawn,
        EventKind::Sent,
        EventKind::Received,
        EventKind::FeeTaken,
        EventKind::Adjusted,
        EventKind::Closed,
    ];

    /// Its word in stores, replies and messages.
    pub fn word(self) -> &'static str {
        match self {
            EventKind::Opened => "opened",
            EventKind::Deposited => "deposited",
            EventKind::Withdrawn => "withdrawn",
            EventKind::Sent => "sent",
            EventKind::Received => "received",
            EventKind::FeeTaken => "fee_taken",
            EventKind::Adjusted => "adjusted",
            EventKind::Closed => "closed",
        }
    }

    fn of(word: &str) -> Option<Self> {
        EventKind::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// What a stream of events amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The balance.
    pub balance: i64,
    /// The number of events.
    pub version: u64,
    /// How many of them were read, behind the last snapshot.
    pub events_read: u64,
}

/// What a book has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Its accounts.
    pub accounts: u64,
    /// Their balances together: exact, however many there are.
    pub balance: i128,
}

/// A greater token was here before: the lock has passed on, and the work under it has to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    /// The token that was here.
    pub fence: u64,
}

/// A moment of the wall clock, in milliseconds since 1970: for people, never for verdicts about locks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Now.
    #[expect(
        clippy::disallowed_methods,
        reason = "what the bank writes down is told to people in their time"
    )]
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// A moment later than this one by so much.
    #[must_use]
    pub fn plus(self, time: std::time::Duration) -> Self {
        Timestamp(self.0.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)))
    }

    /// A moment earlier than this one by so much.
    #[must_use]
    pub fn minus(self, time: std::time::Duration) -> Self {
        Timestamp(self.0.saturating_sub(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// SQL has no unsigned integers; ours stay below 2^63.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
