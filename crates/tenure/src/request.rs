//! A request for locks, before it is sent.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::claim::{Claim, Meta, Mode, Pick};
use crate::clock::Instant;
use crate::engine::spares::Thin;
use crate::engine::{Guard, Hold};
use crate::error::{Error, Result};
use crate::limits;
use crate::locks::Locks;
use crate::metrics::{self, Extent};
use crate::name::{Name, Names};

/// A request for a lock. Its setters never fail: the verb reports what was wrong.
#[derive(Debug)]
#[must_use = "nothing is asked for until a verb is called"]
pub struct Request<'a> {
    locks: &'a Locks,
    names: Option<Names>,
    /// What most requests have not; apart, so that they stay small.
    more: Option<Box<More>>,
}

/// What makes a request other than an exclusive one for all of its names with the usual ttl.
#[derive(Debug)]
struct More {
    /// That of the locks, if it is none of its own.
    ttl: Option<Duration>,
    mode: Mode,
    pick: Pick,
    linger: Duration,
    holder: Vec<(String, String)>,
    wrong: Option<Error>,
}

impl Default for More {
    fn default() -> Self {
        More {
            ttl: None,
            mode: Mode::Exclusive,
            pick: Pick::All,
            linger: Duration::ZERO,
            holder: Vec::new(),
            wrong: None,
        }
    }
}

impl More {
    /// Whether all that it says is a ttl: nothing to a lock that does not expire.
    fn is_plain(&self) -> bool {
        let More { ttl: _, mode, pick, linger, holder, wrong } = self;
        let usual = *mode == Mode::Exclusive && *pick == Pick::All && linger.is_zero();
        usual && holder.is_empty() && wrong.is_none()
    }
}

impl<'a> Request<'a> {
    /// An exclusive request for all of `names`.
    #[inline]
    pub(crate) fn new(locks: &'a Locks, names: Result<Names>) -> Self {
        match names {
            Ok(names) => Request { locks, names: Some(names), more: None },
            Err(error) => Request { locks, names: None, more: None }.wrong(error),
        }
    }

    /// How the names are shared, for a batch that is not exclusive. Defaults to what the method says that made the request.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.more().mode = mode;
        self
    }

    pub(crate) fn pick(mut self, pick: Pick) -> Self {
        self.more().pick = pick;
        self
    }

    fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    /// The first thing that is wrong with a request is what its verb reports.
    #[cold]
    fn wrong(mut self, error: Error) -> Self {
        self.more().wrong.get_or_insert(error);
        self
    }

    /// How long the lease outlives a holder that has died or lost the store. Defaults to 30 s; from 100 ms to 24 h. While the
    /// guard lives the lease is renewed at a third of it.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.more().ttl = Some(ttl);
        match limits::check_ttl(ttl) {
            Ok(()) => self,
            Err(error) => self.wrong(error),
        }
    }

    /// Keeps the names taken for this long from the grant on, even when the guard is released sooner: so that a job runs once
    /// an hour, however many nodes start it. Defaults to zero; at most 24 h.
    pub fn hold_at_least(mut self, time: Duration) -> Self {
        self.more().linger = time;
        self
    }

    /// Adds a field to what lists show of the holder. At most 1 KiB in all; no secrets.
    ///
    /// A lease that is handed on inside the process goes on showing the fields of the request that brought it.
    pub fn holder(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.more().holder.push((key.into(), value.into()));
        self
    }

    /// How many permits to take. Defaults to 1. Of no effect on other locks.
    pub fn take(mut self, permits: u32) -> Self {
        if let Mode::Permits { take, .. } = &mut self.more().mode {
            *take = permits;
        }
        self
    }

    /// How many of the names of a [`lock_any`](Locks::lock_any) to take. Defaults to 1. Of no effect on other locks.
    pub fn count(mut self, names: u32) -> Self {
        if let Pick::Any { count } = &mut self.more().pick {
            *count = names;
        }
        self
    }

    /// Waits until the lock is free, first come first served.
    ///
    /// # Errors
    /// `InvalidInput` when the request is wrong, `Unavailable` when the store cannot be asked.
    ///
    /// # Cancel safety
    /// Dropped, it leaves nothing held and no place in a queue; only while the store is down may that take up to one ttl.
    #[inline]
    pub fn acquire(self) -> impl Future<Output = Result<Guard>> + Send + use<'a> {
        let mut attempt = Attempt::New(self);
        poll_fn(move |context| match attempt.poll(context, Duration::MAX) {
            Poll::Ready(Ok(Some(guard))) => Poll::Ready(Ok(guard)),
            Poll::Ready(Ok(None)) => Poll::Ready(Err(ended_endless())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        })
    }

    /// Asks once. `None` when the lock is busy.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    #[inline]
    pub fn try_acquire(self) -> impl Future<Output = Result<Option<Guard>>> + Send + use<'a> {
        self.try_acquire_for(Duration::ZERO)
    }

    /// Waits until the lock is free, at most for `patience`; a last try is made at its end. Zero is one try.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    #[inline]
    pub fn try_acquire_for(
        self,
        patience: Duration,
    ) -> impl Future<Output = Result<Option<Guard>>> + Send + use<'a> {
        let mut attempt = Attempt::New(self);
        poll_fn(move |context| attempt.poll(context, patience))
    }

    async fn within(self, patience: Duration) -> Result<Option<Guard>> {
        let engine = &self.locks.0.engine;
        let now = engine.clock.now();
        let until = now + patience;
        let claim = self.claim(!patience.is_zero())?;
        let mut attempt = engine.metrics.attempt_since(now, Extent::of(claim.names.len()));
        let hold = match engine.immediate.is_none() && suits_cohort(&claim) {
            // Boxed: it is the larger by half, and thousands may wait directly.
            true => Box::pin(engine.local(claim, until, &mut attempt)).await,
            false => engine.direct(claim, until, &mut attempt).await,
        };
        match &hold {
            Ok(Some(_)) => attempt.acquired(),
            Ok(None) => attempt.denied_after(patience),
            Err(error) => attempt.refused(error),
        }
        Ok(hold?.map(Guard))
    }

    /// The immediate way, where the store has one, the request is of its kind, and the names are free.
    #[inline]
    fn at_once(&mut self) -> Option<Guard> {
        let shared = &self.locks.0;
        let store = shared.engine.immediate.as_ref()?;
        let names = self.names.as_ref()?;
        if self.more.as_ref().is_some_and(|more| !more.is_plain()) || !shared.engine.is_open() {
            return None;
        }
        let single = names.single().is_some();
        if !single && names.len() > shared.max_names {
            return None;
        }
        let ticket = store.take(names, shared.meta.as_ref())?;
        if !single {
            shared.engine.metrics.immediate_batches.add(1);
        }
        Some(Guard(Hold::thin(Thin::new(store, self.names.take()?, ticket))))
    }

    fn claim(self, wait: bool) -> Result<Claim> {
        let shared = &self.locks.0;
        let More { ttl, mode, pick, linger, holder, wrong } = self.more.map(|more| *more).unwrap_or_default();
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        shared.engine.check_open()?;
        let names = self
            .names
            .ok_or_else(|| Error::internal("acquire", "a request without names and without an error"))?;
        let mut claim = Claim::new(shared.engine.process, names);
        claim.mode = mode;
        claim.pick = pick;
        claim.ttl = ttl.unwrap_or(shared.ttl);
        claim.linger = linger;
        claim.wait = wait;
        claim.meta = meta(shared.meta.as_ref(), &holder)?;
        claim.check(shared.engine.provider.caps())?;
        Ok(claim)
    }
}

