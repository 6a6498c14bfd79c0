//! Limits are answered with their names, and slow clients are cut.

use std::time::Duration;

use serde_json::json;
use tenure_server::{Config, serve};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::served::{Served, ask, read_to_end};

#[tokio::test]
async fn a_body_of_two_mebibytes_is_413_with_the_limit() {
    let server = Served::start().await;
    let body = format!("{{\"name\":\"{}\"}}", "a".repeat(2 * 1024 * 1024));
    let refused = server.post_raw("/v1/acquire", body).await.problem(413);
    assert_eq!(refused.json["limit"], "max_body");
}

#[tokio::test]
async fn a_head_above_eight_kibibytes_is_431() {
    let server = Served::start().await;
    let head = format!("GET /health HTTP/1.1\r\nhost: t\r\nx: {}\r\n\r\n", "a".repeat(9 * 1024));
    let answer = read_to_end(server.raw(head.as_bytes()).await).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_client_that_is_slow_with_its_head_is_cut_while_others_are_served() {
    let mut config = Config::default();
    config.head_timeout = Duration::from_millis(200);
    let server = Served::with(config).await;
    let slow = server.raw(b"POST /v1/acquire HTTP/1.1\r\nhost: t\r\n").await;
    server.post("/v1/acquire", ask("a")).await.ok(201);
    assert_eq!(read_to_end(slow).await, "");
}

#[tokio::test]
async fn a_client_that_trickles_its_head_is_cut_all_the_same() {
    let mut config = Config::default();
    config.head_timeout = Duration::from_millis(200);
    let server = Served::with(config).await;
    let mut slow = server.raw(b"GET /health HTTP/1.1\r\nhost: t\r\n").await;
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    loop {
        ticks.tick().await;
        if slow.write_all(b"x: y\r\n").await.is_err() {
            break;
        }
    }
}

#[tokio::test]
async fn an_idle_connection_outlives_the_time_for_a_head_and_is_cut_when_idle_for_too_long() {
    let mut config = Config::default();
    config.head_timeout = Duration::from_millis(100);
    config.idle_timeout = Duration::from_millis(400);
    let server = Served::with(config).await;
    let mut stream = server.raw(b"GET /health/live HTTP/1.1\r\nhost: t\r\n\r\n").await;
    // Twice the time for a head: the connection is idle, not slow.
    tokio::time::sleep(Duration::from_millis(200)).await;
    stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    let answers = read_to_end(stream).await;
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 2, "{answers}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408() {
    let mut config = Config::default();
    config.body_timeout = Duration::from_millis(100);
    let server = Served::with(config).await;
    let head = "POST /v1/acquire HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{";
    let answer = read_to_end(server.raw(head.as_bytes()).await).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("body_timeout"), "{answer}");
}

#[tokio::test]
async fn more_listeners_than_seats_are_429_with_retry_after() {
    let mut config = Config::default();
    config.max_subscribers = 1;
    let server = Served::with(config).await;
    let _first = reqwest::get(server.url("/v1/events")).await.unwrap();
    let refused = server.get("/v1/events").await.problem(429);
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(refused.json["limit"], "max_subscribers");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let mut config = Config::default();
    config.max_connections = 1;
    let server = Served::with(config).await;
    let first = server.raw(b"GET /health/live HTTP/1.1\r\nhost: t\r\n\r\n").await;
    let get = b"GET /health/live HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n";
    let second = server.raw(get).await;
    drop(first);
    assert!(read_to_end(second).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn ttl_and_wait_are_limited_by_the_configuration() {
    let mut config = Config::default();
    config.max_ttl = Duration::from_secs(10);
    let server = Served::with(config).await;
    let long = json!({"name": "a", "ttl_ms": 10001});
    let refused = server.post("/v1/acquire", long).await.in_field(400, "ttl_ms");
    assert_eq!(refused.json["limit"], "max_ttl");
    // Nothing said is the default or the most that is allowed.
    assert_eq!(server.post("/v1/acquire", ask("a")).await.ok(201).json["ttl_ms"], 10_000);
}

#[tokio::test]
async fn a_listener_beyond_loopback_is_refused() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused =
        serve(listener, axum::Router::new(), Config::default(), std::future::ready(())).await.unwrap_err();
    assert_eq!(refused.kind(), tenure::ErrorKind::InvalidInput);
    assert!(refused.to_string().contains("loopback"), "{refused}");
}
