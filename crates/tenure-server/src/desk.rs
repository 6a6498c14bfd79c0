//! Where requests meet the store: steps with a time limit, and claims that wait.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use tenure::clock::Instant;
use tenure::lease::{Claimed, Grant, HeldBy, Kept, Queued, Why};
use tenure::metrics::Extent;
use tenure::provider::{Fut, Keep};
use tenure::{Claim, Clock, Error, ErrorKind, LeaseId, Locks, Monitor, Provider, Result, limits};
use tokio_util::sync::CancellationToken;

use crate::bells::{Bell, Bells};
use crate::config::Config;
use crate::counts::Counts;
use crate::ears::Ears;
use crate::live::Live;
use crate::problem::Failure;
use crate::tally::{self, Queue, Tried};
use crate::undo::Undo;

/// What every handler shares.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) locks: Locks,
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) clock: Clock,
    pub(crate) config: Config,
    pub(crate) counts: Counts,
    pub(crate) live: Live,
    pub(crate) ears: Arc<Ears>,
    pub(crate) started: Instant,
    pub(crate) queue: Queue,
    monitor: OnceLock<Monitor>,
    bells: Arc<Bells>,
    /// Leases whose last answer was not taken, until they are ended or asked for again.
    pub(crate) untaken: Mutex<HashMap<LeaseId, CancellationToken>>,
}

/// How a claim waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For how long.
    pub(crate) wait: Duration,
    /// Who is told what happens to it.
    pub(crate) listener: Option<LeaseId>,
    /// Whether it keeps its place in the queue afterwards.
    pub(crate) stay: bool,
    /// Whether the client knows the lease id, so that it can ask again.
    pub(crate) known: bool,
    /// How many names its call is for.
    pub(crate) extent: Extent,
}

/// What became of a claim.
#[derive(Debug)]
pub(crate) enum Outcome {
    Granted(Held),
    Queued(Queued),
    /// Busy, after the wait if there was one.
    Busy(HeldBy),
    Gone(Why),
}

/// A grant that has not been answered yet: dropping `undo` gives it back.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) grant: Grant,
    /// The instant before the request that the grant answers.
    pub(crate) since: Instant,
    /// Whether the claim had been granted before this call.
    pub(crate) repeated: bool,
    pub(crate) undo: Undo,
}

impl Desk {
    pub(crate) fn new(locks: Locks, config: Config) -> Arc<Self> {
        let (provider, clock) = (Arc::clone(locks.provider()), locks.clock());
        let bells = Arc::new(Bells::default());
        provider.listen(Arc::clone(&bells) as Arc<_>);
        let ears = Arc::new(Ears::new(config.max_listeners));
        provider.listen(Arc::clone(&ears) as Arc<_>);
        let desk = Arc::new(Desk {
            locks,
            provider,
            clock,
            live: Live::new(config.max_subscribers),
            ears,
            config,
            counts: Counts::default(),
            started: clock.now(),
            queue: Queue::default(),
            monitor: OnceLock::new(),
            bells,
            untaken: Mutex::default(),
        });
        desk.provider.listen(Arc::new(tally::Ear(Arc::downgrade(&desk))));
        desk
    }

    /// The monitor of the locks, which is started if it does not run.
    pub(crate) fn monitor(&self) -> &Monitor {
        self.monitor.get_or_init(|| Monitor::start(&self.locks, self.config.monitor))
    }

    /// Awaits a step of the store, within the time that a step may take.
    pub(crate) async fn step<T>(&self, step: Fut<'_, T>) -> Result<T> {
        tokio::time::timeout(self.config.store_timeout, step)
            .await
            .map_err(|_| Error::unavailable("store", "the store did not answer in time"))
    }

