//! A request for locks, before it is sent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::claim::{Claim, Meta, Mode, Pick};
use crate::engine::slip::{More, Slip};
use crate::engine::{Guard, Hold};
use crate::error::{Error, Result};
use crate::limits;
use crate::locks::Locks;
use crate::metrics::Extent;
use crate::name::Names;

/// A request for a lock. Its setters never fail: the verb reports what was wrong.
///
/// Two words, so that it is moved in registers.
#[derive(Debug)]
#[must_use = "nothing is asked for until a verb is called"]
pub struct Request<'a> {
    locks: &'a Locks,
    slip: Box<Slip>,
}

impl<'a> Request<'a> {
    /// An exclusive request for all of `names`.
    pub(crate) fn new(locks: &'a Locks, names: Result<Names>) -> Self {
        Request::write(locks, |slot| names.map(|names| *slot = Some(names)))
    }

    /// An exclusive request for one name.
    #[inline]
    pub(crate) fn of_one(locks: &'a Locks, name: impl AsRef<str>) -> Self {
        Request::write(locks, |slot| Names::one_over(slot, name.as_ref()))
    }

    /// An exclusive request for all of the names that `names` writes.
    #[inline]
    pub(crate) fn write(locks: &'a Locks, names: impl FnOnce(&mut Option<Names>) -> Result<()>) -> Self {
        Request { locks, slip: Slip::write(locks.0.engine.immediate.as_ref(), names) }
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
        self.slip.more()
    }

    /// How long the lease outlives a holder that has died or lost the store. Defaults to 30 s; from 100 ms to 24 h. While the
    /// guard lives the lease is renewed at a third of it.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.more().ttl = Some(ttl);
        if let Err(error) = limits::check_ttl(ttl) {
            self.slip.wrong(error);
        }
        self
    }

    /// Keeps the names taken for this long from the grant on, even when the guard is released sooner: so that a job runs once
    /// an hour, however many nodes start it. Defaults to zero; at most 24 h.
    pub fn hold_at_least(mut self, time: Duration) -> Self {
        self.more().linger = time;
        self
    }

    /// Whether the lease stays with this process when the guard is released: the next task here that wants the name takes it in
    /// memory, with a token of its own, and without a trip to the store. Defaults to what the settings of the locks say.
    ///
    /// Right for names that one process uses again and again, as an instance that owns its partitions does. As long as it
    /// stays the lease is renewed, and lists show it. It goes back at once when another process waits for it, and for a second
    /// from then on the name does not stay; it goes back after a second without use; and when the locks are closed or dropped. Others' tries that do not
    /// wait find the name busy meanwhile, and ask for it by that: the next one finds it free. A process that dies leaves it to its ttl.
    ///
    /// Of no effect on several names, shared locks and permits, with [`hold_at_least`](Self::hold_at_least), and where the store is in this process.
    pub fn sticky(mut self, stays: bool) -> Self {
        self.more().sticky = Some(stays);
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
        Acquire(Attempt::New(self))
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
        TryAcquire { attempt: Attempt::New(self), patience }
    }

    async fn within(self, patience: Duration) -> Result<Option<Guard>> {
        let engine = &self.locks.0.engine;
        let now = engine.clock.now();
        let until = now + patience;
        let sticky = self.slip.terms().1.unwrap_or(self.locks.0.sticky);
        let claim = Box::new(self.claim(!patience.is_zero())?);
        let mut attempt = engine.metrics.attempt_since(now, Extent::of(claim.names.len()));
        let hold = match engine.immediate.is_none() && suits_cohort(&claim) {
            true => engine.local(claim, sticky, until, &mut attempt).await,
            false => engine.direct(claim, until, &mut attempt).await,
        };
        match &hold {
            Ok(Some(_)) => attempt.acquired(),
            Ok(None) => attempt.denied_after(patience),
            Err(error) => attempt.refused(error),
        }
        Ok(hold?.map(Guard))
    }

    /// The immediate way, where the store has one, the request is of its kind, and the names are free; else the request.
    #[inline]
    pub(crate) fn at_once(mut self) -> std::result::Result<Guard, Self> {
        if self.is_immediate() && self.slip.take(self.locks.0.meta.as_ref()) {
            if self.slip.names().single().is_none() {
                self.locks.0.engine.metrics.immediate_batches.add(1);
            }
            return Ok(Guard(Hold::thin(self.slip)));
        }
        match self.take_kept() {
            Some(hold) => {
                self.slip.keep();
                Ok(Guard(hold))
            }
            None => Err(self),
        }
    }

    /// Takes a lease of the name that has stayed in the process.
    fn take_kept(&self) -> Option<Hold> {
        let shared = &self.locks.0;
        if shared.engine.immediate.is_some()
            || !shared.engine.keeps()
            || !self.slip.is_plain()
            || !shared.engine.is_open()
        {
            return None;
        }
        let name = self.slip.names().single()?;
        let (ttl, sticky) = self.slip.terms();
        shared.engine.take_kept(name, ttl.unwrap_or(shared.ttl), sticky.unwrap_or(shared.sticky))
    }

    #[inline]
    fn is_immediate(&self) -> bool {
        let shared = &self.locks.0;
        let fits = || self.slip.names().single().is_some() || self.slip.names().len() <= shared.max_names;
        self.slip.is_plain() && shared.engine.immediate.is_some() && shared.engine.is_open() && fits()
    }

    pub(crate) fn claim(self, wait: bool) -> Result<Claim> {
        let shared = &self.locks.0;
        let (names, More { ttl, sticky: _, mode, pick, linger, holder, wrong }) = self.slip.read();
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        shared.engine.check_open()?;
        let names = names
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

/// The future of [`Request::acquire`].
struct Acquire<'a>(Attempt<'a>);

