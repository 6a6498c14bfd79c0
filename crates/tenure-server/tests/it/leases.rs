//! Every success and every refusal of the status table.

use serde_json::json;
use tenure::Clock;
use tenure::Memory;
use tenure_server::{Config, router};

use crate::served::{Served, ask, lease_id, over};

#[tokio::test]
async fn an_acquire_is_granted_with_a_token_and_asking_again_with_its_lease_id_is_the_same_lease() {
    let server = Served::start().await;
    let body = json!({"lease": lease_id(), "name": "a", "ttl_ms": 15000, "holder": {"host": "n1"}});
    let first = server.post("/v1/acquire", body.clone()).await.ok(201);
    assert_eq!(first.json["names"], json!(["a"]));
    assert_eq!(first.json["ttl_ms"], 15000);
    assert_eq!(first.json["tokens"], 1);
    assert_eq!(first.json["contended"], false);
    let again = server.post("/v1/acquire", body.clone()).await.ok(200);
    assert_eq!(again.token(), first.token());
    assert_eq!(again.json["lease"], body["lease"]);
}

#[tokio::test]
async fn the_server_makes_a_lease_id_when_there_is_none() {
    let server = Served::start().await;
    let first = server.post("/v1/acquire", ask("a")).await.ok(201);
    let second = server.post("/v1/acquire", ask("b")).await.ok(201);
    assert_ne!(first.lease(), second.lease());
    assert!(second.token() > first.token());
    server.post("/v1/release", json!({"lease": first.lease()})).await.ok(204);
    server.post("/v1/acquire", ask("a")).await.ok(201);
}

#[tokio::test]
async fn a_busy_name_is_409_with_who_holds_it_how_long_and_the_place_in_the_queue() {
    let server = Served::start().await;
    let holder = json!({"name": "a", "ttl_ms": 20000, "holder": {"host": "n1"}});
    let held = server.post("/v1/acquire", holder).await.ok(201);
    let busy = server.post("/v1/acquire", ask("a")).await.problem(409);
    assert_eq!(busy.json["type"], "urn:tenure:problem:busy");
    assert_eq!(busy.json["held_by"]["name"], "a");
    assert_eq!(busy.json["held_by"]["holder"], json!({"host": "n1"}));
    assert_eq!(busy.json["held_by"]["lease"].as_str().unwrap().len(), 16);
    assert!((1..=20000).contains(&busy.json["remaining_ms"].as_u64().unwrap()));
    assert_eq!(busy.json["position"], 1);
    assert!(!busy.text.contains(&held.lease()));
}

#[tokio::test]
async fn a_renewal_is_200_and_never_shortens_and_a_gone_lease_is_410_with_why() {
    let server = Served::start().await;
    let held = server.post("/v1/acquire", json!({"name": "a", "ttl_ms": 60000})).await.ok(201);
    let renewed = server.post("/v1/renew", json!({"lease": held.lease(), "ttl_ms": 1000})).await.ok(200);
    assert_eq!(renewed.json["ttl_ms"], 1000);
    assert_eq!(renewed.token(), held.token());
    assert!(server.leases().await[0]["remaining_ms"].as_u64().unwrap() > 50_000);
    let unknown = server.post("/v1/renew", json!({"lease": lease_id()})).await.problem(410);
    assert_eq!(unknown.json["why"], "unknown");
}

#[tokio::test]
async fn a_release_is_204_also_when_there_is_nothing_and_says_what_there_was() {
    let server = Served::start().await;
    let held = server.post("/v1/acquire", ask("a")).await.ok(201);
    for was in ["released", "not-held", "not-held"] {
        let released = server.post("/v1/release", json!({"lease": held.lease()})).await.ok(204);
        assert_eq!(released.headers["tenure-ended"], was);
    }
    // The id is used up: asking with it again is final and not merely busy.
    let late = json!({"name": "a", "lease": held.lease()});
    server.post("/v1/acquire", late).await.problem(410);
}

#[tokio::test]
async fn several_names_are_all_or_nothing() {
    let server = Served::start().await;
    server.post("/v1/acquire", ask("b")).await.ok(201);
    let busy = server.post("/v1/acquire", json!({"names": ["c", "a", "b"]})).await.problem(409);
    assert_eq!(busy.json["held_by"]["name"], "b");
    let both = server.post("/v1/acquire", json!({"names": ["c", "a"]})).await.ok(201);
    assert_eq!(both.json["names"], json!(["a", "c"]));
}

