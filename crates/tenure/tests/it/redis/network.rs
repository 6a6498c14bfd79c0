//! Replies that are lost, connections that are cut, messages that nobody hears.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tenure::provider::Event;
use tenure::{Guard, Locks};
use tenure_testkit::{Asking as _, Client, Cut, RedisServer, TcpProxy, Way, seed};
use tokio::task::JoinSet;

use super::{connect, in_time, pass, rounds, store_of, until};
use crate::stands::{keys_under, prefix, redis};

/// Locks behind a proxy, and locks that are not, of one store.
async fn far_and_near(proxy: &TcpProxy) -> (Locks, Locks, String) {
    let prefix = prefix();
    let far = connect(&format!("redis://{}?prefix={prefix}&delay_ms=10", proxy.addr())).await;
    (far, connect(&store_of(&prefix)).await, prefix)
}

/// How many claims wait for a name.
fn waiting(prefix: &str, name: &str) -> usize {
    redis().command(&["ZCARD", &format!("{prefix}q:{name}")])
}

/// The request is done, and its answer lost with the connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_whose_reply_is_lost_is_done_once_and_says_so() {
    let proxy = TcpProxy::start(redis().addr()).await;
    let (far, near, _) = far_and_near(&proxy).await;
    for shared in [false, true] {
        let request = if shared { far.lock_shared("x") } else { far.lock("x") };
        let guard = request.acquire().await.unwrap();
        proxy.lose_reply_after(0);
        in_time("the release", guard.release()).await.expect("it was held until it was released");
        near.lock("x").try_acquire().await.unwrap().expect("it is free").release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acquire_whose_reply_is_lost_is_granted_once() {
    let proxy = TcpProxy::start(redis().addr()).await;
    let (far, near, _) = far_and_near(&proxy).await;
    for shared in [false, true] {
        proxy.lose_reply_after(0);
        let request = if shared { far.lock_shared("x") } else { far.lock("x") };
        let guard = in_time("the grant", request.acquire()).await.unwrap();
        assert!(near.lock("x").try_acquire().await.unwrap().is_none());
        guard.release().await.unwrap();
        near.lock("x").try_acquire().await.unwrap().expect("a ghost holds it").release().await.unwrap();
    }
}

/// A release that comes while the waiter is cut off is told to nobody; who connects again asks.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_push_is_made_good() {
    let proxy = TcpProxy::start(redis().addr()).await;
    let (far, near, prefix) = far_and_near(&proxy).await;
    let guard = near.lock("x").acquire().await.unwrap();
    let waiter = tokio::spawn(async move { far.lock("x").acquire().await });
    until("it waits", async || waiting(&prefix, "x") == 1).await;
    proxy.lose_reply_after(0);
    guard.release().await.unwrap();
    in_time("the waiter", waiter).await.unwrap().unwrap().release().await.unwrap();
}

/// The connection is cut with the news of a hundred grants on it. Who connects again asks for every claim that waits, though
/// nobody touches them.
#[tokio::test(flavor = "multi_thread")]
async fn all_waiters_are_rechecked_after_a_reconnect() {
    const WAITERS: usize = 100;
    let proxy = TcpProxy::start(redis().addr()).await;
    let (far, near, prefix) = far_and_near(&proxy).await;
    let client = Client::new(Arc::clone(far.provider()), far.clock());
    let names: Vec<String> = (0..WAITERS).map(|number| format!("x{number}")).collect();
    let mut guards = Vec::new();
    for name in &names {
        guards.push(near.lock(name).acquire().await.unwrap());
        client.queue(&client.ask(name).local().waiting()).await;
    }
    proxy.hold(Way::Reply);
    for guard in guards {
        guard.release().await.unwrap();
    }
    until("all are granted", async || names.iter().all(|name| waiting(&prefix, name) == 0)).await;
    assert!(client.events().is_empty(), "the news have come");
    proxy.cut(Cut::Reset).await;
    proxy.heal();
    let granted =
        |events: &[Event]| events.iter().filter(|event| matches!(event, Event::Granted(..))).count();
    assert!(client.sees(super::PATIENCE, |events| granted(events) == WAITERS).await, "{:?}", client.events());
}

/// Two commands for a release, though a thousand wait: one that ends the lease, and one that the next holder confirms his
/// grant with. The waiters' touches, which share their commands, come on top.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_waiters_cost_a_bounded_number_of_commands_per_release() {
    let server = RedisServer::start();
    let (locks, others) = (connect(&server.url()).await, connect(&server.url()).await);
    let guard = locks.permit("x", 1).acquire().await.unwrap();
    let mut waiters = JoinSet::new();
    for _ in 0..1_000 {
        let others = others.clone();
        waiters.spawn(async move { others.permit("x", 1).acquire().await.unwrap().release().await.unwrap() });
    }
    until("all wait", async || server.command::<usize>(&["ZCARD", "tenure:q:x"]) == 1_000).await;
    let commands = || {
        let text: String = server.command(&["INFO", "commandstats"]);
        let line = text.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")).unwrap();
        line.split(',').next().unwrap().parse::<u64>().unwrap()
    };
    let before = commands();
    guard.release().await.unwrap();
    in_time("all", waiters.join_all()).await;
    let sent = commands() - before;
    println!("{sent} commands for 1,000 releases");
    assert!(sent <= 2 * 1_000, "{sent}");
}

