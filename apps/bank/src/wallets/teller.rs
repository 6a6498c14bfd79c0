//! The three ways to withdraw, each written once for every store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tenure::{FencingToken, Guard, Locks, Result};
use utoipa::ToSchema;

use super::{Change, Condition, Order, Refusal, UserId, Wallet, Wallets};
use crate::ledger::IdempotencyKey;

/// How long a lock is waited for, and a turn within the process.
const PATIENCE: Duration = Duration::from_millis(250);
/// The longest pause after the first conflict. It doubles with each further one.
const PAUSE: Duration = Duration::from_millis(1);
/// How often the pause doubles at most: to 32 ms.
const DOUBLINGS: u32 = 5;

/// Withdraws in three ways, which may be mixed at will, in any number of processes.
///
/// Each `Done` is exactly one deduction and leaves a balance of its own, and no balance goes below zero. A withdrawal that has
/// an idempotency key is carried out once, in whichever of the ways it is asked for again.
///
/// # Errors
/// Of every method: `Unavailable` when the store or the locks cannot be asked; whether the money was taken is unknown then, so ask again under
/// the same key. Of those that have a key, [`Outcome::KeyReused`] is no error.
///
/// # Cancel safety
/// Every method may be dropped at any await: the money was taken then or it was not, and no lock stays behind.
#[derive(Debug)]
pub struct Teller {
    wallets: Arc<dyn Wallets>,
    locks: Locks,
    /// Locks of this process alone, by which its optimists stand in a line: those that would only make each other's work void.
    turns: Locks,
    tries: u32,
    counted: Counted,
}

/// How a withdrawal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// How it ended.
    pub outcome: Outcome,
    /// How often the wallet was read and a write was tried; 1 of the atomic way.
    pub attempts: u32,
}

/// How a withdrawal can end. Nothing was changed but by `Done`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The money was taken.
    Done {
        /// What it left.
        balance: i64,
    },
    /// There is too little in the wallet.
    Insufficient,
    /// There is no wallet.
    Missing,
    /// Others were faster at every attempt: of the optimistic way alone.
    Conflict,
    /// The lock was not to be had in 250 ms, or it was not to be kept: of the way under the lock alone.
    Busy,
    /// The idempotency key was used for something else.
    KeyReused,
}

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Reads and writes under a lock that had passed on: refused by the fence.
    pub stale_refusals: u64,
    /// Locks that were lost before anything was written under them.
    pub locks_lost: u64,
    /// Locks that were not to be had in time.
    pub locks_busy: u64,
    /// Attempts that came to nothing since somebody else was faster, in both ways that read first.
    pub conflicts: u64,
    /// Withdrawals that were given up for conflicts.
    pub given_up: u64,
}

#[derive(Debug, Default)]
struct Counted {
    stale_refusals: AtomicU64,
    locks_lost: AtomicU64,
    locks_busy: AtomicU64,
    conflicts: AtomicU64,
    given_up: AtomicU64,
}

impl Teller {
    /// A teller over these wallets, with the locks of all its instances, that tries at most `tries` times where others may be
    /// faster. The original's default is 20; at zero every withdrawal that reads first is given up.
    pub fn new(wallets: Arc<dyn Wallets>, locks: Locks, tries: u32) -> Self {
        Teller { wallets, locks, turns: Locks::memory(), tries, counted: Counted::default() }
    }

    /// Where the wallets are.
    pub fn wallets(&self) -> &Arc<dyn Wallets> {
        &self.wallets
    }

    /// Sets a balance, whatever it was, and makes the wallet where there is none. Answers the balance that was set, under this
    /// key for the first time; `None` when the key was used for something else.
    pub async fn init(
        &self,
        user: &UserId,
        balance: i64,
        key: Option<&IdempotencyKey>,
    ) -> Result<Option<i64>> {
        Ok(self.wallets.adjust(user, balance, key).await?.ok())
    }

    /// What a wallet has. `None` when there is none.
    pub async fn balance(&self, user: &UserId) -> Result<Option<i64>> {
        Ok(self.wallets.read(user).await?.map(|wallet| wallet.balance))
    }

    /// What happened to a wallet, the newest first.
    pub async fn history(&self, user: &UserId) -> Result<Vec<Change>> {
        self.wallets.history(user).await
    }

    /// Withdraws in one atomic step of the store: the fastest way, and the right one where the store can tell by itself whether
    /// it may be done.
    pub async fn atomic(&self, order: &Order) -> Result<Withdrawal> {
        let answer = self.wallets.withdraw(order, Condition::None).await?;
        Ok(Withdrawal { outcome: outcome(answer), attempts: 1 })
    }