#[tokio::test]
async fn any_takes_as_many_free_names_as_are_asked_for() {
    let server = Served::start().await;
    server.post("/v1/acquire", ask("a")).await.ok(201);
    // The first free ones in the order that is given, told in the order of their bytes.
    let any = json!({"names": ["d", "a", "c", "b"], "want": "any", "count": 2});
    let taken = server.post("/v1/acquire", any.clone()).await.ok(201);
    assert_eq!(taken.json["names"], json!(["c", "d"]));
    server.post("/v1/acquire", any).await.problem(409);
}

#[tokio::test]
async fn each_is_a_lease_per_name_in_the_order_asked_and_says_which_are_busy() {
    let server = Served::start().await;
    server.post("/v1/acquire", ask("b")).await.ok(201);
    let body = json!({"names": ["c", "b", "a"], "want": "each"});
    let won = server.post("/v1/acquire", body.clone()).await.ok(201);
    let items = won.json["leases"].as_array().unwrap();
    let seen: Vec<_> =
        items.iter().map(|item| (item["name"].as_str().unwrap(), item["busy"] == true)).collect();
    assert_eq!(seen, [("c", false), ("b", true), ("a", false)]);
    assert_eq!(items[1]["held_by"]["name"], "b");
    let lease = items[0]["lease"].as_str().unwrap();
    server.post("/v1/release", json!({"lease": lease})).await.ok(204);
    server.post("/v1/acquire", ask("a")).await.problem(409);
    server.post("/v1/acquire", ask("c")).await.ok(201);
    server.post("/v1/acquire", body).await.problem(409);
}

#[tokio::test]
async fn shared_claims_share_and_permits_add_up_to_their_number() {
    let server = Served::start().await;
    let shared = json!({"name": "s", "mode": "shared"});
    server.post("/v1/acquire", shared.clone()).await.ok(201);
    server.post("/v1/acquire", shared).await.ok(201);
    server.post("/v1/acquire", ask("s")).await.problem(409);
    let permit = |take| json!({"name": "p", "mode": "permit", "of": 3, "take": take});
    server.post("/v1/acquire", permit(2)).await.ok(201);
    server.post("/v1/acquire", permit(2)).await.problem(409);
    server.post("/v1/acquire", permit(1)).await.ok(201);
    server.post("/v1/acquire", ask("p")).await.in_field(400, "mode");
}

#[tokio::test]
async fn tokens_are_reserved_in_blocks() {
    let server = Served::start().await;
    let held = server.post("/v1/acquire", json!({"name": "a", "reserve": 32})).await.ok(201);
    assert_eq!(held.json["tokens"], 32);
    let more = server.post("/v1/renew", json!({"lease": held.lease(), "reserve": 8})).await.ok(200);
    assert_eq!(more.json["tokens"], 8);
    assert!(more.token() >= held.token() + 32);
}

#[tokio::test]
async fn a_released_name_stays_taken_for_as_long_as_it_was_to_be_held_at_least() {
    let server = Served::start().await;
    let job = json!({"name": "job", "hold_at_least_ms": 60000});
    let held = server.post("/v1/acquire", job).await.ok(201);
    let released = server.post("/v1/release", json!({"lease": held.lease()})).await.ok(204);
    assert_eq!(released.headers["tenure-ended"], "lingering");
    server.post("/v1/acquire", ask("job")).await.problem(409);
}

#[tokio::test]
async fn what_is_replaced_ends_in_the_same_step() {
    let server = Served::start().await;
    let held = server.post("/v1/acquire", ask("a")).await.ok(201);
    let both = json!({"names": ["a", "b"], "replaces": [held.lease()]});
    server.post("/v1/acquire", both).await.ok(201);
    server.post("/v1/renew", json!({"lease": held.lease()})).await.problem(410);
}

