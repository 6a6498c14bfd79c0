//! The task that owns the connections: it sends what has gathered since the last flight in one go, hands the answers out, and
//! connects again when a connection fails.
//!
//! A step whose connection fails is sent again over the next one: every step is idempotent by its lease id.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::flight::{Flight, Outcomes};
use super::job::{Ask, Job};
use super::landing::Landing;
use super::shared::Shared;
use super::way::Way;
use crate::claim::LeaseId;
use crate::provider::Keep;

/// Flights that are on their way at a time: while one is answered, the server works on the next.
const FLIGHTS: usize = 2;

/// Claims of one job of the driver's own.
const BATCH: usize = 256;

/// How often a step is tried when its connection fails.
const ATTEMPTS: u32 = 3;

/// The pause before the second try to connect, doubled for each further one up to the longest.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A flight and what comes of it; nothing when no answer came in time.
type Flying = Pin<Box<dyn Future<Output = (Flight, Option<Outcomes>)> + Send>>;

/// The task's own state.
struct Driver {
    shared: Arc<Shared>,
    queue: VecDeque<Job>,
    flights: FuturesUnordered<Flying>,
}

/// The task: serves over one way after the other until it is closed.
pub(super) async fn run(shared: Arc<Shared>, first: Option<Way>) {
    let mut driver = Driver { shared, queue: VecDeque::new(), flights: FuturesUnordered::new() };
    let mut way = first;
    loop {
        let mut current = match way.take() {
            Some(way) => way,
            None => match driver.reconnect().await {
                Some(way) => way,
                None => break,
            },
        };
        driver.shared.connections.store(current.connections(), Ordering::Release);
        let Err(why) = driver.serve(&mut current).await else { break };
        driver.shared.connections.store(0, Ordering::Release);
        tracing::warn!(why, "the connection to postgres is lost");
        // With the connection, what is on its way comes back.
        drop(current);
        driver.turn_back(&why).await;
    }
    driver.shared.connections.store(0, Ordering::Release);
    driver.collect();
    driver.queue.drain(..).for_each(|job| job.fail("the locks are closed"));
}

impl Driver {
    /// Serves over a way until it fails, or everything is closed.
    async fn serve(&mut self, way: &mut Way) -> Result<(), String> {
        self.look_after_waiters();
        let shared = Arc::clone(&self.shared);
        shared.set_way(Some((Arc::clone(&way.link), way.listener)));
        loop {
            self.collect();
            if shared.closed.load(Ordering::Acquire) && self.flights.is_empty() && self.queue.is_empty() {
                return Ok(());
            }
            while self.flights.len() < FLIGHTS && self.depart(way) {}
            tokio::select! {
                // What has come first makes room for what is to be sent.
                biased;
                Some((flight, outcomes)) = self.flights.next() => {
                    self.arrive(flight, outcomes)?;
                    // Those who were answered may have more to ask, which then goes together.
                    tokio::task::yield_now().await;
                }
                () = way.lost() => return Err("it was closed".to_owned()),
                () = shared.arrived.notified(), if self.flights.len() < FLIGHTS => {}
            }
        }
    }

    /// Takes in what callers have asked.
    fn collect(&mut self) {
        self.queue.extend(self.shared.take_jobs());
    }

    /// Sends what there is; whether there was anything.
    fn depart(&mut self, way: &Way) -> bool {
        let boarded = Flight::board(&mut self.queue, &self.shared.desk, self.shared.clock.now());
        let Some((flight, asked)) = boarded else { return false };
        let (link, listener, timeout) = (Arc::clone(&way.link), way.listener, self.shared.target.timeout);
        self.flights.push(Box::pin(async move {
            let outcomes = tokio::time::timeout(timeout, asked.send(link, listener)).await;
            (flight, outcomes.ok())
        }));
        true
    }

    fn arrive(&mut self, flight: Flight, outcomes: Option<Outcomes>) -> Result<(), String> {
        let Some(outcomes) = outcomes else {
            self.put_back(flight.jobs);
            return Err(format!("no answer within={:?}", self.shared.target.timeout));
        };
        let Landing { again, broken } = flight.settle(outcomes, &self.shared.desk, self.shared.clock.now());
        match broken {
            Some(why) => {
                self.put_back(again);
                Err(why)
            }
            None => {
                again.into_iter().rev().for_each(|job| self.queue.push_front(job));
                Ok(())
            }
        }
    }

    /// Puts jobs before all others, as ones that may have been done.
    fn put_back(&mut self, jobs: Vec<Job>) {
        for mut job in jobs.into_iter().rev() {
            job.parts.iter_mut().for_each(|part| part.is_repeated = true);
            self.queue.push_front(job);
        }
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
    async fn turn_back(&mut self, why: &str) {
        self.shared.set_way(None);
        // Their connection is closed: they come at once, with what was answered before.
        while let Some((flight, outcomes)) = self.flights.next().await {
            // An error says that the connection failed, as is known.
            let _ = self.arrive(flight, outcomes);
        }
        self.blame(why);
    }

    /// Counts a failure against everything that waits for the connection, and fails what has had enough of them.
    fn blame(&mut self, why: &str) {
        let queue = std::mem::take(&mut self.queue);
        for mut job in queue {
            job.tries += 1;
            if job.tries < ATTEMPTS {
                self.queue.push_back(job);
            } else {
                job.fail(why);
            }
        }
    }

    /// Connects again, however long it takes; `None` when everything is closed. After some failures in a row, what is asked
    /// meanwhile fails at once.
    async fn reconnect(&mut self) -> Option<Way> {
        let shared = Arc::clone(&self.shared);
        let mut failures = 0;
        let mut pause = PAUSE;
        loop {
            let why = match self.meanwhile(Way::open(&shared), failures).await? {
                Ok(way) => return Some(way),
                Err(error) => error.to_string(),
            };
            tracing::debug!(why, "postgres cannot be reached");
            failures += 1;
            self.collect();
            self.blame(&why);
            // A quarter more or less, so that processes spread.
            let [jitter, ..] = LeaseId::random().to_bytes();
            let spread = pause.mul_f64(0.75 + 0.5 * f64::from(jitter) / 256.0);
            self.meanwhile(tokio::time::sleep(spread), failures).await?;
            pause = (pause * 2).min(LONGEST_PAUSE);
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
            if failures >= ATTEMPTS {
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
