//! One who books rides over HTTP.

use std::f64::consts::TAU;

use anyhow::{Context as _, Result, bail};
use rand::Rng as _;
use rand::rngs::StdRng;
use reqwest::Client;
use serde_json::{Value, json};

use crate::city::CENTRE;

/// How far from the middle of the city rides begin at most, in km: whoever drives in the demo city is within reach.
const REACH: f64 = 5.0;
/// How many riders the demo city has.
pub(super) const RIDERS: i64 = 10;

/// Rides at a URL.
#[derive(Clone, Debug)]
pub(super) struct Service {
    client: Client,
    url: String,
}

/// What became of an assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Assigned {
    /// A driver was found.
    Driver(i64),
    /// None was, and this is why.
    Refused(String),
}

impl Service {
    pub(super) fn new(url: &str) -> Self {
        Service { client: Client::new(), url: url.trim_end_matches('/').to_owned() }
    }

    /// Asks for a ride from somewhere in the city, and tells its number.
    pub(super) async fn book(&self, rider: i64, random: &mut StdRng) -> Result<i64> {
        let mut place =
            || CENTRE.towards(random.random_range(0.0..TAU), REACH * random.random::<f64>().sqrt());
        let (from, to) = (place(), place());
        let body = json!({"rider_id": rider, "pickup_lat": from.lat, "pickup_lng": from.lng, "dropoff_lat": to.lat,
                          "dropoff_lng": to.lng, "estimated_fare": "15.50"});
        let (status, answer) = self.post("/api/bookings", &body).await?;
        if status != 201 {
            bail!("a booking was not made status={status} answer={answer}");
        }
        answer.pointer("/data/id").and_then(Value::as_i64).context("a booking has a number")
    }

    /// Gives a ride to a driver.
    pub(super) async fn assign(&self, booking: i64) -> Result<Assigned> {
        let (status, answer) = self.post(&format!("/api/bookings/{booking}/assign"), &json!({})).await?;
        if status == 200 {
            let driver = answer.pointer("/data/driver/id").and_then(Value::as_i64);
            return Ok(Assigned::Driver(driver.context("a driver has a number")?));
        }
        let why = answer.get("error").and_then(Value::as_str).unwrap_or_default();
        Ok(Assigned::Refused(format!("{status} {why}")))
    }

    /// Takes a ride to its end.
    pub(super) async fn finish(&self, booking: i64, driver: i64) -> Result<()> {
        for (verb, body) in [
            ("accept", json!({"driver_id": driver})),
            ("complete", json!({"driver_id": driver, "actual_fare": "16.25"})),
        ] {
            let (status, answer) = self.post(&format!("/api/bookings/{booking}/{verb}"), &body).await?;
            if status != 200 {
                bail!("a ride could not go on verb={verb} status={status} answer={answer}");
            }
        }
        Ok(())
    }

    /// Takes a ride back.
    pub(super) async fn cancel(&self, booking: i64, rider: i64) -> Result<()> {
        let body = json!({"reason": "the storm is over", "user_id": rider, "user_type": "rider"});
        let (status, answer) = self.post(&format!("/api/bookings/{booking}/cancel"), &body).await?;
        if status != 200 {
            bail!("a ride could not be cancelled status={status} answer={answer}");
        }
        Ok(())
    }

    /// What is read at a path, of an answer that is 200.
    pub(super) async fn read(&self, path: &str) -> Result<Value> {
        let answer = self.client.get(format!("{}{path}", self.url)).send().await?.error_for_status()?;
        Ok(answer.json().await?)
    }

    async fn post(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        let answer = self.client.post(format!("{}{path}", self.url)).json(body).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }
}
