//! What a client of a storm does with one ride, each step asked again under its key until it is known what became of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use rand::Rng as _;
use rand::rngs::StdRng;
use reqwest::Client;
use serde_json::{Value, json};

use super::checker::Ride;

/// The instances as clients find them: where they listen now.
pub(crate) type Urls = Arc<RwLock<Vec<String>>>;

/// Refusals that say nothing of the booking: it is asked again.
const FOR_NOW: [&str; 3] =
    ["Failed to acquire lock", "The lock has passed", "The booking has changed meanwhile"];
/// Refusals that say that nobody is free.
const NOBODY: [&str; 2] = ["No available drivers found", "All nearby drivers are currently busy"];

/// One who asks.
pub(crate) struct Traveller {
    pub(crate) client: Client,
    pub(crate) urls: Urls,
    pub(crate) random: StdRng,
    pub(crate) done: Arc<AtomicUsize>,
}

impl Traveller {
    /// Takes one ride from its request to some end, and tells how it has to stand in the database from then on.
    pub(crate) async fn ride(&mut self) -> Ride {
        let rider = self.random.random_range(1..=10_i64);
        let place = |random: &mut StdRng| {
            (40.7128 + random.random_range(-0.04..0.04), -74.006 + random.random_range(-0.04..0.04))
        };
        let (from, to) = (place(&mut self.random), place(&mut self.random));
        let body = json!({"rider_id": rider, "pickup_lat": from.0, "pickup_lng": from.1, "dropoff_lat": to.0, "dropoff_lng": to.1,
                          "estimated_fare": "9.99"});
        let made = self.step("/api/bookings".to_owned(), body).await.expect("a booking is always made");
        let id = made["id"].as_i64().unwrap();
        let Ok(assigned) = self.step(format!("/api/bookings/{id}/assign"), json!({})).await else {
            // An attempt whose answer was lost may assign it still: it is taken back in any case.
            return self.cancel(id, rider, "rider", None).await;
        };
        let driver = assigned["driver"]["id"].as_i64().unwrap();
        let way = self.random.random_range(0..6);
        if way == 0 {
            return self.cancel(id, rider, "rider", Some(driver)).await;
        }
        if way == 1 {
            return self.cancel(id, driver, "driver", Some(driver)).await;
        }
        let accept = json!({"driver_id": driver});
        self.step(format!("/api/bookings/{id}/accept"), accept).await.expect("it is this driver's");
        if way == 2 {
            return self.cancel(id, rider, "rider", Some(driver)).await;
        }
        let complete = json!({"driver_id": driver, "actual_fare": "12.34"});
        self.step(format!("/api/bookings/{id}/complete"), complete)
            .await
            .expect("the driver has accepted it");
        Ride { id, rider, driver: Some(driver), is_completed: true }
    }

    async fn cancel(&mut self, id: i64, user: i64, side: &str, driver: Option<i64>) -> Ride {
        let body = json!({"reason": "storm", "user_id": user, "user_type": side});
        let row = self.step(format!("/api/bookings/{id}/cancel"), body).await.expect("it is not over");
        let rider = row["rider_id"].as_i64().unwrap();
        Ride { id, rider, driver, is_completed: false }
    }

    /// Asks for a step until it is known what became of it: the data of a success, or that nobody was free.
    async fn step(&mut self, path: String, body: Value) -> Result<Value, ()> {
        let key = format!("{:032x}", self.random.random::<u128>());
        loop {
            if let Some(known) = self.ask(&path, &body, &key).await {
                self.done.fetch_add(1, Ordering::Relaxed);
                return known;
            }
            let pause = self.random.random_range(5..50);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn ask(&mut self, path: &str, body: &Value, key: &str) -> Option<Result<Value, ()>> {
        let url = {
            let urls = self.urls.read();
            urls[self.random.random_range(0..urls.len())].clone()
        };
        let request = self.client.post(format!("{url}{path}")).header("idempotency-key", key).json(body);
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        let told: Value = answer.json().await.ok()?;
        let error = told["error"].as_str().unwrap_or_default();
        match status {
            200 | 201 => Some(Ok(told["data"].clone())),
            503 => None,
            400 if FOR_NOW.iter().any(|words| error.starts_with(words)) => None,
            400 if NOBODY.contains(&error) => Some(Err(())),
            _ => panic!("{path} {body} was answered {status} {told}"),
        }
    }
}
