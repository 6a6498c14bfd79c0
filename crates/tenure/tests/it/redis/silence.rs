//! A holder knows of its loss before the server can let anybody else in, though the network carries nothing.

use std::sync::Arc;
use std::time::Duration;

use tenure::{Clock, Why};
use tenure_testkit::{RedisServer, TcpProxy, Way};

use super::{connect, in_time, pass, store_of, until};
use crate::stands::{prefix, redis};

const TTL: Duration = Duration::from_secs(4);

/// For how long the server keeps the lease of a name that nobody waits for; below zero when it is gone.
fn left_at_the_server(prefix: &str, name: &str) -> i64 {
    redis().command(&["PTTL", &format!("{prefix}l:{name}")])
}

/// The deadline is compared with the key's ttl while the network is silent, and so is the signal when it comes. One lease is
/// on a name of its own, another on one that a second process waits for; both were renewed before.
#[tokio::test(flavor = "multi_thread")]
async fn the_lost_signal_comes_before_the_lease_ends_at_the_server() {
    let proxy = TcpProxy::start(redis().addr()).await;
    let prefix = prefix();
    let far = connect(&format!("redis://{}?prefix={prefix}", proxy.addr())).await;
    let near = connect(&store_of(&prefix)).await;
    let guard = far.lock("alone").ttl(TTL).acquire().await.unwrap();
    let wanted = far.lock("wanted").ttl(TTL).acquire().await.unwrap();
    let clock = Clock::system();
    let next = tokio::spawn(async move {
        let next = near.lock("wanted").acquire().await.unwrap();
        (clock.now(), next.token())
    });
    let first = guard.safe_remaining();
    until("it is renewed", async || guard.safe_remaining() > first - TTL / 6).await;
    until("it was not renewed again at once", async || guard.safe_remaining() < first - TTL / 6).await;
    until("it is renewed", async || guard.safe_remaining() > first - TTL / 6).await;
    proxy.hold(Way::Request);
    proxy.hold(Way::Reply);
    // The server's answer is the later of the two looks: the difference is never greater than the margin.
    let mut margin = i64::MIN;
    for _ in 0..20 {
        let believed = i64::try_from(guard.safe_remaining().as_millis()).unwrap();
        margin = margin.max(left_at_the_server(&prefix, "alone") - believed);
        pass(Duration::from_millis(20)).await;
    }
    assert!(margin >= 0, "the holder believes for {} ms longer than the server", -margin);
    let wanted = Arc::new(wanted);
    let of_wanted = tokio::spawn({
        let wanted = Arc::clone(&wanted);
        async move { (wanted.lost().await, clock.now()) }
    });
    assert_eq!(in_time("the signal", guard.lost()).await, Why::Expired);
    let left = left_at_the_server(&prefix, "alone");
    assert!(left > 0, "the lease had ended at the server");
    let (_, lost_at) = in_time("the signal", of_wanted).await.unwrap();
    let (granted_at, token) = in_time("the next holder", next).await.unwrap();
    assert!(lost_at < granted_at && token > wanted.token());
    println!(
        "margin: {margin} ms of a ttl of {} ms; the signal {left} ms before the end at the server, {} ms before the next grant",
        TTL.as_millis(),
        lost_at.until(granted_at).as_millis()
    );
}

/// A server that stands still answers no renewal, and closes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_hangs_ends_in_the_lost_signal() {
    let server = RedisServer::start();
    let (locks, others) = (connect(&server.url()).await, connect(&server.url()).await);
    let guard = locks.lock("x").ttl(Duration::from_secs(1)).acquire().await.unwrap();
    server.stop();
    assert_eq!(in_time("the signal", guard.lost()).await, Why::Expired);
    server.go_on();
    let next = in_time("the next holder", others.lock("x").acquire()).await.unwrap();
    assert!(next.token() > guard.token());
    assert!(guard.release().await.is_err());
}
