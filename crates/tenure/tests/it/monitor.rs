//! Each alert is raised by a condition that is real, and cleared when it has healed.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tenure::file::File;
use tenure::http::Http;
use tenure::metrics::Operation;
use tenure::monitor::{Alert, AlertKind, Level, Report, Settings};
use tenure::{Clock, Locks, Memory, Monitor};
use tenure_server::Config;
use tenure_testkit::{Fault, Step};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::metrics::{far, near, pass};

const SECOND: Duration = Duration::from_secs(1);

/// A monitor with the settings that it has by itself, in paused time.
fn watched(locks: &Locks) -> Monitor {
    Monitor::start(locks, Settings::default())
}

/// A monitor that looks often, for what lives in real time.
fn quick(locks: &Locks) -> Monitor {
    let mut settings = Settings::default();
    settings.interval = Duration::from_millis(50);
    Monitor::start(locks, settings)
}

fn active(monitor: &Monitor) -> BTreeSet<&'static str> {
    monitor.report().active().map(|alert| alert.kind.word()).collect()
}

/// Waits until the report is as wanted; the bound is far beyond what it takes.
async fn until(monitor: &Monitor, wanted: impl Fn(&Report) -> bool) -> Report {
    let seen = async {
        loop {
            let report = monitor.report();
            if wanted(&report) {
                return report;
            }
            assert!(monitor.sampled().await, "the monitor has ended: {report:?}");
        }
    };
    tokio::time::timeout(Duration::from_secs(600), seen).await.expect("it is so in time")
}

async fn until_raised(monitor: &Monitor, kind: AlertKind) -> Alert {
    let report = until(monitor, |report| report.active().any(|alert| alert.kind == kind)).await;
    *report.active().find(|alert| alert.kind == kind).unwrap()
}

/// Waits until no alert is active any more, and `kind` is among those that were.
async fn until_cleared(monitor: &Monitor, kind: AlertKind) {
    let report = until(monitor, |report| report.active().count() == 0).await;
    let alert = report.alerts.iter().find(|alert| alert.kind == kind).expect("it was raised");
    assert!(alert.cleared.unwrap() > alert.raised);
    assert_eq!(report.level, Level::Success);
}

