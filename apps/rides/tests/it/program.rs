//! The program's own commands: the demo city, a load, a storm.

use std::process::Output;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::routing::post;
use axum::{Json, Router};
use serde_json::json;
use tenure_testkit::{Ground, Setup};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::stores::Served;

async fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rides"));
    for name in ["TENURE_URL", "REDIS_URL", "REDIS_CONN", "REDIS_HOST", "DATABASE_URL", "DB_HOST", "RUST_LOG"]
    {
        command.env_remove(name);
    }
    command.args(arguments).kill_on_drop(true).output().await.unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn seeding_twice_adds_nobody_and_seeding_more_adds_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    for (drivers, added) in [("24", 38), ("24", 0), ("30", 6)] {
        let output = run(&["seed", "--drivers", drivers, "--data", data]).await;
        assert_eq!(said(&output), format!("{added} riders and drivers were added\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_and_a_storm_tell_how_they_went() {
    let ground = Ground::new(Setup::Files).await;
    let (one, two) = (Served::on(&ground).await, Served::on(&ground).await);
    let (one_url, two_url) = (one.url(""), two.url(""));
    let storm = run(&["storm", "--url", &one_url, "--url", &two_url, "--rides", "30", "--rounds", "2"]).await;
    let line = |round| format!("round {round}: 30 rides at once, 24 with a driver of their own, 6 without\n");
    assert_eq!(said(&storm), line(1) + &line(2));
    let load = run(&["load", "--url", &one_url, "--rate", "5", "--seconds", "2"]).await;
    assert!(said(&load).contains("100.00 % of 10 had a driver"), "{load:?}");
    one.is_sound().await;
}

/// A service that gives one driver to everybody.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_finds_a_driver_who_was_given_away_twice() {
    static LAST: AtomicI64 = AtomicI64::new(0);
    let book = async || {
        let id = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        (axum::http::StatusCode::CREATED, Json(json!({"data": {"id": id}})))
    };
    let assign = async || Json(json!({"data": {"driver": {"id": 7}}}));
    let app =
        Router::new().route("/api/bookings", post(book)).route("/api/bookings/{id}/assign", post(assign));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let served =
            tenure_server::serve(listener, app, tenure_server::Config::default(), std::future::pending());
        served.await.unwrap();
    });
    let storm = run(&["storm", "--url", &url, "--rides", "5", "--rounds", "1"]).await;
    assert_eq!(storm.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&storm.stderr).contains("driver 7 has the rides"), "{storm:?}");
}
