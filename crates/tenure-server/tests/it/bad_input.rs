//! Whatever is sent, the answer is a 4xx problem that repeats none of it, and nothing changes.

use serde_json::{Value, json};

use crate::served::{Served, ask, lease_id};

#[tokio::test]
async fn what_is_not_the_json_that_was_asked_for_is_400() {
    let server = Served::start().await;
    let deep = format!("{{\"holder\":{}", "{\"EVIL\":".repeat(20_000));
    let bodies: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"EVIL".to_vec(),
        b"{".to_vec(),
        b"[]".to_vec(),
        b"[\"EVIL\"]".to_vec(),
        b"null".to_vec(),
        b"\"EVIL\"".to_vec(),
        b"{\"name\":\"a\"}EVIL".to_vec(),
        b"{\"name\":\"a\",\"EVIL\":1}".to_vec(),
        b"{\"name\":\"a\",\"name\":\"EVIL\"}".to_vec(),
        b"{\"name\":\"a\",\"holder\":{\"EVIL\":\"1\",\"EVIL\":\"2\"}}".to_vec(),
        b"{\"name\":\"a\",\"ttl_ms\":1e309}".to_vec(),
        b"{\"name\":\"a\",\"ttl_ms\":-1}".to_vec(),
        b"{\"name\":\"a\",\"ttl_ms\":18446744073709551616}".to_vec(),
        b"{\"name\":\"a\",\"ttl_ms\":\"5\"}".to_vec(),
        b"{\"name\":\"a\",\"ttl_ms\":NaN}".to_vec(),
        b"{\"name\":\"EVIL\xff\"}".to_vec(),
        b"\xef\xbb\xbf{\"name\":\"a\"}".to_vec(),
        b"{\"name\":\"\\ud800EVIL\"}".to_vec(),
        b"{\"name\":{\"EVIL\":1}}".to_vec(),
        b"{\"names\":{\"EVIL\":1}}".to_vec(),
        b"{\"name\":\"a\",\"mode\":\"EVIL\"}".to_vec(),
        b"{\"name\":\"a\",\"want\":\"EVIL\"}".to_vec(),
        b"{\"name\":\"a\",\"queue\":\"EVIL\"}".to_vec(),
        "[".repeat(100_000).into_bytes(),
        deep.into_bytes(),
    ];
    for path in ["/v1/acquire", "/v1/renew", "/v1/release"] {
        for body in &bodies {
            let refused = server.post_raw(path, body.clone()).await.problem(400);
            assert!(!refused.text.contains("EVIL"), "{}", refused.text);
        }
    }
    assert!(server.leases().await.is_empty());
}

#[tokio::test]
async fn a_value_that_is_not_allowed_is_400_with_its_field() {
    let server = Served::start().await;
    let many: Vec<String> = (0..257).map(|number| format!("n{number}")).collect();
    let year: u64 = 365 * 24 * 3_600_000;
    let cases: Vec<(&str, Value)> = vec![
        ("name", json!({})),
        ("name", json!({"name": ""})),
        ("name", json!({"name": "a".repeat(256)})),
        ("name", json!({"name": "a\nEVIL"})),
        ("name", json!({"name": "\u{0}"})),
        ("name", json!({"name": "\u{1b}[31mEVIL"})),
        ("names", json!({"names": []})),
        ("names", json!({"names": ["a", ""]})),
        ("names", json!({"names": ["EVIL", "EVIL"]})),
        ("names", json!({"names": many})),
        ("names", json!({"name": "a", "names": ["b"]})),
        ("ttl_ms", json!({"name": "a", "ttl_ms": 0})),
        ("ttl_ms", json!({"name": "a", "ttl_ms": 99})),
        ("ttl_ms", json!({"name": "a", "ttl_ms": 1000 * year})),
        ("ttl_ms", json!({"name": "a", "ttl_ms": u64::MAX})),
        ("wait_ms", json!({"name": "a", "wait_ms": 60001})),
        ("wait_ms", json!({"name": "a", "wait_ms": u64::MAX})),
        ("hold_at_least_ms", json!({"name": "a", "hold_at_least_ms": u64::MAX})),
        ("lease", json!({"name": "a", "lease": "EVIL"})),
        ("lease", json!({"name": "a", "lease": "00000000-0000-0000-0000-000000000000"})),
        ("lease", json!({"names": ["a"], "want": "each", "lease": lease_id()})),
        ("queue", json!({"names": ["a"], "want": "each", "queue": true})),
        ("names", json!({"names": ["a", "a"], "want": "each"})),
        ("of", json!({"name": "a", "mode": "permit"})),
        ("of", json!({"name": "a", "mode": "permit", "of": 0})),
        ("of", json!({"name": "a", "mode": "permit", "of": 65537})),
        ("take", json!({"name": "a", "mode": "permit", "of": 1, "take": 2})),
        ("take", json!({"name": "a", "mode": "permit", "of": 1, "take": 0})),
        ("of", json!({"name": "a", "of": 1})),
        ("take", json!({"name": "a", "mode": "shared", "take": 1})),
        ("count", json!({"name": "a", "count": 1})),
        ("count", json!({"names": ["a"], "want": "any", "count": 2})),
        ("count", json!({"names": ["a"], "want": "any", "count": 0})),
        ("reserve", json!({"name": "a", "reserve": 0})),
        ("reserve", json!({"name": "a", "reserve": 65537})),
        ("holder", json!({"name": "a", "holder": {"EVIL": "v".repeat(1_024)}})),
        ("holder", json!({"name": "a", "holder": {"EVIL": "a\u{7}"}})),
        ("replaces", json!({"name": "a", "replaces": ["EVIL"]})),
    ];
    for (field, body) in cases {
        let refused = server.post("/v1/acquire", body).await.in_field(400, field);
        assert!(!refused.text.contains("EVIL"), "{}", refused.text);
    }
    assert!(server.leases().await.is_empty());
    server.post("/v1/renew", json!({})).await.in_field(400, "lease");
    server.post("/v1/renew", json!({"lease": lease_id(), "ttl_ms": 0})).await.in_field(400, "ttl_ms");
    server.post("/v1/renew", json!({"lease": lease_id(), "reserve": 65537})).await.in_field(400, "reserve");
    server.post("/v1/release", json!({"lease": "EVIL"})).await.in_field(400, "lease");
}

