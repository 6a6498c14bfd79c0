//! Leases in Redis: the provider for many processes and high traffic.
//!
//! One connection to the server, which a task of its own drives (`driver.rs`): what callers ask gathers while the last
//! answers are on their way, and goes together (`flight.rs`, `landing.rs`). A free name is taken by setting its key in a transaction that
//! also draws the token; everything else, and every end and renewal, is a step of a script (`table.lua`), many in one call.
//! What the store has to say comes over the same connection. `docs/redis.md` tells how to run it, and
//! `docs/adr/0003-redis.md` why it is so.

mod desk;
mod driver;
mod flight;
mod job;
mod landing;
mod link;
mod listing;
mod resp;
mod scripts;
mod shared;
mod url;
mod words;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use smallvec::SmallVec;

use self::job::{Answer, Ask};
use self::shared::Shared;
use self::url::Target;
use crate::claim::{Claim, Digest, LeaseId};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::lease::{Claimed, Ended, Kept, Page, Query};
use crate::limits;
use crate::provider::{Caps, Force, Forced, Fut, Immediate, Keep, Listener, Load, Provider};

/// Steps of one job: more go as several.
const BATCH: usize = 256;

/// How long [`Provider::close`] tries to end what is left.
const CLOSE: Duration = Duration::from_secs(2);

/// The provider of `redis://host:port`.
///
/// Exclusion holds as long as the server keeps its data: a failover that loses writes, or a server that is emptied, can
/// have two holders for a ttl, and the tokens of the later one are greater (fenced, not strict).
#[derive(Debug)]
pub struct Redis {
    shared: Arc<Shared>,
    caps: Caps,
    starting: Mutex<()>,
}

impl Redis {
    /// Connects to the server of a URL; `docs/redis.md` has its options.
    ///
    /// # Errors
    /// `InvalidInput` when the URL, the login or the server is of no use: too old, one that may evict locks, part of a
    /// cluster. `Unavailable` when the server cannot be reached.
    pub async fn connect(url: &str, clock: Clock) -> Result<Self> {
        let target = Target::parse(url)?;
        let [.., a, b, c, d, e, f, g, h] = LeaseId::random().to_bytes();
        let shared = Arc::new(Shared::new(target, clock, [a, b, c, d, e, f, g, h]));
        driver::start(&shared).await?;
        let mut caps = Caps::new("redis");
        caps.strict = false;
        caps.answers_within = Some(limits::TRIP);
        Ok(Redis { shared, caps, starting: Mutex::new(()) })
    }

    /// Drives on the caller's runtime when the one before is gone.
    fn start(&self) {
        let is_needed =
            || !self.shared.driven.load(Ordering::Acquire) && !self.shared.closed.load(Ordering::Acquire);
        if is_needed() {
            let _one_at_a_time = self.starting.lock();
            if is_needed() {
                driver::resume(&self.shared, None);
            }
        }
    }

    /// Asks for all, in jobs of a bounded size; when a job fails, it failed for each of its asks. `claims` says that all of
    /// them are claims.
    async fn ask<T>(
        &self,
        mut asks: impl ExactSizeIterator<Item = Ask>,
        claims: bool,
        of: impl Fn(Answer) -> Option<T>,
    ) -> Vec<Result<T>> {
        let mut answers = Vec::with_capacity(asks.len());
        let mut jobs = SmallVec::<[_; 1]>::new();
        while asks.len() > 0 {
            let steps = asks.len().min(BATCH);
            let job = self.shared.send(asks.by_ref().take(steps), if claims { steps } else { 0 });
            jobs.push((steps, job.await));
        }
        // After the jobs are there: a driver that ends refuses those that it sees.
        self.start();
        let of = |answer| of(answer).ok_or_else(|| Error::internal("redis", "a wrong answer"));
        for (steps, job) in jobs {
            let job = match job {
                Ok(job) => job.await.map_err(|_| shared::closed()),
                Err(error) => Err(error),
            };
            match job {
                Ok(job) => answers.extend(job.into_iter().map(|answer| answer.and_then(of))),
                Err(error) => answers.extend((0..steps).map(|_| Err(error.twin()))),
            }
        }
        answers
    }

    async fn force_one(&self, digest: Digest, how: Force) -> Result<Forced> {
        self.start();
        let Some((lease, names)) = listing::find(&self.shared, digest).await? else {
            return Ok(Forced::NotFound);
        };
        let ask = Ask::Force { lease, how, names };
        let answer = self.ask(std::iter::once(ask), false, |answer| match answer {
            Answer::Forced(forced) => Some(forced),
            _ => None,
        });
        answer.await.pop().unwrap_or(Ok(Forced::NotFound))
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
        leases.iter().for_each(|lease| self.shared.desk.ends(lease));
        let of = |answer| match answer {
            Answer::Ended(ended) => Some(ended),
            _ => None,
        };
        self.ask(leases.iter().copied().map(Ask::End), false, of).await
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Provider for Redis {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn claim<'a>(&'a self, claims: &'a [Claim]) -> Fut<'a, Vec<Result<Claimed>>> {
        Box::pin(async move {
            claims.iter().for_each(|claim| self.shared.desk.expect(claim));
            let of = |answer| match answer {
                Answer::Claimed(claimed) => Some(claimed),
                _ => None,
            };
            self.ask(claims.iter().cloned().map(Ask::Claim), true, of).await
        })
    }

    fn keep<'a>(&'a self, keeps: &'a [Keep]) -> Fut<'a, Vec<Result<Kept>>> {
        let of = |answer| match answer {
            Answer::Kept(kept) => Some(kept),
            _ => None,
        };
        Box::pin(self.ask(keeps.iter().copied().map(Ask::Keep), false, of))
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
        Box::pin(self.force_one(lease, how))
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
