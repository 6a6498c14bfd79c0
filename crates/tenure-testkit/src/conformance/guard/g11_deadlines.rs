//! G11: a wait ends at its deadline, tries once more there, and restarts on nothing.

use std::time::Duration;

use tenure::Locks;

use crate::client::Asking;
use crate::conformance::SHORT;
use crate::relay::{Fault, Step};
use crate::stand::Stage;

const PATIENCE: Duration = Duration::from_millis(2_500);

/// A wait in vain ends at its deadline, neither before nor later, on every way.
pub async fn a_wait_in_vain_ends_at_its_deadline(stage: Stage) {
    for locks in [stage.locks().await, stage.far().await.0] {
        let near = stage.client().await;
        let held = near.ask("x y");
        near.hold(&held).await;
        for kind in 0..4 {
            let began = stage.clock().now();
            let guard = match kind {
                0 => locks.lock("x").try_acquire_for(PATIENCE).await,
                1 => locks.lock_shared("x").try_acquire_for(PATIENCE).await,
                2 => locks.lock_all(["w", "x"]).try_acquire_for(PATIENCE).await,
                _ => locks.lock_any(["y", "x"]).try_acquire_for(PATIENCE).await,
            };
            let took = began.until(stage.clock().now());
            assert!(guard.unwrap().is_none());
            assert!(took >= PATIENCE && took <= PATIENCE + stage.slack(), "kind {kind}: took {took:?}");
        }
        near.end(&held).await;
        stage.quiet(&near, SHORT).await;
    }
}

/// A task that comes while the one before it is giving its claim up, and the store is slow to say so, gets a claim of its own:
/// it neither ends before its deadline nor goes on with a claim whose end is on the way.
pub async fn a_claim_that_is_being_given_up_is_not_taken_over(stage: Stage) {
    let ((locks, wire), near) = (stage.far().await, stage.client().await);
    let held = near.ask("x");
    near.hold(&held).await;
    wire.set(Step::End, Fault::HangReply);
    let gives_up = locks.lock("x").try_acquire_for(SHORT / 4);
    let comes = async {
        stage.pass(SHORT / 2).await;
        locks.lock("x").try_acquire_for(PATIENCE * 8).await.unwrap()
    };
    let frees = async {
        stage.pass(PATIENCE).await;
        wire.set(Step::End, Fault::None);
        near.end(&held).await;
    };
    let (none, guard, ()) = tokio::join!(gives_up, comes, frees);
    assert!(none.unwrap().is_none());
    guard.expect("it waited long enough").release().await.expect("the lease was its own");
    stage.quiet(&near, SHORT).await;
}

/// Many tasks of one process that wait behind each other each end at their own deadline.
pub async fn each_of_many_local_waiters_ends_at_its_own_deadline(stage: Stage) {
    let (locks, near) = (stage.far().await.0, stage.client().await);
    let held = near.ask("x");
    near.hold(&held).await;
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..10_u32 {
        let (locks, clock) = (locks.clone(), stage.clock());
        tasks.spawn(async move {
            let patience = PATIENCE / 10 * (index + 1);
            let began = clock.now();
            let guard = locks.lock("x").try_acquire_for(patience).await.unwrap();
            assert!(guard.is_none());
            (patience, began.until(clock.now()))
        });
    }
    while let Some(done) = tasks.join_next().await {
        let (patience, took) = done.unwrap();
        assert!(took >= patience && took <= patience + stage.slack(), "waited {took:?} of {patience:?}");
    }
    near.end(&held).await;
    stage.quiet(&near, SHORT).await;
}

/// No patience is one try: one trip, and no place in any queue.
pub async fn no_patience_is_one_try(stage: Stage) {
    let (locks, wire) = stage.far().await;
    let near = stage.client().await;
    near.hold(&near.ask("x y")).await;
    for tries in 1..=3 {
        let began = stage.clock().now();
        assert!(locks.lock("x").try_acquire().await.unwrap().is_none());
        assert!(locks.lock_all(["x", "z"]).try_acquire_for(Duration::ZERO).await.unwrap().is_none());
        assert!(began.until(stage.clock().now()) <= stage.slack());
        assert_eq!((wire.trips(Step::Claim), wire.trips(Step::Keep)), (2 * tries, 0));
    }
    let waiters = tenure::lease::Query::new(tenure::lease::Kind::Waiters, "");
    assert!(near.list(&waiters).await.is_empty());
}

/// What a last trip to a store that does not answer may take beyond the deadline.
const LAST_TRIP: Duration = Duration::from_secs(1);

/// The deadline holds when the store does not answer at all, wherever the wait has got to: but for one last trip.
pub async fn a_wait_ends_at_its_deadline_though_the_store_hangs(stage: Stage) {
    for fault in [Fault::Hang, Fault::HangReply, Fault::LoseRequest, Fault::LoseReply] {
        for step in [Step::Claim, Step::Keep, Step::End] {
            let (locks, wire) = stage.far().await;
            let near = stage.client().await;
            let held = near.ask("x");
            near.hold(&held).await;
            wire.set(step, fault);
            wire.lose_events();
            let began = stage.clock().now();
            let outcome = locks.lock("x").try_acquire_for(PATIENCE).await;
            let took = began.until(stage.clock().now());
            assert!(!matches!(outcome, Ok(Some(_))), "{step:?} {fault:?}");
            assert!(took <= PATIENCE + LAST_TRIP + stage.slack(), "{step:?} {fault:?}: overran to {took:?}");
            wire.heal();
            near.end(&held).await;
            stage.quiet(&near, SHORT * 12).await;
        }
    }
}

/// A name that becomes free right before the deadline, without a word, is taken by the last try.
pub async fn the_last_try_is_made_at_the_deadline(stage: Stage) {
    let (locks, wire) = stage.far().await;
    let near = stage.client().await;
    wire.lose_events();
    let held = near.ask("x");
    near.hold(&held).await;
    let waiting = wait(&locks, PATIENCE);
    let free = async {
        stage.pass(PATIENCE - Duration::from_millis(20)).await;
        near.end(&held).await;
    };
    let (guard, ()) = tokio::join!(waiting, free);
    guard.expect("the last try was not made").release().await.unwrap();
}

async fn wait(locks: &Locks, patience: Duration) -> Option<tenure::Guard> {
    locks.lock("x").try_acquire_for(patience).await.unwrap()
}

/// Wakes for nothing do not make the wait longer: the deadline is that of the call.
pub async fn wakes_for_nothing_do_not_move_the_deadline(stage: Stage) {
    let (locks, near) = (stage.far().await.0, stage.client().await);
    let held = near.ask("x").shared();
    near.hold(&held).await;
    let began = stage.clock().now();
    let busy = async {
        loop {
            // Each of these passes the waiter's name on and back.
            let other = near.ask("x").waiting();
            near.queue(&other).await;
            stage.pass(Duration::from_millis(30)).await;
            near.end(&other).await;
        }
    };
    tokio::select! {
        guard = wait(&locks, PATIENCE) => assert!(guard.is_none()),
        () = busy => {}
    }
    let took = began.until(stage.clock().now());
    assert!(took >= PATIENCE && took <= PATIENCE + stage.slack(), "took {took:?}");
}
