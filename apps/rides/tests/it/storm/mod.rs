//! Four processes on one store, rides booked and taken back as fast as they go, and everything that can die dying: no driver on two
//! rides, no ride lost, nobody and nothing left behind. Part of the optimised runs of `cargo xtask soak` alone.

mod checker;
mod journey;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rides::booking::{Booking, Driver};
use rustix::process::Signal;
use tenure::lease::{Kind, Query};
use tenure_testkit::{Ground, Instance, Setup};

use self::checker::judge;
use self::journey::{Traveller, Urls};
use crate::stores::Served;

/// Steps of a storm.
const STEPS: usize = 102_400;
const INSTANCES: usize = 4;
const CLIENTS: usize = 48;
/// Locks of a second: a stop of one and a half outlasts them.
const SETTINGS: &str = "lock_ttl_ms = 1000";
const STOP: Duration = Duration::from_millis(1_500);

/// What is served.
const PROGRAM: &str = env!("CARGO_BIN_EXE_rides");

/// One storm at a time: each has four processes.
static STORM: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn storm(setup: Setup) {
    let _storm = STORM.lock().await;
    let mut ground = tokio::task::spawn_blocking(move || Ground::of_its_own(setup)).await.unwrap();
    let mut random = StdRng::seed_from_u64(tenure_testkit::seed());
    let mut instances: Vec<Instance> =
        (0..INSTANCES).map(|_| Instance::start(PROGRAM, &ground, SETTINGS)).collect();
    let urls: Urls = Arc::new(RwLock::new(instances.iter().map(|instance| instance.url.clone()).collect()));
    let (done, rides) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            // A stopped instance answers when it goes on: somebody else is asked before that.
            let client = reqwest::Client::builder().timeout(Duration::from_secs(3)).build().unwrap();
            let random = StdRng::seed_from_u64(random.random());
            let mut traveller =
                Traveller { client, urls: Arc::clone(&urls), random, done: Arc::clone(&done) };
            let rides = Arc::clone(&rides);
            tokio::spawn(async move {
                while traveller.done.load(Ordering::Relaxed) < STEPS {
                    let ride = traveller.ride().await;
                    rides.lock().push(ride);
                }
            })
        })
        .collect();
    let (mut kills, mut stops) = (0, 0);
    while done.load(Ordering::Relaxed) < STEPS && clients.iter().all(|client| !client.is_finished()) {
        let victim = random.random_range(0..INSTANCES);
        match random.random_range(0..5) {
            0 | 1 => {
                instances[victim] = Instance::start(PROGRAM, &ground, SETTINGS);
                urls.write()[victim].clone_from(&instances[victim].url);
                kills += 1;
            }
            2 | 3 => {
                instances[victim].signal(Signal::STOP);
                tokio::time::sleep(STOP).await;
                instances[victim].signal(Signal::CONT);
                stops += 1;
            }
            _ => ground = tokio::task::spawn_blocking(move || ground.restart_a_store()).await.unwrap(),
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(100..400))).await;
    }
    for client in clients {
        client.await.unwrap();
    }
    drop(instances);
    let rides = std::mem::take(&mut *rides.lock());
    let after = Served::on(&ground).await;
    let (bookings, drivers) = read(&after).await;
    let wrong = judge(&rides, &bookings, &drivers);
    assert!(
        wrong.is_empty(),
        "{setup:?}: {} faults, the first: {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(5)]
    );
    no_lock_is_left(&after).await;
    let completed = rides.iter().filter(|ride| ride.is_completed).count();
    println!("{setup:?}: {} rides, {completed} completed, {kills} kills, {stops} stops", rides.len());
    assert!(completed > rides.len() / 10, "{setup:?}: most had no driver");
}

async fn read(rides: &Served) -> (Vec<Booking>, Vec<Driver>) {
    let store = &rides.rides.store;
    let bookings = store.newest(u32::try_from(2 * STEPS).unwrap()).await.unwrap();
    (bookings, store.drivers(0, 1_000).await.unwrap())
}

/// What dead processes held has ended by itself.
async fn no_lock_is_left(rides: &Served) {
    let provider = rides.rides.locks.provider();
    let empty = async {
        while !provider.list(&Query::new(Kind::Leases, "")).await.unwrap().entries.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), empty).await.expect("locks of a second end");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_driver_is_on_two_rides_whatever_dies_over_files() {
    storm(Setup::Files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_driver_is_on_two_rides_whatever_dies_over_postgresql() {
    storm(Setup::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_driver_is_on_two_rides_whatever_dies_over_postgresql_and_redis() {
    storm(Setup::PostgresAndRedis).await;
}
