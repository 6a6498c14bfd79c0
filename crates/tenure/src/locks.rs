//! [`Locks`]: where locks are asked for.

use std::sync::Arc;
use std::time::Duration;

use crate::claim::{Claim, Meta, Mode, Pick};
use crate::clock::Clock;
use crate::each::EachRequest;
use crate::engine::{Engine, Report};
use crate::error::Result;
use crate::leader::Leadership;
use crate::lease::Claimed;
use crate::limits;
use crate::memory::Memory;
use crate::metrics::{Extent, Metrics, Stats};
use crate::name::{Name, Names};
use crate::provider::Provider;
use crate::request::Request;

/// Settings of a [`Locks`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The clock. Defaults to the machine's; a test may use the runtime's.
    pub clock: Clock,
    /// The ttl of requests that state none. Defaults to 30 s; from 100 ms to 24 h. A short one frees the locks of a dead
    /// process sooner, a long one bears longer outages of the store.
    pub ttl: Duration,
    /// What holders say of themselves in lists. Defaults to nothing.
    pub holder: Meta,
    /// Whether a lock stays with the process when it is released, unless its request says otherwise: see
    /// [`Request::sticky`]. Defaults to no.
    pub sticky: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { clock: Clock::system(), ttl: limits::DEFAULT_TTL, holder: Meta::default(), sticky: false }
    }
}

/// Locks of one store, as one process uses them. Clones are the same; make one per store and process.
///
/// Tasks that want the same name queue in the process before one of them asks the store, so use one `Locks` for all of them.
#[derive(Debug, Clone)]
pub struct Locks(pub(crate) Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    pub(crate) ttl: Duration,
    pub(crate) sticky: bool,
    pub(crate) max_names: usize,
    pub(crate) meta: Option<Arc<Meta>>,
}

impl Locks {
    /// Locks inside this process alone: for tests, for programs of one instance, and as the fastest keyed lock.
    pub fn memory() -> Self {
        let settings = Settings::default();
        Locks::over(Arc::new(Memory::new(settings.clock)), settings)
    }

    /// Locks over a store. The provider must use the clock of `settings`.
    pub fn over(provider: Arc<dyn Provider>, settings: Settings) -> Self {
        let engine = Engine::new(provider, settings.clock);
        let meta = (!settings.holder.is_empty()).then(|| Arc::new(settings.holder));
        let max_names = engine.provider.caps().max_names;
        Locks(Arc::new(Shared { engine, ttl: settings.ttl, sticky: settings.sticky, max_names, meta }))
    }

    /// A lock that one holder has at a time.
    #[inline]
    pub fn lock(&self, name: impl AsRef<str>) -> Request<'_> {
        Request::of_one(self, name)
    }

    /// A lock that many readers share, and that excludes [`lock`](Self::lock) on the same name.
    ///
    /// Fair: a reader does not pass a writer that waits.
    pub fn lock_shared(&self, name: impl AsRef<str>) -> Request<'_> {
        Request::of_one(self, name).mode(Mode::Shared)
    }

    /// One of `of` permits of a name: a semaphore. Every user of the name must state the same number.
    pub fn permit(&self, name: impl AsRef<str>, of: u32) -> Request<'_> {
        Request::of_one(self, name).mode(Mode::Permits { take: 1, of })
    }

    /// All of these names or none, in one atomic step: no order to agree on, no deadlock between batches.
    #[inline]
    pub fn lock_all<S: AsRef<str>>(&self, names: impl IntoIterator<Item = S>) -> Request<'_> {
        Request::write(self, |slot| Names::parse_over(slot, names))
    }

    /// One of these names, the first that is free; more with [`Request::count`]. [`Guard::names`](crate::Guard::names) tells
    /// which.
    pub fn lock_any<S: AsRef<str>>(&self, names: impl IntoIterator<Item = S>) -> Request<'_> {
        let names = names.into_iter().map(Name::new).collect::<Result<Vec<_>>>().and_then(Names::ranked);
        Request::new(self, names).pick(Pick::Any { count: 1 })
    }

    /// Each of these names by itself, in one trip: a guard for each that was free.
    pub fn lock_each<S: AsRef<str>>(&self, names: impl IntoIterator<Item = S>) -> EachRequest<'_> {
        EachRequest::new(self, names.into_iter().map(Name::new).collect())
    }

    /// An office that one process holds at a time.
    pub fn lead(&self, name: impl AsRef<str>) -> Leadership<'_> {
        Leadership::new(self, name.as_ref())
    }

    /// The store: for lists, administration and servers.
    pub fn provider(&self) -> &Arc<dyn Provider> {
        &self.0.engine.provider
    }

    /// Asks for a lease under the caller's own lease id and waits for it up to `patience`: for servers that act for others.
    /// No guard is made and nothing is renewed: the lease is the caller's to keep and to end.
    ///
    /// # Errors
    /// `InvalidInput`, `Unavailable`.
    ///
    /// # Cancel safety
    /// Dropped, the claim is ended in the background.
    pub async fn claim(&self, mut claim: Claim, patience: Duration) -> Result<Claimed> {
        claim.check(self.provider().caps())?;
        claim.wait = !patience.is_zero();
        let engine = &self.0.engine;
        let now = engine.clock.now();
        let until = now + patience;
        let mut attempt = engine.metrics.attempt_since(now, Extent::of(claim.names.len()));
        let answer = engine.raw(Box::new(claim), until, &mut attempt).await;
        match &answer {
            Ok(Claimed::Granted(_)) => attempt.acquired(),
            Ok(_) => attempt.denied_after(patience),
            Err(error) => attempt.refused(error),
        }
        answer
    }

    /// The clock of these locks.
    pub fn clock(&self) -> Clock {
        self.0.engine.clock
    }

    /// What was done so far. Costs some microseconds; [`Monitor`](crate::Monitor) makes rates and alerts of it.
    pub fn stats(&self) -> Stats {
        self.0.engine.stats()
    }

    /// Where these locks count, for what is done with them and for servers.
    pub fn metrics(&self) -> &Metrics {
        &self.0.engine.metrics
    }

    /// Takes no more requests, ends all leases and closes the store: within `within`, or says what may be left.
    ///
    /// Guards that are alive are lost. Locks of the memory provider are left to their guards.
    pub async fn close(&self, within: Duration) -> Report {
        let until = self.0.engine.clock.now() + within;
        self.0.engine.close(until).await
    }
}
