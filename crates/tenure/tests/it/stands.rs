//! How the suite has each store.

use std::sync::Arc;

use tenure::file::File;
use tenure::http::Http;
use tenure::memory::Memory;
use tenure::provider::{Fut, Provider};
use tenure::redis::Redis;
use tenure::{Clock, Locks, Settings};
use tenure_server::Config;
use tenure_testkit::{Relay, Stand, Time};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The memory store, in the paused time of tokio. Every process of a test is another handle of it.
pub(crate) struct MemoryStand(Memory);

impl Stand for MemoryStand {
    fn start(clock: Clock) -> Fut<'static, Self> {
        Box::pin(async move { MemoryStand(Memory::new(clock)) })
    }

    fn time() -> Time {
        Time::Paused
    }

    fn open(&self) -> Fut<'_, Arc<dyn Provider>> {
        Box::pin(async { Arc::new(self.0.clone()) as Arc<dyn Provider> })
    }

    fn records(&self) -> Fut<'_, Option<u64>> {
        Box::pin(async { None })
    }
}

/// The memory store behind a wire, so that no way in is immediate and every lease has a ttl that runs out.
pub(crate) struct WireStand(Memory, Clock);

impl Stand for WireStand {
    fn start(clock: Clock) -> Fut<'static, Self> {
        Box::pin(async move { WireStand(Memory::new(clock), clock) })
    }

    fn time() -> Time {
        Time::Paused
    }

    fn open(&self) -> Fut<'_, Arc<dyn Provider>> {
        Box::pin(async { Relay::over(Arc::new(self.0.clone()), self.1).0 })
    }

    fn records(&self) -> Fut<'_, Option<u64>> {
        Box::pin(async { None })
    }
}

/// A directory of its own. Every process of a test opens it anew.
pub(crate) struct FileStand(tempfile::TempDir, Clock);

impl Stand for FileStand {
    fn start(clock: Clock) -> Fut<'static, Self> {
        Box::pin(async move { FileStand(tempfile::tempdir().expect("a directory can be made"), clock) })
    }

    fn time() -> Time {
        Time::Real
    }

    fn open(&self) -> Fut<'_, Arc<dyn Provider>> {
        Box::pin(async {
            Arc::new(File::open(self.0.path(), self.1).await.expect("the store can be opened"))
                as Arc<dyn Provider>
        })
    }

    fn records(&self) -> Fut<'_, Option<u64>> {
        Box::pin(async { None })
    }
}

/// A lock server on a loopback port over a memory store. Every process of a test is a client of its own.
pub(crate) struct HttpStand {
    url: String,
    clock: Clock,
    server: JoinHandle<()>,
}

impl Stand for HttpStand {
    fn start(clock: Clock) -> Fut<'static, Self> {
        Box::pin(async move {
            let mut settings = Settings::default();
            settings.clock = clock;
            let locks = Locks::over(Arc::new(Memory::new(clock)), settings);
            let mut config = Config::default();
            config.max_ttl = tenure::limits::MAX_TTL;
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
            let url = format!("http://{}", listener.local_addr().expect("it is bound"));
            let app = tenure_server::router(&locks, config.clone());
            let server = tokio::spawn(async move {
                tenure_server::serve(listener, app, config, std::future::pending())
                    .await
                    .expect("it is loopback");
            });
            HttpStand { url, clock, server }
        })
    }

    fn time() -> Time {
        Time::Real
    }

    fn open(&self) -> Fut<'_, Arc<dyn Provider>> {
        Box::pin(async {
            Arc::new(Http::connect(&self.url, self.clock).expect("it is a url")) as Arc<dyn Provider>
        })
    }

    fn records(&self) -> Fut<'_, Option<u64>> {
        Box::pin(async { None })
    }
}

impl Drop for HttpStand {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A part of a Redis server of its own. Every process of a test connects anew.
pub(crate) struct RedisStand(String, Clock);

impl Stand for RedisStand {
    fn start(clock: Clock) -> Fut<'static, Self> {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        Box::pin(async move {
            let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            RedisStand(format!("redis://127.0.0.1:7399?prefix=t{}-{number}:", std::process::id()), clock)
        })
    }

    fn time() -> Time {
        Time::Real
    }

    fn open(&self) -> Fut<'_, Arc<dyn Provider>> {
        Box::pin(async {
            Arc::new(Redis::connect(&self.0, self.1).await.expect("the server is there")) as Arc<dyn Provider>
        })
    }

    fn records(&self) -> Fut<'_, Option<u64>> {
        Box::pin(async { None })
    }
}
