//! A store under test: [`Stand`] says how to have it, [`Stage`] is one set up for one test.

use std::fmt;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tenure::claim::{Claim, Digest};
use tenure::lease::{Claimed, Kind, Listed, Query};
use tenure::provider::{Fut, Provider};
use tenure::{Clock, Locks, Settings};

use crate::client::Client;
use crate::relay::{Relay, Wire};

/// How to have a store for a test: each test starts its own, empty.
pub trait Stand: Send + Sync + 'static {
    /// Sets up an empty store on `clock`. It ends when the value is dropped.
    fn start(clock: Clock) -> Fut<'static, Self>
    where
        Self: Sized;

    /// Which time the store lives in.
    fn time() -> Time
    where
        Self: Sized;

    /// A fresh way into the store, as another process would have it.
    fn open(&self) -> Fut<'_, Arc<dyn Provider>>;

    /// How many records the store keeps of any kind, where it can tell (G10).
    fn records(&self) -> Fut<'_, Option<u64>>;
}

/// The time that a store under test lives in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Time {
    /// The paused clock of tokio: waits cost nothing and are exact.
    Paused,
    /// The clock of the machine.
    Real,
}

/// A store that is set up for one test.
pub struct Stage {
    stand: Box<dyn Stand>,
    time: Time,
    clock: Clock,
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").field("time", &self.time).finish_non_exhaustive()
    }
}

impl Stage {
    /// Another process's way into the store, without an engine.
    pub async fn client(&self) -> Client {
        Client::new(self.stand.open().await, self.clock)
    }

    /// Another process's engine on the store.
    pub async fn locks(&self) -> Locks {
        self.over(self.stand.open().await)
    }

    /// Another process's engine on the store, with a network between that may fail.
    pub async fn far(&self) -> (Locks, Wire) {
        let (relay, wire) = Relay::over(self.stand.open().await, self.clock);
        (self.over(relay), wire)
    }

    fn over(&self, provider: Arc<dyn Provider>) -> Locks {
        let mut settings = Settings::default();
        settings.clock = self.clock;
        Locks::over(provider, settings)
    }

    /// Another process's provider of the store.
    pub async fn open(&self) -> Arc<dyn Provider> {
        self.stand.open().await
    }

    /// The clock of the test and of the store.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Whether time stands still but for what the test waits.
    pub fn is_paused(&self) -> bool {
        self.time == Time::Paused
    }

    /// Lets `span` pass.
    pub async fn pass(&self, span: Duration) {
        self.clock.sleep_until(self.clock.now() + span).await;
    }

    /// Lets the processes learn what the others hold and wait for, where a store lets that take time.
    pub async fn catch_up(&self, client: &Client) {
        self.pass(client.provider().caps().lag).await;
    }

    /// How late a thing may be that happens at an instant: scheduling, and trips to the store.
    pub fn slack(&self) -> Duration {
        match self.time {
            Time::Paused => Duration::from_millis(20),
            Time::Real => Duration::from_millis(1_500),
        }
    }

    /// How many records the store keeps, where it can tell.
    pub async fn records(&self) -> Option<u64> {
        self.stand.records().await
    }

    /// How many rounds of a stress test are worth their time on this store; `TENURE_ROUNDS` times as many where it is set.
    pub fn rounds(&self, paused: usize) -> usize {
        let times = std::env::var("TENURE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        match self.time {
            Time::Paused => paused * times,
            Time::Real => (paused / 10).max(1) * times,
        }
    }

    /// Waits until nothing is held or waited for, as `client` sees it.
    ///
    /// # Panics
    /// When something is left after `within`.
    pub async fn quiet(&self, client: &Client, within: Duration) {
        let deadline = self.clock.now() + within + self.slack();
        loop {
            let left = everything(client).await;
            // A list that lags behind is no proof: the records are.
            let lags = !client.provider().caps().lag.is_zero();
            if left.is_empty() && (!lags || self.records().await.is_none_or(|records| records == 0)) {
                return;
            }
            assert!(self.clock.now() < deadline, "left after {within:?}: {left:#?}");
            self.pass(Duration::from_millis(20)).await;
        }
    }

    /// Holds a name that is free within `within`: what a dropped call has sent may still be on its way, and its end behind it.
    ///
    /// # Panics
    /// When it is not.
    pub async fn hold_soon(&self, client: &Client, name: &str, within: Duration) -> Claim {
        let deadline = self.clock.now() + within + self.slack();
        loop {
            let claim = client.ask(name);
            match client.claim(&claim).await {
                Ok(Claimed::Granted(_)) => return claim,
                other => assert!(self.clock.now() < deadline, "not free after {within:?}: {other:?}"),
            }
            self.pass(Duration::from_millis(5)).await;
        }
    }
}

/// All leases and waiters, as `client` sees them.
pub async fn everything(client: &Client) -> Vec<Listed> {
    let mut found = client.list(&Query::new(Kind::Leases, "")).await;
    found.extend(client.list(&Query::new(Kind::Waiters, "")).await);
    found
}

/// The digests of a list, in its order.
pub fn digests(list: &[Listed]) -> Vec<Digest> {
    list.iter().map(|entry| entry.lease).collect()
}

/// Runs `test` on a fresh `S`, in a runtime of its own with the time of `S`.
///
/// # Panics
/// When the test does, or does not end.
pub fn play<S: Stand>(test: impl AsyncFnOnce(Stage)) {
    let time = S::time();
    let _watch = Watch::new();
    let mut builder = match time {
        Time::Paused => tokio::runtime::Builder::new_current_thread(),
        Time::Real => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.enable_all();
    if time == Time::Paused {
        builder.start_paused(true);
    } else {
        builder.worker_threads(2);
    }
    let runtime = builder.build().expect("a runtime can be built");
    runtime.block_on(async {
        let clock = match time {
            Time::Paused => Clock::tokio(),
            Time::Real => Clock::system(),
        };
        let stage = Stage { stand: Box::new(S::start(clock).await), time, clock };
        // Far beyond what any test takes, in either time.
        let limit = Duration::from_secs(180);
        tokio::time::timeout(limit, test(stage)).await.expect("the test ends within 180 s");
    });
    runtime.shutdown_timeout(Duration::from_secs(2));
}

/// Ends the process when a test spins: the time of its runtime stands still then, and no timeout of it would end it.
#[allow(dead_code, reason = "dropping it ends the watch")]
struct Watch(mpsc::Sender<()>);

impl Watch {
    fn new() -> Self {
        let (alive, gone) = mpsc::channel::<()>();
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        std::thread::spawn(move || {
            if gone.recv_timeout(Duration::from_secs(240)) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("the test {test} has run for 240 s");
                std::process::exit(101);
            }
        });
        Watch(alive)
    }
}