impl Future for Acquire<'_> {
    type Output = Result<Guard>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Guard>> {
        match self.0.poll(context, Duration::MAX) {
            Poll::Ready(Ok(Some(guard))) => Poll::Ready(Ok(guard)),
            Poll::Ready(Ok(None)) => Poll::Ready(Err(ended_endless())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// The future of [`Request::try_acquire_for`].
struct TryAcquire<'a> {
    attempt: Attempt<'a>,
    patience: Duration,
}

impl Future for TryAcquire<'_> {
    type Output = Result<Option<Guard>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Option<Guard>>> {
        let patience = self.patience;
        self.attempt.poll(context, patience)
    }
}

type Wait<'a> = Pin<Box<dyn Future<Output = Result<Option<Guard>>> + Send + 'a>>;

/// A request whose verb was called. Written by hand: the future of an async fn moves a request and its guard more often than
/// to take a free lock is worth.
enum Attempt<'a> {
    New(Request<'a>),
    /// Boxed, so that the way that needs no waiting stays small.
    Waiting(Wait<'a>),
    /// The guard was given.
    Done,
}

impl<'a> Attempt<'a> {
    #[inline]
    fn poll(&mut self, context: &mut Context<'_>, patience: Duration) -> Poll<Result<Option<Guard>>> {
        match std::mem::replace(self, Attempt::Done) {
            Attempt::New(request) => match request.at_once() {
                Ok(guard) => Poll::Ready(Ok(Some(guard))),
                Err(request) => self.begin(context, request, patience),
            },
            Attempt::Waiting(waiting) => self.wait(context, waiting),
            Attempt::Done => Poll::Pending,
        }
    }

    #[cold]
    fn begin(
        &mut self,
        context: &mut Context<'_>,
        request: Request<'a>,
        patience: Duration,
    ) -> Poll<Result<Option<Guard>>> {
        self.wait(context, Box::pin(request.within(patience)))
    }

    #[cold]
    fn wait(&mut self, context: &mut Context<'_>, mut waiting: Wait<'a>) -> Poll<Result<Option<Guard>>> {
        let answer = waiting.as_mut().poll(context);
        if answer.is_pending() {
            *self = Attempt::Waiting(waiting);
        }
        answer
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