/// The lease is renewed through a network that fails again and again for several of its ttls.
#[tokio::test(flavor = "multi_thread")]
async fn renewals_go_on_after_they_failed() {
    let proxy = TcpProxy::start(redis().addr()).await;
    let (far, near, _) = far_and_near(&proxy).await;
    let ttl = Duration::from_secs(3);
    let guard = far.lock("x").ttl(ttl).acquire().await.unwrap();
    let fat = far.lock_shared("y").ttl(ttl).acquire().await.unwrap();
    for _ in 0..4 {
        pass(ttl / 2).await;
        proxy.cut(Cut::Reset).await;
        proxy.lose_reply_after(0);
    }
    assert!(!guard.is_lost() && !fat.is_lost());
    assert!(near.lock("x").try_acquire().await.unwrap().is_none());
    assert!(near.lock("y").try_acquire().await.unwrap().is_none());
    guard.release().await.unwrap();
    fat.release().await.unwrap();
}

/// One renewal fails; every lease is where it was, and none is given back for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_fails_gives_nothing_back() {
    let proxy = TcpProxy::start(redis().addr()).await;
    let (far, near, _) = far_and_near(&proxy).await;
    let ttl = Duration::from_secs(3);
    let guards = far.lock_all(["a", "b", "c"]).ttl(ttl).acquire().await.unwrap();
    proxy.hold(Way::Request);
    until("the renewal has failed", async || guards.is_doubtful()).await;
    for name in ["a", "b", "c"] {
        assert!(near.lock(name).try_acquire().await.unwrap().is_none(), "{name}");
    }
    proxy.heal();
    until("it is renewed", async || !guards.is_doubtful()).await;
    assert!(!guards.is_lost());
    guards.release().await.unwrap();
}

/// A release that meets the first renewal at every distance ends the lease: nothing brings it back.
#[tokio::test(flavor = "multi_thread")]
async fn no_renewal_outlives_its_release() {
    let prefix = prefix();
    let url = store_of(&prefix);
    let locks = connect(&url).await;
    for after_ms in 25..45 {
        for request in [locks.lock("x"), locks.permit("y", 1)] {
            let guard = request.ttl(Duration::from_millis(100)).acquire().await.unwrap();
            pass(Duration::from_millis(after_ms)).await;
            // On a machine that stood still meanwhile it was lost, and is ended all the same.
            let _ = guard.release().await;
        }
    }
    assert_eq!(keys_under(redis(), &prefix), 1, "a lease is left");
    pass(Duration::from_millis(50)).await;
    assert_eq!(keys_under(redis(), &prefix), 1, "a renewal has come after the release");
}

/// What a lock protects in the test below.
#[derive(Default)]
struct Room {
    is_taken: AtomicBool,
    greatest: AtomicU64,
}

impl Room {
    async fn visit(&self, guard: &Guard) {
        assert!(!self.is_taken.swap(true, Ordering::AcqRel), "two hold the lock");
        let before = self.greatest.swap(guard.token().get(), Ordering::AcqRel);
        assert!(before < guard.token().get(), "token {} after {before}", guard.token());
        tokio::task::yield_now().await;
        self.is_taken.store(false, Ordering::Release);
    }
}

/// Three of ten replies are lost, each with its connection: no two hold, and whoever is granted has a greater token. One lock
/// is handed on inside the process, the other goes to the store each time.
#[tokio::test(flavor = "multi_thread")]
async fn every_reply_dropped_with_p_0_3_grants_nothing_twice() {
    let proxy = TcpProxy::start(redis().addr()).await;
    let url = format!("redis://{}?prefix={}&attempts=60&delay_ms=1", proxy.addr(), prefix());
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(connect(&url).await);
    }
    proxy.chaos(seed(), 0.3);
    let rooms = Arc::new([Room::default(), Room::default()]);
    let mut tasks = JoinSet::new();
    for locks in all {
        for task in 0..4 {
            let (locks, rooms) = (locks.clone(), Arc::clone(&rooms));
            tasks.spawn(async move {
                for _ in 0..rounds(8) {
                    let request = if task % 2 == 0 { locks.lock("x") } else { locks.permit("y", 1) };
                    let guard = request.acquire().await.expect("sixty tries are enough");
                    rooms[task % 2].visit(&guard).await;
                    guard.release().await.expect("sixty tries are enough");
                }
            });
        }
    }
    in_time("all", tasks.join_all()).await;
}