#[tokio::test]
async fn names_of_one_and_255_bytes_and_256_names_are_taken() {
    let server = Served::start().await;
    server.post("/v1/acquire", ask("a")).await.ok(201);
    server.post("/v1/acquire", ask(&"b".repeat(255))).await.ok(201);
    server.post("/v1/acquire", ask("Grüße:🔒 /?#%")).await.ok(201);
    let why = server.get("/v1/why/Gr%C3%BC%C3%9Fe%3A%F0%9F%94%92%20%2F%3F%23%25").await.ok(200);
    assert_eq!(why.json["free"], false);
    let many: Vec<String> = (0..256).map(|number| format!("n{number}")).collect();
    server.post("/v1/acquire", json!({"names": many})).await.ok(201);
}

#[tokio::test]
async fn a_body_that_is_not_called_json_is_415() {
    let server = Served::start().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonEVIL", ""] {
        let request =
            client.post(server.url("/v1/acquire")).header("content-type", kind).body("{\"name\":\"a\"}");
        assert_eq!(request.send().await.unwrap().status(), 415, "{kind}");
    }
    let request = client.post(server.url("/v1/acquire")).body("{\"name\":\"a\"}");
    assert_eq!(request.send().await.unwrap().status(), 415);
    let kind = "Application/JSON; charset=utf-8";
    let request =
        client.post(server.url("/v1/acquire")).header("content-type", kind).body("{\"name\":\"a\"}");
    assert_eq!(request.send().await.unwrap().status(), 201);
}

#[tokio::test]
async fn a_wrong_route_is_404_and_a_wrong_method_405_with_what_is_allowed() {
    let server = Served::start().await;
    for path in ["/EVIL", "/v1", "/v1/acquire/", "/v1/leases/a/EVIL", "//v1/leases"] {
        let refused = server.get(path).await.problem(404);
        assert!(!refused.text.contains("EVIL"));
    }
    let refused = server.get("/v1/acquire").await.problem(405);
    assert_eq!(refused.headers["allow"], "POST");
    server.delete("/v1/stats").await.problem(405);
    server.post("/v1/leases", json!({})).await.problem(405);
}

#[tokio::test]
async fn bad_queries_and_paths_are_400_with_the_field() {
    let server = Served::start().await;
    for (field, path) in [
        ("limit", "/v1/leases?limit=0"),
        ("limit", "/v1/leases?limit=1001"),
        ("limit", "/v1/leases?limit=EVIL"),
        ("limit", "/v1/leases?limit=1&limit=2"),
        ("after", "/v1/waiters?after=EVIL"),
        ("prefix", "/v1/leases?prefix=%ff"),
        ("prefix", "/v1/leases?prefix=%00"),
        ("digest", "/v1/leases/EVIL"),
        ("digest", "/v1/leases/EVILEVILEVILEVIL"),
        ("name", "/v1/why/%0aEVIL"),
    ] {
        let refused = server.get(path).await.in_field(400, field);
        assert!(!refused.text.contains("EVIL"), "{}", refused.text);
    }
    let unknown = server.get("/v1/leases?EVIL=1").await.problem(400);
    assert!(!unknown.text.contains("EVIL"));
    server.get("/v1/why/%ff").await.problem(400);
    server.delete("/v1/leases/0000000000000000?now=EVIL").await.in_field(400, "now");
    server.delete("/v1/leases/EVIL").await.in_field(400, "digest");
}

#[tokio::test]
async fn bytes_that_are_not_http_are_cut_and_the_server_lives() {
    let server = Served::start().await;
    for bytes in [
        b"EVIL\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"POST /v1/acquire HTTP/1.1\r\nhost: t\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}".to_vec(),
        vec![0; 10_000],
    ] {
        let mut stream = server.raw(&bytes).await;
        tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
        let answer = crate::served::read_to_end(stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    server.get("/health").await.ok(200);
}
