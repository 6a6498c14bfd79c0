//! Long polls: granted by a push, withdrawn with their client, kept in the queue on demand.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncReadExt;

use crate::served::{Served, ask, lease_id, read_to_end};

#[tokio::test]
async fn a_waiting_acquire_is_granted_by_the_release_with_a_greater_token_and_the_full_ttl() {
    let server = Served::start().await;
    let held = server.post("/v1/acquire", ask("a")).await.ok(201);
    let wait = json!({"name": "a", "wait_ms": 60000, "ttl_ms": 15000});
    let release = async {
        server.until_waiters(1).await;
        server.post("/v1/release", json!({"lease": held.lease()})).await.ok(204);
    };
    let (granted, ()) = tokio::join!(server.post("/v1/acquire", wait), release);
    let granted = granted.ok(201);
    assert!(granted.token() > held.token());
    assert_eq!(granted.json["ttl_ms"], 15000);
    // The store agrees: it is not an offer any more.
    assert!(server.leases().await[0]["remaining_ms"].as_u64().unwrap() > 10_000);
}

#[tokio::test]
async fn a_waiting_acquire_is_granted_when_the_lease_in_the_way_expires() {
    let server = Served::start().await;
    server.post("/v1/acquire", json!({"name": "a", "ttl_ms": 300})).await.ok(201);
    server.post("/v1/acquire", json!({"name": "a", "wait_ms": 30000})).await.ok(201);
}

#[tokio::test]
async fn a_wait_that_is_over_is_409_with_who_is_in_the_way_and_leaves_nothing() {
    let server = Served::start().await;
    server.post("/v1/acquire", json!({"name": "a", "holder": {"host": "n1"}})).await.ok(201);
    let busy = server.post("/v1/acquire", json!({"name": "a", "wait_ms": 50})).await.problem(409);
    assert_eq!(busy.json["held_by"]["holder"], json!({"host": "n1"}));
    assert_eq!(busy.json["position"], 1);
    assert!(server.waiters().await.is_empty());
}

#[tokio::test]
async fn waiters_are_served_in_their_order_and_why_shows_it() {
    let server = Served::start().await;
    let held = server.post("/v1/acquire", ask("a")).await.ok(201);
    let wait = |host: &str| json!({"name": "a", "wait_ms": 60000, "holder": {"host": host}});
    let first = server.post("/v1/acquire", wait("first"));
    let second = async {
        server.until_waiters(1).await;
        server.post("/v1/acquire", wait("second")).await.ok(201)
    };
    let watch = async {
        server.until_waiters(2).await;
        let why = server.get("/v1/why/a").await.ok(200).json;
        let hosts: Vec<_> =
            why["waiters"].as_array().unwrap().iter().map(|w| w["holder"]["host"].clone()).collect();
        assert_eq!(hosts, ["first", "second"]);
        assert_eq!(why["holders"].as_array().unwrap().len(), 1);
        server.post("/v1/release", json!({"lease": held.lease()})).await.ok(204);
    };
    let release_first = async {
        let granted = first.await.ok(201);
        server.post("/v1/release", json!({"lease": granted.lease()})).await.ok(204);
        granted.token()
    };
    let (first, second, ()) = tokio::join!(release_first, second, watch);
    assert!(second.token() > first);
}

#[tokio::test]
async fn a_client_that_goes_away_while_it_waits_leaves_no_waiter() {
    let server = Served::start().await;
    let held = server.post("/v1/acquire", ask("a")).await.ok(201);
    for body in
        [json!({"name": "a", "wait_ms": 60000}), json!({"name": "a", "wait_ms": 60000, "lease": lease_id()})]
    {
        let poll = server.raw_post("/v1/acquire", &body).await;
        server.until_waiters(1).await;
        drop(poll);
        server.until_waiters(0).await;
    }
    server.post("/v1/release", json!({"lease": held.lease()})).await.ok(204);
    server.post("/v1/acquire", ask("a")).await.ok(201);
}

#[tokio::test]
async fn a_grant_whose_client_is_gone_is_given_back() {
    // Clients go away just when the release comes: whichever is first, nothing is left.
    let server = Served::start().await;
    for _ in 0..100 {
        let held = server.post("/v1/acquire", ask("a")).await.ok(201);
        let poll = server.raw_post("/v1/acquire", &json!({"name": "a", "wait_ms": 60000})).await;
        server.until_waiters(1).await;
        let release = server.post("/v1/release", json!({"lease": held.lease()}));
        let (released, ()) = tokio::join!(release, async { drop(poll) });
        released.ok(204);
        server.until_leases(0).await;
    }
}

