//! Wallets in the books of the bank, beside its accounts: each change is a step of the ledger.

use std::sync::Arc;

use tenure::{Error, FencingToken, Result};

use super::{Change, Condition, HISTORY, Order, Refusal, UserId, Wallet, Wallets};
use crate::ledger::{self, Account, AccountKey, Action, Entry, Fut, IdempotencyKey, Stale, Step, Store};

/// Wallets in the books.
#[derive(Clone, Debug)]
pub struct Books(Arc<dyn Store>);

impl Books {
    /// The wallets of these books.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Books(store)
    }

    async fn carry_out(&self, entry: Entry, key: Option<IdempotencyKey>) -> Result<Result<i64, Refusal>> {
        let step = Step::new(vec![entry]).once(key);
        let answer = self.0.apply(vec![step]).await?.pop().expect("a step has an answer");
        match answer {
            Ok(posted) => Ok(Ok(posted.balances.first().expect("an entry has a balance").balance)),
            Err(refused) => refusal(refused.why).map(Err),
        }
    }
}

fn refusal(why: ledger::Refusal) -> Result<Refusal> {
    use ledger::Refusal as Why;
    match why {
        Why::Unknown => Ok(Refusal::Missing),
        Why::Insufficient => Ok(Refusal::Insufficient),
        Why::Conflict { .. } => Ok(Refusal::Conflict),
        Why::Stale { .. } => Ok(Refusal::Stale),
        Why::KeyReused => Ok(Refusal::KeyReused),
        Why::Exists | Why::Closed | Why::Overflow | Why::Unwritable => {
            Err(Error::internal("wallet", format!("the books refuse what no wallet asks for why={why:?}")))
        }
    }
}

fn account(user: &UserId) -> AccountKey {
    AccountKey::wallet(Arc::clone(user.text()))
}

fn wallet(account: Account) -> Wallet {
    Wallet { balance: account.balance, version: account.version }
}

impl Wallets for Books {
    fn read<'a>(&'a self, user: &'a UserId) -> Fut<'a, Result<Option<Wallet>>> {
        Box::pin(async move { Ok(self.0.read(&[account(user)]).await?.pop().flatten().map(wallet)) })
    }

    fn open<'a>(
        &'a self,
        user: &'a UserId,
        token: FencingToken,
    ) -> Fut<'a, Result<Result<Option<Wallet>, Stale>>> {
        Box::pin(async move {
            let opened = self.0.open(&account(user), token).await?;
            Ok(opened.map(|account| account.map(wallet)))
        })
    }

    fn withdraw<'a>(&'a self, order: &'a Order, on: Condition) -> Fut<'a, Result<Result<i64, Refusal>>> {
        let entry = Entry::new(account(&order.user), Action::Withdraw(order.amount.get()));
        let entry = match on {
            Condition::None => entry,
            Condition::Version(version) => entry.expecting(version),
            Condition::Held { version, token } => entry.expecting(version).under(token),
        };
        Box::pin(self.carry_out(entry, order.key.clone()))
    }

    fn adjust<'a>(
        &'a self,
        user: &'a UserId,
        balance: i64,
        key: Option<&'a IdempotencyKey>,
    ) -> Fut<'a, Result<Result<i64, Refusal>>> {
        let entry = Entry::new(account(user), Action::Adjust(balance));
        Box::pin(self.carry_out(entry, key.cloned()))
    }

    fn history<'a>(&'a self, user: &'a UserId) -> Fut<'a, Result<Vec<Change>>> {
        Box::pin(async move {
            let events = self.0.history(&account(user), None, HISTORY).await?;
            let changes = events.into_iter().map(|event| Change {
                version: event.version,
                kind: event.kind,
                balance: event.balance,
                at: event.at,
            });
            Ok(changes.collect())
        })
    }

    fn ping(&self) -> Fut<'_, Result<()>> {
        self.0.ping()
    }

    fn store(&self) -> &'static str {
        self.0.store()
    }
}
