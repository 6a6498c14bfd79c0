//! What can be set, with its defaults; and the handle that ends what would not end by itself.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The settings of a server. Every limit is answered with its name when it is hit.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The greatest ttl of a lease. Default 1 h, at most 24 h: a client that forgets a lease blocks others for so long.
    pub max_ttl: Duration,
    /// The longest wait of one call. Default 60 s, so that intermediaries do not cut it.
    pub max_wait: Duration,
    /// Names of one claim. Default 256; the store may take fewer.
    pub max_names: usize,
    /// Bytes of a request's body. Default 256 KiB: 256 names of 255 bytes fit four times.
    pub max_body: usize,
    /// Bytes of a request's head. Default and least 8 KiB.
    pub max_head: usize,
    /// Connections at a time; more wait to be accepted. Default 1,000, below the usual limit of descriptors.
    pub max_connections: usize,
    /// Readers of the event stream at a time. Default 64.
    pub max_subscribers: usize,
    /// Listeners of `POST /v1/listen` at a time, each a process that uses the library's client. Default 500.
    pub max_listeners: usize,
    /// Requests of one batch. Default 1,000.
    pub max_batch: usize,
    /// How long the head of a request may take once it began, and a new connection until its first. Default 5 s.
    pub head_timeout: Duration,
    /// How long the body of a request may take. Default 5 s.
    pub body_timeout: Duration,
    /// How long a connection may be idle between requests. Default 75 s, longer than most clients keep theirs.
    pub idle_timeout: Duration,
    /// How long a client may leave an answer unread. Default 10 s.
    pub write_timeout: Duration,
    /// How long the store may take for one step. Default 4 s, so that a 503 is out within 5 s.
    pub store_timeout: Duration,
    /// How long requests in flight may take after a shutdown began. Default 10 s.
    pub drain: Duration,
    /// How often the event stream looks at the store while somebody reads it. Default 500 ms.
    pub sample_every: Duration,
    /// How the locks are watched. Default: every 30 s, see [`tenure::monitor`].
    pub monitor: tenure::monitor::Settings,
    /// Ends event streams and long polls. Give the same one to [`router`](crate::router) and [`serve`](crate::serve).
    pub shutdown: Shutdown,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            max_ttl: Duration::from_secs(60 * 60),
            max_wait: Duration::from_secs(60),
            max_names: tenure::limits::MAX_NAMES,
            max_body: 256 * 1024,
            max_head: 8 * 1024,
            max_connections: 1_000,
            max_subscribers: 64,
            max_listeners: 500,
            max_batch: 1_000,
            head_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(10),
            store_timeout: Duration::from_secs(4),
            drain: Duration::from_secs(10),
            sample_every: Duration::from_millis(500),
            monitor: tenure::monitor::Settings::default(),
            shutdown: Shutdown::default(),
        }
    }
}

/// Tells a router that its server is ending. Clones are the same handle.
///
/// Event streams end and long polls are answered 503 as soon as it is told; otherwise either would keep a graceful
/// shutdown waiting. Requests in flight are finished.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    pub(crate) begun: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Shutdown {
    /// Begins the end. Final.
    pub fn begin(&self) {
        self.begun.cancel();
        self.tasks.close();
    }

    /// Resolves when the end has begun.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }
}
