//! `rides storm`: as many assignments as asked at the very same moment, and whether a driver was given away twice.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::Value;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::client::{Assigned, RIDERS, Service};

/// Assigns many rides at the very same moment, over one or more instances, and exits with 1 when a driver was given away twice.
#[derive(Debug, Args)]
pub struct Storm {
    /// An instance; may be named several times
    #[arg(long, default_values = ["http://127.0.0.1:3000"])]
    url: Vec<String>,
    /// How many rides are assigned at a moment
    #[arg(long, default_value_t = 100)]
    rides: usize,
    /// How often
    #[arg(long, default_value_t = 10)]
    rounds: usize,
}

/// Runs a storm, and prints how it went. The rides are cancelled after each round.
///
/// # Errors
/// When an instance cannot be asked, or a driver was given away twice.
pub async fn storm(storm: Storm) -> Result<()> {
    let services: Vec<Service> = storm.url.iter().map(|url| Service::new(url)).collect();
    let service = |number: usize| services.get(number % services.len()).context("at least one instance");
    let mut random = StdRng::seed_from_u64(1);
    for round in 1..=storm.rounds {
        let mut bookings = Vec::with_capacity(storm.rides);
        for number in 0..storm.rides {
            let rider = i64::try_from(number)? % RIDERS + 1;
            bookings.push((service(number)?.book(rider, &mut random).await?, rider));
        }
        let (start, mut asked) = (Arc::new(Barrier::new(storm.rides)), JoinSet::new());
        for (number, (booking, _)) in bookings.iter().copied().enumerate() {
            // By another instance than the one that made it.
            let (service, start) = (service(number / 2)?.clone(), Arc::clone(&start));
            asked.spawn(async move {
                start.wait().await;
                (booking, service.assign(booking).await)
            });
        }
        let (mut given, mut refused) = (HashMap::new(), 0);
        while let Some(answer) = asked.join_next().await {
            let (booking, assigned) = answer.context("a request panicked")?;
            match assigned? {
                Assigned::Driver(driver) => {
                    if let Some(other) = given.insert(driver, booking) {
                        bail!("driver {driver} has the rides {other} and {booking}");
                    }
                }
                Assigned::Refused(_) => refused += 1,
            }
        }
        are_busy(service(round)?, &given).await?;
        println!(
            "round {round}: {} rides at once, {} with a driver of their own, {refused} without",
            storm.rides,
            given.len()
        );
        for (booking, rider) in bookings {
            service(round)?.cancel(booking, rider).await?;
        }
    }
    Ok(())
}

/// That those who were given away are busy, each with the ride that was told.
async fn are_busy(service: &Service, given: &HashMap<i64, i64>) -> Result<()> {
    for (driver, booking) in given {
        let row = service.read(&format!("/api/drivers/{driver}")).await?;
        let is_busy = row.pointer("/data/status").is_some_and(|status| status == "busy");
        ensure!(is_busy, "driver {driver} has ride {booking} and is not busy");
        let row = service.read(&format!("/api/bookings/{booking}")).await?;
        let is_theirs = row.pointer("/data/driver_id").and_then(Value::as_i64) == Some(*driver);
        ensure!(is_theirs, "ride {booking} has another driver than {driver}");
    }
    Ok(())
}
