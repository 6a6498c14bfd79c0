//! `rides load`: rides that come at a rate, whether those before them were served or not.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tenure::Clock;
use tenure::clock::Instant;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::client::{Assigned, RIDERS, Service};
use super::report::Report;

/// Books rides at a rate, takes each to its end, and reports how it went; exits with 1 when one had no driver.
#[derive(Debug, Args)]
pub struct Load {
    /// The service
    #[arg(long, default_value = "http://127.0.0.1:3000")]
    url: String,
    /// Rides a second
    #[arg(long, default_value_t = 50)]
    rate: u32,
    /// How many may be under way at a time
    #[arg(long, default_value_t = 128)]
    concurrency: usize,
    /// For how long
    #[arg(long, default_value_t = 10)]
    seconds: u32,
}

/// Runs a load, and prints how it went.
///
/// # Errors
/// When the service cannot be asked, or a ride had no driver.
pub async fn load(load: Load) -> Result<()> {
    let service = Service::new(&load.url);
    let mut report = Report::new(service.read("/api/locks/stats").await?)?;
    let (clock, slots) = (Clock::system(), Arc::new(Semaphore::new(load.concurrency)));
    let (began, mut rides) = (clock.now(), JoinSet::new());
    for number in 0..load.rate * load.seconds {
        // Counted from when it was due: a service that falls behind is not spared.
        let due = began + Duration::from_secs(1) * number / load.rate.max(1);
        clock.sleep_until(due).await;
        let slot = Arc::clone(&slots).acquire_owned().await.context("the slots are never closed")?;
        let (service, random) = (service.clone(), StdRng::seed_from_u64(u64::from(number)));
        rides.spawn(async move {
            let done = ride(&service, random, clock, due).await;
            drop(slot);
            done
        });
    }
    while let Some(ride) = rides.join_next().await {
        let (assigned, took) = ride.context("a ride panicked")??;
        match assigned {
            Assigned::Driver(driver) => {
                report.drivers.insert(driver);
                report.booked.record(u64::try_from(took.as_micros())?)?;
            }
            Assigned::Refused(why) => *report.refused.entry(why).or_default() += 1,
        }
    }
    report.took = began.until(clock.now());
    report.locks.1 = service.read("/api/locks/stats").await?;
    print!("{report}");
    anyhow::ensure!(report.failed() == 0, "{} rides had no driver", report.failed());
    Ok(())
}

/// One ride from its request to its end; how long it took to have a driver.
async fn ride(
    service: &Service,
    mut random: StdRng,
    clock: Clock,
    due: Instant,
) -> Result<(Assigned, Duration)> {
    let booking = service.book(random.random_range(1..=RIDERS), &mut random).await?;
    let assigned = service.assign(booking).await?;
    let took = due.until(clock.now());
    if let Assigned::Driver(driver) = assigned {
        service.finish(booking, driver).await?;
    }
    Ok((assigned, took))
}
