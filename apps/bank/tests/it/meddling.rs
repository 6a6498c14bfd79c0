//! Wallets between whose reads and writes something happens.

use std::fmt;
use std::sync::Arc;

use bank::ledger::{Fut, IdempotencyKey, Stale};
use bank::wallets::{Change, Condition, Order, Refusal, UserId, Wallet, Wallets};
use tenure::{FencingToken, Result};

/// Wallets that wait for something before each withdrawal.
pub(crate) struct Meddling {
    inner: Arc<dyn Wallets>,
    meddle: Box<dyn Fn() -> Fut<'static, ()> + Send + Sync>,
}

impl Meddling {
    pub(crate) fn with(
        inner: &Arc<dyn Wallets>,
        meddle: impl Fn() -> Fut<'static, ()> + Send + Sync + 'static,
    ) -> Arc<dyn Wallets> {
        Arc::new(Meddling { inner: Arc::clone(inner), meddle: Box::new(meddle) })
    }
}

impl fmt::Debug for Meddling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Wallets for Meddling {
    fn read<'a>(&'a self, user: &'a UserId) -> Fut<'a, Result<Option<Wallet>>> {
        self.inner.read(user)
    }

    fn open<'a>(
        &'a self,
        user: &'a UserId,
        token: FencingToken,
    ) -> Fut<'a, Result<Result<Option<Wallet>, Stale>>> {
        self.inner.open(user, token)
    }

    fn withdraw<'a>(&'a self, order: &'a Order, on: Condition) -> Fut<'a, Result<Result<i64, Refusal>>> {
        Box::pin(async move {
            (self.meddle)().await;
            self.inner.withdraw(order, on).await
        })
    }

    fn adjust<'a>(
        &'a self,
        user: &'a UserId,
        balance: i64,
        key: Option<&'a IdempotencyKey>,
    ) -> Fut<'a, Result<Result<i64, Refusal>>> {
        self.inner.adjust(user, balance, key)
    }

    fn history<'a>(&'a self, user: &'a UserId) -> Fut<'a, Result<Vec<Change>>> {
        self.inner.history(user)
    }

    fn ping(&self) -> Fut<'_, Result<()>> {
        self.inner.ping()
    }

    fn store(&self) -> &'static str {
        self.inner.store()
    }
}
