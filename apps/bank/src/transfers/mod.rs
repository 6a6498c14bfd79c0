//! Transfers between accounts: both locked in one step, and debit, credit and fee written in one.

mod chain;
mod fees;
mod statistics;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tenure::{Guard, Locks, Result};

pub use self::chain::{Chain, Draft, Funds, Link, Load, Validate};
pub use self::fees::Fees;
pub use self::statistics::{AccountLock, LockStatistics};
use crate::amount::Cents;
use crate::ledger::{AccountKey, Action, Entry, IdempotencyKey, Posted, Refusal, Refused, Step, Store};
use crate::names::account_lock;

/// How often a transfer is worked out again, within its lock, when somebody who takes no lock was faster.
const TRIES: u32 = 8;
/// How many ids of accounts are remembered to be there.
const KNOWN: usize = 100_000;

/// Moves money between accounts.
///
/// The order of work: the chain's steps before the lock; both accounts, in one atomic step at the store of the locks; the chain's
/// steps under it; one durable step in the books, which takes the lock's token and refuses an older one.
#[derive(Debug)]
pub struct Transfers {
    store: Arc<dyn Store>,
    locks: Locks,
    chain: Chain,
    wait: Duration,
    fee_account: Arc<str>,
    /// Accounts never go away: an id that was there once need not be looked up to know that it is.
    known: Mutex<std::collections::HashSet<Arc<str>>>,
    /// How long locks were waited for and held.
    pub statistics: LockStatistics,
}

/// A transfer that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// What the sender paid on top. Of a repetition it is not told.
    pub fee: Cents,
    /// What the sender has left, as of this transfer.
    pub from_balance: Cents,
    /// What the receiver has now, as of this transfer.
    pub to_balance: Cents,
}

/// Why a transfer was not made. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Declined {
    /// It cannot be right, whatever the balances.
    #[error("{0}")]
    Invalid(&'static str),
    /// The sender is unknown.
    #[error("From account not found: {0}")]
    UnknownFrom(Arc<str>),
    /// The receiver is unknown.
    #[error("To account not found: {0}")]
    UnknownTo(Arc<str>),
    /// The sender has too little.
    #[error("Insufficient funds in account: {0}")]
    Insufficient(Arc<str>),
    /// One of the two was closed.
    #[error("Account is closed: {0}")]
    Closed(Arc<str>),
    /// The receiver would have more than fits.
    #[error("Balance limit exceeded in account: {0}")]
    Overflow(Arc<str>),
    /// The locks were not free in time.
    #[error("The accounts are busy, please try again")]
    LockTimeout,
    /// The lock passed on, or others were faster again and again.
    #[error("The accounts have changed meanwhile, please try again")]
    Conflict,
    /// The idempotency key was used for another transfer.
    #[error("The Idempotency-Key was used for another request")]
    KeyReused,
}

impl Transfers {
    /// Transfers over these books and locks, which wait so long for a lock at most.
    pub fn new(store: Arc<dyn Store>, locks: Locks, chain: Chain, wait: Duration, fee_account: &str) -> Self {
        let statistics = LockStatistics::default();
        Transfers {
            store,
            locks,
            chain,
            wait,
            fee_account: fee_account.into(),
            known: Mutex::default(),
            statistics,
        }
    }

    /// Makes a transfer, once for all requests with the same key.
    ///
    /// # Errors
    /// `Unavailable` when a store could not be asked: whether the transfer was made is then unknown, unless it has a key, with
    /// which it may be asked again.
    ///
    /// # Cancel safety
    /// Dropped, it is made as a whole or not at all, and its locks are given back.
    pub async fn transfer(
        &self,
        mut draft: Draft,
        key: Option<IdempotencyKey>,
    ) -> Result<Result<Transferred, Declined>> {
        for link in &self.chain.before {
            if let Err(declined) = link.pass(&mut draft, &*self.store).await? {
                return Ok(Err(declined));
            }
        }
        if let Err(declined) = self.look_up(&mut draft).await? {
            return Ok(Err(declined));
        }
        let names = [account_lock(&draft.from), account_lock(&draft.to)];
        let clock = self.locks.clock();
        let asked = clock.now();
        let guard = self.locks.lock_all(&names).try_acquire_for(self.wait).await?;
        let got = clock.now();
        let ids = [&draft.from, &draft.to].map(Arc::clone);
        let Some(guard) = guard else {
            self.statistics.waited(&ids, asked.until(got), false);
            return Ok(Err(Declined::LockTimeout));
        };
        self.statistics.waited(&ids, asked.until(got), true);
        let done = guard.run_until_lost(self.under_lock(&guard, draft, key)).await;
        self.statistics.held(&ids, got.until(clock.now()));
        // The books have answered: how the lease ended changes nothing of that, and the token kept out who was late.
        drop(guard);
        done.unwrap_or(Ok(Err(Declined::Conflict)))
    }

