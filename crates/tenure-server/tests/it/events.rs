//! The event stream shows what is held, and goes on while it changes.

use std::time::Duration;

use serde_json::{Value, json};
use tenure_server::Config;

use crate::served::{Served, ask};

/// A listener that splits the stream into its events.
pub(crate) struct Events {
    response: reqwest::Response,
    buffer: String,
}

impl Events {
    pub(crate) async fn of(server: &Served) -> Self {
        let response = reqwest::get(server.url("/v1/events")).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events { response, buffer: String::new() }
    }

    /// The next snapshot and its text; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<(Value, String)> {
        loop {
            if let Some((event, rest)) = self.buffer.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.buffer = rest;
                if let Some(data) = event.strip_prefix("event: snapshot\ndata: ") {
                    return Some((serde_json::from_str(data).unwrap(), data.to_owned()));
                }
                continue;
            }
            let chunk = self.response.chunk().await.unwrap()?;
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> String {
        loop {
            let (snapshot, text) = self.next().await.expect("the stream goes on");
            if wanted(&snapshot) {
                return text;
            }
        }
    }
}

fn quick() -> Config {
    let mut config = Config::default();
    config.sample_every = Duration::from_millis(10);
    config
}

#[tokio::test]
async fn a_listener_is_shown_leases_waiters_and_rates_and_never_a_lease_id() {
    let server = Served::with(quick()).await;
    let held = server.post("/v1/acquire", json!({"name": "a", "holder": {"host": "n1"}})).await.ok(201);
    let mut events = Events::of(&server).await;
    let (first, text) = events.next().await.unwrap();
    assert_eq!(first["provider"], "memory");
    assert_eq!(first["available"], true);
    assert_eq!(first["leases"][0]["names"], json!(["a"]));
    assert_eq!(first["leases"][0]["holder"], json!({"host": "n1"}));
    assert_eq!(first["totals"], json!({"leases": 1, "waiters": 0, "more": false}));
    assert_eq!(first["stats"]["grants"], 1);
    assert!(!text.contains(&held.lease()));
    server.post("/v1/acquire", json!({"name": "a", "queue": true})).await.ok(202);
    events.until(|snapshot| snapshot["waiters"].as_array().unwrap().len() == 1).await;
    server.post("/v1/release", json!({"lease": held.lease()})).await.ok(204);
    events.until(|snapshot| snapshot["rates"]["releases"].as_f64().unwrap() > 0.0).await;
}

#[tokio::test]
async fn listeners_share_their_snapshots_and_a_new_one_begins_with_the_present() {
    let server = Served::with(quick()).await;
    let mut first = Events::of(&server).await;
    assert_eq!(first.next().await.unwrap().0["leases"], json!([]));
    server.post("/v1/acquire", ask("a")).await.ok(201);
    let one = first.until(|snapshot| snapshot["totals"]["leases"] == 1).await;
    let mut second = Events::of(&server).await;
    let two = second.until(|snapshot| snapshot["totals"]["leases"] == 1).await;
    assert!(!one.is_empty() && !two.is_empty());
    drop((first, second));
    // When all have left the sampler ends; the next listener does not see what was then.
    server
        .delete(&format!("/v1/leases/{}?now=true", server.leases().await[0]["digest"].as_str().unwrap()))
        .await;
    let mut third = Events::of(&server).await;
    third.until(|snapshot| snapshot["totals"]["leases"] == 0).await;
}