    /// Reads, and withdraws if the wallet has still the version that was read; else again, after a random pause.
    ///
    /// Within a process a wallet's withdrawals of this kind take turns, first come first served. A turn is a courtesy: who has
    /// not had one in 250 ms goes without, and only the version keeps it from harm.
    pub async fn optimistic(&self, order: &Order) -> Result<Withdrawal> {
        let _turn = self.turns.lock(order.user.lock()).try_acquire_for(PATIENCE).await?;
        for attempts in 1..=self.tries {
            let wallet = self.wallets.read(&order.user).await?;
            let answer = self.write(order, wallet, None).await?;
            if answer != Err(Refusal::Conflict) {
                return Ok(Withdrawal { outcome: outcome(answer), attempts });
            }
            self.pause_after(attempts).await;
        }
        add(&self.counted.given_up);
        Ok(Withdrawal { outcome: Outcome::Conflict, attempts: self.tries })
    }

    /// Withdraws under the lock of the wallet: reads and writes with its fencing token, and on the version that was read.
    ///
    /// The lock keeps out who takes it, the version those who do not, and the token a holder that has stalled and lost it. Waits
    /// 250 ms at most; the lock stays with this process while nobody else wants it.
    pub async fn locked(&self, order: &Order) -> Result<Withdrawal> {
        let lock = self.locks.lock(order.user.lock()).sticky(true);
        let Some(guard) = lock.try_acquire_for(PATIENCE).await? else {
            add(&self.counted.locks_busy);
            return Ok(Withdrawal { outcome: Outcome::Busy, attempts: 0 });
        };
        for attempts in 1..=self.tries {
            let answer = self.attempt(order, &guard).await?;
            if answer != Err(Refusal::Conflict) {
                return Ok(Withdrawal { outcome: outcome(answer), attempts });
            }
            self.pause_after(attempts).await;
        }
        add(&self.counted.given_up);
        Ok(Withdrawal { outcome: Outcome::Busy, attempts: self.tries })
    }

    /// What was counted since the start.
    pub fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counted { stale_refusals, locks_lost, locks_busy, conflicts, given_up } = &self.counted;
        Counts {
            stale_refusals: read(stale_refusals),
            locks_lost: read(locks_lost),
            locks_busy: read(locks_busy),
            conflicts: read(conflicts),
            given_up: read(given_up),
        }
    }

    /// One attempt under the lock. A lease that is lost ends the reading, since nothing is at stake yet; the write is waited for
    /// all the same: the fence decides it, and whoever has asked wants to know.
    async fn attempt(&self, order: &Order, guard: &Guard) -> Result<Result<i64, Refusal>> {
        let token = guard.token();
        let Ok(opened) = guard.run_until_lost(self.wallets.open(&order.user, token)).await else {
            add(&self.counted.locks_lost);
            return Ok(Err(Refusal::Stale));
        };
        let answer = match opened? {
            Ok(wallet) => self.write(order, wallet, Some(token)).await?,
            Err(_) => Err(Refusal::Stale),
        };
        if answer == Err(Refusal::Stale) {
            add(&self.counted.stale_refusals);
        }
        Ok(answer)
    }

    /// Writes on what was read. What that rules out is not even tried, unless it may be the repetition of something done.
    async fn write(
        &self,
        order: &Order,
        wallet: Option<Wallet>,
        token: Option<FencingToken>,
    ) -> Result<Result<i64, Refusal>> {
        if order.key.is_none() {
            match wallet {
                None => return Ok(Err(Refusal::Missing)),
                Some(wallet) if wallet.balance < order.amount.get() => return Ok(Err(Refusal::Insufficient)),
                Some(_) => {}
            }
        }
        let version = wallet.map_or(0, |wallet| wallet.version);
        let on = match token {
            Some(token) => Condition::Held { version, token },
            None => Condition::Version(version),
        };
        self.wallets.withdraw(order, on).await
    }

    /// Lets others get out of each other's way.
    async fn pause_after(&self, attempts: u32) {
        add(&self.counted.conflicts);
        let longest = PAUSE * 2_u32.pow((attempts - 1).min(DOUBLINGS));
        tokio::time::sleep(longest.mul_f64(rand::random())).await;
    }
}

fn outcome(answer: Result<i64, Refusal>) -> Outcome {
    match answer {
        Ok(balance) => Outcome::Done { balance },
        Err(Refusal::Missing) => Outcome::Missing,
        Err(Refusal::Insufficient) => Outcome::Insufficient,
        Err(Refusal::Conflict) => Outcome::Conflict,
        Err(Refusal::Stale) => Outcome::Busy,
        Err(Refusal::KeyReused) => Outcome::KeyReused,
    }
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}
