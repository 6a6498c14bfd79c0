//! The library's `http` provider against a served router.

use std::sync::Arc;
use std::time::Duration;

use tenure::claim::ProcessId;
use tenure::http::Http;
use tenure::lease::{Claimed, Ended, Kept};
use tenure::provider::{Event, Keep, Listener, Provider};
use tenure::{Claim, Clock, ErrorKind, Locks, Name, Settings};
use tokio::sync::mpsc;

use crate::served::{Served, over};

fn connect(server: &Served) -> Http {
    Http::connect(&server.url(""), Clock::system()).unwrap()
}

fn locks(server: &Served) -> Locks {
    Locks::over(Arc::new(connect(server)), Settings::default())
}

fn claim(name: &str) -> Claim {
    Claim::new(ProcessId::random(), Name::new(name).unwrap())
}

#[tokio::test]
async fn a_guard_over_http_excludes_and_hands_on_with_a_greater_token() {
    let server = Served::start().await;
    let (one, two) = (locks(&server), locks(&server));
    let guard = one.lock("a").acquire().await.unwrap();
    assert!(two.lock("a").try_acquire().await.unwrap().is_none());
    let first = guard.token();
    let waiting = tokio::spawn(async move { two.lock("a").acquire().await.unwrap() });
    server.until_waiters(1).await;
    guard.release().await.unwrap();
    assert!(waiting.await.unwrap().token() > first);
}

#[tokio::test]
async fn a_guard_over_http_waits_behind_a_client_of_the_plain_api() {
    let server = Served::start().await;
    let locks = locks(&server);
    let held = server.post("/v1/acquire", crate::served::ask("a")).await.ok(201);
    let waiting = tokio::spawn(async move { locks.lock("a").acquire().await.unwrap() });
    server.until_waiters(1).await;
    server.post("/v1/release", serde_json::json!({"lease": held.lease()})).await.ok(204);
    assert!(waiting.await.unwrap().token().get() > held.token());
}

#[tokio::test]
async fn a_grant_is_pushed_with_a_deadline_that_the_store_does_not_undercut() {
    struct Ear(mpsc::UnboundedSender<Event>);
    impl Listener for Ear {
        fn on(&self, event: Event) {
            let _ = self.0.send(event);
        }
    }
    let server = Served::start().await;
    let client = connect(&server);
    let (sender, mut events) = mpsc::unbounded_channel();
    client.listen(Arc::new(Ear(sender)));
    let (holder, mut waiter) = (claim("a"), claim("a"));
    waiter.wait = true;
    assert!(matches!(one(client.claim(std::slice::from_ref(&holder)).await), Claimed::Granted(_)));
    while !matches!(events.recv().await, Some(Event::Resync)) {}
    assert!(matches!(one(client.claim(std::slice::from_ref(&waiter)).await), Claimed::Queued(_)));
    assert!(matches!(events.recv().await, Some(Event::Contended(lease)) if lease == holder.lease));
    assert!(matches!(one(client.end(&[holder.lease]).await), Ended::Released));
    let Some(Event::Granted(lease, Some(grant))) = events.recv().await else { panic!("not told") };
    assert_eq!(lease, waiter.lease);
    let left = Clock::system().now().until(grant.deadline);
    let at_the_store = server.leases().await[0]["remaining_ms"].as_u64().unwrap();
    assert!(
        left <= Duration::from_millis(at_the_store) + Duration::from_millis(50),
        "{left:?} {at_the_store}"
    );
    let keep = Keep { lease, ttl: waiter.ttl, tokens: 0 };
    assert!(matches!(one(client.keep(&[keep]).await), Kept::Held(held) if held.tokens == grant.tokens));
}

fn one<T>(mut answers: Vec<tenure::Result<T>>) -> T {
    answers.pop().unwrap().unwrap()
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable_and_one_that_comes_back_is_used_again() {
    let server = Served::start().await;
    let client = connect(&server);
    client.ping().await.unwrap();
    let address = server.address;
    drop(server);
    assert_eq!(client.ping().await.unwrap_err().kind(), ErrorKind::Unavailable);
    let refused = client.claim(&[claim("a")]).await.pop().unwrap().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    let config = tenure_server::Config::default();
    let store = tenure::Memory::new(Clock::system());
    let app = tenure_server::router(&over(store.clone()), config.clone());
    let server = Served::at(&address.to_string(), app, store, config).await;
    assert!(matches!(one(client.claim(&[claim("a")]).await), Claimed::Granted(_)));
    drop(server);
}

#[tokio::test]
async fn what_is_no_tenure_server_is_unavailable() {
    let app = axum::Router::new();
    let config = tenure_server::Config::default();
    let server = Served::app(app, tenure::Memory::new(Clock::system()), config).await;
    let client = connect(&server);
    let refused = client.claim(&[claim("a")]).await.pop().unwrap().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    let refused = client.force(claim("a").lease.digest(), tenure::provider::Force::Now).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn closing_a_client_ends_its_leases_and_leaves_those_of_others() {
    let server = Served::start().await;
    let (client, other) = (connect(&server), connect(&server));
    let mut remote = claim("remote");
    remote.origin = tenure::claim::Origin::Remote;
    let claims = [claim("a"), claim("b"), remote];
    assert!(client.claim(&claims).await.iter().all(|claimed| matches!(claimed, Ok(Claimed::Granted(_)))));
    one(other.claim(&[claim("c")]).await);
    client.close().await;
    let names: Vec<_> = server.leases().await.iter().map(|lease| lease["names"][0].clone()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.contains(&"remote".into()) && names.contains(&"c".into()));
}

#[tokio::test]
async fn a_client_works_behind_a_prefix() {
    let config = tenure_server::Config::default();
    let store = tenure::Memory::new(Clock::system());
    let api = tenure_server::router(&over(store.clone()), config.clone());
    let server = Served::app(axum::Router::new().nest("/tenure", api), store, config).await;
    let client = Http::connect(&server.url("/tenure"), Clock::system()).unwrap();
    client.ping().await.unwrap();
    assert!(matches!(one(client.claim(&[claim("a")]).await), Claimed::Granted(_)));
}