    /// Whether both are there, before anything is locked: an id that is unknown leaves no lock behind and waits behind none.
    async fn look_up(&self, draft: &mut Draft) -> Result<Result<(), Declined>> {
        let is_known = {
            let known = self.known.lock();
            known.contains(&draft.from) && known.contains(&draft.to)
        };
        if is_known {
            return Ok(Ok(()));
        }
        if let Err(declined) = Load.pass(draft, &*self.store).await? {
            return Ok(Err(declined));
        }
        let mut known = self.known.lock();
        if known.len() >= KNOWN {
            known.clear();
        }
        known.extend([draft.from.clone(), draft.to.clone()]);
        Ok(Ok(()))
    }

    async fn under_lock(
        &self,
        guard: &Guard,
        asked: Draft,
        key: Option<IdempotencyKey>,
    ) -> Result<Result<Transferred, Declined>> {
        // A request that was carried out would not pass the chain again, since its money has gone.
        if let Some(key) = &key
            && let Some(known) = self.store.repeated(key).await?
        {
            return Ok(known
                .map_err(|_| Declined::KeyReused)
                .and_then(|posted| transferred(&asked, &posted)));
        }
        for _ in 0..TRIES {
            let mut draft = asked.clone();
            for link in &self.chain.locked {
                if let Err(declined) = link.pass(&mut draft, &*self.store).await? {
                    return Ok(Err(declined));
                }
            }
            match self.post(&draft, guard, key.clone()).await? {
                Ok(posted) => return Ok(transferred(&draft, &posted)),
                Err(Refused { why: Refusal::Conflict { .. }, .. }) => {}
                Err(refused) => return Ok(Err(declined(&draft, refused))),
            }
        }
        Ok(Err(Declined::Conflict))
    }

    async fn post(
        &self,
        draft: &Draft,
        guard: &Guard,
        key: Option<IdempotencyKey>,
    ) -> Result<Result<Posted, Refused>> {
        let (from, to) = (AccountKey::account(draft.from.clone()), AccountKey::account(draft.to.clone()));
        let paid = Action::Send { amount: draft.total().unwrap_or(Cents(i64::MAX)).0, to: draft.to.clone() };
        let came = Action::Receive { amount: draft.amount.0, from: draft.from.clone() };
        let mut debit = Entry::new(from, paid).under(guard.token());
        let mut credit = Entry::new(to, came).under(guard.token());
        if let Some((from, to)) = &draft.accounts {
            debit = debit.expecting(from.version);
            credit = credit.expecting(to.version);
        }
        let mut entries = vec![debit, credit];
        if draft.fee > Cents::ZERO {
            let fee = Action::TakeFee { amount: draft.fee.0, from: draft.from.clone() };
            entries.push(Entry::new(AccountKey::account(self.fee_account.clone()), fee));
        }
        let mut answers = self.store.apply(vec![Step::new(entries).once(key)]).await?;
        answers.pop().ok_or_else(|| tenure::Error::internal("transfer", "the books have answered nothing"))
    }
}

fn declined(draft: &Draft, refused: Refused) -> Declined {
    let account = if refused.entry == 0 { &draft.from } else { &draft.to };
    match refused.why {
        Refusal::Insufficient => Declined::Insufficient(account.clone()),
        Refusal::Unknown if refused.entry == 0 => Declined::UnknownFrom(account.clone()),
        // An opening alone is refused for its texts, and of a transfer's entries only the fee's opens its account.
        Refusal::Unknown | Refusal::Unwritable => Declined::UnknownTo(account.clone()),
        Refusal::Closed => Declined::Closed(account.clone()),
        Refusal::Overflow => Declined::Overflow(account.clone()),
        Refusal::KeyReused => Declined::KeyReused,
        Refusal::Stale { .. } | Refusal::Conflict { .. } | Refusal::Exists => Declined::Conflict,
    }
}

fn transferred(draft: &Draft, posted: &Posted) -> Result<Transferred, Declined> {
    match posted.balances.as_slice() {
        [from, to, ..] => Ok(Transferred {
            fee: draft.fee,
            from_balance: Cents(from.balance),
            to_balance: Cents(to.balance),
        }),
        // What was carried out under this key has fewer entries: it was something else.
        _ => Err(Declined::KeyReused),
    }
}