#[tokio::test]
async fn lists_show_digests_and_holders_and_never_a_lease_id() {
    let server = Served::start().await;
    let mut ids = Vec::new();
    for name in ["order:1", "order:2", "cart:1"] {
        let body = json!({"name": name, "holder": {"host": "n1"}});
        ids.push(server.post("/v1/acquire", body).await.ok(201).lease());
    }
    let all = server.get("/v1/leases").await.ok(200);
    assert_eq!(all.json["leases"].as_array().unwrap().len(), 3);
    assert!(ids.iter().all(|id| !all.text.contains(id.as_str())));
    let orders = server.get("/v1/leases?prefix=order%3A").await.ok(200);
    assert_eq!(orders.json["leases"].as_array().unwrap().len(), 2);
    let first = server.get("/v1/leases?limit=2").await.ok(200);
    let after = first.json["next"].as_str().unwrap();
    let rest = server.get(&format!("/v1/leases?limit=2&after={after}")).await.ok(200);
    assert_eq!(rest.json["leases"].as_array().unwrap().len(), 1);
    assert!(rest.json.get("next").is_none());
    for lease in all.json["leases"].as_array().unwrap() {
        let digest = lease["digest"].as_str().unwrap();
        let one = server.get(&format!("/v1/leases/{digest}")).await.ok(200);
        assert_eq!(one.json["names"], lease["names"]);
        assert_eq!(one.json["holder"], json!({"host": "n1"}));
        assert_eq!(one.json["origin"], "remote");
    }
    server.get("/v1/leases/0000000000000000").await.problem(404);
}

#[tokio::test]
async fn a_revoked_holder_is_told_at_its_renewal_and_now_ends_a_lease_at_once() {
    let server = Served::start().await;
    let held = server.post("/v1/acquire", json!({"name": "a", "ttl_ms": 20000})).await.ok(201);
    let digest = server.leases().await[0]["digest"].as_str().unwrap().to_owned();
    server.delete(&format!("/v1/leases/{digest}")).await.ok(202);
    let renewed = server.post("/v1/renew", json!({"lease": held.lease(), "ttl_ms": 30000})).await.ok(200);
    assert_eq!(renewed.json["revoked"], true);
    assert!(renewed.json["ttl_ms"].as_u64().unwrap() <= 20000, "{}", renewed.text);
    server.delete(&format!("/v1/leases/{digest}?now=true")).await.ok(204);
    let gone = server.post("/v1/renew", json!({"lease": held.lease()})).await.problem(410);
    assert_eq!(gone.json["why"], "forced");
    server.delete(&format!("/v1/leases/{digest}")).await.problem(404);
    server.post("/v1/acquire", ask("a")).await.ok(201);
}

#[tokio::test]
async fn the_counters_count_what_happened() {
    let server = Served::start().await;
    let held = server.post("/v1/acquire", ask("a")).await.ok(201);
    server.post("/v1/acquire", ask("a")).await.problem(409);
    server.post("/v1/acquire", json!({"name": "a", "wait_ms": 1})).await.problem(409);
    server.post("/v1/renew", json!({"lease": held.lease()})).await.ok(200);
    server.post("/v1/release", json!({"lease": held.lease()})).await.ok(204);
    server.post("/v1/renew", json!({"lease": held.lease()})).await.problem(410);
    server.post("/v1/acquire", json!({})).await.problem(400);
    let stats = server.get("/v1/stats").await.ok(200).json;
    for (counter, count) in [
        ("grants", 1),
        ("busy", 1),
        ("timeouts", 1),
        ("renewals", 1),
        ("releases", 1),
        ("gone", 1),
        ("refused", 1),
        ("errors", 0),
        ("waiting", 0),
    ] {
        assert_eq!(stats[counter], count, "{counter}: {stats}");
    }
}

#[tokio::test]
async fn the_api_works_under_a_prefix_and_is_404_beside_its_routes() {
    let config = Config::default();
    let store = Memory::new(Clock::system());
    let api = router(&over(store.clone()), config.clone());
    let server = Served::app(axum::Router::new().nest("/tenure", api), store, config).await;
    server.post("/tenure/v1/acquire", ask("a")).await.ok(201);
    server.get("/tenure/v1/why/a").await.ok(200);
    let index = server.get("/tenure").await.ok(200);
    assert!(index.text.contains("<base href=\"tenure/\">"), "{}", index.text);
    server.get("/tenure/nothing").await.problem(404);
}
