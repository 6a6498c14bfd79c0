//! A store whose writes are told to all caches.

use std::sync::Arc;

use tenure::{FencingToken, Result};
use tokio::sync::Notify;

use super::Reads;
use crate::ledger::{
    Account, AccountKey, Book, Event, Fut, IdempotencyKey, Ledger, Message, Outbox, Outcome, Posted, Refused,
    Replayed, Stale, State, Step, Store, Summaries, Summary, Tally, Timestamp, Totals,
};

/// A store, as writers have it: when a write is answered, no cache answers anything older any more, here and, where instances
/// hear of each other, there. What was written by a call that was dropped or whose outcome is unknown is learned of within the
/// consistency time-out.
#[derive(Debug)]
pub struct Watched {
    inner: Arc<dyn Store>,
    reads: Reads,
    news: Arc<Notify>,
}

impl Watched {
    /// The store of `reads` for writers. `news` is told when something was written, and with it messages to be delivered.
    pub fn over(inner: Arc<dyn Store>, reads: Reads, news: Arc<Notify>) -> Self {
        Watched { inner, reads, news }
    }
}

#[deny(clippy::missing_trait_methods)]
impl Ledger for Watched {
    fn apply(&self, steps: Vec<Step>) -> Fut<'_, Result<Vec<Result<Posted, Refused>>>> {
        let keys: Vec<Vec<AccountKey>> = steps
            .iter()
            .map(|step| step.entries.iter().map(|entry| entry.account.clone()).collect())
            .collect();
        Box::pin(async move {
            let answers = self.inner.apply(steps).await;
            let changed: Vec<(AccountKey, Option<u64>)> = match &answers {
                Ok(answers) => {
                    let posted = keys.into_iter().zip(answers).filter_map(|(keys, answer)| {
                        let posted = answer.as_ref().ok()?;
                        let versions = posted.balances.iter().map(|left| Some(left.version));
                        Some(keys.into_iter().zip(versions).collect::<Vec<_>>())
                    });
                    posted.flatten().collect()
                }
                Err(_) => keys.into_iter().flatten().map(|key| (key, None)).collect(),
            };
            self.news.notify_one();
            self.reads.changed(&changed).await;
            answers
        })
    }

    fn repeated<'a>(&'a self, key: &'a IdempotencyKey) -> Fut<'a, Result<Option<Result<Posted, Refused>>>> {
        self.inner.repeated(key)
    }

    fn read<'a>(&'a self, keys: &'a [AccountKey]) -> Fut<'a, Result<Vec<Option<Account>>>> {
        self.inner.read(keys)
    }

    fn open<'a>(
        &'a self,
        key: &'a AccountKey,
        token: FencingToken,
    ) -> Fut<'a, Result<Result<Option<Account>, Stale>>> {
        self.inner.open(key, token)
    }

    fn list<'a>(&'a self, book: Book, after: Option<&'a str>, limit: u32) -> Fut<'a, Result<Vec<Account>>> {
        self.inner.list(book, after, limit)
    }

    fn history<'a>(
        &'a self,
        key: &'a AccountKey,
        before: Option<u64>,
        limit: u32,
    ) -> Fut<'a, Result<Vec<Event>>> {
        self.inner.history(key, before, limit)
    }

    fn replay<'a>(&'a self, key: &'a AccountKey) -> Fut<'a, Result<Option<Replayed>>> {
        self.inner.replay(key)
    }

    fn totals(&self, book: Book) -> Fut<'_, Result<Totals>> {
        self.inner.totals(book)
    }

    fn forget_keys(&self, before: Timestamp) -> Fut<'_, Result<u64>> {
        self.inner.forget_keys(before)
    }

    fn ping(&self) -> Fut<'_, Result<()>> {
        self.inner.ping()
    }

    fn stale_writes(&self) -> u64 {
        self.inner.stale_writes()
    }

    fn store(&self) -> &'static str {
        self.inner.store()
    }
}

#[deny(clippy::missing_trait_methods)]
impl Outbox for Watched {
    fn due(&self, limit: u32, now: Timestamp) -> Fut<'_, Result<Vec<Message>>> {
        self.inner.due(limit, now)
    }

    fn begin<'a>(&'a self, ids: &'a [u64], now: Timestamp, until: Timestamp) -> Fut<'a, Result<Vec<u64>>> {
        self.inner.begin(ids, now, until)
    }

    fn finish<'a>(&'a self, outcomes: &'a [(u64, Outcome)], now: Timestamp) -> Fut<'a, Result<()>> {
        self.inner.finish(outcomes, now)
    }

    fn clean(&self, before: Timestamp) -> Fut<'_, Result<u64>> {
        self.inner.clean(before)
    }

    fn tally(&self) -> Fut<'_, Result<Tally>> {
        self.inner.tally()
    }

    fn messages(&self, state: State, limit: u32) -> Fut<'_, Result<Vec<Message>>> {
        self.inner.messages(state, limit)
    }
}

#[deny(clippy::missing_trait_methods)]
impl Summaries for Watched {
    fn summaries<'a>(&'a self, keys: &'a [AccountKey]) -> Fut<'a, Result<Vec<Option<Summary>>>> {
        self.inner.summaries(keys)
    }

    fn replace_summary(&self, summary: Summary, expected: u64) -> Fut<'_, Result<bool>> {
        let (key, version) = (summary.key.clone(), summary.version);
        Box::pin(async move {
            let is_replaced = self.inner.replace_summary(summary, expected).await?;
            self.reads.summed_up(&key, version).await;
            Ok(is_replaced)
        })
    }
}
