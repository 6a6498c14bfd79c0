//! The task that owns the connection: it sends what has gathered since the last flight in one go, hands the answers out,
//! listens to what the store says unasked, and connects again when the connection fails.
//!
//! A step whose connection fails is sent again over the next one, as often as the URL says: every step is idempotent by
//! its lease id. Before that the server is told to close the old connection, so that nothing of it can come late.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::MissedTickBehavior;

use super::desk::Desk;
use super::flight::{Crew, Flight, Landing};
use super::job::{Answers, Ask, Job};
use super::link::{Intro, Link, Session};
use super::resp::Reply;
use super::url::Target;
use super::words::Listener;
use crate::claim::LeaseId;
use crate::clock::{Clock, Instant};
use crate::error::{Error, Result};
use crate::name::Name;
use crate::provider::{Keep, Load};

/// Flights that are on their way at a time: while one is answered, the server works on the next.
const FLIGHTS: usize = 2;

/// How often late answers are looked for, and leases that the store should be told more of.
const TICK: Duration = Duration::from_millis(50);

/// A lease that is held for so long has its token told to the store, for lists.
const TELL_AFTER: Duration = Duration::from_millis(100);

/// Names that are remembered as busy at the most.
const MOST_BUSY: usize = 4_096;

/// Claims of one job of the driver's own.
const BATCH: usize = 256;

/// The longest pause between two tries to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What callers and the driver share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) target: Target,
    pub(super) clock: Clock,
    pub(super) desk: Desk,
    pub(super) listener: Listener,
    /// Places for claims on their way. Renewals and releases need none, so that nothing holds them up.
    places: Arc<Semaphore>,
    hits: AtomicU64,
    misses: AtomicU64,
    pub(super) connected: AtomicBool,
    pub(super) closed: AtomicBool,
    jobs: Mutex<Vec<Box<Job>>>,
    arrived: Notify,
}

impl Shared {
    pub(super) fn new(target: Target, clock: Clock, listener: Listener) -> Self {
        Shared {
            places: Arc::new(Semaphore::new(target.window)),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            target,
            clock,
            desk: Desk::default(),
            listener,
            connected: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            jobs: Mutex::default(),
            arrived: Notify::new(),
        }
    }

    pub(super) fn channel(&self) -> Vec<u8> {
        [self.target.prefix.as_bytes(), b"p:", &self.listener].concat()
    }

    /// Asks, and waits for the answers.
    pub(super) async fn ask(&self, asks: Vec<Ask>) -> Result<Answers> {
        let claims = asks.iter().filter(|ask| matches!(ask, Ask::Claim(_))).count();
        let place = if claims == 0 { None } else { Some(self.place(claims).await?) };
        let (job, answers) = Job::new(asks, place);
        self.submit(job);
        answers.await.map_err(|_| closed())
    }

    /// Places for so many claims, as soon as there are.
    async fn place(&self, claims: usize) -> Result<OwnedSemaphorePermit> {
        // A job that is greater than the window has all of it.
        let wanted = u32::try_from(claims.min(self.target.window)).unwrap_or(u32::MAX);
        if let Ok(place) = Arc::clone(&self.places).try_acquire_many_owned(wanted) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(place);
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        Arc::clone(&self.places).acquire_many_owned(wanted).await.map_err(|_| closed())
    }

    /// How much of the window is in use.
    pub(super) fn load(&self) -> Load {
        let window = self.target.window as u64;
        Load {
            in_flight: window.saturating_sub(self.places.available_permits() as u64),
            limit: Some(window),
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            active_connections: self.connected.load(Ordering::Acquire).into(),
        }
    }

    fn submit(&self, job: Box<Job>) {
        let is_first = {
            let mut jobs = self.jobs.lock();
            jobs.push(job);
            jobs.len() == 1
        };
        if is_first {
            self.arrived.notify_one();
        }
    }

    /// Ends the driver; what is left is answered with an error.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.arrived.notify_one();
    }
}

fn closed() -> Error {
    Error::unavailable("redis", "the connection is closed")
}

/// The task's own state.
struct Driver {
    shared: Arc<Shared>,
    queue: VecDeque<Box<Job>>,
    flights: VecDeque<Flight>,
    busy: HashSet<Name, foldhash::fast::RandomState>,
    untold: VecDeque<(Instant, LeaseId)>,
    sends_script: bool,
}