    /// Claims and waits: one outcome a claim, in their order. All claims go to the store in one batch.
    ///
    /// # Cancel safety
    /// When dropped, what was claimed is undone as [`Undo`] says.
    pub(crate) async fn claim(
        self: &Arc<Self>,
        claims: &[Claim],
        patience: &[Patience],
    ) -> Vec<Result<Outcome, Failure>> {
        let call = |(claim, patience): (&Claim, &Patience)| {
            (Call::new(self, claim, *patience), self.attempt(claim.lease, patience.extent))
        };
        let calls: Vec<_> = claims.iter().zip(patience).map(call).collect();
        let since = self.clock.now();
        let answers = match self.step(self.provider.claim(claims)).await {
            Ok(answers) => answers,
            Err(error) => {
                claims.iter().map(|_| Err(Error::unavailable("claim", error.what().to_owned()))).collect()
            }
        };
        let settle = async |((call, mut tried), answer): ((Call, Tried<'_>), _)| {
            let (lease, patience) = (call.claim.lease, call.patience);
            let outcome = call.settle(answer, since, &mut tried).await;
            self.tally(lease, &outcome, patience, tried);
            outcome
        };
        join_all(calls.into_iter().zip(answers).map(settle)).await
    }

    /// Renews or touches one lease; the instant before it was asked.
    pub(crate) async fn keep(&self, keep: Keep) -> Result<(Kept, Instant)> {
        let since = self.clock.now();
        let keeps = [keep];
        let kept = self.step(self.provider.keep(&keeps)).await?.pop();
        let kept = kept.ok_or_else(|| Error::internal("keep", "the store answered no element"))??;
        Ok((kept, since))
    }
}

/// One claim on its way to an outcome.
struct Call {
    desk: Arc<Desk>,
    claim: Claim,
    patience: Patience,
    bell: Bell,
    undo: Undo,
}

impl Call {
    fn new(desk: &Arc<Desk>, claim: &Claim, patience: Patience) -> Self {
        // Hung before the claim is sent, so that no push is missed.
        let bell = desk.bells.hang(claim.lease);
        if let Some(listener) = patience.listener {
            desk.ears.add(listener, claim.lease);
        }
        let undo = Undo::new(desk, claim.lease, patience);
        Call { desk: Arc::clone(desk), claim: claim.clone(), patience, bell, undo }
    }

    async fn settle(
        mut self,
        answer: Result<Claimed>,
        since: Instant,
        tried: &mut Tried<'_>,
    ) -> Result<Outcome, Failure> {
        match answer {
            Ok(Claimed::Granted(grant)) if !grant.repeated => Ok(self.granted(grant, since)),
            Ok(Claimed::Granted(grant)) => self.granted_before(grant, since).await,
            Ok(Claimed::Busy(held_by)) => {
                self.undo.disarm();
                // A store has no words for an id that was ended: it is busy with nobody in the way.
                let ended = self.patience.known && held_by.name.is_none();
                Ok(if ended { Outcome::Gone(Why::Unknown) } else { Outcome::Busy(held_by) })
            }
            Ok(Claimed::Queued(queued)) => {
                tried.attempt.queued();
                self.wait(queued).await
            }
            Err(error) => {
                if error.kind() == ErrorKind::InvalidInput {
                    self.undo.disarm();
                }
                Err(error.into())
            }
        }
    }

    /// A grant of this call, which is given back unless its answer is taken.
    fn granted(mut self, grant: Grant, since: Instant) -> Outcome {
        self.undo.granted();
        Outcome::Granted(Held { grant, since, repeated: false, undo: self.undo })
    }

    /// A claim that was granted before this call: it is renewed, unless its client polls for the offer to confirm it.
    /// There is nothing to undo, since the client may know of it.
    async fn granted_before(mut self, grant: Grant, since: Instant) -> Result<Outcome, Failure> {
        self.undo.disarm();
        let (grant, since) = match self.patience.stay {
            true => (grant, since),
            false => match self.desk.keep(self.keeping()).await? {
                (Kept::Held(grant), since) => (grant, since),
                (Kept::Queued(place), _) => return Ok(Outcome::Queued(place)),
                (Kept::Gone(why), _) => return Ok(Outcome::Gone(why)),
            },
        };
        Ok(Outcome::Granted(Held { grant, since, repeated: true, undo: self.undo }))
    }

