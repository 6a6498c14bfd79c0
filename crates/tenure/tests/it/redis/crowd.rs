//! Thousands of claims wait for one name: what each costs, and in which order they are served.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tenure::{LeaseId, Locks};
use tenure_testkit::RedisServer;
use tenure_testkit::process::{Child, Role, play_role, run, say};
use tokio::task::JoinSet;

use super::{connect, pass, store_of, until};
use crate::stands::{prefix, redis};

/// As many as a name may have; a build without optimization cannot touch so many places every second beside other tests.
const WAITERS: usize = if cfg!(debug_assertions) { 2_500 } else { 10_000 };

/// What a waiter may cost the client and the server, each.
const MEMORY: usize = 4 * 1_024;

/// A lock that tasks of one process do not hand on to each other, so that each of them waits at the server.
fn one_of_one(locks: &Locks) -> tenure::Request<'_> {
    locks.permit("x", 1).ttl(Duration::from_secs(60))
}

/// The test that a child runs, which plays the child's role.
const ROLE: &str = "redis::crowd::a_child_plays_its_role";

const ROLES: [Role; 2] = [("crowd", crowd), ("wait", wait)];

/// Of no effect in a run by hand: it is what children of the tests below run.
#[test]
fn a_child_plays_its_role() {
    play_role(&ROLES);
}

/// The role of a process whose tasks all wait: says `waiting` with the bytes that it has in memory for them, and `served`
/// with the leases in the order in which they were held.
fn crowd(url: &str) {
    run(async {
        let locks = connect(url).await;
        let client = redis::Client::open(url).unwrap();
        let mut server = client.get_multiplexed_async_connection().await.unwrap();
        // What the first one costs once is not counted.
        one_of_one(&locks).try_acquire().await.unwrap();
        let before = resident();
        let served = Arc::new(Mutex::new(Vec::with_capacity(WAITERS)));
        let mut tasks = JoinSet::new();
        for _ in 0..WAITERS {
            let (locks, served) = (locks.clone(), Arc::clone(&served));
            tasks.spawn(async move {
                let guard = one_of_one(&locks).acquire().await.unwrap();
                served.lock().push(guard.lease().to_string());
                guard.release().await.unwrap();
            });
        }
        until("all wait", async || {
            let waiting = redis::Cmd::zcard("tenure:q:x");
            waiting.query_async::<usize>(&mut server).await.is_ok_and(|waiting| waiting == WAITERS)
        })
        .await;
        // What it costs each to touch its place, which it does every second, is counted.
        pass(Duration::from_secs(2)).await;
        say("waiting ", resident().saturating_sub(before));
        tasks.join_all().await;
        say("served ", served.lock().join(" "));
    });
}

/// Bytes of this process in memory, without what is its program's file.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1_024
}

/// How many commands of clients the server has been sent that carry steps.
fn commands(server: &RedisServer) -> u64 {
    let text: String = server.command(&["INFO", "commandstats"]);
    let calls = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")));
        line.and_then(|line| line.split(',').next()).map_or(0, |calls| calls.parse().unwrap())
    };
    ["evalsha", "eval", "exec"].into_iter().map(calls).sum()
}

/// The leases that wait, in their order.
fn queue(server: &RedisServer) -> Vec<String> {
    let ids: Vec<Vec<u8>> = server.command(&["ZRANGE", "tenure:q:x", "0", "-1"]);
    ids.into_iter().map(|id| LeaseId::from_bytes(id.try_into().unwrap()).digest().to_string()).collect()
}

/// One process waits thousands of times.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_waiters_are_served_in_order_at_a_bounded_cost() {
    let server = RedisServer::start();
    let locks = connect(&server.url()).await;
    let memory = || server.info("used_memory").parse::<usize>().unwrap();
    let holder = one_of_one(&locks).acquire().await.unwrap();
    let before = memory();
    let mut child = Child::start(ROLE, "crowd", &server.url());
    let in_client = child.hears("waiting ").parse::<usize>().unwrap() / WAITERS;
    let in_server = memory().saturating_sub(before) / WAITERS;
    let queue = queue(&server);
    assert_eq!(queue.len(), WAITERS);
    let sent = commands(&server);
    holder.release().await.unwrap();
    let served = child.hears("served ");
    let sent = commands(&server) - sent;
    child.ends();
    println!("{in_client} bytes in the client, {in_server} in the server for each; {sent} commands");
    let in_order = served.split(' ').zip(&queue).take_while(|(served, queued)| served == queued).count();
    assert_eq!(in_order, WAITERS, "the first so many were served in order");
    assert!(in_client <= MEMORY && in_server <= MEMORY);
    assert!(sent <= 2 * WAITERS as u64, "{sent} commands");
}

/// The role of a process that waits until it is killed.
fn wait(url: &str) {
    run(async {
        let _guard = connect(url).await.lock("x").acquire().await;
    });
}

/// The one behind the killed one is granted the lock by the release, within a second.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_waiter_whose_process_is_killed_delays_the_next_by_a_second_at_the_most() {
    let prefix = prefix();
    let url = store_of(&prefix);
    let waiting = || redis().command::<usize>(&["ZCARD", &format!("{prefix}q:x")]);
    let channels = || redis().command::<Vec<Vec<u8>>>(&["PUBSUB", "CHANNELS", &format!("{prefix}p:*")]).len();
    let (locks, others) = (connect(&url).await, connect(&url).await);
    let guard = locks.lock("x").acquire().await.unwrap();
    let mut head = Child::start(ROLE, "wait", &url);
    until("the head waits", async || waiting() == 1).await;
    let next = tokio::spawn(async move { others.lock("x").acquire().await });
    until("the next one waits", async || waiting() == 2).await;
    head.kill();
    until("the server has seen it", async || channels() == 2).await;
    guard.release().await.unwrap();
    let next = tokio::time::timeout(Duration::from_secs(1), next).await;
    next.expect("the dead waiter is in the way").unwrap().unwrap().release().await.unwrap();
    until("its place is cleared away", async || {
        locks.lock("x").acquire().await.unwrap().release().await.unwrap();
        waiting() == 0
    })
    .await;
}