/// Opens a connection for what `shared` wants.
pub(super) async fn open(shared: &Shared, before: Option<&Session>) -> Result<Link> {
    let (channel, floor) = (shared.channel(), shared.desk.floor());
    Link::open(&Intro { target: &shared.target, channel: &channel, before, floor }).await
}

/// The task: serves over one connection after the other until it is closed.
pub(super) async fn run(shared: Arc<Shared>, first: Option<Link>) {
    let mut driver = Driver {
        shared,
        queue: VecDeque::new(),
        flights: VecDeque::new(),
        busy: HashSet::default(),
        untold: VecDeque::new(),
        sends_script: false,
    };
    let mut link = first;
    let mut before = None;
    loop {
        let mut current = match link.take() {
            Some(link) => link,
            None => match driver.reconnect(before.as_ref()).await {
                Some(link) => link,
                None => break,
            },
        };
        driver.shared.connected.store(true, Ordering::Release);
        before = Some(current.session.clone());
        let Err(why) = driver.serve(&mut current).await else { break };
        driver.shared.connected.store(false, Ordering::Release);
        tracing::warn!(why, "the connection to redis is lost");
        driver.turn_back(&why);
    }
    driver.shared.connected.store(false, Ordering::Release);
    driver.collect();
    driver.flights.drain(..).flat_map(|flight| flight.jobs).for_each(|job| job.fail("the locks are closed"));
    driver.queue.drain(..).for_each(|job| job.fail("the locks are closed"));
}

