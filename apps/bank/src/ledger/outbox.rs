//! The outbox's side of a store: messages that were written with the events that they tell of.
//!
//! A message is delivered at least once, and those of one account in the order of its events: a message is due when nothing
//! older of its account is left undelivered. One that was given up (*failed*) stands in nobody's way.

use serde::{Deserialize, Serialize};
use tenure::Result;
use uuid::Uuid;

use super::{Event, Fut, Timestamp};

/// The outbox of a store.
///
/// # Errors
/// Of every method: `Unavailable` when the store cannot be asked.
pub trait Outbox: Send + Sync {
    /// Messages that are due: pending, not put off beyond `now`, or in the hands of somebody whose time was up before `now`; the
    /// oldest first, `limit` at most, never two of one account.
    fn due(&self, limit: u32, now: Timestamp) -> Fut<'_, Result<Vec<Message>>>;

    /// Takes messages in hand until a moment, and counts the attempt. Answers those that were still due: somebody else may
    /// have been faster.
    fn begin<'a>(&'a self, ids: &'a [u64], now: Timestamp, until: Timestamp) -> Fut<'a, Result<Vec<u64>>>;

    /// Writes down how deliveries ended.
    fn finish<'a>(&'a self, outcomes: &'a [(u64, Outcome)], now: Timestamp) -> Fut<'a, Result<()>>;

    /// Removes messages that were delivered before a moment, and tells how many.
    fn clean(&self, before: Timestamp) -> Fut<'_, Result<u64>>;

    /// How many messages there are, by state.
    fn tally(&self) -> Fut<'_, Result<Tally>>;

    /// Messages in a state, the oldest first.
    fn messages(&self, state: State, limit: u32) -> Fut<'_, Result<Vec<Message>>>;
}

/// A message, as far as its delivery goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its number, in the order of writing.
    pub id: u64,
    /// The account that it tells of, as `account:42`.
    pub account: String,
    /// The version of the account that it tells of.
    pub version: u64,
    /// The step that wrote it.
    pub operation: Uuid,
    /// What it says: an event as JSON.
    pub body: String,
    /// Where it stands.
    pub state: State,
    /// How often its delivery was begun.
    pub attempts: u32,
    /// What the last attempt failed for.
    pub error: Option<String>,
    /// When it was written.
    pub written_at: Timestamp,
}

/// What a message says: an event, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The book of the account: `account` (in hundredths) or `wallet` (in whole units).
    pub book: String,
    /// The account's id.
    pub id: String,
    /// The number of the event in the account's stream.
    pub version: u64,
    /// What happened, as [`EventKind::word`](super::EventKind::word).
    pub kind: String,
    /// By how much the balance changed.
    pub change: i64,
    /// The balance afterwards.
    pub balance: i64,
    /// The other account of a transfer, or the owner of an account that was opened.
    pub other: Option<String>,
    /// The step that it was part of.
    pub operation: Uuid,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

impl Notice {
    /// What is told of an event.
    pub fn of(event: &Event) -> Self {
        Notice {
            book: event.key.book.word().to_owned(),
            id: event.key.id.to_string(),
            version: event.version,
            kind: event.kind.word().to_owned(),
            change: event.change,
            balance: event.balance,
            other: event.other.as_deref().map(str::to_owned),
            operation: event.operation,
            at: event.at.0,
        }
    }

    pub(super) fn body(event: &Event) -> String {
        serde_json::to_string(&Notice::of(event)).expect("a notice has no maps, which alone could fail")
    }
}

/// Where a message stands. The numbers are those of the stored column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// To be delivered.
    Pending = 0,
    /// Delivered.
    Processed = 1,
    /// Given up: a dead letter.
    Failed = 2,
    /// In somebody's hands.
    Processing = 3,
}

impl State {
    pub(super) const ALL: [State; 4] = [State::Pending, State::Processed, State::Failed, State::Processing];

    pub(super) fn of(number: i64) -> Option<Self> {
        State::ALL.into_iter().find(|state| state.number() == number)
    }

    pub(super) fn number(self) -> i64 {
        self as i64
    }
}

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It arrived.
    Delivered,
    /// It is to be tried again, not before a moment.
    Retry {
        /// From when on.
        at: Timestamp,
        /// Why it failed.
        error: String,
    },
    /// It is given up.
    Dead {
        /// Why it failed.
        error: String,
    },
}

impl Outcome {
    /// Where the message stands then, from when on it is due, and what its delivery failed for.
    pub(super) fn standing(&self, now: Timestamp) -> (State, Timestamp, Option<&str>) {
        match self {
            Outcome::Delivered => (State::Processed, now, None),
            Outcome::Retry { at, error } => (State::Pending, *at, Some(error)),
            Outcome::Dead { error } => (State::Failed, now, Some(error)),
        }
    }
}

/// How many messages there are, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// To be delivered.
    pub pending: u64,
    /// Delivered, and not yet removed.
    pub processed: u64,
    /// Given up.
    pub failed: u64,
    /// In somebody's hands.
    pub processing: u64,
}

impl Tally {
    pub(super) fn of_mut(&mut self, state: State) -> &mut u64 {
        match state {
            State::Pending => &mut self.pending,
            State::Processed => &mut self.processed,
            State::Failed => &mut self.failed,
            State::Processing => &mut self.processing,
        }
    }
}
