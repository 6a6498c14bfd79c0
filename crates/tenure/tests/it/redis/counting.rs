//! Processes that count under one lock lose no update, whatever is done to them and to the server.

use std::time::Duration;

use tenure::lease::{Kind, Query};
use tenure_testkit::RedisServer;
use tenure_testkit::process::{Child, play_role};

use super::counter::{Counter, Fenced, Job, NAME, ROLES};
use super::{connect, in_time, own_store, pass, until};
use crate::stands::{prefix, redis};

/// The test that a child runs, which plays the child's role.
const ROLE: &str = "redis::counting::a_child_plays_its_role";

/// Of no effect in a run by hand: it is what children of the tests below run.
#[test]
fn a_child_plays_its_role() {
    play_role(&ROLES);
}

fn job(goal: u64, ttl: Duration) -> Job {
    Job { locks: own_store(), resource: redis().url(), key: format!("{}counter", prefix()), goal, ttl }
}

fn start(role: &str, job: &Job) -> Child {
    Child::start(ROLE, role, &job.to_argument())
}

/// 4 processes × 16 tasks add one 3,000 times, with a GET and a SET.
#[tokio::test]
async fn sixty_four_tasks_of_four_processes_lose_no_update() {
    let job = job(3_000, Duration::from_secs(30));
    let mut counter = Counter::of(&job).await;
    let mut children: Vec<Child> = (0..4).map(|_| start("count", &job)).collect();
    for child in &mut children {
        child.hears("ready ");
    }
    for _ in &children {
        counter.let_go().await;
    }
    let added: Vec<u64> = children.iter_mut().map(|child| child.hears("done ").parse().unwrap()).collect();
    children.into_iter().for_each(Child::ends);
    println!("added {added:?}");
    assert_eq!(added.iter().sum::<u64>(), job.goal, "{added:?}");
    assert!(added.iter().all(|added| *added > 0), "the test is not vacuous: {added:?}");
    assert_eq!(counter.check_journal().await, job.goal);
}

/// Whichever process holds the lock is killed, three times; another takes its place.
#[tokio::test]
async fn a_holder_that_is_killed_while_it_counts_loses_nothing_of_the_others() {
    let job = job(u64::MAX, Duration::from_millis(1_500));
    let (locks, mut counter) = (connect(&job.locks).await, Counter::of(&job).await);
    let mut children: Vec<(u32, Child)> = Vec::new();
    for _ in 0..4 {
        children.push(counting(&job, &mut counter).await);
    }
    for round in 1..=3 {
        let before = counter.check_journal().await;
        until("they count", async || counter.check_journal().await > before + 100).await;
        let mut holder = None;
        until("somebody holds it", async || {
            let page = locks.provider().list(&Query::new(Kind::Leases, NAME)).await.unwrap();
            let meta = page.entries.first().and_then(|entry| entry.meta.clone());
            let pid = |meta: &tenure::Meta| meta.iter().find(|(key, _)| *key == "pid")?.1.parse::<u32>().ok();
            holder = meta.and_then(|meta| pid(&meta));
            holder.is_some()
        })
        .await;
        let victim = children.iter().position(|(pid, _)| Some(*pid) == holder).expect("a child holds it");
        children.remove(victim).1.kill();
        children.push(counting(&job, &mut counter).await);
        println!("killed in round {round}: {holder:?}");
    }
    let before = counter.check_journal().await;
    until("they count on", async || counter.check_journal().await > before + 100).await;
}

/// A process that counts, and its id.
async fn counting(job: &Job, counter: &mut Counter) -> (u32, Child) {
    let mut child = start("count", job);
    let pid = child.hears("ready ").parse().unwrap();
    counter.let_go().await;
    (pid, child)
}

/// The server of the locks is stopped and goes on, is killed and comes back without its data; the counter, which another
/// server keeps, takes what is written under a token that is not stale.
#[tokio::test]
async fn a_server_that_is_stopped_or_loses_its_data_loses_no_update_of_a_fenced_counter() {
    let (mut server, resource) = (RedisServer::start(), RedisServer::start());
    let job = Job {
        locks: format!("{}?timeout_ms=200&delay_ms=10", server.url()),
        resource: resource.url(),
        key: "counter".to_owned(),
        goal: 0,
        ttl: Duration::from_millis(500),
    };
    let mut counter = Counter::of(&job).await;
    let mut children: Vec<Child> = (0..4).map(|_| start("count_fenced", &job)).collect();
    for child in &mut children {
        child.hears("ready ");
        counter.let_go().await;
    }
    for _ in 0..2 {
        goes_on(&mut counter).await;
        server.stop();
        pass(Duration::from_millis(700)).await;
        server.go_on();
        goes_on(&mut counter).await;
        server.restart_empty();
    }
    goes_on(&mut counter).await;
    counter.end().await;
    let added: Vec<u64> = children.iter_mut().map(|child| child.hears("done ").parse().unwrap()).collect();
    children.into_iter().for_each(Child::ends);
    let refused = counter.field("refused").await;
    println!("written {added:?}, refused {refused}");
    assert_eq!(counter.check_journal().await, counter.field("number").await);
    assert_eq!(added.iter().sum::<u64>(), counter.field("number").await);
}

/// Waits until another hundred were added.
async fn goes_on(counter: &mut Counter) {
    let before = counter.field("number").await;
    until("they count", async || counter.field("number").await > before + 100).await;
}

/// A process that is stopped past its ttl writes late: the resource refuses it, and its release says that it was lost.
#[tokio::test]
async fn a_process_that_is_stopped_past_its_ttl_is_refused_by_the_fenced_counter() {
    let job = job(0, Duration::from_millis(500));
    let (locks, mut counter) = (connect(&job.locks).await, Counter::of(&job).await);
    let mut stalled = start("stall", &job);
    let stale: u64 = stalled.hears("holds ").parse().unwrap();
    stalled.stop();
    let next = in_time("the next holder", locks.lock(NAME).acquire()).await.unwrap();
    assert!(next.token().get() > stale);
    assert_eq!(counter.open_fenced(next.token()).await, Fenced::Number(0));
    counter.let_go().await;
    stalled.go_on();
    assert_eq!(stalled.hears("after "), "Refused knew=true released=false");
    stalled.ends();
    assert_eq!(counter.field("refused").await, 1);
    assert_eq!(counter.write_fenced(next.token(), 1).await, Fenced::Number(1));
    assert_eq!(counter.check_journal().await, 1);
}
