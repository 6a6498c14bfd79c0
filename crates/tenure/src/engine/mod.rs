//! The engine: between the surface that users type and the provider contract. It alone owns tasks and time.
//!
//! A claim goes one of three ways:
//! - *immediate*, where the store is in this process and the name is free: a guard without a task, a clock or a lease id;
//! - through the *local tier* (`cohort.rs`): an exclusive claim on one name, where tasks of this process queue before one
//!   of them speaks for all at the store;
//! - *directly* to the store: everything else.

pub(crate) mod cohort;
#[cfg(all(test, feature = "shuttle"))]
mod cohort_shuttle;
mod guard;
mod held;
mod keepalive;
mod local;
mod pursuit;
mod reaper;
mod seat;
pub(crate) mod slip;
mod tally;
mod trip;
mod waits;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::sync::mpsc;

use self::cohort::Cohorts;
pub use self::guard::Guard;
pub(crate) use self::guard::Hold;
use self::held::HeldLease;
use self::keepalive::Keepalive;
use self::pursuit::{Outcome, Pursuit};
use self::reaper::{Orphan, Reaper};
use self::waits::Waits;
use crate::claim::{Claim, Digest, LeaseId, ProcessId};
use crate::clock::{Clock, Instant};
use crate::error::{Error, Result};
use crate::lease::{Claimed, Ended, Grant, HeldBy, Kept, Why};
use crate::metrics::{Attempt, Metrics};
use crate::provider::{Event, Immediate, Keep, Listener, Provider};

/// What one [`Locks`](crate::Locks) and its guards share.
pub(crate) struct Engine {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) immediate: Option<Arc<dyn Immediate>>,
    pub(crate) clock: Clock,
    pub(crate) process: ProcessId,
    pub(crate) metrics: Metrics,
    keepalive: Keepalive,
    reaper: Reaper,
    orphans: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Orphan>>>,
    waits: Waits,
    cohorts: Cohorts,
    running: Arc<AtomicBool>,
    closed: AtomicBool,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("provider", &self.provider).finish_non_exhaustive()
    }
}

impl Engine {
    pub(crate) fn new(provider: Arc<dyn Provider>, clock: Clock) -> Arc<Self> {
        let (reaper, orphans) = Reaper::new();
        let engine = Arc::new(Engine {
            immediate: provider.immediate(),
            provider,
            clock,
            process: ProcessId::random(),
            metrics: Metrics::new(clock),
            keepalive: Keepalive::new(),
            reaper,
            orphans: Arc::new(tokio::sync::Mutex::new(orphans)),
            waits: Waits::default(),
            cohorts: Cohorts::new(),
            running: Arc::default(),
            closed: AtomicBool::new(false),
        });
        engine.provider.listen(Arc::new(Ear(Arc::downgrade(&engine))));
        engine
    }

    /// Starts the tasks on the caller's runtime, unless they run. They end with the engine, or with that runtime; a later
    /// call on another runtime then starts them again.
    fn start(self: &Arc<Self>) {
        if self.running.load(Ordering::Acquire) || self.running.swap(true, Ordering::AcqRel) {
            return;
        }
        let running = Running(Arc::clone(&self.running));
        let (weak, for_reaper) = (Arc::downgrade(self), Arc::downgrade(self));
        let (provider, clock, left) = (Arc::clone(&self.provider), self.clock, self.reaper.left());
        let orphans = Arc::clone(&self.orphans);
        tokio::spawn(async move {
            let _running = running;
            let reap = async {
                let mut orphans = orphans.lock().await;
                reaper::run(provider, clock, &mut orphans, left, |name, lease| {
                    if let Some(engine) = for_reaper.upgrade() {
                        engine.cohorts.ended(name, lease);
                    }
                })
                .await;
            };
            // Ends with the reaper, which ends when the engine is gone and its last orphan is settled.
            tokio::join!(reap, keepalive::run(weak));
        });
    }

