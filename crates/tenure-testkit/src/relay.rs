//! A faulty way to a store: [`Relay`] wraps a provider, [`Wire`] says what goes wrong on the way.
//!
//! It makes a store of this process look like one at the other end of a network: no immediate way in, every lease
//! with a ttl that runs out, requests and replies that take time, get lost, or never come. All trips are counted.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tenure::claim::{Digest, Origin};
use tenure::clock::Instant;
use tenure::lease::{Claimed, Ended, Grant, Kept, Page, Query};
use tenure::limits;
use tenure::provider::{Caps, Event, Force, Forced, Fut, Immediate, Keep, Listener, Load, Provider};
use tenure::{Claim, Clock, Error, LeaseId, Result};

/// A step of the contract, as far as faults tell them apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// `claim`.
    Claim,
    /// `keep`.
    Keep,
    /// `end`.
    End,
    /// `list`, `force` and `ping`.
    Other,
}

/// What happens to a trip.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing.
    None,
    /// The request never arrives; the caller is told that the store is unavailable.
    LoseRequest,
    /// The request is executed; the caller is told that the store is unavailable.
    LoseReply,
    /// The request never arrives, and no answer comes.
    Hang,
    /// The request is executed, and no answer comes.
    HangReply,
    /// The caller is told that the store is unavailable; the request is executed so much later.
    Late(Duration),
}

/// The way to the store, to be broken and healed by a test.
#[derive(Clone)]
pub struct Wire(Arc<Mutex<State>>);

struct State {
    faults: HashMap<Step, Fault>,
    trips: HashMap<Step, usize>,
    elements: HashMap<Step, usize>,
    latency: Duration,
    lose_events: bool,
    bare_events: bool,
    chaos: Option<Chaos>,
}

/// Random faults from a seed.
#[derive(Debug)]
struct Chaos {
    rng: StdRng,
    share: f64,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        f.debug_struct("Wire")
            .field("faults", &state.faults)
            .field("trips", &state.trips)
            .finish_non_exhaustive()
    }
}

impl Wire {
    fn new() -> Self {
        Wire(Arc::new(Mutex::new(State {
            faults: HashMap::new(),
            trips: HashMap::new(),
            elements: HashMap::new(),
            latency: Duration::ZERO,
            lose_events: false,
            bare_events: false,
            chaos: None,
        })))
    }

    /// From now on `fault` happens to every trip of `step`.
    pub fn set(&self, step: Step, fault: Fault) {
        self.0.lock().faults.insert(step, fault);
    }

    /// From now on `fault` happens to every trip, and no event comes through.
    pub fn set_all(&self, fault: Fault) {
        for step in [Step::Claim, Step::Keep, Step::End, Step::Other] {
            self.set(step, fault);
        }
        self.0.lock().lose_events = true;
    }

    /// No more faults.
    pub fn heal(&self) {
        let mut state = self.0.lock();
        state.faults.clear();
        state.chaos = None;
        state.lose_events = false;
    }

    /// Each way of each trip takes so long.
    pub fn latency(&self, each_way: Duration) {
        self.0.lock().latency = each_way;
    }

    /// Events are lost.
    pub fn lose_events(&self) {
        self.0.lock().lose_events = true;
    }

    /// Events of a grant come without the grant, which `keep` has to fetch.
    pub fn bare_events(&self) {
        self.0.lock().bare_events = true;
    }

    /// A random fault, of any kind that is answered, happens to `share` of all trips and events.
    pub fn chaos(&self, seed: u64, share: f64) {
        self.0.lock().chaos = Some(Chaos { rng: StdRng::seed_from_u64(seed), share });
    }

    /// How many trips were made for `step`.
    pub fn trips(&self, step: Step) -> usize {
        self.0.lock().trips.get(&step).copied().unwrap_or_default()
    }

    /// How many claims, keeps or ends went out in the trips of `step`.
    pub fn elements(&self, step: Step) -> usize {
        self.0.lock().elements.get(&step).copied().unwrap_or_default()
    }

