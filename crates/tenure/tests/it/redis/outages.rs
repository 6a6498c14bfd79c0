//! The server is away, stands still, comes back with its data or without.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tenure::{ErrorKind, Locks};
use tenure_testkit::{RedisConfig, RedisServer};
use tokio::task::JoinSet;

use super::{connect, in_time, pass, until};

/// Short pauses between tries, so that a server that is back is found at once.
fn hasty(server: &RedisServer) -> String {
    format!("{}?delay_ms=10", server.url())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_at_the_first_ask_is_unavailable_and_not_a_hang() {
    let mut server = RedisServer::start();
    let locks = connect(&server.url()).await;
    server.kill();
    let unconnected = tokio::time::timeout(Duration::from_secs(5), Locks::connect(&server.url())).await;
    assert_eq!(unconnected.expect("it hangs").unwrap_err().kind(), ErrorKind::Unavailable);
    for patience in [Duration::ZERO, Duration::from_secs(30), Duration::MAX] {
        let ask = locks.lock("x").try_acquire_for(patience);
        let error = tokio::time::timeout(Duration::from_secs(5), ask).await.expect("it hangs").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    server.restart();
    until("it heals", async || matches!(locks.lock("x").try_acquire().await, Ok(Some(_)))).await;
}

/// A claim that waits bears the outage, and is granted after it; so does the lease that it waits for.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_its_data_keeps_leases_waiters_and_the_order_of_tokens() {
    let mut server = RedisConfig::default().append_only().start();
    let (locks, others) = (connect(&hasty(&server)).await, connect(&hasty(&server)).await);
    let ttl = Duration::from_secs(3);
    let guard = locks.lock("x").ttl(ttl).acquire().await.unwrap();
    let thin = locks.lock("thin").ttl(ttl).acquire().await.unwrap();
    let waiting = others.clone();
    let waiter = tokio::spawn(async move { waiting.lock("x").acquire().await });
    until("it waits", async || server.command::<u64>(&["ZCARD", "tenure:q:x"]) == 1).await;
    server.kill();
    pass(Duration::from_millis(300)).await;
    assert!(!waiter.is_finished());
    server.restart();
    // Beyond the ttl that was left when the server was killed.
    pass(ttl).await;
    assert!(!guard.is_lost() && !thin.is_lost() && !waiter.is_finished());
    assert!(others.lock("thin").try_acquire().await.unwrap().is_none());
    guard.release().await.unwrap();
    let next = in_time("the waiter", waiter).await.unwrap().unwrap();
    let before = thin.token();
    assert!(next.token() > before && next.token().epoch() > before.epoch());
    thin.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_without_its_data_loses_the_guards_and_raises_the_tokens() {
    let mut server = RedisServer::start();
    let locks = connect(&hasty(&server)).await;
    let guard = locks.lock("x").ttl(Duration::from_secs(2)).acquire().await.unwrap();
    let wanted = locks.lock("wanted").ttl(Duration::from_secs(2)).acquire().await.unwrap();
    let others = connect(&hasty(&server)).await;
    let waiter = tokio::spawn(async move { others.lock("wanted").acquire().await });
    until("it waits", async || server.command::<u64>(&["ZCARD", "tenure:q:wanted"]) == 1).await;
    server.restart_empty();
    // Nobody who knows of the epoch before has a part in it.
    let stranger = connect(&hasty(&server)).await;
    let stolen = in_time("the stranger", stranger.lock("x").acquire()).await.unwrap();
    assert!(stolen.token() > guard.token());
    in_time("the loss", guard.lost()).await;
    in_time("the loss", wanted.lost()).await;
    assert_eq!(guard.release().await.unwrap_err().kind(), ErrorKind::Lost);
    let next = in_time("the waiter", waiter).await.unwrap().unwrap();
    assert!(next.token() > wanted.token());
}

/// A server that was restarted gives the numbers of its connections anew: who connects again closes his own old connection and
/// not one that has its number now.
#[tokio::test(flavor = "multi_thread")]
async fn who_connects_again_after_a_restart_closes_nobody_elses_connection() {
    let mut server = RedisServer::start();
    // Its number is one that the restarted server has not given yet when the stranger comes.
    for _ in 0..20 {
        server.command::<String>(&["PING"]);
    }
    // It tries again when the stranger is there.
    let locks = connect(&format!("{}?delay_ms=2000", server.url())).await;
    let clients: String = server.command(&["CLIENT", "LIST"]);
    let own = clients.lines().find(|line| line.contains("name=tenure")).unwrap();
    let own: u64 = own.strip_prefix("id=").and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap();
    server.restart();
    let client = redis::Client::open(server.url()).unwrap();
    let mut stranger = loop {
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let id: u64 = redis::cmd("CLIENT").arg("ID").query_async(&mut connection).await.unwrap();
        assert!(id <= own, "nobody has its number");
        if id == own {
            break connection;
        }
    };
    until("it is back", async || locks.provider().ping().await.is_ok()).await;
    redis::cmd("PING").query_async::<String>(&mut stranger).await.expect("its connection was closed");
}

/// Of two grants of a name where one ended before the other was asked for, the later has the greater token.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_rise_and_nothing_hangs_when_the_server_is_flushed_under_load() {
    let server = RedisServer::start();
    let (ended, rounds) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let locks = connect(&hasty(&server)).await;
        for _ in 0..4 {
            let (locks, ended, rounds) = (locks.clone(), Arc::clone(&ended), Arc::clone(&rounds));
            tasks.spawn(async move {
                loop {
                    let before = ended.load(Ordering::Acquire);
                    let Ok(guard) = locks.lock("x").ttl(Duration::from_millis(500)).acquire().await else {
                        pass(Duration::from_millis(5)).await;
                        continue;
                    };
                    let token = guard.token().get();
                    assert!(token > before, "token {token} after {before}");
                    let _ = guard.release().await;
                    ended.fetch_max(token, Ordering::AcqRel);
                    rounds.fetch_add(1, Ordering::AcqRel);
                }
            });
        }
    }
    for _ in 0..4 {
        let before = rounds.load(Ordering::Acquire);
        until("they go on", async || rounds.load(Ordering::Acquire) > before + 200).await;
        server.command::<()>(&["FLUSHALL"]);
    }
    let before = rounds.load(Ordering::Acquire);
    until("they go on", async || rounds.load(Ordering::Acquire) > before + 200).await;
    assert!(tasks.try_join_next().is_none(), "a task has ended");
}

