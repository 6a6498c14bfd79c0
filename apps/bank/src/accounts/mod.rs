//! Commands on accounts, each an event in the account's stream: under the account's lock, on the version that was seen, with the
//! lock's token.
//!
//! The lock keeps commands from getting into each other's way; the version and the token keep the account right where it does not:
//! the books refuse what is outdated, and it is worked out again or declined.

mod batch;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use tenure::metrics::Operation;
use tenure::{ErrorKind, Guard, Locks, Result};
use uuid::Uuid;

pub use self::batch::{BatchOperation, Kind, NoBatch};
pub use self::settings::Settings;
use crate::amount::Cents;
use crate::ledger::{AccountKey, Action, Entry, Fut, IdempotencyKey, Posted, Refusal, Refused, Step, Store};
use crate::names::account_lock;
use crate::reads::Reads;

/// The accounts of customers, as they are changed.
#[derive(Debug)]
pub struct Accounts {
    store: Arc<dyn Store>,
    reads: Reads,
    locks: Locks,
    wait: Duration,
    settings: Settings,
}

/// What can be done to an account that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Pays in.
    Deposit(Cents),
    /// Pays out what is there.
    Withdraw(Cents),
    /// Closes it: what is on it stays.
    Close,
}

/// On what conditions a command is carried out.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Only if the account has this version.
    pub expected: Option<u64>,
    /// Once for all requests with this key.
    pub key: Option<IdempotencyKey>,
}

/// An account as a command left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Which account.
    pub id: Arc<str>,
    /// What was on it then.
    pub balance: Cents,
    /// The number of its events then.
    pub version: u64,
    /// The command's id; none of a read.
    pub operation: Option<Uuid>,
}

/// Why a command was not carried out. Nothing has changed then, but where it says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Declined {
    /// It cannot be right, whatever the account.
    #[error("{0}")]
    Invalid(&'static str),
    /// There is no such account.
    #[error("Account not found: {0}")]
    Unknown(Arc<str>),
    /// It was closed.
    #[error("Account is closed: {0}")]
    Closed(Arc<str>),
    /// It has too little.
    #[error("Insufficient funds in account: {0}")]
    Insufficient(Arc<str>),
    /// It would have more than fits.
    #[error("Balance limit exceeded in account: {0}")]
    Overflow(Arc<str>),
    /// It has another version than was expected.
    #[error("The Account with ID '{0}' was modified by another user. Please refresh and try again.")]
    Modified(Arc<str>),
    /// The lock was not free in time.
    #[error("The account is busy, please try again: {0}")]
    Busy(Arc<str>),
    /// The lock passed on, or others were faster again and again.
    #[error("The account has changed meanwhile, please try again: {0}")]
    Conflict(Arc<str>),
    /// The idempotency key was used for something else.
    #[error("The Idempotency-Key was used for another request")]
    KeyReused,
    /// A store did not answer: whether the command was carried out is unknown, unless it has a key, with which it may be asked
    /// again.
    #[error("A store does not answer; with an Idempotency-Key the request may be sent again")]
    Unavailable,
}

impl Accounts {
    /// Accounts over these books, which have to be [`Watched`](crate::reads::Watched) by `reads`; a lock is waited for so long at
    /// most.
    pub fn new(
        store: Arc<dyn Store>,
        reads: Reads,
        locks: Locks,
        wait: Duration,
        settings: Settings,
    ) -> Self {
        Accounts { store, reads, locks, wait, settings }
    }

    /// Opens an account under a fresh id, which nobody can hold a lock on yet.
    ///
    /// # Errors
    /// `Invalid`, `KeyReused`, `Unavailable`.
    ///
    /// # Cancel safety
    /// Dropped, it is carried out as a whole or not at all.
    pub async fn create(
        &self,
        owner: &str,
        balance: Cents,
        key: Option<IdempotencyKey>,
    ) -> Result<Done, Declined> {
        if owner.trim().is_empty() {
            return Err(Declined::Invalid("owner_name is required"));
        }
        if balance < Cents::ZERO {
            return Err(Declined::Invalid("initial_balance cannot be negative"));
        }
        self.locks.metrics().record(Operation::Create);
        let opening = Action::Open { owner: Some(owner.into()), balance: balance.0 };
        let mut step = Step::new(Vec::new()).once(key);
        // The id is the step's: a repetition is answered with the step that was carried out, and so with its account.
        let id: Arc<str> = step.operation.to_string().into();
        step.entries.push(Entry::new(AccountKey::account(Arc::clone(&id)), opening));
        let posted = self.apply(vec![step]).await?.pop();
        let posted = posted.ok_or(Declined::Unavailable)?.map_err(|refused| declined(&id, refused, None))?;
        done(posted.operation.to_string().into(), &posted)
    }

    /// Carries out a command, once for all requests with the same key.
    ///
    /// # Errors
    /// See [`Declined`].
    ///
    /// # Cancel safety
    /// Dropped, it is carried out as a whole or not at all, and its lock is given back.
    pub async fn command(&self, id: &str, command: Command, terms: Terms) -> Result<Done, Declined> {
        let action = command.action()?;
        let key = AccountKey::account(id);
        // Before anything is locked: an id that is unknown leaves no lock behind and waits behind none.
        self.hint(&key).await?;
        self.locks.metrics().record(command.operation());
        let guard = self.lock(&key.id).await?;
        let work = self.under_lock(&guard, &key, &action, terms);
        // The books have answered: how the lease ended changes nothing of that, and the token keeps out who is late.
        guard.run_until_lost(work).await.unwrap_or(Err(Declined::Conflict(key.id.clone())))
    }

