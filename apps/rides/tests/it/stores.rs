//! The servers that the tests share, and rides over them.

use std::net::SocketAddr;
use std::sync::Arc;

use rides::{Config, Rides, Work};
use serde_json::{Value, json};
use tenure_server::stores::Stores;
use tenure_testkit::Ground;
use tokio::net::TcpListener;

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
    /// Rides on these stores, served: another instance each time.
    pub(crate) async fn on(ground: &Ground) -> Self {
        let stores = Stores::of(|name| ground.variable(name));
        Served::of(Rides::open(&stores, ground.dir(), &Config::default()).await.unwrap()).await
    }

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
