//! G4 for guards: whatever future is dropped, task panics or reply is lost, once things are quiet nothing of ours is left.

use std::pin::Pin;
use std::time::Duration;

use tenure::{Guard, LeaseId, Locks};

use crate::cancel::cancel_at;
use crate::client::{Asking, Client};
use crate::conformance::SHORT;
use crate::relay::{Fault, Step, Wire};
use crate::stand::Stage;

/// What may happen to the store while a future is dropped.
const CONDITIONS: [Fault; 4] =
    [Fault::None, Fault::LoseRequest, Fault::LoseReply, Fault::Late(Duration::from_millis(50))];

/// More awaits than any call has.
const MOST: usize = 200;

type Call<'a> = Pin<Box<dyn Future<Output = Vec<Guard>> + 'a>>;

/// Every way to ask for locks, with a short ttl.
fn calls(locks: &Locks) -> Vec<(&'static str, Call<'_>)> {
    let patience = Duration::from_millis(40);
    let list = |guard: Option<Guard>| guard.into_iter().collect::<Vec<_>>();
    vec![
        ("acquire", Box::pin(async move { list(locks.lock("x").ttl(SHORT).acquire().await.ok()) })),
        (
            "try_acquire",
            Box::pin(async move { list(locks.lock("x").ttl(SHORT).try_acquire().await.ok().flatten()) }),
        ),
        (
            "try_acquire_for",
            Box::pin(async move {
                list(locks.lock("x").ttl(SHORT).try_acquire_for(patience).await.ok().flatten())
            }),
        ),
        (
            "lock_shared",
            Box::pin(async move {
                list(locks.lock_shared("x").ttl(SHORT).try_acquire_for(patience).await.ok().flatten())
            }),
        ),
        (
            "lock_all",
            Box::pin(async move {
                list(locks.lock_all(["x", "y"]).ttl(SHORT).try_acquire_for(patience).await.ok().flatten())
            }),
        ),
        (
            "lock_each",
            Box::pin(async move {
                let guards = locks.lock_each(["x", "y"]).ttl(SHORT).try_acquire_for(patience).await;
                guards.unwrap_or_default().into_iter().flatten().collect()
            }),
        ),
        (
            "run_once",
            Box::pin(async move {
                let work = async |_: &Guard| tokio::task::yield_now().await;
                drop(locks.lock("x").ttl(SHORT).run_once(work).await);
                Vec::new()
            }),
        ),
        (
            "lead",
            Box::pin(async move {
                let work = async |_: &Guard| tokio::task::yield_now().await;
                drop(locks.lead("x").ttl(SHORT).run(work).await);
                Vec::new()
            }),
        ),
    ]
}

/// Every call on a free name, dropped at each of its awaits, under each condition of the store.
pub async fn a_call_that_is_dropped_at_any_await_leaves_nothing(stage: Stage) {
    let near = stage.client().await;
    for fault in CONDITIONS {
        for call in 0..calls(&stage.far().await.0).len() {
            each_await(&stage, &near, fault, call, false).await;
        }
    }
}

/// The same while another process holds the name, so that the call waits, and gives it back when the call is gone.
pub async fn a_wait_that_is_dropped_at_any_await_leaves_nothing(stage: Stage) {
    let near = stage.client().await;
    for fault in CONDITIONS {
        for call in 0..calls(&stage.far().await.0).len() {
            each_await(&stage, &near, fault, call, true).await;
        }
    }
}

async fn each_await(stage: &Stage, near: &Client, fault: Fault, call: usize, busy: bool) {
    for polls in 0..MOST {
        let (locks, wire) = stage.far().await;
        wire.latency(Duration::from_millis(1));
        let held = if busy { Some(stage.hold_soon(near, "x", SHORT * 2).await) } else { None };
        wire.set(Step::Claim, fault);
        wire.set(Step::End, fault);
        let (name, future) = calls(&locks).swap_remove(call);
        // A store that stays away makes some calls wait for ever: the last drop is that of the time.
        let patient = tokio::time::timeout(SHORT, future);
        let done = cancel_at(polls, patient).await;
        let ended = done.is_some();
        drop(done);
        wire.heal();
        // What the dropped call has sent may lie in the provider's queue still: a trip behind it returns after it is done.
        let behind = locks.provider().end(&[LeaseId::random()]).await;
        assert!(behind.iter().all(Result::is_ok), "the way is healed: {behind:?}");
        if let Some(held) = &held {
            near.end(held).await;
        }
        println!("{name} {fault:?} busy={busy} polls={polls} ended={ended}");
        stage.quiet(near, SHORT * 2).await;
        if ended {
            // What was left behind neither holds the name here nor stands in the way.
            let again = locks.lock("x").try_acquire_for(SHORT * 2).await.unwrap();
            assert!(again.is_some(), "the name is not free for this process");
            drop(again);
            stage.quiet(near, SHORT * 2).await;
            return;
        }
    }
    panic!("call {call} has more than {MOST} awaits");
}