    fn under_lock<'a>(
        &'a self,
        guard: &'a Guard,
        key: &'a AccountKey,
        action: &'a Action,
        terms: Terms,
    ) -> Fut<'a, Result<Done, Declined>> {
        Box::pin(async move {
            for _ in 0..self.settings.retry_attempts.max(1) {
                let version = match terms.expected {
                    Some(version) => version,
                    None => self.hint(key).await?,
                };
                let entry = Entry::new(key.clone(), action.clone()).expecting(version).under(guard.token());
                let posted = self.apply(vec![Step::new(vec![entry]).once(terms.key.clone())]).await?.pop();
                match posted.ok_or(Declined::Unavailable)? {
                    Ok(posted) => return done(key.id.clone(), &posted),
                    Err(Refused { why: Refusal::Conflict { version }, .. }) if terms.expected.is_none() => {
                        // What was seen was outdated: by somebody who takes no lock, or whose news have not come.
                        self.reads.learn(key, version).await;
                    }
                    Err(refused) => return Err(declined(&key.id, refused, terms.expected)),
                }
            }
            Err(Declined::Conflict(key.id.clone()))
        })
    }

    /// The version that the account has, as far as is known here.
    async fn hint(&self, key: &AccountKey) -> Result<u64, Declined> {
        let known = self.reads.hint(key).await.map_err(unavailable)?;
        known.map(|account| account.version).ok_or_else(|| Declined::Unknown(key.id.clone()))
    }

    async fn lock(&self, id: &Arc<str>) -> Result<Guard, Declined> {
        let name = account_lock(id);
        let asking =
            || -> Fut<'_, _> { Box::pin(self.locks.lock(&name).sticky(true).try_acquire_for(self.wait)) };
        let guard = self.again(asking).await.map_err(unavailable)?;
        guard.ok_or_else(|| Declined::Busy(id.clone()))
    }

    /// Asks the store of the locks, and again when it does not answer: what it may have done is given back by itself.
    async fn again<'a, T>(&self, mut asking: impl FnMut() -> Fut<'a, Result<T>> + Send) -> Result<T> {
        let mut tried = 1;
        loop {
            match asking().await {
                Err(error)
                    if error.kind() == ErrorKind::Unavailable && tried < self.settings.retry_attempts =>
                {
                    let clock = self.locks.clock();
                    clock.sleep_until(clock.now() + self.settings.pause(tried)).await;
                    tried += 1;
                }
                answer => return answer,
            }
        }
    }

    async fn apply(&self, steps: Vec<Step>) -> Result<Vec<Result<Posted, Refused>>, Declined> {
        self.store.apply(steps).await.map_err(unavailable)
    }
}

impl Command {
    fn action(self) -> Result<Action, Declined> {
        match self {
            Command::Deposit(amount) => Ok(Action::Deposit(above_zero(amount)?)),
            Command::Withdraw(amount) => Ok(Action::Withdraw(above_zero(amount)?)),
            Command::Close => Ok(Action::Close),
        }
    }

    fn operation(self) -> Operation {
        match self {
            Command::Deposit(_) | Command::Withdraw(_) => Operation::Update,
            Command::Close => Operation::Delete,
        }
    }
}

fn above_zero(amount: Cents) -> Result<i64, Declined> {
    if amount > Cents::ZERO {
        Ok(amount.0)
    } else {
        Err(Declined::Invalid("amount must be greater than zero"))
    }
}

/// What a step of one entry has done.
fn done(id: Arc<str>, posted: &Posted) -> Result<Done, Declined> {
    match posted.balances.as_slice() {
        [left] => Ok(Done {
            id,
            balance: Cents(left.balance),
            version: left.version,
            operation: Some(posted.operation),
        }),
        // What was carried out under this key has more entries: it was something else.
        _ => Err(Declined::KeyReused),
    }
}

/// Why a step was refused that was asked for an account, on a version that the client expected or not.
fn declined(id: &Arc<str>, refused: Refused, expected: Option<u64>) -> Declined {
    let id = id.clone();
    match refused.why {
        Refusal::Unknown => Declined::Unknown(id),
        Refusal::Closed => Declined::Closed(id),
        Refusal::Insufficient => Declined::Insufficient(id),
        Refusal::Overflow => Declined::Overflow(id),
        Refusal::KeyReused => Declined::KeyReused,
        Refusal::Unwritable => Declined::Invalid("a text has at most 1024 bytes and no U+0000"),
        Refusal::Conflict { .. } if expected.is_some() => Declined::Modified(id),
        Refusal::Conflict { .. } | Refusal::Exists | Refusal::Stale { .. } => Declined::Conflict(id),
    }
}

fn unavailable(error: tenure::Error) -> Declined {
    tracing::warn!(error = %error, "a store did not answer");
    Declined::Unavailable
}
