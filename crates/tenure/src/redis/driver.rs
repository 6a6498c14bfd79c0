//! The task that owns the connection: it sends what has gathered since the last flight in one go, hands the answers out,
//! listens to what the store says unasked, and connects again when the connection fails.
//!
//! A step whose connection fails is sent again over the next one, as often as the URL says: every step is idempotent by
//! its lease id. Before that the server is told to close the old connection, so that nothing of it can come late.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

use super::flight::{Crew, Flight};
use super::job::{Ask, Job};
use super::landing::Landing;
use super::link::{self, Intro, Link, Session};
use super::resp::{Args, Reply};
use super::shared::Shared;
use crate::claim::LeaseId;
use crate::clock::Instant;
use crate::error::{Error, Result};
use crate::name::Name;
use crate::provider::Keep;

/// Flights that are on their way at a time: while one is answered, the server works on the next.
const FLIGHTS: usize = 2;

/// How often late answers are looked for, and leases that the store should be told more of.
const TICK: Duration = Duration::from_millis(50);

/// A lease that is held for so long has its token told to the store, for lists.
const TELL_AFTER: Duration = Duration::from_millis(100);

/// How often the server is asked whether it may evict locks: an operator can change that while it runs.
const LOOK: Duration = Duration::from_secs(15);

/// Names that are remembered as busy at the most.
const MOST_BUSY: usize = 4_096;

/// Claims of one job of the driver's own.
const BATCH: usize = 256;

/// The longest pause between two tries to connect, as a multiple of the first: a second, unless the URL says otherwise.
const LONGEST_PAUSE: u32 = 10;

/// The task's own state.
struct Driver {
    shared: Arc<Shared>,
    queue: VecDeque<Job>,
    /// Empty, but where what arrives is moved through.
    arrived: Vec<Job>,
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

/// Connects, and serves from then on: on a thread of its own where the caller's runtime has several, so that none of them is
/// kept from its tasks, and as a task where it has one, so that no other thread has to be woken. The thread lasts until all is closed, the
/// task as long as its runtime.
///
/// # Errors
/// Those of connecting.
pub(super) async fn start(shared: &Arc<Shared>) -> Result<()> {
    if Handle::current().metrics().num_workers() == 1 {
        let link = open(shared, None).await?;
        resume(shared, Some(link));
        return Ok(());
    }
    let (opened, is_open) = oneshot::channel();
    let driven = Driven::new(shared);
    let serve = async move {
        let link = open(&driven.0, None).await;
        let (link, result) = link.map_or_else(|error| (None, Err(error)), |link| (Some(link), Ok(())));
        let is_wanted = opened.send(result).is_ok();
        if is_wanted && link.is_some() {
            run(driven, link).await;
        }
    };
    let runtime = Builder::new_current_thread().enable_all().build();
    let thread = runtime.and_then(|runtime| {
        let serve = move || runtime.block_on(serve);
        std::thread::Builder::new().name("tenure-redis".to_owned()).spawn(serve)
    });
    thread.map_err(|error| Error::unavailable("connect", format!("no thread could be started: {error}")))?;
    is_open.await.unwrap_or_else(|_| Err(Error::internal("connect", "the thread has ended")))
}

/// Serves as a task of the caller's runtime.
pub(super) fn resume(shared: &Arc<Shared>, first: Option<Link>) {
    tokio::spawn(run(Driven::new(shared), first));
}

/// Lives as long as the driver.
struct Driven(Arc<Shared>);

impl Driven {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.driven.store(true, Ordering::Release);
        Driven(Arc::clone(shared))
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.driven.store(false, Ordering::Release);
        // Whoever asks from now on sees that nobody drives.
        self.0.refuse_jobs();
    }
}

/// The driver: serves over one connection after the other until it is closed.
async fn run(driven: Driven, first: Option<Link>) {
    let shared = Arc::clone(&driven.0);
    let mut driver = Driver {
        shared,
        queue: VecDeque::new(),
        arrived: Vec::new(),
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
        // What the server was when the connection was made has been looked at.
        let mut look = tokio::time::interval_at(tokio::time::Instant::now() + LOOK, LOOK);
        *shared.distrust.lock() = None;
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
                _ = tick.tick(), if !self.flights.is_empty() || !self.untold.is_empty() || !self.queue.is_empty() => self.look_around()?,
                _ = look.tick() => self.add_own(vec![Ask::Command(Args::of(["INFO", "memory"]))]),
            }
        }
    }

    /// Takes in what callers have asked.
    fn collect(&mut self) {
        self.shared.take_jobs(&mut self.arrived);
        self.queue.extend(self.arrived.drain(..));
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
        let Landing { again, busy, calm, untold, undo, memory, lacks_script, broken } =
            flight.settle(&self.shared.desk, now);
        self.sends_script = lacks_script;
        if let Some(Reply::Text(memory)) = memory {
            let distrust = link::check_eviction(&String::from_utf8_lossy(&memory), &self.shared.target).err();
            if let Some(error) = &distrust {
                tracing::error!(%error, "no new locks are taken");
            }
            *self.shared.distrust.lock() = distrust;
        }
        for job in again.into_iter().rev() {
            self.queue.push_front(job);
        }
        if !undo.is_empty() {
            self.queue.push_front(Job::own(undo.into_iter().map(Ask::End)));
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
        let on_board = self.flights.iter_mut().flat_map(|flight| &mut flight.jobs);
        on_board.chain(&mut self.queue).for_each(|job| job.give_up(now));
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
            pause = (pause * 2).min(shared.target.delay * LONGEST_PAUSE);
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
            self.collect();
            let now = shared.clock.now();
            self.queue.iter_mut().for_each(|job| job.give_up(now));
            if failures >= shared.target.attempts {
                self.queue.drain(..).for_each(|job| job.fail("the server cannot be reached"));
            }
            tokio::select! {
                done = &mut what => return Some(done),
                () = shared.arrived.notified() => {}
                () = tokio::time::sleep(TICK), if !self.queue.is_empty() => {}
            }
        }
    }
}