    /// How many trips were made in all.
    pub fn all_trips(&self) -> usize {
        self.0.lock().trips.values().sum()
    }

    fn departs(&self, step: Step, elements: usize) -> (Fault, Duration) {
        let mut state = self.0.lock();
        *state.trips.entry(step).or_default() += 1;
        *state.elements.entry(step).or_default() += elements;
        let fixed = state.faults.get(&step).copied().unwrap_or(Fault::None);
        let fault = match state.chaos.as_mut() {
            Some(chaos) if fixed == Fault::None => chaos.draw(),
            _ => fixed,
        };
        (fault, state.latency)
    }

    fn passes_events(&self) -> bool {
        let mut state = self.0.lock();
        let unlucky = state.chaos.as_mut().is_some_and(|chaos| chaos.rng.random_bool(chaos.share));
        !state.lose_events && !unlucky
    }
}

impl Chaos {
    fn draw(&mut self) -> Fault {
        if !self.rng.random_bool(self.share) {
            return Fault::None;
        }
        match self.rng.random_range(0..3) {
            0 => Fault::LoseRequest,
            1 => Fault::LoseReply,
            _ => Fault::Late(Duration::from_millis(self.rng.random_range(0..500))),
        }
    }
}

/// A provider at the other end of a [`Wire`].
#[derive(Debug)]
pub struct Relay {
    inner: Arc<dyn Provider>,
    caps: Caps,
    clock: Clock,
    wire: Wire,
    asked: Arc<Mutex<HashMap<LeaseId, Instant>>>,
}

impl Relay {
    /// `inner` behind a wire.
    pub fn over(inner: Arc<dyn Provider>, clock: Clock) -> (Arc<dyn Provider>, Wire) {
        let wire = Wire::new();
        let mut caps = inner.caps().clone();
        // The wire may keep its caller waiting whatever the store does.
        caps.answers_within = None;
        let asked = Arc::default();
        (Arc::new(Relay { inner, caps, clock, wire: wire.clone(), asked }), wire)
    }

    /// Makes a trip: what `run` answers, unless something happens to it on the way.
    async fn trip<T: Send + 'static>(
        &self,
        step: Step,
        elements: usize,
        run: impl FnOnce(Arc<dyn Provider>) -> Fut<'static, T>,
    ) -> Result<T> {
        let (fault, latency) = self.wire.departs(step, elements);
        let request = run(Arc::clone(&self.inner));
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let answer = match fault {
            Fault::None => Ok(request.await),
            Fault::LoseRequest => Err(unavailable()),
            Fault::Hang => std::future::pending().await,
            Fault::LoseReply => {
                request.await;
                Err(unavailable())
            }
            Fault::HangReply => {
                request.await;
                std::future::pending().await
            }
            Fault::Late(delay) => {
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    request.await;
                });
                Err(unavailable())
            }
        };
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        answer
    }
}

fn unavailable() -> Error {
    Error::unavailable("relay", "the trip to the store failed")
}

/// A deadline as a holder at the far end may believe in it: it counts from before the request.
fn bounded(grant: &mut Grant, sent: Instant, ttl: Duration) {
    grant.deadline = grant.deadline.min(sent + ttl - limits::drift(ttl));
}

fn spread<T>(answers: Result<Vec<Result<T>>>, count: usize) -> Vec<Result<T>> {
    answers.unwrap_or_else(|_| (0..count).map(|_| Err(unavailable())).collect())
}