/// A request whose verb was called. Written by hand: the future of an async fn moves a request and its guard more often than
/// to take a free lock is worth.
enum Attempt<'a> {
    /// Also what is left of a request whose guard was given.
    New(Request<'a>),
    /// Boxed, so that the way that needs no waiting stays small.
    Waiting(Pin<Box<dyn Future<Output = Result<Option<Guard>>> + Send + 'a>>),
}

impl Attempt<'_> {
    #[inline]
    fn poll(&mut self, context: &mut Context<'_>, patience: Duration) -> Poll<Result<Option<Guard>>> {
        if let Attempt::New(request) = self
            && let Some(guard) = request.at_once()
        {
            return Poll::Ready(Ok(Some(guard)));
        }
        self.wait(context, patience)
    }

    #[cold]
    fn wait(&mut self, context: &mut Context<'_>, patience: Duration) -> Poll<Result<Option<Guard>>> {
        if let Attempt::New(request) = self {
            let request =
                Request { locks: request.locks, names: request.names.take(), more: request.more.take() };
            *self = Attempt::Waiting(Box::pin(request.within(patience)));
        }
        match self {
            Attempt::Waiting(waiting) => waiting.as_mut().poll(context),
            Attempt::New(_) => Poll::Pending,
        }
    }
}

#[cold]
fn ended_endless() -> Error {
    Error::internal("acquire", "a wait without an end has ended")
}

/// Whether tasks of the process may hand the lease on to each other.
fn suits_cohort(claim: &Claim) -> bool {
    claim.names.single().is_some() && claim.mode == Mode::Exclusive && claim.linger.is_zero()
}

/// The fields of all requests, and those of this one over them.
fn meta(common: Option<&Arc<Meta>>, own: &[(String, String)]) -> Result<Option<Arc<Meta>>> {
    if own.is_empty() {
        return Ok(common.cloned());
    }
    let common =
        common.iter().flat_map(|meta| meta.iter()).map(|(key, value)| (key.to_owned(), value.to_owned()));
    Meta::new(common.chain(own.iter().cloned()).collect::<Vec<_>>()).map(|meta| Some(Arc::new(meta)))
}

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
            let request = Request::new(locks, Ok(Names::one(name)));
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
        let tried = names.into_iter().map(|name| {
            let Some(guard) = Request::new(locks, Ok(Names::one(name))).at_once() else {
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
        let request = Request::new(locks, Ok(Names::one(name)));
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
