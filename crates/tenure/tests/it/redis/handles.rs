//! What one handle does, and what it must not do to another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tenure::lease::{Kind, Query};
use tenure::{ErrorKind, FencingToken, Locks};
use tokio::task::JoinSet;

use super::{connect, in_time, own_store, rounds, store_of, until};
use crate::stands::{prefix, redis};

/// Says when two are inside at the same time.
#[derive(Clone, Default)]
struct Room(Arc<AtomicBool>);

impl Room {
    /// Goes in alone, lets others run, and comes out.
    async fn visit(&self) {
        assert!(!self.0.swap(true, Ordering::AcqRel), "two hold the lock");
        tokio::task::yield_now().await;
        self.0.store(false, Ordering::Release);
    }
}

/// A patience is used for waiting: the lock comes within it, though it was busy at first.
#[tokio::test(flavor = "multi_thread")]
async fn an_acquire_with_a_time_out_waits() {
    let url = own_store();
    let (locks, others) = (connect(&url).await, connect(&url).await);
    let guard = locks.lock("x").acquire().await.unwrap();
    assert!(others.lock("x").try_acquire_for(Duration::from_millis(200)).await.unwrap().is_none());
    let waiter = others.clone();
    let waiter = tokio::spawn(async move {
        waiter.lock("x").try_acquire_for(super::PATIENCE).await.unwrap().expect("it is free")
    });
    until("it waits", async || waiting(&others).await == 1).await;
    guard.release().await.unwrap();
    in_time("the waiter", waiter).await.unwrap().release().await.unwrap();
}

/// How many claims wait.
async fn waiting(locks: &Locks) -> usize {
    let query = Query::new(Kind::Waiters, "");
    locks.provider().list(&query).await.unwrap().entries.len()
}

/// Makes the server forget all that is held under a prefix.
const FORGET: &str = "for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
    if key ~= ARGV[1] .. 'meta' then redis.call('DEL', key) end end";

/// The lease has run out at the store, unnoticed by a holder that was cut off; the next one's is not touched by its release.
#[tokio::test(flavor = "multi_thread")]
async fn a_stale_handle_does_not_release_its_successor() {
    let prefix = prefix();
    let url = store_of(&prefix);
    let (locks, others) = (connect(&url).await, connect(&url).await);
    for round in 0..rounds(50) {
        let stale = locks.lock("x").acquire().await.unwrap();
        redis().command::<()>(&["EVAL", FORGET, "0", &prefix]);
        let next = others.lock("x").try_acquire().await.unwrap().expect("its record is gone");
        assert!(next.token() > stale.token());
        // Half of them by drop, which nobody waits for: a further release of the same handles shows that it was done.
        if round % 2 == 0 {
            assert_eq!(stale.release().await.unwrap_err().kind(), ErrorKind::Lost);
        } else {
            drop(stale);
            locks.lock("other").acquire().await.unwrap().release().await.unwrap();
        }
        assert!(!next.is_lost());
        next.release().await.expect("it was released by a stale handle");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tasks_that_share_the_locks_do_not_both_hold() {
    let url = own_store();
    let (locks, room) = (connect(&url).await, Room::default());
    let mut tasks = JoinSet::new();
    for locks in [locks.clone(), locks, connect(&url).await] {
        for _ in 0..4 {
            let (locks, room) = (locks.clone(), room.clone());
            tasks.spawn(async move {
                for _ in 0..rounds(50) {
                    let guard = locks.lock("x").acquire().await.unwrap();
                    room.visit().await;
                    guard.release().await.unwrap();
                }
            });
        }
    }
    in_time("all", tasks.join_all()).await;
}

/// Nothing is a panic: a pause or a patience of nothing, a ttl out of its range, an answer that may take no time.
#[tokio::test(flavor = "multi_thread")]
async fn zero_delay_does_not_panic() {
    let url = own_store();
    for option in ["delay_ms=0", "timeout_ms=0", "connect_timeout_ms=0", "attempts=0", "window=0"] {
        let error = Locks::connect(&format!("{url}&{option}")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{option}");
    }
    let locks = connect(&format!("{url}&delay_ms=1")).await;
    let guard = locks.lock("x").try_acquire_for(Duration::ZERO).await.unwrap().unwrap();
    let others = connect(&url).await;
    for patience in [Duration::ZERO, Duration::from_nanos(1)] {
        let busy = in_time("the answer", others.lock("x").try_acquire_for(patience)).await;
        assert!(busy.unwrap().is_none());
    }
    for ttl in [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(99), Duration::MAX] {
        let error = locks.lock("y").ttl(ttl).try_acquire().await.unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::InvalidInput, "ttl"));
    }
    guard.release().await.unwrap();
}

/// A claim meets the release that would wake it at every distance, and is never left waiting.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_meets_a_claim_is_never_missed() {
    let url = own_store();
    let (locks, others) = (connect(&url).await, connect(&url).await);
    let (next, taken) = (Arc::new(tokio::sync::Barrier::new(2)), Arc::new(AtomicU64::new(0)));
    let times = rounds(200);
    let of_others = {
        let (next, taken) = (Arc::clone(&next), Arc::clone(&taken));
        tokio::spawn(async move {
            for _ in 0..times {
                next.wait().await;
                let guard = others.lock("x").acquire().await.unwrap();
                taken.fetch_add(1, Ordering::AcqRel);
                guard.release().await.unwrap();
            }
        })
    };
    for round in 0..times {
        let guard = locks.lock("x").acquire().await.unwrap();
        next.wait().await;
        for _ in 0..round % 8 {
            tokio::task::yield_now().await;
        }
        guard.release().await.unwrap();
        // Less than the touch that would repair a lost wake-up.
        let woken = tokio::time::timeout(Duration::from_millis(750), async {
            while taken.load(Ordering::Acquire) <= round as u64 {
                tokio::task::yield_now().await;
            }
        });
        woken.await.expect("a wake-up was lost");
    }
    of_others.await.unwrap();
}