    /// Whether new claims are taken.
    pub(crate) fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Acquire)
    }

    /// That new claims are taken.
    ///
    /// # Errors
    /// `Unavailable` once the locks were closed.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.is_open() { Ok(()) } else { Err(Error::unavailable("acquire", "the locks are closed")) }
    }

    /// Claims directly at the store and waits until `until`. `None` when it is busy.
    pub(crate) async fn direct(
        self: &Arc<Self>,
        claim: Box<Claim>,
        until: Instant,
        attempt: &mut Attempt<'_>,
    ) -> Result<Option<Hold>> {
        self.start();
        let ttl = claim.ttl;
        let (claim, _given_up) = self.giving_up(claim);
        let mut pursuit = Pursuit::new(self, claim);
        match pursuit.run(until, attempt).await? {
            Outcome::Granted { grant, offer } => {
                let lease = self.hold(pursuit.lease(), &grant, ttl, offer);
                Ok(Some(Hold::direct(self, lease, grant.tokens.first())))
            }
            Outcome::Busy(_) => Ok(None),
        }
    }

    /// Claims several times in one call, without waiting.
    pub(crate) async fn each(self: &Arc<Self>, mut claims: Vec<Claim>) -> Result<Vec<Option<Hold>>> {
        self.start();
        let _given_up: Vec<GivenUp<'_>> = claims.iter_mut().map(|claim| self.give_up(claim)).collect();
        let mut strays = Strays {
            engine: self,
            left: claims.iter().map(|claim| self.orphan(claim.lease, claim.ttl)).collect(),
        };
        let trip = self.provider.claim(&claims);
        let answers = self.answers("acquire", trip, self.clock.now()).await?;
        strays.left.clear();
        let mut holds = Vec::with_capacity(claims.len());
        let mut failed = None;
        for (claim, answer) in claims.iter().zip(answers) {
            holds.push(match answer {
                Ok(Claimed::Granted(grant)) => {
                    let lease = self.hold(claim.lease, &grant, claim.ttl, false);
                    Some(Hold::direct(self, lease, grant.tokens.first()))
                }
                Ok(_) => None,
                Err(error) => {
                    strays.left.push(self.orphan(claim.lease, claim.ttl));
                    failed = Some(error);
                    None
                }
            });
        }
        // The guards of those that were granted release them as they drop.
        failed.map_or(Ok(holds), Err)
    }

    /// A claim with the caller's lease id, for servers: no guard, no renewal.
    pub(crate) async fn raw(
        self: &Arc<Self>,
        claim: Box<Claim>,
        until: Instant,
        attempt: &mut Attempt<'_>,
    ) -> Result<Claimed> {
        self.check_open()?;
        self.start();
        let ttl = claim.ttl;
        let (claim, _given_up) = self.giving_up(claim);
        let mut pursuit = Pursuit::new(self, claim).for_another();
        match pursuit.run(until, attempt).await? {
            Outcome::Granted { grant, offer: false } => Ok(Claimed::Granted(grant)),
            Outcome::Granted { offer: true, .. } => self.confirm(pursuit.lease(), ttl, until).await,
            Outcome::Busy(held_by) => Ok(Claimed::Busy(held_by)),
        }
    }

    /// A claim that replaces what this process keeps of its names without using it.
    fn giving_up(&self, mut claim: Box<Claim>) -> (Box<Claim>, GivenUp<'_>) {
        let given_up = self.give_up(&mut claim);
        (claim, given_up)
    }

    fn give_up(&self, claim: &mut Claim) -> GivenUp<'_> {
        let leases = self.cohorts.give_up(&claim.names);
        claim.replaces.extend(leases.iter().map(|lease| lease.id));
        GivenUp { engine: self, leases }
    }

    /// Turns an offer into a lease of its full ttl.
    async fn confirm(&self, lease: LeaseId, ttl: Duration, until: Instant) -> Result<Claimed> {
        let mut strays = Strays::of(self, self.orphan(lease, ttl));
        let keeps = [Keep { lease, ttl, tokens: 0 }];
        match self.answer("acquire", self.provider.keep(&keeps), until).await? {
            Kept::Held(grant) => {
                strays.left.clear();
                Ok(Claimed::Granted(grant))
            }
            Kept::Queued(_) | Kept::Gone(_) => Ok(Claimed::Busy(HeldBy::default())),
        }
    }

    fn hold(self: &Arc<Self>, id: LeaseId, grant: &Grant, ttl: Duration, offer: bool) -> Arc<HeldLease> {
        let lease = Arc::new(HeldLease::new(id, grant, ttl, self.clock.now(), offer));
        tracing::debug!(lock.name = %lease.names, lock.token = %grant.tokens.first(), lock.lease = %id.digest(),
            lock.provider = self.provider.caps().provider, "granted");
        self.keepalive.add(Arc::clone(&lease));
        lease
    }

    /// The lease is gone.
    fn lose(&self, lease: &HeldLease, why: Why) {
        self.keepalive.remove(&lease.id);
        let why = lease.lose(why);
        if why != Why::Forced {
            // Not where it was asked back: its holder is to stop before anybody else begins.
            self.cohorts.lost(lease);
        }
        if lease.idle_at() == Instant::NEVER {
            self.report_loss(lease, why);
        }
    }

    /// Forgets a lease and lets the reaper end it.
    fn abandon(&self, lease: &HeldLease) {
        self.keepalive.remove(&lease.id);
        let now = self.clock.now();
        self.let_go(lease, now);
        if lease.lost(now) == Some(Why::Store) {
            // Ended when the locks were closed: the store takes no more requests.
            return;
        }
        self.reap(self.returning(lease));
    }

    /// A lease or claim that nobody waits for.
    fn orphan(&self, lease: LeaseId, ttl: Duration) -> Orphan {
        Orphan { lease, local: None, until: self.clock.now() + ttl }
    }

    /// A lease on its way back to the store.
    fn returning(&self, lease: &HeldLease) -> Orphan {
        Orphan { local: lease.names.single().cloned(), ..self.orphan(lease.id, lease.ttl()) }
    }

    /// Ends a lease or a claim that nobody waits for: at once where the store is in this process, else by the reaper.
    fn reap(&self, orphan: Orphan) {
        if let Some(immediate) = &self.immediate {
            immediate.end(&orphan.lease);
            return;
        }
        self.reaper.take(orphan);
    }

    /// Ends a lease at the store and says whether it was held.
    async fn end(self: &Arc<Self>, lease: &HeldLease) -> Result<Ended> {
        self.start();
        let mut strays = Strays::of(self, self.returning(lease));
        self.keepalive.remove(&lease.id);
        self.let_go(lease, self.clock.now());
        let leases = [lease.id];
        let answer = self.answer("release", self.provider.end(&leases), Instant::NEVER).await;
        if answer.is_ok() {
            strays.left.clear();
            lease.names.single().into_iter().for_each(|name| self.cohorts.ended(name, lease.id));
        }
        answer
    }

    /// Takes no more claims, ends every lease, and waits until the reaper has nothing left or `until` has come.
    pub(crate) async fn close(self: &Arc<Self>, until: Instant) -> Report {
        self.closed.store(true, Ordering::Release);
        self.start();
        let held = self.keepalive.all();
        for lease in &held {
            self.abandon(lease);
            lease.lose(Why::Store);
        }
        self.waits.ring_all();
        let left = self.reaper.left();
        let drained = tokio::select! {
            () = left.none() => true,
            () = self.clock.sleep_until(until) => false,
        };
        self.provider.close().await;
        if drained {
            return Report { released: held.len(), left: Vec::new() };
        }
        Report { released: 0, left: held.iter().map(|lease| lease.id.digest()).collect() }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Every guard has a reference to its engine: what is left nobody holds.
        for lease in self.keepalive.all() {
            self.reap(self.returning(&lease));
        }
        self.keepalive.stop();
    }
}

