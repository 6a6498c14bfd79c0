//! How the suite has each store.

mod rows;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tenure::file::File;
use tenure::http::Http;
use tenure::memory::Memory;
use tenure::provider::{Fut, Provider};
use tenure::redis::Redis;
use tenure::{Clock, Locks, Settings};
use tenure_server::Config;
use tenure_testkit::{PostgresServer, RedisServer, Relay, Stand, TcpProxy, Time, seed};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub(crate) use self::rows::{POOL, PooledRowsStand, RowsStand, database, pool};

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

/// A prefix of its own on a Redis server that all tests share. Every process of a test connects anew.
pub(crate) struct RedisStand(String, Clock);

/// The server that the tests share. It ends with the process of the tests.
pub(crate) fn redis() -> &'static RedisServer {
    static SERVER: OnceLock<RedisServer> = OnceLock::new();
    SERVER.get_or_init(RedisServer::start)
}

/// Another one, for tests that have it forget its scripts.
fn shaky() -> &'static RedisServer {
    static SERVER: OnceLock<RedisServer> = OnceLock::new();
    SERVER.get_or_init(RedisServer::start)
}

/// What the keys of one test begin with.
pub(crate) fn prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test{}:", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// How many keys there are under a prefix; ended claims, which are remembered for a minute, apart.
pub(crate) fn keys_under(server: &RedisServer, prefix: &str) -> u64 {
    let count = "local n = 0 for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
        if string.sub(key, #ARGV[1] + 1, #ARGV[1] + 2) ~= 'c:' or string.sub(redis.call('GET', key), 1, 1) ~= 'E' then n = n + 1 end
        end return n";
    server.command(&["EVAL", count, "0", prefix])
}

impl Stand for RedisStand {
    fn start(clock: Clock) -> Fut<'static, Self> {
        Box::pin(async move { RedisStand(prefix(), clock) })
    }

    fn time() -> Time {
        Time::Real
    }

    fn open(&self) -> Fut<'_, Arc<dyn Provider>> {
        Box::pin(async {
            let url = format!("{}?prefix={}", redis().url(), self.0);
            Arc::new(Redis::connect(&url, self.1).await.expect("the server is there")) as Arc<dyn Provider>
        })
    }

    fn records(&self) -> Fut<'_, Option<u64>> {
        Box::pin(async { Some(keys_under(redis(), &self.0)) })
    }
}

/// The same over a proxy, on a server that forgets its scripts again and again; with `TENURE_LOSS=0.3` the network also
/// loses three of ten replies, each with its connection.
pub(crate) struct ChaosStand {
    prefix: String,
    clock: Clock,
    proxy: TcpProxy,
    forgetting: JoinHandle<()>,
}

impl Stand for ChaosStand {
    fn start(clock: Clock) -> Fut<'static, Self> {
        Box::pin(async move {
            let proxy = TcpProxy::start(shaky().addr()).await;
            // Where replies are lost, tests of a ttl or a deadline see how long it takes to ask again: `TENURE_LOSS=0.3` is for a
            // soak, which looks at its failures one by one. Every run loses replies in tests that are made for it.
            if let Some(share) = std::env::var("TENURE_LOSS").ok().and_then(|text| text.parse().ok()) {
                proxy.chaos(seed(), share);
            }
            let forgetting = tokio::spawn(async {
                let mut every = tokio::time::interval(Duration::from_millis(97));
                loop {
                    every.tick().await;
                    let _: Result<(), _> =
                        tokio::task::spawn_blocking(|| shaky().command::<()>(&["SCRIPT", "FLUSH"])).await;
                }
            });
            ChaosStand { prefix: prefix(), clock, proxy, forgetting }
        })
    }

    fn time() -> Time {
        Time::Real
    }

    fn open(&self) -> Fut<'_, Arc<dyn Provider>> {
        Box::pin(async {
            let url = format!("redis://{}?prefix={}&attempts=60&delay_ms=1", self.proxy.addr(), self.prefix);
            loop {
                if let Ok(redis) = Redis::connect(&url, self.clock).await {
                    break Arc::new(redis) as Arc<dyn Provider>;
                }
            }
        })
    }

    fn records(&self) -> Fut<'_, Option<u64>> {
        Box::pin(async { Some(keys_under(shaky(), &self.prefix)) })
    }
}

impl Drop for ChaosStand {
    fn drop(&mut self) {
        self.forgetting.abort();
    }
}

/// A database of its own on a PostgreSQL server that all tests share. Every process of a test connects anew.
pub(crate) struct AdvisoryStand(String, Clock);

/// The server that the tests share. It ends with the process of the tests.
pub(crate) fn postgres() -> &'static PostgresServer {
    static SERVER: OnceLock<PostgresServer> = OnceLock::new();
    SERVER.get_or_init(PostgresServer::start)
}

impl Stand for AdvisoryStand {
    fn start(clock: Clock) -> Fut<'static, Self> {
        Box::pin(async move {
            let database = tokio::task::spawn_blocking(|| postgres().database()).await;
            AdvisoryStand(database.expect("a database can be made"), clock)
        })
    }

    fn time() -> Time {
        Time::Real
    }

    fn open(&self) -> Fut<'_, Arc<dyn Provider>> {
        Box::pin(async {
            let url = postgres().url(&self.0);
            tenure::postgres::connect(&url, self.1).await.expect("the server is there")
        })
    }

    fn records(&self) -> Fut<'_, Option<u64>> {
        Box::pin(async {
            let count = "select (select count(*) from tenure.directory_of_the_living) + (select count(*) from pg_locks l
                join pg_database d on d.oid = l.database where locktype = 'advisory' and datname = current_database())";
            let database = self.0.clone();
            let count = tokio::task::spawn_blocking(move || postgres().sql(&database, count));
            Some(count.await.expect("the server answers").parse().expect("it is a number"))
        })
    }
}