/// A release that is dropped at any of its awaits is done all the same.
pub async fn a_release_that_is_dropped_at_any_await_is_done(stage: Stage) {
    let near = stage.client().await;
    for fault in CONDITIONS {
        for polls in 0..MOST {
            let (locks, wire) = stage.far().await;
            wire.latency(Duration::from_millis(1));
            let guard = locks.lock("x").ttl(SHORT).acquire().await.unwrap();
            let shared = locks.lock_shared("y").ttl(SHORT).acquire().await.unwrap();
            wire.set(Step::End, fault);
            let ended = cancel_at(polls, guard.release()).await.is_some();
            let _ = cancel_at(polls, shared.release()).await;
            wire.heal();
            stage.quiet(&near, SHORT * 2).await;
            if ended {
                break;
            }
        }
    }
}

/// A task that is aborted while it waits in the process's own queue leaves the queue, and the others are served.
pub async fn a_task_that_is_aborted_in_the_local_queue_leaves_it(stage: Stage) {
    for (locks, near) in
        [(stage.far().await.0, stage.client().await), (stage.locks().await, stage.client().await)]
    {
        for aborted in 0..4 {
            let held = locks.lock("x").acquire().await.unwrap();
            let mut waiting: Vec<_> = (0..4)
                .map(|_| {
                    let locks = locks.clone();
                    tokio::spawn(
                        async move { locks.lock("x").acquire().await.unwrap().release().await.unwrap() },
                    )
                })
                .collect();
            stage.pass(Duration::from_millis(5)).await;
            let gone = waiting.remove(aborted);
            gone.abort();
            assert!(gone.await.unwrap_err().is_cancelled());
            drop(held);
            for task in waiting {
                task.await.unwrap();
            }
            stage.quiet(&near, SHORT * 2).await;
        }
    }
}

/// A task that panics while it holds a lock releases it.
pub async fn a_task_that_panics_releases_its_lock(stage: Stage) {
    for (locks, _wire) in both(&stage).await {
        let near = stage.client().await;
        let task = tokio::spawn(async move {
            let _guard = locks.lock("x").acquire().await.unwrap();
            let _batch = locks.lock_all(["y", "z"]).acquire().await.unwrap();
            // Not a panic of the test: it unwinds without a message.
            std::panic::resume_unwind(Box::new("while the lock is held"));
        });
        assert!(task.await.unwrap_err().is_panic());
        stage.quiet(&near, SHORT * 2).await;
    }
}

/// A guard that is dropped on a thread without a runtime is released.
pub async fn a_guard_that_is_dropped_off_the_runtime_is_released(stage: Stage) {
    for (locks, _wire) in both(&stage).await {
        let near = stage.client().await;
        let guards = [
            locks.lock("x").acquire().await.unwrap(),
            locks.lock_shared("y").acquire().await.unwrap(),
            locks.lock_all(["w", "z"]).acquire().await.unwrap(),
        ];
        std::thread::spawn(move || drop(guards)).join().unwrap();
        stage.quiet(&near, SHORT * 2).await;
    }
}

/// A guard that outlives its `Locks` is renewed still, and released when it is dropped.
pub async fn a_guard_that_outlives_its_locks_is_released_when_it_is_dropped(stage: Stage) {
    let (locks, wire) = stage.far().await;
    let near = stage.client().await;
    let guard = locks.lock("x").ttl(SHORT).acquire().await.unwrap();
    drop(locks);
    stage.pass(SHORT * 2).await;
    assert!(!guard.is_lost(), "it is not renewed any more");
    near.busy(&near.ask("x")).await;
    drop(guard);
    stage.quiet(&near, SHORT).await;
    let trips = wire.all_trips();
    stage.pass(SHORT * 3).await;
    assert_eq!(wire.all_trips(), trips, "something still speaks to the store");
}

/// A guard that was forgotten is released by `close`, which says how many it released.
pub async fn close_releases_what_was_forgotten(stage: Stage) {
    let (locks, wire) = stage.far().await;
    let near = stage.client().await;
    std::mem::forget(locks.lock("x").acquire().await.unwrap());
    let alive = locks.lock_shared("y").acquire().await.unwrap();
    let report = locks.close(SHORT).await;
    assert_eq!((report.released, report.left.len()), (2, 0));
    assert!(alive.is_lost(), "a guard outlives the end of its locks");
    assert!(locks.lock("z").try_acquire().await.is_err());
    stage.quiet(&near, Duration::ZERO).await;
    drop(alive);
    stage.pass(SHORT).await;
    let trips = wire.all_trips();
    stage.pass(SHORT * 3).await;
    assert_eq!(wire.all_trips(), trips, "something still speaks to the store");
}

