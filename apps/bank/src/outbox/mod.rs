//! Delivers what the books have written into their outbox: at least once, and for each account in the order of its events.
//!
//! Any number of instances may do it side by side. Each takes a few messages that are due, and of those the ones whose lock it gets
//! at once (`outbox:message:{id}`, zero wait); the books then say whether they are still due. A message whose bearer died comes
//! again when its time in hand is up.

mod jobs;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tenure::{Guard, Locks, Result};
use tokio_util::sync::CancellationToken;

pub use self::jobs::{Cleaned, Jobs};
use crate::ledger::{Fut, Message, Notice, Outcome, Store, Timestamp};

/// Who is told of what happened in the books.
pub trait Handler: fmt::Debug + Send + Sync {
    /// Takes a message in. The same one may come again, also after it was taken in; a newer one of the same account comes
    /// only when this one was, or was given up.
    fn deliver<'a>(&'a self, message: &'a Message, notice: &'a Notice) -> Fut<'a, Result<(), Undelivered>>;
}

/// Why a message was not taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// It may work later.
    #[error("{0}")]
    Later(String),
    /// It never will.
    #[error("{0}")]
    Never(String),
}

impl From<tenure::Error> for Undelivered {
    fn from(error: tenure::Error) -> Self {
        Undelivered::Later(error.to_string())
    }
}

/// How messages are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// How many are taken at a time. Default 20.
    pub batch: u32,
    /// How long a message may be in hand before somebody else takes it. Default 30 s, a lock's ttl.
    pub hold: Duration,
    /// How long it takes to look again when nothing was due. Default 500 ms.
    pub pause: Duration,
    /// The pause before the second attempt; it doubles with each. Default 1 s.
    pub first_retry: Duration,
    /// The longest pause between two attempts. Default 5 min.
    pub longest_retry: Duration,
    /// After how many attempts a message is a dead letter. Default 10.
    pub attempts: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            batch: 20,
            hold: Duration::from_secs(30),
            pause: Duration::from_millis(500),
            first_retry: Duration::from_secs(1),
            longest_retry: Duration::from_secs(300),
            attempts: 10,
        }
    }
}

/// The delivery of messages to handlers.
#[derive(Debug)]
pub struct Delivery {
    store: Arc<dyn Store>,
    locks: Locks,
    handlers: Vec<Arc<dyn Handler>>,
    settings: Settings,
}

impl Delivery {
    /// A delivery to all of `handlers`, in this order: a message is delivered when all of them have taken it in.
    pub fn new(
        store: Arc<dyn Store>,
        locks: Locks,
        handlers: Vec<Arc<dyn Handler>>,
        settings: Settings,
    ) -> Self {
        Delivery { store, locks, handlers, settings }
    }

    /// Delivers until it is told to end, and finishes what it has in hand then.
    pub async fn run(&self, end: CancellationToken) {
        while !end.is_cancelled() {
            let delivered = match self.round().await {
                Ok(delivered) => delivered,
                Err(error) => {
                    tracing::warn!(error = %error, "the outbox could not be asked");
                    0
                }
            };
            if delivered == 0 {
                // Whichever comes first.
                tokio::select! {
                    () = end.cancelled() => {}
                    () = tokio::time::sleep(self.settings.pause) => {}
                }
            }
        }
    }

    /// One batch: how many messages were taken in hand.
    ///
    /// # Errors
    /// `Unavailable` when the books or the locks could not be asked. What was in hand comes again.
    ///
    /// # Cancel safety
    /// Dropped, what is in hand comes again when its time is up.
    pub async fn round(&self) -> Result<usize> {
        let now = Timestamp::now();
        let due = self.store.due(self.settings.batch, now).await?;
        if due.is_empty() {
            return Ok(0);
        }
        let names = due.iter().map(|message| format!("outbox:message:{}", message.id));
        let guards = self.locks.lock_each(names).ttl(self.settings.hold).try_acquire().await?;
        let mut held: Vec<(Message, Guard)> =
            due.into_iter().zip(guards).filter_map(|(message, guard)| Some((message, guard?))).collect();
        let ids: Vec<u64> = held.iter().map(|(message, _)| message.id).collect();
        let begun = self.store.begin(&ids, now, now.plus(self.settings.hold)).await?;
        held.retain(|(message, _)| begun.contains(&message.id));
        let outcomes = join_all(held.iter().map(|(message, guard)| self.deliver(message, guard))).await;
        let outcomes: Vec<(u64, Outcome)> = outcomes.into_iter().flatten().collect();
        self.store.finish(&outcomes, Timestamp::now()).await?;
        Ok(held.len())
    }

    /// Gives a message to all handlers. `None` when its lock was lost meanwhile: then it is somebody else's.
    async fn deliver(&self, message: &Message, guard: &Guard) -> Option<(u64, Outcome)> {
        let outcome = match serde_json::from_str::<Notice>(&message.body) {
            Err(error) => Outcome::Dead { error: format!("the message cannot be read: {error}") },
            Ok(notice) => guard.run_until_lost(self.hand_over(message, &notice)).await.ok()?,
        };
        if let Outcome::Dead { error } = &outcome {
            tracing::warn!(message = message.id, account = message.account, error, "a message is given up");
        }
        Some((message.id, outcome))
    }

    async fn hand_over(&self, message: &Message, notice: &Notice) -> Outcome {
        for handler in &self.handlers {
            match handler.deliver(message, notice).await {
                Ok(()) => {}
                Err(Undelivered::Never(error)) => return Outcome::Dead { error },
                Err(Undelivered::Later(error)) if message.attempts + 1 >= self.settings.attempts => {
                    return Outcome::Dead { error };
                }
                Err(Undelivered::Later(error)) => {
                    let at = Timestamp::now().plus(self.pause_before(message.attempts + 2));
                    return Outcome::Retry { at, error };
                }
            }
        }
        Outcome::Delivered
    }

    /// The pause before an attempt, the second being the first that has one.
    fn pause_before(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(2).min(31);
        self.settings.first_retry.saturating_mul(1 << doublings).min(self.settings.longest_retry)
    }
}

/// Tells the log.
#[derive(Clone, Copy, Debug)]
pub struct Journal;

impl Handler for Journal {
    fn deliver<'a>(&'a self, message: &'a Message, notice: &'a Notice) -> Fut<'a, Result<(), Undelivered>> {
        tracing::debug!(
            account = message.account,
            version = notice.version,
            kind = notice.kind,
            change = notice.change,
            "it happened"
        );
        Box::pin(std::future::ready(Ok(())))
    }
}
