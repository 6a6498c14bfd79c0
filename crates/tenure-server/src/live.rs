//! `GET /v1/events`: what is held and who waits, pushed while it changes.
//!
//! One sampler asks the store for everybody who listens, and only while somebody does.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use parking_lot::Mutex;
use tenure::clock::Instant;
use tenure::lease::{Kind, Page, Query};
use tenure_wire::{Alert, Lease, Problem, Rates, Snapshot, Stats, Totals};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::desk::Desk;
use crate::problem::Failure;
use crate::shape;

/// How often a silent stream says that it lives, so that intermediaries keep it.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How far a remaining time may be off what the last snapshot foretold before it counts as a change.
const TOLERANCE: u64 = 250;

/// Samples that a rate is taken over: two seconds at the default interval.
const WINDOW: usize = 4;

/// The latest snapshot, already as text, and who listens to it.
#[derive(Debug)]
pub(crate) struct Live {
    latest: watch::Sender<Option<Arc<str>>>,
    seats: Arc<Semaphore>,
    sampling: Mutex<bool>,
}

impl Live {
    pub(crate) fn new(seats: usize) -> Self {
        let latest = watch::Sender::new(None);
        Live { latest, seats: Arc::new(Semaphore::new(seats)), sampling: Mutex::new(false) }
    }
}

/// A listener: its place among them and what it hears.
struct Listener {
    desk: Arc<Desk>,
    snapshots: watch::Receiver<Option<Arc<str>>>,
    _seat: OwnedSemaphorePermit,
}

