//! Leases that stay with the process that used them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tenure::lease::{Kind, Query};
use tenure::{Locks, Settings};
use tenure_testkit::RedisServer;
use tokio::task::JoinSet;

use super::{connect, in_time, own_store, pass, rounds, until};

async fn sticky(url: &str) -> Locks {
    let mut settings = Settings::default();
    settings.sticky = true;
    Locks::connect_with(url, settings).await.expect("the server is there")
}

/// How many leases the store has.
async fn held(locks: &Locks) -> usize {
    locks.provider().list(&Query::new(Kind::Leases, "")).await.unwrap().entries.len()
}

#[tokio::test]
async fn a_lease_that_stays_costs_the_store_nothing() {
    let server = RedisServer::start();
    let locks = sticky(&server.url()).await;
    let commands = || server.info("total_commands_processed").parse::<u64>().unwrap();
    drop(locks.lock("x").acquire().await.unwrap());
    let (before, mut last) = (commands(), 0);
    for _ in 0..rounds(20_000) {
        let guard = locks.lock("x").acquire().await.unwrap();
        assert!(guard.token().get() > last, "the tokens do not rise");
        last = guard.token().get();
        guard.release().await.unwrap();
    }
    let spent = commands() - before;
    // Tokens come in blocks that grow.
    assert!(spent < 200, "{spent} commands");
    assert!(locks.stats().sticky_hits >= 19_000, "{}", locks.stats().sticky_hits);
}

#[tokio::test]
async fn another_process_has_the_lock_at_once() {
    let url = own_store();
    let (a, b) = (sticky(&url).await, connect(&url).await);
    a.lock("x").acquire().await.unwrap().release().await.unwrap();
    assert_eq!(held(&b).await, 1);
    // Well before the lease is idle for long enough to go back by itself.
    let guard = b.lock("x").try_acquire_for(Duration::from_millis(800)).await.unwrap();
    guard.expect("it was given back when it was wanted").release().await.unwrap();
}

#[tokio::test]
async fn a_try_of_another_process_brings_the_lease_back() {
    let url = own_store();
    let (a, b) = (sticky(&url).await, connect(&url).await);
    a.lock("x").acquire().await.unwrap().release().await.unwrap();
    assert!(b.lock("x").try_acquire().await.unwrap().is_none(), "it has stayed");
    until("the lease is given back", async || held(&b).await == 0).await;
    assert!(b.lock("x").try_acquire().await.unwrap().is_some());
}

#[tokio::test]
async fn a_name_that_others_wanted_does_not_stay_for_a_while() {
    let url = own_store();
    let (a, b) = (sticky(&url).await, connect(&url).await);
    a.lock("x").acquire().await.unwrap().release().await.unwrap();
    drop(in_time("the other", b.lock("x").acquire()).await.unwrap());
    a.lock("x").acquire().await.unwrap().release().await.unwrap();
    assert_eq!(held(&b).await, 0);
    pass(Duration::from_millis(1_100)).await;
    a.lock("x").acquire().await.unwrap().release().await.unwrap();
    assert_eq!(held(&b).await, 1);
}

#[tokio::test]
async fn a_lease_that_is_not_used_goes_back() {
    let url = own_store();
    let (a, b) = (sticky(&url).await, connect(&url).await);
    a.lock("x").acquire().await.unwrap().release().await.unwrap();
    assert_eq!(held(&b).await, 1);
    until("the lease is given back", async || held(&b).await == 0).await;
    let guard = a.lock("x").try_acquire().await.unwrap();
    assert!(guard.is_some());
}

#[tokio::test]
async fn a_batch_and_a_reader_of_the_process_take_what_it_kept() {
    let url = own_store();
    let a = sticky(&url).await;
    a.lock("x").acquire().await.unwrap().release().await.unwrap();
    drop(a.lock_all(["x", "y"]).try_acquire().await.unwrap().expect("nobody holds x"));
    until("the batch has ended", async || held(&a).await == 0).await;
    a.lock("x").acquire().await.unwrap().release().await.unwrap();
    drop(a.lock_shared("x").try_acquire().await.unwrap().expect("nobody holds x"));
    until("the reader has ended", async || held(&a).await == 0).await;
    a.lock("x").acquire().await.unwrap().release().await.unwrap();
    let each = a.lock_each(["x", "y"]).try_acquire().await.unwrap();
    assert!(each.iter().all(Option::is_some));
}

#[tokio::test]
async fn locks_that_are_closed_or_dropped_keep_nothing() {
    let url = own_store();
    let (a, b) = (sticky(&url).await, sticky(&url).await);
    a.lock("x").acquire().await.unwrap().release().await.unwrap();
    b.lock("y").acquire().await.unwrap().release().await.unwrap();
    a.close(Duration::from_secs(5)).await;
    drop(b);
    let c = connect(&url).await;
    until("both are given back", async || held(&c).await == 0).await;
}

#[tokio::test]
async fn a_name_that_is_held_on_after_its_release_does_not_stay() {
    let url = own_store();
    let (a, b) = (sticky(&url).await, connect(&url).await);
    let job = a.lock("x").hold_at_least(Duration::from_millis(300)).acquire().await.unwrap();
    job.release().await.unwrap();
    assert!(b.lock("x").try_acquire().await.unwrap().is_none());
    until("the time is over", async || b.lock("x").try_acquire().await.unwrap().is_some()).await;
}

#[tokio::test]
async fn a_lease_that_was_taken_away_while_it_stayed_is_not_used_again() {
    let server = RedisServer::start();
    let a = sticky(&server.url()).await;
    let first = a.lock("x").acquire().await.unwrap();
    let token = first.token();
    first.release().await.unwrap();
    let list = a.provider().list(&Query::new(Kind::Leases, "")).await.unwrap();
    let lease = list.entries[0].lease;
    a.provider().force(lease, tenure::provider::Force::Now).await.unwrap();
    until("it is heard of", async || a.stats().held == 0).await;
    assert!(a.lock("x").acquire().await.unwrap().token() > token);
    assert_eq!(a.stats().lost, 0, "nobody held what was taken away");
}

/// Each process keeps the lease while it can, and gives it up when another wants it: never two at once, and nobody is left out.
#[tokio::test(flavor = "multi_thread")]
async fn processes_that_all_keep_their_lease_never_have_it_at_once() {
    let (url, inside) = (own_store(), Arc::new(AtomicU64::new(0)));
    let last = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for process in 0..3 {
        let locks = sticky(&url).await;
        for task in 0..2 {
            let (locks, inside, last) = (locks.clone(), Arc::clone(&inside), Arc::clone(&last));
            tasks.spawn(async move {
                for round in 0..rounds(150) {
                    let guard = locks.lock("x").acquire().await.unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two holders");
                    assert!(last.swap(guard.token().get(), Ordering::SeqCst) < guard.token().get());
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    if round % 3 == 0 {
                        drop(guard);
                    } else {
                        guard.release().await.unwrap();
                    }
                    // Now and then nobody of the process wants it, and it stays.
                    if (round + task + process) % 7 == 0 {
                        pass(Duration::from_millis(2)).await;
                    }
                }
            });
        }
    }
    in_time("all", tasks.join_all()).await;
}
