//! What is asked of the books, and what they answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tenure::FencingToken;
use uuid::Uuid;

use super::AccountKey;

/// Entries that are carried out together or not at all.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its id, by which all its events are known.
    pub operation: Uuid,
    /// What it does, in order.
    pub entries: Vec<Entry>,
    /// By what a repetition of it is known.
    pub key: Option<IdempotencyKey>,
}

impl Step {
    /// A step of these entries, under a fresh id.
    pub fn new(entries: Vec<Entry>) -> Self {
        Step { operation: Uuid::new_v4(), entries, key: None }
    }

    /// A step that is carried out once, however often it is asked with this key.
    #[must_use]
    pub fn once(mut self, key: Option<IdempotencyKey>) -> Self {
        self.key = key;
        self
    }
}

/// One change to one account, and on what conditions.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Which account.
    pub account: AccountKey,
    /// What is done.
    pub action: Action,
    /// Only if the account has this version still.
    pub expected: Option<u64>,
    /// Only if no greater token was here; from then on smaller ones are refused.
    pub token: Option<FencingToken>,
}

impl Entry {
    /// An entry without conditions of its own.
    pub fn new(account: AccountKey, action: Action) -> Self {
        Entry { account, action, expected: None, token: None }
    }

    /// Only if the account has this version still.
    #[must_use]
    pub fn expecting(mut self, version: u64) -> Self {
        self.expected = Some(version);
        self
    }

    /// Only if no greater token was here.
    #[must_use]
    pub fn under(mut self, token: FencingToken) -> Self {
        self.token = Some(token);
        self
    }
}

/// What can be done to an account. Amounts are not negative, those of money that moves are above zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Opens it. Refused when it is there already.
    Open {
        /// Whose it is.
        owner: Option<Arc<str>>,
        /// What is on it from the start.
        balance: i64,
    },
    /// Pays in.
    Deposit(i64),
    /// Pays out what is there.
    Withdraw(i64),
    /// Sends to another account.
    Send {
        /// What leaves this one, the fee included.
        amount: i64,
        /// Where to.
        to: Arc<str>,
    },
    /// Takes in what another one sends.
    Receive {
        /// How much.
        amount: i64,
        /// Where from.
        from: Arc<str>,
    },
    /// Takes in a fee. Opens the account if it is not there.
    TakeFee {
        /// How much.
        amount: i64,
        /// Whose.
        from: Arc<str>,
    },
    /// Sets the balance, whatever it was. Opens the account if it is not there.
    Adjust(i64),
    /// Closes it: what is on it stays, and nothing happens to it any more.
    Close,
}

/// A step that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// The step's id; of a repetition, the id of the one that was carried out.
    pub operation: Uuid,
    /// Each entry's account as the entry left it.
    pub balances: Vec<Balance>,
    /// Whether it had been carried out before, under the same key.
    pub is_repeated: bool,
}

impl Posted {
    /// As it is kept under an idempotency key.
    pub(super) fn to_text(&self) -> String {
        let balances: Vec<(i64, u64)> =
            self.balances.iter().map(|left| (left.balance, left.version)).collect();
        serde_json::to_string(&(self.operation, balances))
            .expect("a tuple has no maps, which alone could fail")
    }

    fn of_text(text: &str) -> Option<Self> {
        let (operation, balances): (Uuid, Vec<(i64, u64)>) = serde_json::from_str(text).ok()?;
        let balances = balances.into_iter().map(|(balance, version)| Balance { balance, version }).collect();
        Some(Posted { operation, balances, is_repeated: true })
    }
}

/// An account as an entry left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// What was on it then.
    pub balance: i64,
    /// The number of its events then.
    pub version: u64,
}

/// A step that was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The first entry that could not be.
    pub entry: usize,
    /// Why not.
    pub why: Refusal,
}

/// Why an entry cannot be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such account.
    Unknown,
    /// There is one already.
    Exists,
    /// It was closed.
    Closed,
    /// It has too little.
    Insufficient,
    /// The balance would not fit 63 bits.
    Overflow,
    /// Somebody has changed it meanwhile.
    Conflict {
        /// The version that it has.
        version: u64,
    },
    /// The lock has passed on.
    Stale {
        /// The greater token that was here.
        fence: u64,
    },
    /// Its id or its owner is no [text that the books keep](super::is_text), so there is no such account and never will be.
    Unwritable,
    /// The idempotency key was used for something else.
    KeyReused,
}

/// By what a repeated request is known to be one. Kept for a day.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    /// What the client made up, with the route that it was for.
    pub key: Arc<str>,
    /// What was asked: the same key with another one is refused.
    pub request: Arc<str>,
}

impl IdempotencyKey {
    /// The answer to a request with this key, when it was used before: for `request`, with `outcome`.
    pub(super) fn answer(&self, request: &str, outcome: &str) -> Result<Posted, Refused> {
        let posted = if *self.request == *request { Posted::of_text(outcome) } else { None };
        posted.ok_or(Refused { entry: 0, why: Refusal::KeyReused })
    }
}

/// Counts writes that were refused because their lock had passed on: proof that somebody stalled, and that it did no harm.
#[derive(Debug, Default)]
pub(super) struct StaleWrites(AtomicU64);

impl StaleWrites {
    /// Looks at what a store has answered, whether anybody still waits for it or not.
    pub(super) fn count(&self, answers: &[Result<Posted, Refused>]) {
        let is_stale = |answer: &&Result<Posted, Refused>| {
            matches!(answer, Err(Refused { why: Refusal::Stale { .. }, .. }))
        };
        self.0.fetch_add(answers.iter().filter(is_stale).count() as u64, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
