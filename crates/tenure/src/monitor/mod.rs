//! A monitor of locks: samples what they do, keeps the samples for a while, and raises alerts that are cleared when what was
//! wrong has healed.
//!
//! Rates are *windowed*: of what was done since the sample before, never since the beginning. When an alert is raised and
//! cleared is written in `rules.rs` and in `docs/monitoring.md`; the thresholds are [`Thresholds`].
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let locks = tenure::Locks::memory();
//! let monitor = tenure::Monitor::start(&locks, tenure::monitor::Settings::default());
//! monitor.sampled().await;
//! for alert in monitor.report().active() {
//!     println!("{}: {} at {}", alert.level.word(), alert.kind.word(), alert.value);
//! }
//! # }
//! ```

mod rules;
mod state;

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use self::rules::Look;
pub use self::rules::{Alert, AlertKind, Level};
use self::state::State;
use crate::clock::{Clock, Instant};
use crate::locks::{Locks, Shared};
use crate::metrics::Rates;

/// Samples that are kept: 8 hours at the default interval.
pub const MAX_SAMPLES: usize = 1_000;

/// Alerts that are kept, the active ones among them.
pub const MAX_ALERTS: usize = 100;

/// How long a ping may take: the interval, but no less than the first, so that a busy store has its chance, and no more than
/// the second, so that a store that hangs is told.
const PING: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// Settings of a [`Monitor`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Settings {
    /// How often it looks. Defaults to 30 s. A short one tells sooner what is wrong, and costs a ping each time.
    pub interval: Duration,
    /// From where on something is wrong.
    pub thresholds: Thresholds,
    /// Whether alerts are raised. Defaults to true.
    pub raise_alerts: bool,
    /// Whether samples are kept. Defaults to true.
    pub keep_samples: bool,
    /// Whether each sample is logged, at the level debug. Defaults to true. Alerts are logged in any case.
    pub log_samples: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            interval: Duration::from_secs(30),
            thresholds: Thresholds::default(),
            raise_alerts: true,
            keep_samples: true,
            log_samples: true,
        }
    }
}

/// From where on something is wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Thresholds {
    /// Per cent of attempts that get their lock, at the least. Defaults to 95.
    pub success: f64,
    /// How long a lock may take to get, in the mean. Defaults to 100 ms.
    pub mean_wait: Duration,
    /// Per cent of attempts that do not get their lock at the first try, at the most. Defaults to 10.
    pub contention: f64,
    /// Per cent of attempts that wait in vain, at the most. Defaults to 5.
    pub timeouts: f64,
    /// Per cent of requests that find a free place on the way to the store, at the least. Defaults to 80.
    pub pool_hits: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds {
            success: 95.0,
            mean_wait: Duration::from_millis(100),
            contention: 10.0,
            timeouts: 5.0,
            pool_hits: 80.0,
        }
    }
}

/// One sample that is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// When it was taken.
    pub at: Instant,
    /// What was done since the one before.
    pub rates: Rates,
    /// Whether the store answered its ping.
    pub answers: bool,
}

/// What a monitor knows at one moment.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// The last sample; `None` before the first.
    pub last: Option<Sample>,
    /// How much the worst of the active alerts matters. Without one, [`Level::Success`] while nobody was kept from a lock in
    /// the end (final contention of 0 %), else [`Level::Info`].
    pub level: Level,
    /// How many samples are kept, at most [`MAX_SAMPLES`].
    pub samples: usize,
    /// The alerts that are kept, at most [`MAX_ALERTS`]: the active ones, then those that were cleared, the last first.
    pub alerts: Vec<Alert>,
}

impl Report {
    /// The alerts that are active.
    pub fn active(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().filter(|alert| alert.cleared.is_none())
    }
}

/// A monitor that is running. Clones are the same one; it ends when the last is dropped, and at the latest an interval after
/// its locks were closed or dropped, which it does not keep alive.
#[derive(Debug, Clone)]
pub struct Monitor(Arc<Running>);

#[derive(Debug)]
struct Running {
    settings: Settings,
    state: Arc<Mutex<State>>,
    sampled: watch::Receiver<()>,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Monitor {
    /// Starts a monitor of `locks`: the first sample is taken at once, and tells whether the store answers.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(locks: &Locks, settings: Settings) -> Self {
        let state = Arc::new(Mutex::new(State::new(settings, locks.stats())));
        let (sender, sampled) = watch::channel(());
        let task = Task {
            locks: Arc::downgrade(&locks.0),
            clock: locks.clock(),
            settings,
            state: Arc::clone(&state),
            sampled: sender,
        };
        let task = tokio::spawn(task.run()).abort_handle();
        Monitor(Arc::new(Running { settings, state, sampled, task }))
    }

    /// How it was started.
    pub fn settings(&self) -> Settings {
        self.0.settings
    }

    /// What it knows now.
    pub fn report(&self) -> Report {
        self.0.state.lock().report()
    }

    /// The samples that are kept, the oldest first.
    pub fn samples(&self) -> Vec<Sample> {
        self.0.state.lock().samples().collect()
    }

    /// Waits for the next sample. False when there will be none, as the locks were closed or dropped.
    ///
    /// # Cancel safety
    /// May be dropped at any time and called again; a sample taken between two calls is missed.
    pub async fn sampled(&self) -> bool {
        let mut sampled = self.0.sampled.clone();
        sampled.mark_unchanged();
        sampled.changed().await.is_ok()
    }
}

/// What takes the samples.
struct Task {
    locks: Weak<Shared>,
    clock: Clock,
    settings: Settings,
    state: Arc<Mutex<State>>,
    sampled: watch::Sender<()>,
}

impl Task {
    async fn run(self) {
        let mut next = self.clock.now();
        while let Some(look) = self.look().await {
            self.state.lock().take(&look);
            self.sampled.send_replace(());
            // Samples that were missed, while the machine slept or the ping hung, are not made up for.
            next = (next + self.settings.interval).max(look.at);
            self.clock.sleep_until(next).await;
        }
    }

    /// Looks at the locks; `None` when they are closed or gone.
    async fn look(&self) -> Option<Look> {
        let locks = self.locks.upgrade().filter(|locks| locks.engine.is_open())?;
        let patience = self.settings.interval.clamp(PING.0, PING.1);
        let answer = tokio::time::timeout(patience, locks.engine.provider.ping()).await;
        if let Ok(Err(error)) = &answer {
            tracing::debug!(%error, "the store does not answer its ping");
        }
        Some(Look {
            at: self.clock.now(),
            stats: locks.engine.stats(),
            answers: matches!(answer, Ok(Ok(()))),
        })
    }
}
