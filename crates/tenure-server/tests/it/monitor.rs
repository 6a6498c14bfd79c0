//! What the server counts of its clients, and the alerts that real conditions raise and clear.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tenure::http::Http;
use tenure::{Clock, Locks, Memory, Settings};
use tenure_server::{Config, router};

use crate::events::Events;
use crate::served::{Served, ask, lease_id, over};

/// A server whose monitor looks often.
fn quick() -> Config {
    let mut config = Config::default();
    config.monitor.interval = Duration::from_millis(50);
    config.sample_every = Duration::from_millis(50);
    config
}

fn kinds(alerts: &Value) -> BTreeSet<String> {
    alerts.as_array().unwrap().iter().map(|alert| alert["kind"].as_str().unwrap().to_owned()).collect()
}

/// Asks for `path` until its answer is as wanted; the bound is far beyond what it takes.
async fn until(server: &Served, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let asked = async {
        loop {
            let answer = server.get(path).await.ok(200).json;
            if wanted(&answer) {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asked).await.expect("it is so in time")
}

async fn until_active(server: &Served, kind: &str) -> Value {
    let alerts = until(server, "/v1/alerts", |alerts| kinds(&alerts["active"]).contains(kind)).await;
    alerts["active"].as_array().unwrap().iter().find(|alert| alert["kind"] == kind).unwrap().clone()
}

async fn until_cleared(server: &Served, kind: &str) {
    let healed = |alerts: &Value| alerts["active"] == json!([]) && kinds(&alerts["recent"]).contains(kind);
    let alerts = until(server, "/v1/alerts", healed).await;
    for alert in alerts["recent"].as_array().unwrap() {
        assert!(alert["raised_ms_ago"].as_u64() >= alert["cleared_ms_ago"].as_u64(), "{alert}");
    }
}

/// The fields of an object in the order in which they are sent.
fn fields(text: &str, first: &str, last: &str) -> Vec<String> {
    let quoted = text.split('"').skip(1).step_by(2).map(str::to_owned);
    let mut fields: Vec<String> = quoted.skip_while(|field| field != first).collect();
    fields.truncate(fields.iter().position(|field| field == last).unwrap() + 1);
    fields
}

#[tokio::test]
async fn the_reports_have_their_fields_in_their_order() {
    let server = Served::start().await;
    let stats = server.get("/v1/stats").await.ok(200).text;
    let metrics = [
        "locks_acquired",
        "locks_failed",
        "locks_released",
        "batch_locks_acquired",
        "batch_locks_failed",
        "lock_free_operations",
        "lock_timeout_count",
        "lock_contention_count",
        "avg_lock_acquisition_time_us",
        "avg_batch_lock_time_us",
        "connection_pool_hits",
        "connection_pool_misses",
        "active_connections",
        "total_operations",
        "active_locks",
        "success_rate",
    ];
    assert_eq!(fields(&stats, "locks_acquired", "success_rate"), metrics);
    let report = until(&server, "/v1/monitor", |report| report["last_check"].is_u64()).await;
    let text = server.get("/v1/monitor").await.ok(200).text;
    let current = [
        "current_metrics",
        "success_rate",
        "avg_lock_time_us",
        "contention_rate",
        "timeout_rate",
        "total_operations",
        "lock_free_operations",
        "connection_pool_hit_rate",
        "performance_history_count",
        "alert_history_count",
        "last_check",
        "redis_metrics",
    ];
    assert_eq!(fields(&text, "current_metrics", "redis_metrics"), current);
    assert_eq!(fields(&text, "redis_metrics", "config").len(), metrics.len() + 2);
    let config = json!({
        "monitoring_interval_secs": 30,
        "alert_threshold_success_rate": 95.0,
        "alert_threshold_avg_lock_time_ms": 100,
        "alert_threshold_contention_rate": 10.0,
        "alert_threshold_timeout_rate": 5.0,
    });
    assert_eq!(report["config"], config);
    assert_eq!((&report["level"], &report["healthy"]), (&json!("success"), &json!(true)));
    assert_eq!(report["current_metrics"]["success_rate"], 100.0);
    assert_eq!(report["performance_history_count"], 1);
    assert_eq!(server.get("/v1/alerts").await.ok(200).json, json!({"active": [], "recent": []}));
}

#[tokio::test]
async fn claims_of_clients_count_as_attempts_of_the_locks() {
    let server = Served::start().await;
    let id = lease_id();
    let held = server.post("/v1/acquire", json!({"lease": id, "name": "a"})).await.ok(201);
    server.post("/v1/acquire", json!({"lease": id, "name": "a"})).await.ok(200);
    server.post("/v1/acquire", ask("a")).await.problem(409);
    server.post("/v1/acquire", json!({"names": ["a", "b"], "wait_ms": 1})).await.problem(409);
    server.post("/v1/acquire", json!({"names": ["c", "d"]})).await.ok(201);
    server.post("/v1/acquire", json!({})).await.problem(400);
    let asks = json!({"acquire": [{"name": "a"}, {"name": "e"}]});
    server.post("/v1/batch", asks).await.ok(200);
    server.post("/v1/acquire", json!({"names": ["a", "f"], "want": "each"})).await.ok(201);
    let stats = server.get("/v1/stats").await.ok(200).json;
    for (counter, count) in [
        ("locks_acquired", 4),
        ("locks_failed", 4),
        ("batch_locks_acquired", 2),
        ("batch_locks_failed", 2),
        ("lock_timeout_count", 1),
        ("lock_contention_count", 4),
        ("total_operations", 8),
        ("active_locks", 4),
        ("locks_released", 0),
    ] {
        assert_eq!(stats[counter], count, "{counter}: {stats}");
    }
    assert_eq!(stats["success_rate"], 50.0);
    server.post("/v1/release", json!({"lease": held.lease()})).await.ok(204);
    let stats = server.get("/v1/stats").await.ok(200).json;
    assert_eq!((&stats["locks_released"], &stats["active_locks"]), (&json!(1), &json!(3)));
    assert_eq!(stats["locks"]["wait"]["count"], 4);
}

/// In the queue between two requests: granted by the store, given up, and asked for again and again, each is one attempt.
#[tokio::test]
async fn a_claim_that_keeps_its_place_is_one_attempt_until_it_ends() {
    let server = Served::start().await;
    let held = server.post("/v1/acquire", ask("a")).await.ok(201);
    let (granted, withdrawn) = (lease_id(), lease_id());
    for id in [&granted, &granted, &withdrawn] {
        server.post("/v1/acquire", json!({"lease": id, "name": "a", "queue": true})).await.ok(202);
    }
    server.post("/v1/renew", json!({"lease": granted})).await.ok(202);
    let stats = server.get("/v1/stats").await.ok(200).json;
    assert_eq!((&stats["locks_acquired"], &stats["lock_contention_count"]), (&json!(1), &json!(0)));
    server.post("/v1/release", json!({"lease": withdrawn})).await.ok(204);
    server.post("/v1/release", json!({"lease": held.lease()})).await.ok(204);
    server.post("/v1/renew", json!({"lease": granted})).await.ok(200);
    server.post("/v1/release", json!({"lease": granted})).await.ok(204);
    let stats = server.get("/v1/stats").await.ok(200).json;
    for (counter, count) in [
        ("grants", 2),
        ("timeouts", 1),
        ("locks_acquired", 2),
        ("lock_timeout_count", 1),
        ("lock_contention_count", 2),
        ("locks_released", 2),
    ] {
        assert_eq!(stats[counter], count, "{counter}: {stats}");
    }
    assert_eq!(stats["locks"]["remote_handoffs"], 1);
}

/// The library's client waits in the queue between requests, and is told: its contention shows at the server too.
#[tokio::test]
async fn waits_of_the_librarys_clients_are_seen_by_the_server() {
    let server = Served::start().await;
    let client = || {
        let http = Http::connect(&server.url(""), Clock::system()).unwrap();
        Locks::over(Arc::new(http), Settings::default())
    };
    let (one, two) = (client(), client());
    let guard = one.lock("a").acquire().await.unwrap();
    let waiting = tokio::spawn(async move { two.lock("a").acquire().await.unwrap().release().await });
    server.until_waiters(1).await;
    guard.release().await.unwrap();
    waiting.await.unwrap().unwrap();
    let stats = server.get("/v1/stats").await.ok(200).json;
    assert_eq!((&stats["locks_acquired"], &stats["lock_contention_count"]), (&json!(2), &json!(1)));
    assert_eq!(stats["locks"]["remote_handoffs"], 1);
    assert_eq!(stats["active_locks"], 0);
}

#[tokio::test]
async fn contention_over_http_raises_its_alert_which_is_shown_and_cleared() {
    let server = Served::with(quick()).await;
    let mut events = Events::of(&server).await;
    let (quiet, _) = events.next().await.unwrap();
    assert_eq!(quiet["alerts"], json!([]));
    let held = server.post("/v1/acquire", ask("a")).await.ok(201);
    let asks: Vec<_> = (0..30).map(|_| ask("a")).collect();
    server.post("/v1/batch", json!({"acquire": asks})).await.ok(200);
    let alert = until_active(&server, "high_contention_rate").await;
    assert_eq!((&alert["level"], &alert["threshold"]), (&json!("info"), &json!(10.0)));
    assert_eq!(until_active(&server, "low_success_rate").await["level"], "critical");
    while !kinds(&events.next().await.unwrap().0["alerts"]).contains("high_contention_rate") {}
    assert_eq!(server.get("/v1/monitor").await.ok(200).json["level"], "critical");
    server.post("/v1/release", json!({"lease": held.lease()})).await.ok(204);
    until_cleared(&server, "high_contention_rate").await;
    while events.next().await.unwrap().0["alerts"] != json!([]) {}
    let report = until(&server, "/v1/monitor", |report| report["level"] == "success").await;
    assert!(report["alert_history_count"].as_u64().unwrap() >= 2, "{report}");
}

/// A server in front of another, whose store is gone while the other is down.
#[tokio::test]
async fn a_server_whose_store_is_stopped_says_so_until_it_is_back() {
    let store = Served::start().await;
    let (address, memory) = (store.address.to_string(), store.store.clone());
    let http = Http::connect(&store.url(""), Clock::system()).unwrap();
    let server = Served::over(Arc::new(http), quick()).await;
    server.post("/v1/acquire", ask("a")).await.ok(201);
    until(&server, "/v1/monitor", |report| report["healthy"] == true).await;
    store.config.shutdown.begin();
    drop(store);
    let alert = until_active(&server, "service_unhealthy").await;
    assert_eq!(alert["level"], "critical");
    let report = server.get("/v1/monitor").await.ok(200).json;
    assert_eq!((&report["healthy"], &report["redis_metrics"].get("active_locks")), (&json!(false), &None));
    let config = Config::default();
    let app = router(&over(memory.clone()), config.clone());
    let store = Served::at(&address, app, memory, config).await;
    until_cleared(&server, "service_unhealthy").await;
    server.post("/v1/acquire", ask("b")).await.ok(201);
    drop(store);
}

#[tokio::test]
async fn a_router_that_is_made_without_a_runtime_is_watched_from_its_first_request_on() {
    let config = Config::default();
    let (app, store) = std::thread::spawn({
        let config = config.clone();
        move || {
            let store = Memory::new(Clock::system());
            (router(&over(store.clone()), config), store)
        }
    })
    .join()
    .unwrap();
    let server = Served::app(app, store, config).await;
    until(&server, "/v1/monitor", |report| report["healthy"] == true).await;
}