impl Driver {
    /// Serves over a connection until it fails, or everything is closed.
    async fn serve(&mut self, link: &mut Link) -> Result<(), String> {
        self.look_after_waiters();
        let shared = Arc::clone(&self.shared);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.collect();
            if shared.closed.load(Ordering::Acquire) && self.flights.is_empty() && self.queue.is_empty() {
                return Ok(());
            }
            while self.flights.len() < FLIGHTS && self.depart(link) {}
            tokio::select! {
                biased;
                moved = link.advance() => {
                    moved.map_err(|error| error.to_string())?;
                    if self.arrive(link)? {
                        // Those who were answered may have more to ask, which then goes together.
                        tokio::task::yield_now().await;
                    }
                }
                () = shared.arrived.notified(), if self.flights.len() < FLIGHTS => {}
                _ = tick.tick(), if !self.flights.is_empty() || !self.untold.is_empty() => self.look_around()?,
            }
        }
    }

    /// Takes in what callers have asked.
    fn collect(&mut self) {
        self.queue.extend(std::mem::take(&mut *self.shared.jobs.lock()));
    }

    /// Sends what there is; whether there was anything.
    fn depart(&mut self, link: &mut Link) -> bool {
        if self.queue.is_empty() {
            return false;
        }
        let mut flight = Flight::new(self.shared.clock.now());
        let busy = &self.busy;
        let crew = Crew {
            desk: &self.shared.desk,
            listener: &self.shared.listener,
            prefix: &self.shared.target.prefix,
            may_take: &|name| !busy.contains(name),
        };
        let has_left = flight.board(&mut self.queue, link, &crew, self.sends_script);
        if has_left {
            self.flights.push_back(flight);
        }
        has_left
    }

    /// Takes in what the server has sent; whether anybody was answered.
    fn arrive(&mut self, link: &mut Link) -> Result<bool, String> {
        let mut has_landed = false;
        while let Some(reply) = link.next().map_err(|error| error.to_string())? {
            if let Reply::Push(items) = reply {
                if let [kind, _, message] = items.as_slice()
                    && kind.text() == Some(b"message")
                {
                    self.shared.desk.hear(message.text().unwrap_or_default());
                }
                continue;
            }
            let first = self.flights.front_mut().ok_or("an answer to nothing")?;
            if first.land(reply) {
                let flight = self.flights.pop_front().ok_or("an answer to nothing")?;
                has_landed = true;
                self.settle(flight)?;
            }
        }
        Ok(has_landed)
    }

    fn settle(&mut self, flight: Flight) -> Result<(), String> {
        let now = self.shared.clock.now();
        let Landing { again, busy, calm, untold, undo, lacks_script, broken } = flight.settle(&self.shared.desk, now);
        self.sends_script = lacks_script;
        for job in again.into_iter().rev() {
            self.queue.push_front(job);
        }
        if !undo.is_empty() {
            self.queue.push_front(Job::own(undo.into_iter().map(Ask::End).collect()));
        }
        if self.busy.len() + busy.len() > MOST_BUSY {
            self.busy.clear();
        }
        self.busy.extend(busy);
        for name in calm {
            self.busy.remove(&name);
        }
        self.untold.extend(untold.into_iter().map(|lease| (now, lease)));
        broken.map_or(Ok(()), Err)
    }

    /// Gives up a connection that does not answer, and tells the store the tokens of leases that have been held for a while.
    fn look_around(&mut self) -> Result<(), String> {
        let now = self.shared.clock.now();
        let timeout = self.shared.target.timeout;
        if self.flights.front().is_some_and(|flight| flight.sent.until(now) > timeout) {
            return Err(format!("no answer within={timeout:?}"));
        }
        let mut asks = Vec::new();
        while let Some((since, lease)) = self.untold.front().copied() {
            if since.until(now) < TELL_AFTER {
                break;
            }
            self.untold.pop_front();
            if self.shared.desk.is_good(&lease, now) {
                asks.push(Ask::Keep(Keep { lease, ttl: Duration::ZERO, tokens: 0 }));
            }
        }
        self.add_own(asks);
        Ok(())
    }

    fn add_own(&mut self, mut asks: Vec<Ask>) {
        while !asks.is_empty() {
            let rest = asks.split_off(asks.len().min(BATCH));
            self.queue.push_back(Job::own(asks));
            asks = rest;
        }
    }

    /// Looks after every claim that waits, without touching it: what was pushed meanwhile is lost.
    fn look_after_waiters(&mut self) {
        let look = |lease| Ask::Keep(Keep { lease, ttl: Duration::ZERO, tokens: 0 });
        self.add_own(self.shared.desk.waiting().into_iter().map(look).collect());
    }

    /// Puts what was on its way back into the queue, for the next connection.
    fn turn_back(&mut self, why: &str) {
        let flights: Vec<Flight> = self.flights.drain(..).collect();
        for mut job in flights.into_iter().flat_map(|flight| flight.jobs).rev().collect::<Vec<_>>() {
            job.parts.iter_mut().for_each(|part| part.is_repeated = true);
            self.queue.push_front(job);
        }
        self.blame(why);
    }

    /// Counts a failure against everything that waits for the connection, and fails what has had enough of them.
    fn blame(&mut self, why: &str) {
        let attempts = self.shared.target.attempts;
        let queue = std::mem::take(&mut self.queue);
        for mut job in queue {
            job.tries += 1;
            if job.tries < attempts {
                self.queue.push_back(job);
            } else {
                job.fail(why);
            }
        }
    }

    /// Connects again, however long it takes; `None` when everything is closed. After some failures in a row, what is asked
    /// meanwhile fails at once.
    async fn reconnect(&mut self, before: Option<&Session>) -> Option<Link> {
        let shared = Arc::clone(&self.shared);
        let mut failures = 0;
        let mut pause = shared.target.delay;
        loop {
            let why = match self.meanwhile(open(&shared, before), failures).await? {
                Ok(link) => return Some(link),
                Err(error) => error.to_string(),
            };
            tracing::debug!(why, "redis cannot be reached");
            failures += 1;
            self.collect();
            self.blame(&why);
            // A quarter more or less, so that processes spread.
            let [jitter, ..] = LeaseId::random().to_bytes();
            let spread = pause.mul_f64(0.75 + 0.5 * f64::from(jitter) / 256.0);
            self.meanwhile(tokio::time::sleep(spread), failures).await?;
            pause = (pause * 2).min(LONGEST_PAUSE.max(shared.target.delay));
        }
    }

    /// Waits for `what`, and answers what is asked meanwhile where there is no hope; `None` when everything is closed.
    async fn meanwhile<T>(&mut self, what: impl Future<Output = T>, failures: u32) -> Option<T> {
        let shared = Arc::clone(&self.shared);
        let mut what = std::pin::pin!(what);
        loop {
            if shared.closed.load(Ordering::Acquire) {
                return None;
            }
            if failures >= shared.target.attempts {
                self.collect();
                self.queue.drain(..).for_each(|job| job.fail("the server cannot be reached"));
            }
            tokio::select! {
                done = &mut what => return Some(done),
                () = shared.arrived.notified() => {}
            }
        }
    }
}