    /// Waits in the store's queue until it is granted or the wait is over, with a last try at its end.
    async fn wait(mut self, mut queued: Queued) -> Result<Outcome, Failure> {
        self.undo.waiting();
        let desk = Arc::clone(&self.desk);
        let _waiting = desk.counts.waiting.during();
        let end = tokio::time::Instant::now() + self.patience.wait;
        let mut last = self.patience.wait.is_zero();
        while !last {
            let next = tokio::time::Instant::now() + touch_after(self.claim.lease, queued.expires_in);
            last = tokio::select! {
                () = self.bell.rung() => false,
                () = tokio::time::sleep_until(next.min(end)) => next >= end,
                () = desk.config.shutdown.begun.cancelled() => {
                    return Err(Failure::unavailable("the server is shutting down"));
                }
            };
            let touched = if self.patience.stay { self.look().await? } else { self.touch().await? };
            match touched {
                Touched::Queued(place) => queued = place,
                Touched::Granted(grant, since) if self.patience.stay => {
                    // An offer: it lapses by itself when its client does not confirm it.
                    self.undo.disarm();
                    return Ok(Outcome::Granted(Held { grant, since, repeated: false, undo: self.undo }));
                }
                Touched::Granted(grant, since) => return Ok(self.granted(grant, since)),
                Touched::Gone(why) => {
                    self.undo.disarm();
                    return Ok(Outcome::Gone(why));
                }
            }
        }
        if self.patience.stay {
            self.undo.disarm();
            return Ok(Outcome::Queued(queued));
        }
        self.give_up(queued).await
    }

    /// Touches the claim. A grant gets its full ttl by it.
    async fn touch(&self) -> Result<Touched, Failure> {
        Ok(match self.desk.keep(self.keeping()).await? {
            (Kept::Held(grant), since) => Touched::Granted(grant, since),
            (Kept::Queued(place), _) => Touched::Queued(place),
            (Kept::Gone(why), _) => Touched::Gone(why),
        })
    }

    /// Touches the claim by asking again, which leaves an offer an offer.
    async fn look(&self) -> Result<Touched, Failure> {
        let since = self.desk.clock.now();
        let claims = std::slice::from_ref(&self.claim);
        let answer = self.desk.step(self.desk.provider.claim(claims)).await?.pop();
        Ok(match answer.ok_or_else(|| Error::internal("claim", "the store answered no element"))?? {
            Claimed::Granted(grant) => Touched::Granted(grant, since),
            Claimed::Queued(place) => Touched::Queued(place),
            Claimed::Busy(_) => Touched::Gone(Why::Unknown),
        })
    }

    fn keeping(&self) -> Keep {
        Keep { lease: self.claim.lease, ttl: self.claim.ttl, tokens: 0 }
    }

    /// Finds out who is in the way, and takes the claim back.
    async fn give_up(mut self, queued: Queued) -> Result<Outcome, Failure> {
        let mut held_by = self.in_the_way().await;
        held_by.waiting = queued.ahead;
        held_by.remaining = held_by.remaining.or(queued.expires_in);
        let leases = [self.claim.lease];
        self.desk.step(self.desk.provider.end(&leases)).await?.pop().transpose()?;
        self.undo.disarm();
        Ok(Outcome::Busy(held_by))
    }

    /// Who is in the way of this claim while it is queued: what a claim like it, that does not wait, is told.
    async fn in_the_way(&self) -> HeldBy {
        let mut glance = self.claim.clone();
        glance.lease = LeaseId::random();
        glance.wait = false;
        glance.replaces.clear();
        // It stands behind the queued claim and so is never granted before it. Should that be granted and ended
        // meanwhile, the undo gives back what the glance got.
        let _undo =
            Undo::new(&self.desk, glance.lease, Patience { known: false, listener: None, ..self.patience });
        match self.desk.step(self.desk.provider.claim(&[glance])).await.map(|mut answers| answers.pop()) {
            Ok(Some(Ok(Claimed::Busy(held_by)))) => held_by,
            _ => HeldBy::default(),
        }
    }
}

/// What touching a waiting claim brought.
enum Touched {
    Granted(Grant, Instant),
    Queued(Queued),
    Gone(Why),
}

/// When a waiter asks again without being told: about every second (a fifth more or less, by its id, so that they
/// do not come together), and when the lease in the way runs out.
fn touch_after(lease: LeaseId, expires_in: Option<Duration>) -> Duration {
    let spread = u32::from(lease.digest().to_bytes().first().copied().unwrap_or_default());
    let touch = limits::TOUCH.mul_f64(0.8 + 0.4 * f64::from(spread) / 255.0);
    // A little after the expiry, which is the store's to notice.
    let expiry = expires_in.map_or(touch, |span| span + Duration::from_millis(2));
    touch.min(expiry)
}
