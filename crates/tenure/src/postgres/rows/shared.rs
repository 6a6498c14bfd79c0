//! What callers and the driver share: the way in for asks, the claims of this process, and how the connection is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::desk::Desk;
use super::job::{Answers, Ask, Job};
use super::words::Listener;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::postgres::link::Link;
use crate::postgres::url::Target;
use crate::provider::Load;

/// Claims of this process that may be on their way at a time; more wait for their turn.
const WINDOW: usize = 10_000;

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
    /// Connections that are open.
    pub(super) connections: AtomicU32,
    pub(super) closed: AtomicBool,
    /// The connection of the moment, for what is asked by itself, and whom it speaks for.
    way: Mutex<Option<(Arc<Link>, Listener)>>,
    jobs: Mutex<Vec<Job>>,
    pub(super) arrived: Notify,
    moved: Notify,
}

impl Shared {
    pub(super) fn new(target: Target, clock: Clock, listener: Listener) -> Self {
        Shared {
            places: Arc::new(Semaphore::new(WINDOW)),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            target,
            clock,
            desk: Desk::default(),
            listener,
            connections: AtomicU32::new(0),
            closed: AtomicBool::new(false),
            way: Mutex::default(),
            jobs: Mutex::default(),
            arrived: Notify::new(),
            moved: Notify::new(),
        }
    }

    /// Asks, and waits for the answers.
    pub(super) async fn ask(&self, asks: Vec<Ask>) -> Result<Answers> {
        let claims = asks.iter().filter(|ask| matches!(ask, Ask::Claim(_))).count();
        let place = if claims == 0 { None } else { Some(self.place(claims).await?) };
        let (mut job, answers) = Job::new(asks, place);
        for part in &mut job.parts {
            match &part.ask {
                Ask::Claim(claim) => part.is_repeated = self.desk.expect(claim),
                Ask::End(lease) => self.desk.ends(lease),
                Ask::Keep(_) => {}
            }
        }
        self.submit(job);
        answers.await.map_err(|_| closed())
    }

    /// Places for so many claims, as soon as there are.
    async fn place(&self, claims: usize) -> Result<OwnedSemaphorePermit> {
        // A job that is greater than the window has all of it.
        let wanted = u32::try_from(claims.min(WINDOW)).unwrap_or(u32::MAX);
        if let Ok(place) = Arc::clone(&self.places).try_acquire_many_owned(wanted) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(place);
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        Arc::clone(&self.places).acquire_many_owned(wanted).await.map_err(|_| closed())
    }

    /// How much of the window is in use.
    pub(super) fn load(&self) -> Load {
        let window = WINDOW as u64;
        Load {
            in_flight: window.saturating_sub(self.places.available_permits() as u64),
            limit: Some(window),
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            active_connections: self.connections.load(Ordering::Acquire).into(),
        }
    }

    fn submit(&self, job: Job) {
        let is_first = {
            let mut jobs = self.jobs.lock();
            jobs.push(job);
            jobs.len() == 1
        };
        if is_first {
            self.arrived.notify_one();
        }
    }

    /// What was asked since the last call.
    pub(super) fn take_jobs(&self) -> Vec<Job> {
        std::mem::take(&mut *self.jobs.lock())
    }

    /// Says over which connection the driver serves.
    pub(super) fn set_way(&self, way: Option<(Arc<Link>, Listener)>) {
        *self.way.lock() = way;
        self.moved.notify_waiters();
    }

    /// The connection that the driver serves over, as soon as there is one.
    ///
    /// # Errors
    /// `Unavailable` when there is none within the time that an answer may take.
    pub(super) async fn way(&self) -> Result<(Arc<Link>, Listener)> {
        let wait = async {
            loop {
                let moved = self.moved.notified();
                let way = self.way.lock().clone().filter(|(link, _)| !link.client.is_closed());
                if let Some(way) = way {
                    return way;
                }
                moved.await;
            }
        };
        let gone = || Error::unavailable("postgres", "the server cannot be reached");
        tokio::time::timeout(self.target.timeout, wait).await.map_err(|_| gone())
    }

    /// Ends the driver; what is left is answered with an error.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.arrived.notify_one();
    }
}

fn closed() -> Error {
    Error::unavailable("postgres", "the connection is closed")
}
