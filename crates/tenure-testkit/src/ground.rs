//! What the tests of a service stand on: the set-ups that services know, and instances of their programs.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{PostgresServer, RedisConfig, RedisServer};

/// What a service stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// Files alone.
    Files,
    /// PostgreSQL for the data and the locks.
    Postgres,
    /// PostgreSQL for the data, Redis for the rest.
    PostgresAndRedis,
}

/// All of them.
pub const SETUPS: [Setup; 3] = [Setup::Files, Setup::Postgres, Setup::PostgresAndRedis];

/// What a service reads from its environment: an instance has of it what its ground says, and nothing else.
const VARIABLES: [&str; 8] =
    ["TENURE_URL", "REDIS_URL", "REDIS_CONN", "REDIS_HOST", "DATABASE_URL", "DB_HOST", "PORT", "RUST_LOG"];

/// The PostgreSQL server that the tests of this process share. Blocks at the first call.
pub fn shared_postgres() -> &'static PostgresServer {
    static SERVER: OnceLock<PostgresServer> = OnceLock::new();
    SERVER.get_or_init(PostgresServer::start)
}

/// The URL of a fresh database on [`shared_postgres`].
pub async fn fresh_database() -> String {
    tokio::task::spawn_blocking(|| shared_postgres().url(&shared_postgres().database())).await.unwrap()
}

/// Stores of a set-up that any number of instances may stand on.
#[derive(Debug)]
pub struct Ground {
    dir: TempDir,
    database: Option<String>,
    redis: Option<RedisServer>,
    /// A database server of its own, where it is to be restarted.
    postgres: Option<PostgresServer>,
}

impl Ground {
    /// Fresh stores. Redis is a server of its own, since it is emptied, stopped and killed.
    pub async fn new(setup: Setup) -> Self {
        let database = if setup == Setup::Files { None } else { Some(fresh_database().await) };
        let redis = match setup {
            Setup::PostgresAndRedis => Some(tokio::task::spawn_blocking(RedisServer::start).await.unwrap()),
            _ => None,
        };
        Ground::over(database, redis)
    }

    /// A directory, a database and a Redis.
    pub fn over(database: Option<String>, redis: Option<RedisServer>) -> Self {
        Ground { dir: tempfile::tempdir().unwrap(), database, redis, postgres: None }
    }

    /// Fresh stores that keep what they have when they are killed, and that nobody else uses. Blocks.
    pub fn of_its_own(setup: Setup) -> Self {
        let postgres = (setup != Setup::Files).then(PostgresServer::start);
        let redis = (setup == Setup::PostgresAndRedis).then(|| RedisConfig::default().append_only().start());
        let database = postgres.as_ref().map(|server| server.url(&server.database()));
        Ground { postgres, ..Ground::over(database, redis) }
    }

    /// What the environment of a service on this ground says.
    pub fn variable(&self, name: &str) -> Option<String> {
        match name {
            "DATABASE_URL" => self.database.clone(),
            "REDIS_URL" => self.redis.as_ref().map(RedisServer::url),
            _ => None,
        }
    }

    /// Kills a server and starts it again with what it had; Redis and PostgreSQL by turns, where both are there. Blocks.
    #[must_use]
    pub fn restart_a_store(mut self) -> Self {
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
    pub fn redis(&mut self) -> &mut RedisServer {
        self.redis.as_mut().unwrap()
    }

    /// Where services on it keep their files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// A service as a process of its own, which can be killed, stopped and started again. It is killed when the value is dropped.
#[derive(Debug)]
pub struct Instance {
    process: Child,
    /// `http://127.0.0.1:port`.
    pub url: String,
}

impl Instance {
    /// Starts the program at `path` with these settings, in TOML, and waits until it serves.
    pub fn start(path: &str, ground: &Ground, settings: &str) -> Self {
        let file = tempfile::Builder::new().suffix(".toml").tempfile_in(ground.dir()).unwrap();
        let (mut file, config) = file.keep().unwrap();
        file.write_all(settings.as_bytes()).unwrap();
        let mut command = Command::new(path);
        for name in VARIABLES {
            match ground.variable(name) {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.args(["--listen", "127.0.0.1:0", "--data"]).arg(ground.dir()).arg("--config").arg(config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut said = BufReader::new(process.stderr.take().unwrap());
        let mut start = String::new();
        let url = loop {
            let before = start.len();
            assert!(said.read_line(&mut start).unwrap() > 0, "{path} ended before it served: {start}");
            if let Some((_, url)) = start[before..].trim().split_once("listening on ") {
                break url.to_owned();
            }
        };
        // Read on, or it would wait for its own log; shown when the test fails.
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                println!("instance: {line}");
            }
        });
        Instance { process, url }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