#[tokio::test]
async fn a_queued_claim_keeps_its_place_between_calls_and_is_granted_to_the_next_one() {
    let server = Served::start().await;
    let held = server.post("/v1/acquire", ask("a")).await.ok(201);
    let queue = json!({"name": "a", "lease": lease_id(), "queue": true});
    let place = server.post("/v1/acquire", queue.clone()).await.ok(202);
    assert_eq!(place.json["ahead"], 0);
    assert_eq!(place.json["touch_within_ms"], 3000);
    assert!(place.json["expires_in_ms"].as_u64().unwrap() <= 30000);
    // Another that comes later stands behind it, and one that does not wait is not let past.
    server.post("/v1/acquire", json!({"name": "a", "queue": true})).await.ok(202);
    server.post("/v1/release", json!({"lease": held.lease()})).await.ok(204);
    server.post("/v1/acquire", ask("a")).await.problem(409);
    let granted = server.post("/v1/acquire", queue.clone()).await.ok(200);
    assert!(granted.token() > held.token());
    server.post("/v1/renew", json!({"lease": queue["lease"]})).await.ok(200);
}

#[tokio::test]
async fn a_queued_claim_can_be_touched_by_renew_and_withdrawn_by_release() {
    let server = Served::start().await;
    server.post("/v1/acquire", ask("a")).await.ok(201);
    let lease = server.post("/v1/acquire", json!({"name": "a", "queue": true})).await.ok(202).lease();
    server.post("/v1/renew", json!({"lease": lease})).await.ok(202);
    let withdrawn = server.post("/v1/release", json!({"lease": lease})).await.ok(204);
    assert_eq!(withdrawn.headers["tenure-ended"], "withdrawn");
    server.post("/v1/renew", json!({"lease": lease})).await.problem(410);
}

#[tokio::test]
async fn a_queued_long_poll_whose_client_goes_away_keeps_its_place_for_the_next_call() {
    let server = Served::start().await;
    let held = server.post("/v1/acquire", ask("a")).await.ok(201);
    let body = json!({"name": "a", "lease": lease_id(), "queue": true, "wait_ms": 60000});
    let poll = server.raw_post("/v1/acquire", &body).await;
    server.until_waiters(1).await;
    drop(poll);
    server.post("/v1/release", json!({"lease": held.lease()})).await.ok(204);
    server.post("/v1/acquire", body).await.ok(200);
}

#[tokio::test]
async fn an_answer_that_was_lost_is_given_again_to_the_same_lease_id() {
    let server = Served::start().await;
    let body = json!({"name": "a", "lease": lease_id(), "ttl_ms": 30000});
    let mut poll = server.raw_post("/v1/acquire", &body).await;
    // The answer is on its way; whether it is taken or lost, asking again gives the same lease.
    poll.read_u8().await.unwrap();
    drop(poll);
    server.post("/v1/acquire", body.clone()).await.ok(200);
    server.post("/v1/renew", json!({"lease": body["lease"]})).await.ok(200);
}

#[tokio::test]
async fn each_waits_for_every_name_and_keeps_what_it_got_when_the_wait_is_over() {
    let server = Served::start().await;
    server.post("/v1/acquire", ask("b")).await.ok(201);
    let body = json!({"names": ["a", "b"], "want": "each", "wait_ms": 50});
    let won = server.post("/v1/acquire", body).await.ok(201);
    assert_eq!(won.json["leases"][0]["busy"], false);
    assert_eq!(won.json["leases"][1]["busy"], true);
    assert!(server.waiters().await.is_empty());
}

#[tokio::test]
async fn a_pipelined_request_behind_a_long_poll_is_answered_after_it() {
    let server = Served::start().await;
    let held = server.post("/v1/acquire", ask("a")).await.ok(201);
    let mut poll = server.raw_post("/v1/acquire", &json!({"name": "a", "wait_ms": 60000})).await;
    let get = b"GET /health/live HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut poll, get).await.unwrap();
    server.until_waiters(1).await;
    server.post("/v1/release", json!({"lease": held.lease()})).await.ok(204);
    let answers = tokio::time::timeout(Duration::from_secs(10), read_to_end(poll)).await.unwrap();
    assert!(answers.starts_with("HTTP/1.1 201") && answers.contains("HTTP/1.1 200"), "{answers}");
}
