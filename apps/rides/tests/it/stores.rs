//! The servers that the tests share, and rides over them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rides::{Config, Rides, Work};
use serde_json::{Value, json};
use tempfile::TempDir;
use tenure_server::stores::Stores;
use tenure_testkit::{PostgresServer, RedisConfig, RedisServer};
use tokio::net::TcpListener;

/// The PostgreSQL server of this run.
pub(crate) fn postgres() -> &'static PostgresServer {
    static SERVER: OnceLock<PostgresServer> = OnceLock::new();
    SERVER.get_or_init(PostgresServer::start)
}

/// What rides stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setup {
    /// Files alone.
    Files,
    /// PostgreSQL for the database and the locks.
    Postgres,
    /// PostgreSQL for the database, Redis for locks and the index.
    PostgresAndRedis,
}

pub(crate) const SETUPS: [Setup; 3] = [Setup::Files, Setup::Postgres, Setup::PostgresAndRedis];

/// Stores of a set-up that any number of instances may stand on.
#[derive(Debug)]
#[cfg_attr(debug_assertions, allow(dead_code, reason = "storms are part of the optimised runs alone"))]
pub(crate) struct Ground {
    stores: Stores,
    dir: TempDir,
    redis: Option<RedisServer>,
    /// A database server of its own, where it is to be restarted.
    postgres: Option<PostgresServer>,
}

#[cfg_attr(debug_assertions, allow(dead_code, reason = "storms are part of the optimised runs alone"))]
impl Ground {
    /// Fresh stores. Redis is a server of its own, since it is stopped and killed.
    pub(crate) async fn new(setup: Setup) -> Self {
        tokio::task::spawn_blocking(move || {
            let database = (setup != Setup::Files).then(|| postgres().url(&postgres().database()));
            Ground::over(database, (setup == Setup::PostgresAndRedis).then(RedisServer::start))
        })
        .await
        .unwrap()
    }

    /// Files, and a Redis of its own.
    pub(crate) fn over(database: Option<String>, redis: Option<RedisServer>) -> Self {
        let variable = |name: &str| match name {
            "DATABASE_URL" => database.clone(),
            "REDIS_URL" => redis.as_ref().map(RedisServer::url),
            _ => None,
        };
        Ground { stores: Stores::of(variable), dir: tempfile::tempdir().unwrap(), redis, postgres: None }
    }

    /// Fresh stores that keep what they have when they are killed, and that nobody else uses. Blocks.
    pub(crate) fn of_its_own(setup: Setup) -> Self {
        let postgres = (setup != Setup::Files).then(PostgresServer::start);
        let redis = (setup == Setup::PostgresAndRedis).then(|| RedisConfig::default().append_only().start());
        let database = postgres.as_ref().map(|server| server.url(&server.database()));
        Ground { postgres, ..Ground::over(database, redis) }
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

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its Redis server.
    pub(crate) fn redis(&mut self) -> &mut RedisServer {
        self.redis.as_mut().unwrap()
    }

    /// Rides on these stores, served: another instance each time.
    pub(crate) async fn serve(&self) -> Served {
        let rides = Rides::open(&self.stores, self.dir.path(), &Config::default()).await.unwrap();
        Served::of(rides).await
    }
}

/// Rides that are served on a port of their own until the runtime of the test ends.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) rides: Arc<Rides>,
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

    /// The data of an answer that must have this status.
    pub(crate) fn data(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        let body = self.json();
        assert_eq!(body["success"], true, "{}", self.text);
        body["data"].clone()
    }

    /// That it is a failure with this status and these words, and nothing else.
    pub(crate) fn fails(&self, status: u16, message: &str, error: &str) {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.json(), json!({"success": false, "message": message, "error": error}));
    }
}

impl Served {
    pub(crate) async fn of(rides: Rides) -> Self {
        let rides = Arc::new(rides);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = tenure_server::Config::default();
        let app = rides::router(&rides, config.clone());
        tokio::spawn(tenure_server::serve(listener, app, config, std::future::pending()));
        let work = rides.start();
        Served { address, rides, _work: work, client: reqwest::Client::new() }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn ask(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        Answer { status: response.status().as_u16(), text: response.text().await.unwrap() }
    }

    /// A POST to be completed.
    pub(crate) fn to(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.post(self.url(path))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(self.client.get(self.url(path))).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(self.to(path).json(&body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.ask(self.client.patch(self.url(path)).json(&body)).await
    }

    /// Asks for a ride in the middle of the city, and tells its number.
    pub(crate) async fn book(&self, rider: i64) -> i64 {
        let made = self.post("/api/bookings", ride(rider)).await;
        made.data(201)["id"].as_i64().unwrap()
    }

    pub(crate) async fn assign(&self, booking: i64) -> Answer {
        self.post(&format!("/api/bookings/{booking}/assign"), json!({})).await
    }

    /// Books and assigns a ride, and tells the numbers of the booking and its driver.
    pub(crate) async fn ride(&self, rider: i64) -> (i64, i64) {
        let booking = self.book(rider).await;
        let driver = self.assign(booking).await.data(200)["driver"]["id"].as_i64().unwrap();
        (booking, driver)
    }

    pub(crate) async fn booking(&self, id: i64) -> Value {
        self.get(&format!("/api/bookings/{id}")).await.data(200)
    }

    pub(crate) async fn driver(&self, id: i64) -> Value {
        self.get(&format!("/api/drivers/{id}")).await.data(200)
    }

    /// All drivers.
    pub(crate) async fn drivers(&self) -> Vec<Value> {
        self.get("/api/drivers").await.data(200).as_array().unwrap().clone()
    }

    /// That whatever happened, no driver is on two rides, and exactly those are busy who are on one.
    pub(crate) async fn is_sound(&self) {
        let mut active = Vec::new();
        for rider in 1..=10 {
            for status in ["assigned", "accepted"] {
                let path = format!("/api/users/{rider}/bookings?user_type=rider&status={status}");
                let bookings = self.get(&path).await.data(200);
                let of = |booking: &Value| booking["driver_id"].as_i64().unwrap();
                active.extend(bookings.as_array().unwrap().iter().map(of));
            }
        }
        active.sort_unstable();
        let drivers = self.drivers().await;
        let busy = drivers.iter().filter(|driver| driver["status"] == "busy");
        let busy: Vec<i64> = busy.map(|driver| driver["id"].as_i64().unwrap()).collect();
        assert_eq!(active, busy);
    }
}

/// A ride in the middle of the city.
pub(crate) fn ride(rider: i64) -> Value {
    json!({"rider_id": rider, "pickup_lat": 40.7128, "pickup_lng": -74.0060, "dropoff_lat": 40.7589, "dropoff_lng": -73.9851,
           "estimated_fare": 15.50})
}

/// The fields of an object, in the order of their names.
pub(crate) fn fields(value: &Value) -> Vec<String> {
    let mut names: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
    names.sort_unstable();
    names
}

/// That a text is a moment: ISO 8601 in UTC, with milliseconds.
pub(crate) fn is_moment(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.parse::<rides::time::Timestamp>().is_ok())
}