/// What a [`close`](crate::Locks::close) brought about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// How many leases were released.
    pub released: usize,
    /// Leases that may still be held at the store, until their ttl is over.
    pub left: Vec<Digest>,
}

/// Marks the tasks as not running when they end, for whatever reason.
struct Running(Arc<AtomicBool>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Claims that are ended by the reaper if the call that made them is dropped.
struct Strays<'a> {
    engine: &'a Engine,
    left: SmallVec<[Orphan; 1]>,
}

impl<'a> Strays<'a> {
    fn of(engine: &'a Engine, orphan: Orphan) -> Self {
        Strays { engine, left: SmallVec::from([orphan]) }
    }
}

impl Drop for Strays<'_> {
    fn drop(&mut self) {
        self.left.drain(..).for_each(|orphan| self.engine.reap(orphan));
    }
}

/// Leases that nobody held and that a claim replaces: whatever becomes of it, they are ended.
struct GivenUp<'a> {
    engine: &'a Engine,
    leases: Vec<Arc<HeldLease>>,
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        self.leases.drain(..).for_each(|lease| self.engine.give_back(&lease));
    }
}

/// The engine's ear at the provider.
struct Ear(Weak<Engine>);

impl Listener for Ear {
    fn on(&self, event: Event) {
        let Some(engine) = self.0.upgrade() else { return };
        match event {
            Event::Granted(id, grant) => engine.waits.ring(id, grant),
            Event::Contended(id) => {
                if let Some(lease) = engine.keepalive.find(&id) {
                    engine.contended(&lease);
                }
            }
            Event::Revoked(id) => engine.lost(&id, Why::Forced),
            Event::Lost(id, why) => engine.lost(&id, why),
            Event::Resync => engine.waits.ring_all(),
        }
    }
}

impl Engine {
    fn lost(&self, id: &LeaseId, why: Why) {
        match self.keepalive.find(id) {
            Some(lease) => self.lose(&lease, why),
            None => self.waits.nudge(id),
        }
    }
}