/// The tokens of one epoch differ in their lowest bits, which a double would lose.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_above_two_to_the_53_are_exact() {
    let url = own_store();
    let (locks, others) = (connect(&url).await, connect(&url).await);
    let mut tokens: Vec<FencingToken> = Vec::new();
    for round in 0..20 {
        let locks = if round % 2 == 0 { &locks } else { &others };
        // Thin by its transaction, and fat by the script.
        for request in [locks.lock("x"), locks.lock_shared("x")] {
            let guard = request.acquire().await.unwrap();
            tokens.push(guard.token());
            guard.release().await.unwrap();
        }
    }
    assert!(tokens[0].get() > 1 << 53);
    assert!(tokens.windows(2).all(|pair| pair[0] < pair[1]), "{tokens:?}");
    assert!(tokens.iter().any(|token| token.get() % 2 == 1), "{tokens:?}");
}

/// Fifty waiters of a process that may have two claims on their way do not keep its holder from renewing and releasing.
#[tokio::test(flavor = "multi_thread")]
async fn waiters_that_use_up_the_window_hold_up_no_holder() {
    let locks = connect(&format!("{}&window=2", own_store())).await;
    let ttl = Duration::from_millis(900);
    let guard = locks.permit("x", 1).ttl(ttl).acquire().await.unwrap();
    let mut waiters = JoinSet::new();
    for _ in 0..50 {
        let locks = locks.clone();
        waiters.spawn(async move {
            let guard = locks.permit("x", 1).acquire().await.unwrap();
            guard.release().await.unwrap();
        });
    }
    until("all wait", async || waiting(&locks).await == 50).await;
    super::pass(2 * ttl).await;
    assert!(!guard.is_lost(), "the renewals of the holder starve");
    guard.release().await.unwrap();
    in_time("all", waiters.join_all()).await;
}

/// What is wrong, what is busy, what cannot be asked and what is lost are different answers.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_busy_unavailable_and_lost_are_told_apart() {
    let mut server = tenure_testkit::RedisServer::start();
    let (locks, others) = (connect(&server.url()).await, connect(&server.url()).await);
    let guard = locks.lock("x").ttl(Duration::from_secs(1)).acquire().await.unwrap();
    assert!(others.lock("x").try_acquire().await.unwrap().is_none());
    assert_eq!(others.lock("").try_acquire().await.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(others.permit("x", 3).try_acquire().await.unwrap_err().kind(), ErrorKind::InvalidInput);
    server.kill();
    assert_eq!(others.lock("x").try_acquire().await.unwrap_err().kind(), ErrorKind::Unavailable);
    in_time("the loss", guard.lost()).await;
    server.restart();
    until("the server is back", async || locks.provider().ping().await.is_ok()).await;
    assert_eq!(guard.release().await.unwrap_err().kind(), ErrorKind::Lost);
}
