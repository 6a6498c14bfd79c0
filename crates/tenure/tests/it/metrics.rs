//! What is counted: each attempt once, whatever way it went.

use std::sync::Arc;
use std::time::Duration;

use tenure::metrics::Operation;
use tenure::{Clock, Locks, Memory, Provider, Settings, Stats};
use tenure_testkit::{Fault, Relay, Step, Wire};

/// Locks over a memory store in the paused time of tokio.
pub(crate) fn near() -> Locks {
    let clock = Clock::tokio();
    over(Arc::new(Memory::new(clock)), clock)
}

/// Two processes with a store at the other end of a wire.
pub(crate) fn far() -> (Locks, Locks, Wire) {
    let clock = Clock::tokio();
    let memory = Memory::new(clock);
    let (relay, wire) = Relay::over(Arc::new(memory.clone()), clock);
    (over(relay, clock), over(Relay::over(Arc::new(memory), clock).0, clock), wire)
}

fn over(provider: Arc<dyn Provider>, clock: Clock) -> Locks {
    let mut settings = Settings::default();
    settings.clock = clock;
    Locks::over(provider, settings)
}

/// Lets `span` pass.
pub(crate) async fn pass(locks: &Locks, span: Duration) {
    locks.clock().sleep_until(locks.clock().now() + span).await;
}

/// How attempts ended: acquired, busy, timed out, failed, abandoned; and how many were contended.
fn ends(stats: &Stats) -> [u64; 6] {
    [stats.acquired, stats.busy, stats.timeouts, stats.failed, stats.abandoned, stats.contended]
}