/// Watch what is held.
///
/// Server-sent events named `snapshot`, each with a whole `Snapshot` as JSON: one at once and one after every change, looked
/// for twice a second. Times that merely run on are no change: count them down yourself.
#[utoipa::path(get, path = "/v1/events", tag = "lists", responses(
    (status = 200, description = "A stream of events `snapshot`.", body = Snapshot, content_type = "text/event-stream"),
    (status = 429, description = "Too many listen. See Retry-After.", body = Problem),
    (status = 503, description = "The server is shutting down. See Retry-After.", body = Problem),
))]
pub(crate) async fn events(State(desk): State<Arc<Desk>>) -> Result<Response, Failure> {
    if desk.config.shutdown.begun.is_cancelled() {
        return Err(Failure::unavailable("the server is shutting down"));
    }
    let seat = Arc::clone(&desk.live.seats)
        .try_acquire_owned()
        .map_err(|_| Failure::too_many("max_subscribers", "too many listen to the events"))?;
    let mut snapshots = desk.live.latest.subscribe();
    snapshots.mark_changed();
    desk.sample();
    let stream = stream::unfold(Listener { desk, snapshots, _seat: seat }, next);
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

async fn next(mut listener: Listener) -> Option<(Result<Event, Infallible>, Listener)> {
    loop {
        tokio::select! {
            // A server that ends must not be held up by a stream that always has something to say.
            biased;
            () = listener.desk.config.shutdown.begun.cancelled() => return None,
            changed = listener.snapshots.changed() => changed.ok()?,
        }
        let latest = listener.snapshots.borrow_and_update().clone();
        if let Some(text) = latest {
            let event = Event::default().event("snapshot").data(&*text);
            return Some((Ok(event), listener));
        }
    }
}

impl Desk {
    /// Makes sure that the sampler runs.
    fn sample(self: &Arc<Self>) {
        let mut sampling = self.live.sampling.lock();
        if !*sampling {
            *sampling = true;
            let sampler = Sampler { desk: Arc::clone(self), last: None, counts: VecDeque::new() };
            self.config.shutdown.tasks.spawn(sampler.run());
        }
    }
}

/// Looks at the store again and again.
struct Sampler {
    desk: Arc<Desk>,
    last: Option<(Snapshot, Instant)>,
    counts: VecDeque<(Stats, Instant)>,
}

impl Sampler {
    async fn run(mut self) {
        let mut ticks = tokio::time::interval(self.desk.config.sample_every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.desk.config.shutdown.begun.cancelled() => return,
            }
            if self.is_over() {
                return;
            }
            let snapshot = self.look().await;
            let now = self.desk.clock.now();
            let same = self.last.as_ref().is_some_and(|(last, at)| is_same(last, &snapshot, at.until(now)));
            if !same {
                let text = serde_json::to_string(&snapshot).expect("a snapshot is plain data");
                self.desk.live.latest.send_replace(Some(text.into()));
                self.last = Some((snapshot, now));
            }
        }
    }

    /// Whether nobody listens any more. Judged under the mutex, so that one who comes now finds a sampler.
    fn is_over(&self) -> bool {
        let mut sampling = self.desk.live.sampling.lock();
        if self.desk.live.latest.receiver_count() > 0 {
            return false;
        }
        self.desk.live.latest.send_replace(None);
        *sampling = false;
        true
    }

    async fn look(&mut self) -> Snapshot {
        let leases = self.desk.list(Query::new(Kind::Leases, "")).await;
        let waiters = self.desk.list(Query::new(Kind::Waiters, "")).await;
        let available = leases.is_ok() && waiters.is_ok();
        let (leases, waiters): (Page, Page) = (leases.unwrap_or_default(), waiters.unwrap_or_default());
        let mut snapshot = Snapshot {
            provider: self.desk.provider.caps().provider.to_owned(),
            available,
            leases: leases.entries.iter().map(shape::lease).collect(),
            waiters: waiters.entries.iter().map(shape::waiter).collect(),
            totals: Totals::default(),
            rates: Rates::default(),
            stats: self.desk.stats(),
            alerts: self.desk.alerts().active,
        };
        snapshot.totals.leases = count(snapshot.leases.len());
        snapshot.totals.waiters = count(snapshot.waiters.len());
        snapshot.totals.more = leases.next.is_some() || waiters.next.is_some();
        snapshot.rates = self.rates(snapshot.stats);
        snapshot
    }

    fn rates(&mut self, stats: Stats) -> Rates {
        let now = self.desk.clock.now();
        let rates = self.counts.front().map_or_else(Rates::default, |(then, at)| {
            let seconds = at.until(now).as_secs_f64().max(0.001);
            // To tenths, so that a rate that fades is not a change for ever.
            let rate =
                |now: u64, then: u64| (now.saturating_sub(then) as f64 / seconds * 10.0).round() / 10.0;
            Rates {
                grants: rate(stats.grants, then.grants),
                releases: rate(stats.releases, then.releases),
                busy: rate(stats.busy, then.busy),
                timeouts: rate(stats.timeouts, then.timeouts),
            }
        });
        self.counts.push_back((stats, now));
        if self.counts.len() > WINDOW {
            self.counts.pop_front();
        }
        rates
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Whether `now` is what `last` foretold for `elapsed` later.
fn is_same(last: &Snapshot, now: &Snapshot, elapsed: Duration) -> bool {
    let elapsed = shape::millis(elapsed);
    let foretold = |last: &Lease, now: &Lease| match (last.remaining_ms, now.remaining_ms) {
        (Some(last), Some(now)) => last.saturating_sub(elapsed).abs_diff(now) <= TOLERANCE,
        (last, now) => last == now,
    };
    let timeless = |lease: &Lease| Lease { remaining_ms: None, age_ms: 0, ..lease.clone() };
    let same_lease = |(a, b): (&Lease, &Lease)| foretold(a, b) && timeless(a) == timeless(b);
    let mut waiters = last.waiters.clone();
    for (old, new) in waiters.iter_mut().zip(&now.waiters) {
        old.age_ms = new.age_ms;
    }
    let ageless = |alert: &Alert| Alert { raised_ms_ago: 0, ..alert.clone() };
    let stats = Stats { since_ms: now.stats.since_ms, ..last.stats };
    last.leases.len() == now.leases.len()
        && last.leases.iter().zip(&now.leases).all(same_lease)
        && waiters == now.waiters
        && last.alerts.iter().map(ageless).eq(now.alerts.iter().map(ageless))
        && stats == now.stats
        && (last.totals, last.rates, last.available) == (now.totals, now.rates, now.available)
}
