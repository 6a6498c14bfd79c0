//! What callers and the driver share: the way in for asks, the claims of this process, and how the connection is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::desk::Desk;
use super::job::{Answers, Ask, Job};
use super::url::Target;
use super::words::Listener;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::provider::Load;

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
    /// Why the server cannot be trusted with new locks now.
    pub(super) distrust: Mutex<Option<Error>>,
    jobs: Mutex<Vec<Job>>,
    pub(super) arrived: Notify,
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
            distrust: Mutex::default(),
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
        if claims > 0
            && let Some(error) = &*self.distrust.lock()
        {
            return Err(Error::unavailable("redis", error.what().to_owned()));
        }
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

    /// Ends the driver; what is left is answered with an error.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.arrived.notify_one();
    }
}

fn closed() -> Error {
    Error::unavailable("redis", "the connection is closed")
}
