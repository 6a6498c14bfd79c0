//! Many requests in one trip, and being told without asking.

use serde_json::{Value, json};

use crate::served::{Served, ask, lease_id};

#[tokio::test]
async fn a_batch_has_an_item_for_each_request_in_its_order_and_one_that_fails_leaves_the_others() {
    let server = Served::start().await;
    let held = server.post("/v1/acquire", ask("held")).await.ok(201);
    let batch = json!({
        "acquire": [
            {"name": "a"}, {"name": "held"}, {"name": ""}, {"name": "held", "queue": true},
            {"name": "a", "wait_ms": 1}, {"names": ["x"], "want": "each"},
        ],
        "renew": [{"lease": held.lease()}, {"lease": lease_id()}, {"lease": "EVIL"}],
        "release": [{"lease": held.lease()}, {"lease": lease_id()}, {"lease": "EVIL"}],
    });
    let reply = server.post("/v1/batch", batch).await.ok(200);
    let items = reply.json["items"].as_array().unwrap();
    let statuses: Vec<u64> = items.iter().map(|item| item["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 409, 400, 202, 400, 400, 200, 410, 400, 204, 204, 400]);
    assert_eq!(items[1]["problem"]["held_by"]["name"], "held");
    assert_eq!(items[2]["problem"]["field"], "name");
    assert_eq!(items[4]["problem"]["field"], "wait_ms");
    assert_eq!(items[5]["problem"]["field"], "want");
    assert_eq!((&items[9]["ended"], &items[10]["ended"]), (&json!("released"), &json!("not-held")));
    assert!(!reply.text.contains("EVIL"));
}

#[tokio::test]
async fn the_claims_of_a_batch_queue_in_their_order() {
    let server = Served::start().await;
    server.post("/v1/acquire", ask("a")).await.ok(201);
    let claims: Vec<Value> = (0..20).map(|_| json!({"name": "a", "queue": true})).collect();
    let reply = server.post("/v1/batch", json!({"acquire": claims})).await.ok(200);
    for (index, item) in reply.json["items"].as_array().unwrap().iter().enumerate() {
        assert_eq!(item["place"]["ahead"], index);
    }
}

#[tokio::test]
async fn a_batch_of_more_than_a_thousand_requests_is_400_with_the_limit() {
    let server = Served::start().await;
    let claims: Vec<Value> = (0..1_001).map(|number| json!({"name": format!("n{number}")})).collect();
    let refused = server.post("/v1/batch", json!({"acquire": claims})).await.problem(400);
    assert_eq!(refused.json["limit"], "max_batch");
    assert!(server.leases().await.is_empty());
}

#[tokio::test]
async fn a_listener_is_told_of_a_grant_of_waiters_of_a_revocation_and_of_a_loss() {
    let server = Served::start().await;
    let listener = lease_id();
    let held = server.post("/v1/acquire", json!({"name": "a", "ttl_ms": 60000})).await.ok(201);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = json!({"listener": listener, "leases": [held.lease()]}).to_string();
    let request = client.post(server.url("/v1/listen")).header("content-type", "application/json").body(body);
    let mut stream = Frames { response: request.send().await.unwrap(), buffer: String::new() };
    assert_eq!(stream.next().await.0, "resync");

    let waiting = json!({"name": "a", "queue": true, "listener": listener});
    let waiting = server.post("/v1/acquire", waiting).await.ok(202).lease();
    assert_eq!(stream.next().await, ("contended".to_owned(), json!({"lease": held.lease()})));

    server.post("/v1/release", json!({"lease": held.lease()})).await.ok(204);
    let (word, granted) = stream.next().await;
    assert_eq!((word.as_str(), &granted["lease"]), ("granted", &json!(waiting)));
    assert!(granted["ttl_ms"].as_u64().unwrap() <= 3_000, "{granted}");
    let renewed = server.post("/v1/renew", json!({"lease": waiting})).await.ok(200);
    assert_eq!(renewed.json["token"], granted["token"]);

    let digest = server.leases().await[0]["digest"].as_str().unwrap().to_owned();
    server.delete(&format!("/v1/leases/{digest}")).await.ok(202);
    assert_eq!(stream.next().await, ("revoked".to_owned(), json!({"lease": waiting})));
    server.delete(&format!("/v1/leases/{digest}?now=true")).await.ok(204);
    assert_eq!(stream.next().await, ("lost".to_owned(), json!({"lease": waiting, "why": "forced"})));

    server.config.shutdown.begin();
    assert!(stream.response.chunk().await.unwrap().is_none(), "the stream ends with the server");
}

/// A stream that is split into its events.
struct Frames {
    response: reqwest::Response,
    buffer: String,
}

impl Frames {
    async fn next(&mut self) -> (String, Value) {
        loop {
            if let Some((frame, rest)) = self.buffer.split_once("\n\n") {
                let (frame, rest) = (frame.to_owned(), rest.to_owned());
                self.buffer = rest;
                if let Some((word, data)) = frame.split_once('\n') {
                    let word = word.strip_prefix("event: ").unwrap().to_owned();
                    return (word, serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap());
                }
                continue;
            }
            let chunk = self.response.chunk().await.unwrap().expect("the stream goes on");
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

#[tokio::test]
async fn bad_listeners_are_refused() {
    let server = Served::start().await;
    server.post("/v1/listen", json!({"listener": "EVIL"})).await.in_field(400, "listener");
    server
        .post("/v1/listen", json!({"listener": lease_id(), "leases": ["EVIL"]}))
        .await
        .in_field(400, "leases");
    server.post("/v1/listen", json!({})).await.in_field(400, "listener");
    server.post("/v1/acquire", json!({"name": "a", "listener": "EVIL"})).await.in_field(400, "listener");
}