/// Where the store does not answer, `close` ends in time and says what may be left; the ttl ends that.
pub async fn close_says_what_it_could_not_release(stage: Stage) {
    let (locks, wire) = stage.far().await;
    let near = stage.client().await;
    let guard = locks.lock("x").ttl(SHORT).acquire().await.unwrap();
    let digest = guard.lease();
    wire.set_all(Fault::LoseRequest);
    let began = stage.clock().now();
    let report = locks.close(SHORT / 2).await;
    assert!(began.until(stage.clock().now()) <= SHORT / 2 + stage.slack());
    assert_eq!((report.released, report.left), (0, vec![digest]));
    assert!(guard.is_lost());
    stage.quiet(&near, SHORT).await;
}

/// While the store is away, what was dropped lives on for a ttl at the most.
pub async fn what_is_dropped_while_the_store_is_away_ends_with_its_ttl(stage: Stage) {
    let (locks, wire) = stage.far().await;
    let near = stage.client().await;
    let guard = locks.lock("x").ttl(SHORT).acquire().await.unwrap();
    wire.set_all(Fault::LoseRequest);
    let dropped = stage.clock().now();
    drop(guard);
    let next = near.ask("x").waiting();
    near.queue(&next).await;
    near.granted(&next).await;
    assert!(dropped.until(stage.clock().now()) <= SHORT + tenure::limits::TOUCH + stage.slack());
    near.end(&next).await;
    wire.heal();
    stage.quiet(&near, SHORT).await;
}

/// A claim for another, under its own lease id, that loses its place while it waits says so, and takes nothing under an id
/// that nobody knows.
pub async fn a_claim_for_another_that_loses_its_place_takes_nothing(stage: Stage) {
    let (locks, near) = (stage.far().await.0, stage.client().await);
    let held = near.ask("x");
    near.hold(&held).await;
    let claim = near.ask("x");
    let lease = claim.lease;
    let waiting = tokio::spawn(async move { locks.claim(claim, SHORT * 6).await });
    stage.pass(SHORT / 10).await;
    stage.catch_up(&near).await;
    near.provider().force(lease.digest(), tenure::provider::Force::Now).await.unwrap();
    stage.pass(SHORT / 10).await;
    near.end(&held).await;
    let answer = waiting.await.unwrap();
    assert!(matches!(answer, Ok(tenure::lease::Claimed::Busy(_))), "{answer:?}");
    stage.quiet(&near, SHORT).await;
}

/// Tasks of two processes over wires that lose a fifth of all trips: what a guard believes is so, and nothing is left.
pub async fn nothing_is_left_after_random_faults_and_cancellations(stage: Stage) {
    use rand::{Rng, SeedableRng, rngs::StdRng};
    let seed = crate::seed::seed();
    let near = stage.client().await;
    let mut tasks = tokio::task::JoinSet::new();
    let mut wires = Vec::new();
    let inside = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    for process in 0..2_u64 {
        let (locks, wire) = stage.far().await;
        wire.chaos(seed ^ process, 0.2);
        wire.latency(Duration::from_millis(2));
        wires.push(wire);
        for task in 0..4_u64 {
            let (locks, inside) = (locks.clone(), std::sync::Arc::clone(&inside));
            let (mut rng, rounds) = (StdRng::seed_from_u64(seed ^ (process << 8 | task)), stage.rounds(150));
            tasks.spawn(async move {
                for _ in 0..rounds {
                    let patience = Duration::from_millis(rng.random_range(1..400));
                    let call = locks.lock("x").ttl(SHORT * 3).try_acquire_for(patience);
                    let Some(Ok(Some(guard))) = cancel_at(rng.random_range(1..30), call).await else {
                        continue;
                    };
                    if !guard.is_lost() {
                        let before = inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        assert_eq!(before, 0, "two holders");
                        tokio::task::yield_now().await;
                        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    }
                }
            });
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    wires.iter().for_each(Wire::heal);
    stage.quiet(&near, SHORT * 5).await;
}

/// The engine on the way that the store itself offers, and on one with a network between.
async fn both(stage: &Stage) -> Vec<(Locks, Option<Wire>)> {
    let (locks, wire) = stage.far().await;
    vec![(stage.locks().await, None), (locks, Some(wire))]
}