impl Provider for Relay {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn claim<'a>(&'a self, claims: &'a [Claim]) -> Fut<'a, Vec<Result<Claimed>>> {
        Box::pin(async move {
            let sent = self.clock.now();
            let mut remote = claims.to_vec();
            for claim in &mut remote {
                claim.origin = Origin::Remote;
                self.asked.lock().insert(claim.lease, sent);
            }
            let run = |inner: Arc<dyn Provider>| -> Fut<'static, _> {
                Box::pin(async move { inner.claim(&remote).await })
            };
            let mut answers = spread(self.trip(Step::Claim, claims.len(), run).await, claims.len());
            for (claim, answer) in claims.iter().zip(&mut answers) {
                if let Ok(Claimed::Granted(grant)) = answer {
                    bounded(grant, sent, claim.ttl);
                }
            }
            answers
        })
    }

    fn keep<'a>(&'a self, keeps: &'a [Keep]) -> Fut<'a, Vec<Result<Kept>>> {
        Box::pin(async move {
            let (sent, owned) = (self.clock.now(), keeps.to_vec());
            let run = |inner: Arc<dyn Provider>| -> Fut<'static, _> {
                Box::pin(async move { inner.keep(&owned).await })
            };
            let mut answers = spread(self.trip(Step::Keep, keeps.len(), run).await, keeps.len());
            for (keep, answer) in keeps.iter().zip(&mut answers) {
                match answer {
                    Ok(Kept::Held(grant)) => bounded(grant, sent, keep.ttl),
                    Ok(Kept::Queued(_)) => drop(self.asked.lock().insert(keep.lease, sent)),
                    _ => {}
                }
            }
            answers
        })
    }

    fn end<'a>(&'a self, leases: &'a [LeaseId]) -> Fut<'a, Vec<Result<Ended>>> {
        Box::pin(async move {
            let owned = leases.to_vec();
            for lease in leases {
                self.asked.lock().remove(lease);
            }
            let run = |inner: Arc<dyn Provider>| -> Fut<'static, _> {
                Box::pin(async move { inner.end(&owned).await })
            };
            spread(self.trip(Step::End, leases.len(), run).await, leases.len())
        })
    }

    fn list<'a>(&'a self, query: &'a Query) -> Fut<'a, Result<Page>> {
        Box::pin(async move {
            let owned = query.clone();
            let run = |inner: Arc<dyn Provider>| -> Fut<'static, _> {
                Box::pin(async move { inner.list(&owned).await })
            };
            self.trip(Step::Other, 1, run).await?
        })
    }

    fn force<'a>(&'a self, lease: Digest, how: Force) -> Fut<'a, Result<Forced>> {
        Box::pin(async move {
            let run = |inner: Arc<dyn Provider>| -> Fut<'static, _> {
                Box::pin(async move { inner.force(lease, how).await })
            };
            self.trip(Step::Other, 1, run).await?
        })
    }

    fn ping(&self) -> Fut<'_, Result<()>> {
        Box::pin(async move {
            let run =
                |inner: Arc<dyn Provider>| -> Fut<'static, _> { Box::pin(async move { inner.ping().await }) };
            self.trip(Step::Other, 1, run).await?
        })
    }

    fn listen(&self, listener: Arc<dyn Listener>) {
        let (wire, asked) = (self.wire.clone(), Arc::clone(&self.asked));
        self.inner.listen(Arc::new(Ear { listener, wire, asked }));
    }

    fn load(&self) -> Load {
        self.inner.load()
    }

    fn immediate(&self) -> Option<Arc<dyn Immediate>> {
        None
    }

    fn lifeline(&self) -> Option<Arc<OwnedFd>> {
        self.inner.lifeline()
    }

    fn close(&self) -> Fut<'_, ()> {
        self.inner.close()
    }
}

/// What of the store's events comes through the wire.
struct Ear {
    listener: Arc<dyn Listener>,
    wire: Wire,
    asked: Arc<Mutex<HashMap<LeaseId, Instant>>>,
}

impl Listener for Ear {
    fn on(&self, event: Event) {
        if !self.wire.passes_events() {
            return;
        }
        let event = match event {
            Event::Granted(lease, Some(_)) if self.wire.0.lock().bare_events => Event::Granted(lease, None),
            Event::Granted(lease, Some(mut grant)) => {
                // No request precedes a push: the offer counts from the last one that was answered `Queued`.
                match self.asked.lock().get(&lease) {
                    Some(asked) => bounded(&mut grant, *asked, limits::OFFER),
                    None => return,
                }
                Event::Granted(lease, Some(grant))
            }
            other => other,
        };
        self.listener.on(event);
    }
}