/// Takes and releases free locks.
async fn work(locks: &Locks, times: usize) {
    for turn in 0..times {
        locks.lock(format!("work:{turn}")).acquire().await.unwrap().release().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn idle_locks_raise_no_alert() {
    for locks in [near(), far().0] {
        let monitor = watched(&locks);
        pass(&locks, Duration::from_secs(3_600)).await;
        let report = monitor.report();
        assert_eq!((report.alerts, report.level), (vec![], Level::Success));
        assert!(report.samples >= 119, "{}", report.samples);
        assert!(report.last.unwrap().answers);
        assert_eq!(report.last.unwrap().rates.success, None);
    }
}

#[tokio::test(start_paused = true)]
async fn read_heavy_traffic_raises_no_alert() {
    let locks = near();
    let monitor = watched(&locks);
    let held = locks.lock("hot").acquire().await.unwrap();
    for _ in 0..20 {
        (0..10_000).for_each(|_| locks.metrics().record(Operation::Read));
        // The one lock that is asked for now and then is busy, which says nothing about the reads.
        assert!(locks.lock("hot").try_acquire().await.unwrap().is_none());
        work(&locks, 30).await;
        monitor.sampled().await;
        assert_eq!(monitor.report().last.unwrap().rates.lock_free, 10_000);
    }
    drop(held);
    assert_eq!(monitor.report().alerts, []);
}

#[tokio::test(start_paused = true)]
async fn contention_and_low_success_are_told_while_a_lock_is_busy() {
    for locks in [near(), far().0] {
        let monitor = watched(&locks);
        let held = locks.lock("hot").acquire().await.unwrap();
        for _ in 0..30 {
            assert!(locks.lock("hot").try_acquire().await.unwrap().is_none());
        }
        let contention = until_raised(&monitor, AlertKind::Contention).await;
        assert_eq!((contention.level, contention.threshold), (Level::Info, 10.0));
        assert!(contention.value > 90.0);
        assert_eq!(active(&monitor), BTreeSet::from(["high_contention_rate", "low_success_rate"]));
        assert_eq!(monitor.report().level, Level::Critical);
        held.release().await.unwrap();
        work(&locks, 30).await;
        until_cleared(&monitor, AlertKind::Contention).await;
    }
}

/// Everybody gets the lock in the end: contention, but no lack of success.
#[tokio::test(start_paused = true)]
async fn slow_locks_are_told_while_many_wait_long_for_one() {
    for locks in [near(), far().0] {
        let monitor = watched(&locks);
        let held = locks.lock("hot").acquire().await.unwrap();
        let waiting: Vec<_> = (0..30)
            .map(|_| {
                let locks = locks.clone();
                tokio::spawn(async move { drop(locks.lock("hot").acquire().await.unwrap()) })
            })
            .collect();
        pass(&locks, SECOND).await;
        held.release().await.unwrap();
        for task in waiting {
            task.await.unwrap();
        }
        let slow = until_raised(&monitor, AlertKind::SlowLocks).await;
        assert!(slow.value > 900.0 && slow.threshold == 100.0, "{slow:?}");
        assert_eq!(active(&monitor), BTreeSet::from(["high_contention_rate", "high_lock_time"]));
        assert_eq!(monitor.report().level, Level::Warning);
        until_cleared(&monitor, AlertKind::SlowLocks).await;
    }
}

#[tokio::test(start_paused = true)]
async fn time_outs_are_told_while_waits_are_in_vain() {
    for locks in [near(), far().0] {
        let monitor = watched(&locks);
        pass(&locks, SECOND).await;
        let held = locks.lock("hot").acquire().await.unwrap();
        work(&locks, 20).await;
        let waits = (0..3).map(|_| locks.lock("hot").try_acquire_for(SECOND));
        for waited in futures_util::future::join_all(waits).await {
            assert!(waited.unwrap().is_none());
        }
        let timeouts = until_raised(&monitor, AlertKind::Timeouts).await;
        assert_eq!(timeouts.level, Level::Critical);
        held.release().await.unwrap();
        work(&locks, 30).await;
        until_cleared(&monitor, AlertKind::Timeouts).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_cut_off_is_unhealthy_until_the_way_is_mended() {
    let (locks, _, wire) = far();
    for fault in [Fault::LoseRequest, Fault::Hang] {
        let monitor = watched(&locks);
        pass(&locks, SECOND).await;
        assert_eq!(monitor.report().alerts, []);
        wire.set_all(fault);
        let unhealthy = until_raised(&monitor, AlertKind::Unhealthy).await;
        assert_eq!(unhealthy.level, Level::Critical);
        assert!(!monitor.report().last.unwrap().answers);
        wire.heal();
        until_cleared(&monitor, AlertKind::Unhealthy).await;
    }
}

/// Pings are answered, but no claim: the attempts say it.
#[tokio::test(start_paused = true)]
async fn a_store_that_answers_pings_alone_is_unhealthy() {
    let (locks, _, wire) = far();
    let monitor = watched(&locks);
    wire.set(Step::Claim, Fault::LoseRequest);
    for _ in 0..30 {
        assert!(locks.lock("a").try_acquire().await.is_err());
    }
    until_raised(&monitor, AlertKind::Unhealthy).await;
    assert!(monitor.report().last.unwrap().answers);
    wire.heal();
    work(&locks, 30).await;
    until_cleared(&monitor, AlertKind::Unhealthy).await;
}

/// A lock server over a memory store.
async fn serve(address: SocketAddr) -> (SocketAddr, Config, JoinHandle<tenure::Result<bool>>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let locks = Locks::over(Arc::new(Memory::new(Clock::system())), tenure::Settings::default());
    let config = Config::default();
    let app = tenure_server::router(&locks, config.clone());
    let shutdown = config.shutdown.clone();
    let served = tenure_server::serve(listener, app, config.clone(), async move { shutdown.begun().await });
    (address, config, tokio::spawn(served))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_server_that_is_stopped_is_unhealthy_until_it_is_started_again() {
    let (address, config, server) = serve(SocketAddr::from(([127, 0, 0, 1], 0))).await;
    let http = Http::connect(&format!("http://{address}"), Clock::system()).unwrap();
    let locks = Locks::over(Arc::new(http), tenure::Settings::default());
    let monitor = quick(&locks);
    work(&locks, 30).await;
    until(&monitor, |report| report.last.is_some_and(|last| last.answers)).await;
    assert_eq!(monitor.report().alerts, []);
    config.shutdown.begin();
    server.await.unwrap().unwrap();
    until_raised(&monitor, AlertKind::Unhealthy).await;
    assert!(locks.lock("a").try_acquire().await.is_err());
    let (_, config, server) = serve(address).await;
    until_cleared(&monitor, AlertKind::Unhealthy).await;
    work(&locks, 1).await;
    config.shutdown.begin();
    server.await.unwrap().unwrap();
}

/// Another process is stopped inside the gate of a directory: requests fill the room and wait in front of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_store_whose_room_is_full_is_told_until_it_moves_on() {
    let directory = tempfile::tempdir().unwrap();
    let file = File::open(directory.path(), Clock::system()).await.unwrap();
    let locks = Locks::over(Arc::new(file), tenure::Settings::default());
    let monitor = quick(&locks);
    let gate = std::fs::File::open(directory.path().join("gate")).unwrap();
    gate.lock().unwrap();
    let rush: Vec<_> = (0..4_000)
        .map(|turn| {
            let locks = locks.clone();
            tokio::spawn(async move { locks.lock(format!("rush:{turn}")).try_acquire().await.is_ok() })
        })
        .collect();
    let exhausted = until_raised(&monitor, AlertKind::PoolExhausted).await;
    assert!(exhausted.value < 80.0 && exhausted.level == Level::Warning, "{exhausted:?}");
    let load = locks.stats().load;
    assert!(load.misses > load.hits && load.in_flight > 900 && load.limit == Some(1_024), "{load:?}");
    gate.unlock().unwrap();
    futures_util::future::join_all(rush).await;
    until(&monitor, |report| report.active().all(|alert| alert.kind != AlertKind::PoolExhausted)).await;
    work(&locks, 30).await;
    until_cleared(&monitor, AlertKind::PoolExhausted).await;
}

#[tokio::test(start_paused = true)]
async fn a_monitor_ends_with_its_locks_and_keeps_neither_them_nor_itself_alive() {
    let locks = near();
    let monitor = watched(&locks);
    assert!(monitor.sampled().await);
    locks.close(SECOND).await;
    assert!(!monitor.sampled().await, "its locks are closed");
    let locks = near();
    let monitor = watched(&locks);
    assert!(monitor.sampled().await);
    let provider = Arc::downgrade(locks.provider());
    drop(locks);
    assert!(!monitor.sampled().await, "its locks are gone");
    assert!(provider.upgrade().is_none());
    let locks = near();
    let monitor = watched(&locks);
    let clone = monitor.clone();
    drop(monitor);
    assert!(clone.sampled().await, "a clone is left");
}
