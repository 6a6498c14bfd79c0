//! The steps that a transfer passes before money moves. A user of the crate may replace any of them.

use std::fmt;
use std::sync::Arc;

use tenure::Result;

use super::{Declined, Fees};
use crate::amount::Cents;
use crate::ledger::{Account, AccountKey, Fut, Ledger};

/// A transfer on its way through the chain.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Draft {
    /// Who sends.
    pub from: Arc<str>,
    /// Who receives.
    pub to: Arc<str>,
    /// How much arrives.
    pub amount: Cents,
    /// What the sender pays on top. Zero until a step says otherwise.
    pub fee: Cents,
    /// The accounts of both as they are under the lock, once they are loaded.
    pub accounts: Option<(Account, Account)>,
}

impl Draft {
    /// A transfer of which no more is known than what was asked.
    pub fn new(from: impl Into<Arc<str>>, to: impl Into<Arc<str>>, amount: Cents) -> Self {
        Draft { from: from.into(), to: to.into(), amount, fee: Cents::ZERO, accounts: None }
    }

    /// What the sender pays; `None` when it does not fit.
    pub fn total(&self) -> Option<Cents> {
        self.amount.0.checked_add(self.fee.0).map(Cents)
    }
}

/// A step of the chain: looks at a transfer, completes it, or declines it.
pub trait Link: fmt::Debug + Send + Sync {
    /// Does the step. `Ok(Err(_))` ends the transfer without a trace.
    ///
    /// # Errors
    /// Those of the books.
    fn pass<'a>(
        &'a self,
        draft: &'a mut Draft,
        books: &'a dyn Ledger,
    ) -> Fut<'a, Result<Result<(), Declined>>>;
}

/// The steps in order: those before the accounts are locked, and those under the lock.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Chain {
    /// What needs no lock: whoever fails here has waited for nobody.
    pub before: Vec<Arc<dyn Link>>,
    /// What looks at balances.
    pub locked: Vec<Arc<dyn Link>>,
}

impl Chain {
    /// Validation, then under the lock: load, fee, funds.
    pub fn new(fees: Fees) -> Self {
        Chain {
            before: vec![Arc::new(Validate)],
            locked: vec![Arc::new(Load), Arc::new(fees), Arc::new(Funds)],
        }
    }
}

/// What can be said of a transfer by itself.
#[derive(Clone, Copy, Debug)]
pub struct Validate;

impl Link for Validate {
    fn pass<'a>(&'a self, draft: &'a mut Draft, _: &'a dyn Ledger) -> Fut<'a, Result<Result<(), Declined>>> {
        let passed = if draft.from.trim().is_empty() {
            Err(Declined::Invalid("from_account_id is required"))
        } else if draft.to.trim().is_empty() {
            Err(Declined::Invalid("to_account_id is required"))
        } else if draft.amount <= Cents::ZERO {
            Err(Declined::Invalid("Amount must be greater than zero"))
        } else if draft.from == draft.to {
            Err(Declined::Invalid("Cannot transfer to the same account"))
        } else {
            Ok(())
        };
        Box::pin(std::future::ready(Ok(passed)))
    }
}

/// Reads both accounts, at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Load;

impl Link for Load {
    fn pass<'a>(
        &'a self,
        draft: &'a mut Draft,
        books: &'a dyn Ledger,
    ) -> Fut<'a, Result<Result<(), Declined>>> {
        Box::pin(async move {
            let keys = [AccountKey::account(draft.from.clone()), AccountKey::account(draft.to.clone())];
            let mut found = books.read(&keys).await?.into_iter();
            let (from, to) = (found.next().flatten(), found.next().flatten());
            let Some(from) = from else { return Ok(Err(Declined::UnknownFrom(draft.from.clone()))) };
            let Some(to) = to else { return Ok(Err(Declined::UnknownTo(draft.to.clone()))) };
            draft.accounts = Some((from, to));
            Ok(Ok(()))
        })
    }
}

impl Link for Fees {
    fn pass<'a>(&'a self, draft: &'a mut Draft, _: &'a dyn Ledger) -> Fut<'a, Result<Result<(), Declined>>> {
        let passed = match self.of(draft.amount) {
            Some(fee) => {
                draft.fee = fee;
                Ok(())
            }
            None => Err(Declined::Insufficient(draft.from.clone())),
        };
        Box::pin(std::future::ready(Ok(passed)))
    }
}

/// Whether the sender has enough, for a clear answer: the books themselves refuse what would go below zero.
#[derive(Clone, Copy, Debug)]
pub struct Funds;

impl Link for Funds {
    fn pass<'a>(&'a self, draft: &'a mut Draft, _: &'a dyn Ledger) -> Fut<'a, Result<Result<(), Declined>>> {
        let balance = draft.accounts.as_ref().map(|(from, _)| from.balance);
        let is_enough = draft.total().zip(balance).is_none_or(|(total, balance)| balance >= total.0);
        let fits = draft.total().is_some();
        let passed = if is_enough && fits { Ok(()) } else { Err(Declined::Insufficient(draft.from.clone())) };
        Box::pin(std::future::ready(Ok(passed)))
    }
}
