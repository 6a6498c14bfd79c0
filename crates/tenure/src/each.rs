//! A request for several locks, each by itself, in one trip.

use std::time::Duration;

use crate::clock::Instant;
use crate::engine::Guard;
use crate::error::Result;
use crate::limits;
use crate::locks::Locks;
use crate::metrics::{self, Extent};
use crate::name::{Name, Names};
use crate::request::Request;

/// A request for several locks, each by itself.
#[derive(Debug)]
#[must_use = "nothing is asked for until a verb is called"]
pub struct EachRequest<'a> {
    locks: &'a Locks,
    names: Result<Vec<Name>>,
    ttl: Duration,
}

impl<'a> EachRequest<'a> {
    pub(crate) fn new(locks: &'a Locks, names: Result<Vec<Name>>) -> Self {
        EachRequest { locks, names, ttl: locks.0.ttl }
    }

    /// As [`Request::ttl`].
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Asks once for each, in one trip: a guard or `None` for each name, in the order in which they were given.
    ///
    /// # Errors
    /// `InvalidInput` when a name is wrong or there twice; `Unavailable` when the store cannot be asked: nothing is held then.
    ///
    /// # Cancel safety
    /// As [`Request::acquire`].
    pub async fn try_acquire(self) -> Result<Vec<Option<Guard>>> {
        let names = self.names?;
        let tried = try_each(self.locks, names, self.ttl).await?;
        Ok(tried.into_iter().map(|tried| tried.map_err(metrics::Attempt::busy).ok()).collect())
    }

    /// Waits for each at most until `patience` is over, all at the same time.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    ///
    /// # Cancel safety
    /// As [`Request::acquire`].
    pub async fn try_acquire_for(self, patience: Duration) -> Result<Vec<Option<Guard>>> {
        let EachRequest { locks, names, ttl } = self;
        let names = names?;
        let until: Instant = locks.0.engine.clock.now() + patience;
        let tried = try_each(locks, names.clone(), ttl).await?;
        // Those that are missing go on as attempts that wait.
        let mut guards: Vec<_> =
            tried.into_iter().map(|tried| tried.map_err(metrics::Attempt::void).ok()).collect();
        let missing = guards.iter_mut().zip(names).filter(|(guard, _)| guard.is_none());
        let waits = missing.map(|(guard, name)| async move {
            let left = locks.0.engine.clock.now().until(until);
            let request = Request::of_one(locks, name);
            *guard = request.ttl(ttl).try_acquire_for(left).await?;
            Ok(())
        });
        futures_util::future::try_join_all(waits).await.map(|_: Vec<()>| ())?;
        Ok(guards)
    }
}

/// Asks once for each name: the guard, or the attempt that did not get it.
async fn try_each(
    locks: &Locks,
    names: Vec<Name>,
    ttl: Duration,
) -> Result<Vec<Result<Guard, metrics::Attempt<'_>>>> {
    let engine = &locks.0.engine;
    limits::check_ttl(ttl)?;
    Names::new(names.iter().cloned())?;
    engine.check_open()?;
    let extent = Extent::of(names.len());
    if engine.immediate.is_some() {
        let tried = names.iter().map(|name| {
            let Ok(guard) = Request::of_one(locks, name).at_once() else {
                return Err(engine.metrics.attempt(extent));
            };
            // The store has counted it, but not what it is part of.
            engine.metrics.immediate_batches.add(u64::from(extent == Extent::Batch));
            Ok(guard)
        });
        return Ok(tried.collect());
    }
    let mut claims = Vec::with_capacity(names.len());
    for name in names {
        let request = Request::of_one(locks, name);
        claims.push(request.ttl(ttl).claim(false)?);
    }
    let attempts: Vec<_> = claims.iter().map(|_| engine.metrics.attempt(extent)).collect();
    match engine.each(claims).await {
        Ok(holds) => {
            let tried = holds.into_iter().zip(attempts).map(|(hold, attempt)| {
                let Some(hold) = hold else { return Err(attempt) };
                attempt.acquired();
                Ok(Guard(hold))
            });
            Ok(tried.collect())
        }
        Err(error) => {
            attempts.into_iter().for_each(|attempt| attempt.refused(&error));
            Err(error)
        }
    }
}
