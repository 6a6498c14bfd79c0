//! Wallets: one balance a user, in whole units, and three ways to withdraw from it that exclude each other.
//!
//! A [`Teller`] has the three ways, each written once over [`Wallets`], which is where the wallets are kept: in the [`Books`] of the
//! bank, or in [`Redis`]. What makes the ways safe beside each other is the store's: every change is one atomic step there that
//! checks its own [`Condition`], changes the balance, counts the version up and writes the history.

mod books;
mod redis;
mod teller;
mod user;

use std::fmt;
use std::num::NonZeroU64;

use tenure::{FencingToken, Result};

use crate::ledger::{EventKind, Fut, IdempotencyKey, Stale, Timestamp};

pub use books::Books;
pub use redis::Redis;
pub use teller::{Counts, Outcome, Teller, Withdrawal};
pub use user::UserId;

/// How many entries of a wallet's history are told, and kept where only the history of wallets is.
pub const HISTORY: u32 = 1_000;

/// Where wallets are kept.
///
/// Every method is one atomic step of the store, and may be dropped at any await: what was asked is then done as a whole or
/// not at all.
///
/// # Errors
/// Of every method: `Unavailable` when the store cannot be asked; whether a change was made is then unknown, unless it has an
/// [`IdempotencyKey`], with which it may be asked again. `Internal` when what the store has is no wallet.
pub trait Wallets: fmt::Debug + Send + Sync {
    /// A wallet as it is. `None` when there is none.
    fn read<'a>(&'a self, user: &'a UserId) -> Fut<'a, Result<Option<Wallet>>>;

    /// Reads a wallet for a write that is to follow, and raises its fence to `token`: from then on writes with an older token
    /// are refused. `Err` when a greater token was here.
    fn open<'a>(
        &'a self,
        user: &'a UserId,
        token: FencingToken,
    ) -> Fut<'a, Result<Result<Option<Wallet>, Stale>>>;

    /// Takes money out on a condition, and answers with the balance that it left; of a repetition, with the balance that the first
    /// one left.
    fn withdraw<'a>(&'a self, order: &'a Order, on: Condition) -> Fut<'a, Result<Result<i64, Refusal>>>;

    /// Sets a balance, whatever it was, and makes the wallet where there is none. Answers as [`withdraw`](Self::withdraw);
    /// refuses a key alone, that was used for something else.
    fn adjust<'a>(
        &'a self,
        user: &'a UserId,
        balance: i64,
        key: Option<&'a IdempotencyKey>,
    ) -> Fut<'a, Result<Result<i64, Refusal>>>;

    /// What happened to a wallet, the newest first: the last [`HISTORY`] entries at most.
    fn history<'a>(&'a self, user: &'a UserId) -> Fut<'a, Result<Vec<Change>>>;

    /// A trip to the store.
    fn ping(&self) -> Fut<'_, Result<()>>;

    /// The store's word in logs and reports.
    fn store(&self) -> &'static str;
}

/// A wallet as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wallet {
    /// What is in it.
    pub balance: i64,
    /// How often it was changed.
    pub version: u64,
}

/// A withdrawal that is asked for.
#[derive(Clone, Debug)]
pub struct Order {
    /// Whose wallet.
    pub user: UserId,
    /// How much.
    pub amount: Amount,
    /// By what a repetition is known.
    pub key: Option<IdempotencyKey>,
}

/// An amount that can be withdrawn: above zero, in whole units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount(NonZeroU64);

impl Amount {
    /// An amount. `None` unless it is above zero.
    pub fn new(units: i64) -> Option<Self> {
        u64::try_from(units).ok().and_then(NonZeroU64::new).map(Amount)
    }

    /// Its number.
    pub fn get(self) -> i64 {
        self.0.get().cast_signed()
    }
}

/// On what condition a withdrawal is carried out, besides that there is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// On none.
    None,
    /// The wallet has this version still; 0 for one that was not there.
    Version(u64),
    /// The wallet has this version still, and no greater token was here. From then on smaller ones are refused.
    Held {
        /// The version that was read under the token.
        version: u64,
        /// The token of the lock.
        token: FencingToken,
    },
}

/// Why nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no wallet.
    Missing,
    /// There is too little in it.
    Insufficient,
    /// Somebody has changed it meanwhile.
    Conflict,
    /// The lock has passed on.
    Stale,
    /// The idempotency key was used for something else.
    KeyReused,
}

/// Something that happened to a wallet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The version that it made.
    pub version: u64,
    /// What happened: withdrawn or adjusted.
    pub kind: EventKind,
    /// The balance afterwards.
    pub balance: i64,
    /// When.
    pub at: Timestamp,
}
