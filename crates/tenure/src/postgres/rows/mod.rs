//! Leases as rows of a table: the mode `rows`, which outlives connections and works through a pool.
//!
//! What callers ask gathers while the last answers are on their way, and goes together (`driver.rs`, `flight.rs`,
//! `landing.rs`): one call of a function of the database (`sql/`) has many steps. `way.rs` connects, `words.rs` has the words
//! of both sides, `desk.rs` knows what this process has and hears what is pushed, `shared.rs` is what callers and the task
//! share, `listing.rs` reads lists. `docs/adr/0005-postgres-rows.md` tells why it is so.

mod desk;
mod driver;
mod flight;
mod job;
mod landing;
mod listing;
mod shared;
mod way;
mod words;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::AbortHandle;

use self::job::{Answer, Ask};
use self::shared::Shared;
use self::way::Way;
use crate::claim::{Claim, Digest, LeaseId, ProcessId};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::lease::{Claimed, Ended, Kept, Page, Query};
use crate::postgres::url::Target;
use crate::provider::{Caps, Force, Forced, Fut, Immediate, Keep, Listener, Load, Provider};

/// What the mode needs of the database. Part of the schema's migrations.
pub(super) const MIGRATION: &str = concat!(
    include_str!("sql/tables.sql"),
    include_str!("sql/rules.sql"),
    include_str!("sql/machine.sql"),
    include_str!("sql/answers.sql"),
    include_str!("sql/steps.sql"),
    include_str!("sql/claims.sql"),
);

/// Steps of one job: more go as several.
const BATCH: usize = 256;

/// How long `close` tries to end what is left.
const CLOSE: Duration = Duration::from_secs(2);

/// The provider of `postgres://…?mode=rows`.
#[derive(Debug)]
pub(super) struct Rows {
    shared: Arc<Shared>,
    caps: Caps,
    task: Mutex<Option<AbortHandle>>,
}

impl Rows {
    /// Connects to the database of a target.
    ///
    /// # Errors
    /// As `postgres::connect`.
    pub(super) async fn connect(target: Target, clock: Clock) -> Result<Self> {
        let listener = ProcessId::random().get().cast_signed().max(1);
        let shared = Arc::new(Shared::new(target, clock, listener));
        let way = Way::open(&shared).await?;
        let task = tokio::spawn(driver::run(Arc::clone(&shared), Some(way))).abort_handle();
        Ok(Rows { shared, caps: Caps::new("postgres"), task: Mutex::new(Some(task)) })
    }

    /// Drives on the caller's runtime when the one before is gone.
    fn start(&self) {
        let mut task = self.task.lock();
        if task.as_ref().is_some_and(AbortHandle::is_finished)
            && !self.shared.closed.load(std::sync::atomic::Ordering::Acquire)
        {
            *task = Some(tokio::spawn(driver::run(Arc::clone(&self.shared), None)).abort_handle());
        }
    }

    /// Asks for all, in jobs of a bounded size; when a job fails, it failed for each of its asks.
    async fn ask<T>(
        &self,
        asks: impl Iterator<Item = Ask>,
        of: impl Fn(Answer) -> Option<T>,
    ) -> Vec<Result<T>> {
        self.start();
        let mut asks = asks.peekable();
        let mut jobs = Vec::with_capacity(1);
        while asks.peek().is_some() {
            let job: Vec<Ask> = asks.by_ref().take(BATCH).collect();
            let steps = job.len();
            jobs.push(async move { (steps, self.shared.ask(job).await) });
        }
        let mut answers = Vec::new();
        for (steps, job) in futures_util::future::join_all(jobs).await {
            match job {
                Ok(job) => answers.extend(job.into_iter().map(|answer| {
                    answer.and_then(|answer| {
                        of(answer).ok_or_else(|| Error::internal("postgres", "a wrong answer"))
                    })
                })),
                Err(error) => answers.extend((0..steps).map(|_| Err(error.twin()))),
            }
        }
        answers
    }

    async fn shut(&self) {
        let left: Vec<LeaseId> = self.shared.desk.locals();
        let end = self.end_all(&left);
        // Whatever cannot be ended now ends with its ttl.
        if !left.is_empty() && tokio::time::timeout(CLOSE, end).await.is_err() {
            tracing::debug!(left = left.len(), "leases were left to their ttl");
        }
        self.shared.close();
    }

    async fn end_all(&self, leases: &[LeaseId]) -> Vec<Result<Ended>> {
        let of = |answer| match answer {
            Answer::Ended(ended) => Some(ended),
            _ => None,
        };
        self.ask(leases.iter().copied().map(Ask::End), of).await
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
    }
}

impl Provider for Rows {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn claim<'a>(&'a self, claims: &'a [Claim]) -> Fut<'a, Vec<Result<Claimed>>> {
        Box::pin(async move {
            let of = |answer| match answer {
                Answer::Claimed(claimed) => Some(claimed),
                _ => None,
            };
            self.ask(claims.iter().cloned().map(Ask::Claim), of).await
        })
    }

    fn keep<'a>(&'a self, keeps: &'a [Keep]) -> Fut<'a, Vec<Result<Kept>>> {
        let of = |answer| match answer {
            Answer::Kept(kept) => Some(kept),
            _ => None,
        };
        Box::pin(self.ask(keeps.iter().copied().map(Ask::Keep), of))
    }

    fn end<'a>(&'a self, leases: &'a [LeaseId]) -> Fut<'a, Vec<Result<Ended>>> {
        Box::pin(self.end_all(leases))
    }

    fn list<'a>(&'a self, query: &'a Query) -> Fut<'a, Result<Page>> {
        Box::pin(async move {
            self.start();
            listing::list(&self.shared, query).await
        })
    }

    fn force<'a>(&'a self, lease: Digest, how: Force) -> Fut<'a, Result<Forced>> {
        Box::pin(async move {
            self.start();
            listing::force(&self.shared, lease, how).await
        })
    }

    fn ping(&self) -> Fut<'_, Result<()>> {
        Box::pin(async move {
            self.start();
            listing::ping(&self.shared).await
        })
    }

    fn listen(&self, listener: Arc<dyn Listener>) {
        self.shared.desk.listen(listener);
    }

    fn load(&self) -> Load {
        self.shared.load()
    }

    fn immediate(&self) -> Option<Arc<dyn Immediate>> {
        None
    }

    fn lifeline(&self) -> Option<Arc<OwnedFd>> {
        None
    }

    fn close(&self) -> Fut<'_, ()> {
        Box::pin(self.shut())
    }
}
