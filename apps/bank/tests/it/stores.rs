//! The servers that the tests share, and banks over them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bank::ledger::{Memory, Postgres, Sqlite, Store};
use bank::{Bank, Config, Work};
use serde_json::Value;
use tempfile::TempDir;
use tenure_server::stores::Stores;
use tenure_testkit::{PostgresServer, RedisConfig, RedisServer};
use tokio::net::TcpListener;

/// The PostgreSQL server of this run.
pub(crate) fn postgres() -> &'static PostgresServer {
    static SERVER: OnceLock<PostgresServer> = OnceLock::new();
    SERVER.get_or_init(PostgresServer::start)
}

/// A fresh database on it.
pub(crate) async fn database() -> String {
    tokio::task::spawn_blocking(|| postgres().url(&postgres().database())).await.unwrap()
}

/// Fresh books of each kind. A file lives as long as its directory.
pub(crate) async fn all() -> (Vec<Arc<dyn Store>>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let sqlite = Sqlite::open(&dir.path().join("bank.db")).unwrap();
    let postgres = Postgres::connect(&database().await).await.unwrap();
    (vec![Arc::new(Memory::default()), Arc::new(sqlite), Arc::new(postgres)], dir)
}

/// What a bank stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setup {
    /// Files alone.
    Files,
    /// PostgreSQL for books and locks.
    Postgres,
    /// PostgreSQL for the books, Redis for the rest.
    PostgresAndRedis,
}

pub(crate) const SETUPS: [Setup; 3] = [Setup::Files, Setup::Postgres, Setup::PostgresAndRedis];

/// Stores of a set-up that any number of banks may stand on.
#[derive(Debug)]
pub(crate) struct Ground {
    stores: Stores,
    dir: TempDir,
    redis: Option<RedisServer>,
    /// A database server of its own, where it is to be restarted.
    postgres: Option<PostgresServer>,
}

impl Ground {
    /// Fresh stores. Redis is a server of its own, since it is emptied, stopped and killed.
    pub(crate) async fn new(setup: Setup) -> Self {
        let database = if setup == Setup::Files { None } else { Some(database().await) };
        let redis = match setup {
            Setup::PostgresAndRedis => Some(tokio::task::spawn_blocking(RedisServer::start).await.unwrap()),
            _ => None,
        };
        Ground::over(database, redis, None)
    }

    /// Fresh stores that keep what they have when they are killed, and that nobody else uses. Blocks.
    pub(crate) fn of_its_own(setup: Setup) -> Self {
        let postgres = (setup != Setup::Files).then(PostgresServer::start);
        let redis = (setup == Setup::PostgresAndRedis).then(|| RedisConfig::default().append_only().start());
        let database = postgres.as_ref().map(|server| server.url(&server.database()));
        Ground::over(database, redis, postgres)
    }

    fn over(database: Option<String>, redis: Option<RedisServer>, postgres: Option<PostgresServer>) -> Self {
        let variable = |name: &str| match name {
            "DATABASE_URL" => database.clone(),
            "REDIS_URL" => redis.as_ref().map(RedisServer::url),
            _ => None,
        };
        Ground { stores: Stores::of(variable), dir: tempfile::tempdir().unwrap(), redis, postgres }
    }

    /// What a process has to be told to stand on the same stores.
    pub(crate) fn environment(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let database = self.stores.database.as_deref().map(|url| ("DATABASE_URL", url));
        let redis = self.stores.redis.as_deref().map(|url| ("REDIS_URL", url));
        database.into_iter().chain(redis)
    }

    /// Kills a server and starts it again with what it had; Redis and PostgreSQL by turns, where both are there. Blocks.
    pub(crate) fn restart_a_store(mut self) -> Self {
        match (&mut self.redis, &mut self.postgres) {
            (Some(redis), _) if rand::random() => {
                redis.kill();
                redis.restart();
            }
            (_, Some(postgres)) => {
                postgres.kill();
                postgres.restart();
            }
            _ => {}
        }
        self
    }

    /// Its Redis server.
    pub(crate) fn redis(&mut self) -> &mut RedisServer {
        self.redis.as_mut().unwrap()
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A bank on these stores, served: another instance each time.
    pub(crate) async fn serve(&self, config: Config) -> Served {
        Served::of(Bank::open(&self.stores, self.dir(), config).await.unwrap()).await
    }
}

/// A bank that is served on a port of its own until the runtime of the test ends.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) bank: Arc<Bank>,
    _work: Work,
    client: reqwest::Client,
}

/// What was answered: the status, and the body as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Served {
    pub(crate) async fn of(bank: Bank) -> Self {
        let bank = Arc::new(bank);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = tenure_server::Config::default();
        let app = bank::router(&bank, config.clone());
        tokio::spawn(tenure_server::serve(listener, app, config, std::future::pending()));
        let work = bank.start();
        Served { address, bank, _work: work, client: reqwest::Client::new() }
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn ask(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        Answer { status: response.status().as_u16(), text: response.text().await.unwrap() }
    }

    /// A POST to be completed.
    pub(crate) fn to(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.post(format!("http://{}{path}", self.address))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(self.client.get(format!("http://{}{path}", self.address))).await
    }

    /// What is answered as soon as it is what was waited for: the bank goes on beside a test.
    pub(crate) async fn until(&self, path: &str, is_it: impl Fn(&Answer) -> bool) -> Answer {
        let mut last = None;
        for _ in 0..3_000 {
            let answer = self.get(path).await;
            if is_it(&answer) {
                return answer;
            }
            last = Some(answer);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{path} went on answering {last:?}");
    }

    /// Posts a body as it stands.
    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.ask(self.to(path).header("content-type", "application/json").body(body.to_owned())).await
    }
}
