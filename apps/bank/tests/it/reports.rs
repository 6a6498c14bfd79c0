//! Lists and reports of accounts.

use bank::Config;
use serde_json::json;
use tenure_testkit::{Ground, Setup};

use crate::accounts::{ACCOUNTS, create, verb};
use crate::stores::Served;

#[tokio::test(flavor = "multi_thread")]
async fn the_reports_have_the_fields_that_dashboards_know() {
    let ground = Ground::new(Setup::Files).await;
    let bank = Served::on(&ground, Config::default()).await;
    let id = create(&bank, "10").await;
    verb(&bank, &id, "deposit", r#"{"amount":1}"#).await;
    bank.get(&format!("{ACCOUNTS}/{id}")).await;
    let locks = bank.get("/api/cqrs/locks/metrics").await.json();
    for field in [
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
    ] {
        assert!(locks[field].is_number(), "{field}: {locks}");
    }
    assert_eq!(locks["lock_free_operations"], 1);
    assert!(locks["locks_acquired"].as_u64() >= Some(1), "the deposit's, and those of deliveries: {locks}");
    let reads = bank.get("/api/cqrs/reads/metrics").await;
    let order = [
        "read_operations",
        "cache_hits",
        "cache_misses",
        "cache_hit_rate",
        "optimistic_reads",
        "consistency_checks",
        "parallel_reads",
        "avg_read_time_us",
        "total_read_time_us",
        "account_cache_size",
        "projection_cache_size",
        "event_cache_size",
    ];
    let places: Vec<usize> = order.map(|field| reads.text.find(&format!("\"{field}\":")).unwrap()).into();
    assert!(places.is_sorted(), "{reads:?}");
    let monitor = bank.get("/api/cqrs/monitor").await.json();
    assert_eq!(monitor["config"]["alert_threshold_success_rate"], 95.0);
    assert!(monitor["current_metrics"]["success_rate"].is_number());
    assert!(bank.get("/api/cqrs/alerts").await.json()["active"].is_array());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_accounts_are_listed_in_pages_and_read_at_once() {
    let ground = Ground::new(Setup::Files).await;
    let bank = Served::on(&ground, Config::default()).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(create(&bank, "1").await);
    }
    let all = format!("{ACCOUNTS}?ids={},x", ids.join(","));
    for _ in 0..2 {
        let read = bank.get(&all).await.json();
        let found: Vec<&str> = read["accounts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|account| account["id"].as_str().unwrap())
            .collect();
        assert_eq!(found, ids);
        assert_eq!(read["unknown"], json!(["x"]));
    }
    ids.sort_unstable();
    let (mut listed, mut after) = (Vec::new(), String::new());
    loop {
        let page = bank.get(&format!("{ACCOUNTS}?limit=2{after}")).await.json();
        let accounts = page["accounts"].as_array().unwrap();
        listed.extend(accounts.iter().map(|account| account["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(listed, ids);
}