#[tokio::test(start_paused = true)]
async fn an_attempt_at_a_free_lock_is_acquired_without_contention_near_and_far() {
    for locks in [near(), far().0] {
        for _ in 0..3 {
            locks.lock("a").acquire().await.unwrap().release().await.unwrap();
        }
        let stats = locks.stats();
        assert_eq!(ends(&stats), [3, 0, 0, 0, 0, 0]);
        assert_eq!((stats.wait.count, stats.wait.max), (3, Duration::ZERO));
        assert_eq!(stats.rates().success, Some(100.0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_taken_makes_attempts_busy_timed_out_abandoned_or_late() {
    for (holder, locks) in [
        {
            let locks = near();
            (locks.clone(), locks)
        },
        {
            let (a, b, _) = far();
            (a, b)
        },
    ] {
        let held = holder.lock("a").acquire().await.unwrap();
        let before = locks.stats();
        assert!(locks.lock("a").try_acquire().await.unwrap().is_none());
        assert!(locks.lock("a").try_acquire_for(Duration::from_secs(1)).await.unwrap().is_none());
        tokio::time::timeout(Duration::from_secs(1), locks.lock("a").acquire()).await.unwrap_err();
        let waiting = tokio::spawn({
            let locks = locks.clone();
            async move { locks.lock("a").acquire().await }
        });
        pass(&locks, Duration::from_secs(2)).await;
        held.release().await.unwrap();
        let got = waiting.await.unwrap().unwrap();
        let stats = locks.stats();
        let grown: Vec<u64> = ends(&stats).iter().zip(ends(&before)).map(|(now, then)| now - then).collect();
        assert_eq!(grown, [1, 1, 1, 0, 1, 3]);
        assert_eq!((stats.remote_handoffs, stats.local_handoffs), (1, 0));
        assert!(stats.wait.max >= Duration::from_secs(2) && stats.wait.max < Duration::from_secs(3));
        drop(got);
    }
}

#[tokio::test(start_paused = true)]
async fn locks_handed_on_inside_the_process_are_told_from_those_of_the_store() {
    let (locks, ..) = far();
    let first = locks.lock("a").acquire().await.unwrap();
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let locks = locks.clone();
            tokio::spawn(async move {
                let guard = locks.lock("a").acquire().await.unwrap();
                pass(&locks, Duration::from_secs(1)).await;
                guard.release().await.unwrap();
            })
        })
        .collect();
    pass(&locks, Duration::from_secs(2)).await;
    assert_eq!(locks.stats().held, 1);
    first.release().await.unwrap();
    for task in waiting {
        task.await.unwrap();
    }
    let stats = locks.stats();
    assert_eq!(ends(&stats), [5, 0, 0, 0, 0, 4]);
    assert_eq!((stats.local_handoffs, stats.remote_handoffs), (4, 0));
    assert_eq!((stats.released, stats.held), (5, 0));
    // One held for two seconds and four for one each.
    assert_eq!(stats.hold.count, 5);
    let about = |found: Duration, exact: u64| {
        let exact = Duration::from_secs(exact);
        found >= exact && found <= exact + Duration::from_millis(100)
    };
    assert!(about(stats.hold.total, 6) && about(stats.hold.max, 2) && about(stats.hold.p50, 1), "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_guard_is_released_once_and_a_lost_one_is_lost_once() {
    let (locks, _, wire) = far();
    drop(locks.lock("dropped").acquire().await.unwrap());
    let held = locks.lock("lost").ttl(Duration::from_secs(3)).acquire().await.unwrap();
    wire.set_all(Fault::LoseRequest);
    held.lost().await;
    // Counted now, if the renewals' task has not noticed before.
    drop(held);
    let stats = locks.stats();
    assert_eq!((stats.lost, stats.released, stats.held), (1, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_makes_attempts_fail_and_a_wrong_call_is_no_attempt() {
    let (locks, _, wire) = far();
    assert!(locks.lock("").acquire().await.is_err());
    assert!(locks.permit("p", 0).acquire().await.is_err());
    assert_eq!(ends(&locks.stats()), [0; 6]);
    wire.set(Step::Claim, Fault::LoseRequest);
    assert!(locks.lock("a").try_acquire().await.is_err());
    assert!(locks.lock_each(["b", "c"]).try_acquire().await.is_err());
    let stats = locks.stats();
    assert_eq!(ends(&stats), [0, 0, 0, 3, 0, 0]);
    assert_eq!((stats.batch_failed, stats.rates().failures), (2, Some(100.0)));
}

#[tokio::test(start_paused = true)]
async fn attempts_for_several_names_count_as_batches_too() {
    for locks in [near(), far().0] {
        let both = locks.lock_all(["a", "b"]).acquire().await.unwrap();
        assert!(locks.lock_all(["b", "c"]).try_acquire().await.unwrap().is_none());
        let won = locks.lock_each(["b", "d", "e"]).try_acquire().await.unwrap();
        assert_eq!(won.iter().flatten().count(), 2);
        drop(won);
        both.release().await.unwrap();
        locks.lock_all(["a"]).acquire().await.unwrap().release().await.unwrap();
        let stats = locks.stats();
        assert_eq!(ends(&stats), [4, 2, 0, 0, 0, 2]);
        assert_eq!((stats.batch_acquired, stats.batch_failed), (3, 2));
    }
}

/// The first try of each is not an attempt besides the wait that goes on from it.
#[tokio::test(start_paused = true)]
async fn each_that_waits_counts_every_name_once() {
    for locks in [near(), far().0] {
        let held = locks.lock("a").acquire().await.unwrap();
        let won = locks.lock_each(["a", "b"]).try_acquire_for(Duration::from_secs(1)).await.unwrap();
        assert_eq!(won.iter().flatten().count(), 1);
        drop((held, won));
        assert_eq!(ends(&locks.stats()), [2, 0, 1, 0, 0, 1]);
    }
}

#[tokio::test(start_paused = true)]
async fn operations_are_counted_by_kind_and_are_no_attempts() {
    let locks = near();
    let kinds = [Operation::Read, Operation::Write, Operation::Create, Operation::Update, Operation::Delete];
    for (times, kind) in kinds.into_iter().enumerate() {
        (0..=times).for_each(|_| locks.metrics().record(kind));
    }
    let stats = locks.stats();
    let done = stats.operations;
    assert_eq!((done.reads, done.writes, done.creates, done.updates, done.deletes), (1, 2, 3, 4, 5));
    assert_eq!((stats.attempts(), stats.rates().success, stats.rates().lock_free), (0, None, 1));
}

#[tokio::test(start_paused = true)]
async fn renewals_are_counted() {
    let (locks, ..) = far();
    let held = locks.lock("a").ttl(Duration::from_secs(3)).acquire().await.unwrap();
    pass(&locks, Duration::from_secs(10)).await;
    assert!(!held.is_lost());
    assert!((8..=11).contains(&locks.stats().renewals), "{}", locks.stats().renewals);
}