/// Longer than an answer may take, so that the connection is given up and made anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_paused_server_costs_time_and_no_lock() {
    let server = RedisServer::start();
    let locks = connect(&format!("{}?timeout_ms=300&delay_ms=10", server.url())).await;
    let guard = locks.lock("held").ttl(Duration::from_secs(6)).acquire().await.unwrap();
    server.command::<()>(&["CLIENT", "PAUSE", "1500", "ALL"]);
    let mut next = None;
    until("it goes on", async || {
        next = locks.lock("x").try_acquire_for(Duration::from_secs(10)).await.ok().flatten();
        next.is_some()
    })
    .await;
    assert!(!guard.is_lost());
    guard.release().await.unwrap();
    next.unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_are_flushed_again_and_again_fail_nothing() {
    let server = Arc::new(RedisServer::start());
    let mut tasks = JoinSet::new();
    for _ in 0..2 {
        let locks = connect(&server.url()).await;
        for name in ["a", "b"] {
            let locks = locks.clone();
            tasks.spawn(async move {
                for _ in 0..150 {
                    let guard = locks.lock_shared(name).acquire().await.unwrap();
                    guard.release().await.unwrap();
                    let guard = locks.lock(name).acquire().await.unwrap();
                    guard.release().await.unwrap();
                }
            });
        }
    }
    let mut flushes = 0;
    while !tasks.is_empty() {
        let of_server = Arc::clone(&server);
        tokio::task::spawn_blocking(move || of_server.command::<()>(&["SCRIPT", "FLUSH"])).await.unwrap();
        flushes += 1;
        while let Some(done) = tasks.try_join_next() {
            done.unwrap();
        }
    }
    assert!(flushes > 10, "{flushes}");
}

/// Only memory that is free takes a new lock; what is held is kept and given back all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_memory_is_full_takes_no_new_locks_and_keeps_those_it_has() {
    let server = RedisConfig::default().line("maxmemory-policy noeviction").start();
    let (locks, others) = (connect(&hasty(&server)).await, connect(&hasty(&server)).await);
    let ttl = Duration::from_millis(1_500);
    let old = locks.lock("old").ttl(ttl).acquire().await.unwrap();
    let wanted = locks.lock("wanted").ttl(ttl).acquire().await.unwrap();
    let shared = locks.lock_shared("shared").ttl(ttl).acquire().await.unwrap();
    let waiter = tokio::spawn(async move { others.lock("wanted").acquire().await });
    until("it waits", async || server.command::<u64>(&["ZCARD", "tenure:q:wanted"]) == 1).await;
    let fresh = locks.lock("fresh").ttl(ttl).acquire().await.unwrap();
    server.config_set("maxmemory", "1mb");
    for request in [locks.lock("x"), locks.lock_shared("y"), locks.lock_all(["v", "w"])] {
        let error = request.try_acquire().await.unwrap_err();
        assert!(
            error.kind() == ErrorKind::Unavailable && error.to_string().contains("memory is full"),
            "{error}"
        );
    }
    pass(2 * ttl).await;
    for guard in [&old, &wanted, &shared, &fresh] {
        assert!(!guard.is_lost(), "{guard:?}");
    }
    for guard in [old, wanted, shared, fresh] {
        guard.release().await.unwrap();
    }
    in_time("the waiter", waiter).await.unwrap().unwrap().release().await.unwrap();
    server.config_set("maxmemory", "0");
    assert!(locks.lock("x").try_acquire().await.unwrap().is_some());
}
