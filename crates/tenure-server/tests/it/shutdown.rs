//! A server that is told to end does so, whatever its clients do; and a store that does not answer is a 503.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tenure_server::Config;

use crate::events::Events;
use crate::served::{Served, ask, read_to_end};

#[tokio::test]
async fn a_shutdown_ends_streams_and_long_polls_and_finishes_within_the_drain() {
    let mut server = Served::start().await;
    server.post("/v1/acquire", ask("a")).await.ok(201);
    let mut events = Events::of(&server).await;
    events.next().await.unwrap();
    let poll = server.raw_post("/v1/acquire", &json!({"name": "a", "wait_ms": 60000})).await;
    server.until_waiters(1).await;
    let _idle = server.raw(b"").await;
    server.config.shutdown.begin();
    let answer = read_to_end(poll).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"), "{answer}");
    while events.next().await.is_some() {}
    let task = std::mem::replace(&mut server.task, tokio::spawn(async { Ok(true) }));
    assert!(task.await.unwrap().unwrap(), "it had to cut connections");
    assert!(reqwest::get(server.url("/health")).await.is_err());
    // The waiter is withdrawn, and the lease is the store's and not the server's.
    let page = list(&server.store, tenure::lease::Kind::Waiters).await;
    assert_eq!(page, 0);
    assert_eq!(list(&server.store, tenure::lease::Kind::Leases).await, 1);
}

async fn list(store: &tenure::Memory, kind: tenure::lease::Kind) -> usize {
    let query = tenure::lease::Query::new(kind, "");
    tenure::Provider::list(store, &query).await.unwrap().entries.len()
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_at_the_hard_deadline() {
    let mut config = Config::default();
    config.drain = Duration::from_millis(100);
    let app = axum::Router::new().route("/", axum::routing::get(std::future::pending::<()>));
    let store = tenure::Memory::new(tenure::Clock::system());
    let mut server = Served::app(app, store, config).await;
    let stuck = server.raw(b"GET / HTTP/1.1\r\nhost: t\r\n\r\n").await;
    // Accepted before the shutdown: a second connection is answered after the first was.
    let other = server.raw(b"GET /x HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").await;
    assert!(read_to_end(other).await.starts_with("HTTP/1.1 404"));
    server.config.shutdown.begin();
    let task = std::mem::replace(&mut server.task, tokio::spawn(async { Ok(true) }));
    assert!(!task.await.unwrap().unwrap(), "it was cut");
    assert_eq!(read_to_end(stuck).await, "");
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_503_with_retry_after_and_unhealthy() {
    let mut config = Config::default();
    config.store_timeout = Duration::from_millis(50);
    let server = Served::over(Arc::new(silent::Silent::default()), config).await;
    for (path, body) in [
        ("/v1/acquire", ask("a")),
        ("/v1/renew", json!({"lease": crate::served::lease_id()})),
        ("/v1/release", json!({"lease": crate::served::lease_id()})),
    ] {
        let refused = server.post(path, body).await.problem(503);
        assert_eq!(refused.headers["retry-after"], "1");
    }
    server.get("/v1/leases").await.problem(503);
    server.get("/v1/why/a").await.problem(503);
    server.delete("/v1/leases/0000000000000000").await.problem(503);
    let health = server.get("/health").await.ok(503);
    assert_eq!(health.json["status"], "Unhealthy");
    assert_eq!(health.json["entries"]["store"]["status"], "Unhealthy");
    assert_eq!(health.json["entries"]["self"]["status"], "Healthy");
    server.get("/health/ready").await.ok(503);
    server.get("/health/live").await.ok(200);
    assert!(server.get("/v1/stats").await.json["errors"].as_u64().unwrap() >= 6);
}

/// A store that never answers.
mod silent {
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    use tenure::claim::{Claim, Digest, LeaseId};
    use tenure::lease::{Claimed, Ended, Kept, Page, Query};
    use tenure::provider::{Caps, Force, Forced, Fut, Immediate, Keep, Listener, Provider};
    use tenure::{Error, Result};

    #[derive(Debug)]
    pub(crate) struct Silent(Caps);

    impl Default for Silent {
        fn default() -> Self {
            Silent(Caps::new("silent"))
        }
    }

    impl Provider for Silent {
        fn caps(&self) -> &Caps {
            &self.0
        }

        fn claim<'a>(&'a self, _: &'a [Claim]) -> Fut<'a, Vec<Result<Claimed>>> {
            Box::pin(std::future::pending())
        }

        fn keep<'a>(&'a self, keeps: &'a [Keep]) -> Fut<'a, Vec<Result<Kept>>> {
            // One that answers that it cannot.
            let error = |_| Err(Error::unavailable("keep", "no"));
            Box::pin(std::future::ready(keeps.iter().map(error).collect()))
        }

        fn end<'a>(&'a self, _: &'a [LeaseId]) -> Fut<'a, Vec<Result<Ended>>> {
            Box::pin(std::future::pending())
        }

        fn list<'a>(&'a self, _: &'a Query) -> Fut<'a, Result<Page>> {
            Box::pin(std::future::pending())
        }

        fn force<'a>(&'a self, _: Digest, _: Force) -> Fut<'a, Result<Forced>> {
            Box::pin(std::future::pending())
        }

        fn ping(&self) -> Fut<'_, Result<()>> {
            Box::pin(std::future::pending())
        }

        fn listen(&self, _: Arc<dyn Listener>) {}

        fn immediate(&self) -> Option<Arc<dyn Immediate>> {
            None
        }

        fn lifeline(&self) -> Option<Arc<OwnedFd>> {
            None
        }

        fn close(&self) -> Fut<'_, ()> {
            Box::pin(std::future::ready(()))
        }
    }
}
