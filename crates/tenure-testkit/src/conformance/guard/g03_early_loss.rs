//! G3 for guards: loss is told at the local deadline at the latest, before the store can grant again, also when the network
//! is silent; and a lost guard never comes back to life.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tenure::lease::Why;
use tenure::provider::Force;
use tenure::{ErrorKind, Guard, Locks, limits};

use crate::client::Asking;
use crate::conformance::SHORT;
use crate::relay::{Fault, Step};
use crate::stand::Stage;

const KINDS: usize = 4;

/// A guard of each kind that the engine treats in a way of its own.
async fn guard(locks: &Locks, kind: usize) -> Guard {
    let request = match kind {
        0 => locks.lock("x"),
        1 => locks.lock_shared("x"),
        2 => locks.lock_all(["x", "y"]),
        _ => locks.lock_any(["x", "y"]),
    };
    request.ttl(SHORT).acquire().await.unwrap()
}

/// When the network falls silent, the holder knows of the loss before the next one holds the name.
pub async fn loss_is_told_before_the_store_grants_again_when_the_network_is_silent(stage: Stage) {
    for kind in 0..KINDS {
        let (locks, wire) = stage.far().await;
        let near = stage.client().await;
        let held = Arc::new(guard(&locks, kind).await);
        let (lost_at, clock) = (Arc::new(AtomicU64::new(u64::MAX)), stage.clock());
        let watch = tokio::spawn({
            let (held, lost_at) = (Arc::clone(&held), Arc::clone(&lost_at));
            async move {
                held.lost().await;
                lost_at.store(clock.now().as_nanos(), Ordering::SeqCst);
            }
        });
        stage.pass(SHORT / 2).await;
        wire.set_all(Fault::Hang);
        let silent = clock.now();
        let waiter = near.ask("x").waiting();
        near.queue(&waiter).await;
        near.granted(&waiter).await;
        let granted = clock.now();
        assert!(held.is_lost(), "kind {kind}: the next one holds it, and the guard does not know");
        watch.await.unwrap();
        let lost = tenure::clock::Instant::from_nanos(lost_at.load(Ordering::SeqCst));
        assert!(lost <= granted, "kind {kind}: lost at {lost:?}, granted at {granted:?}");
        assert!(lost <= silent + SHORT - limits::drift(SHORT) + stage.slack(), "kind {kind}: told late");
        assert!(lost >= silent + SHORT / 4, "kind {kind}: lost although its deadline was not near");
        near.end(&waiter).await;
        wire.heal();
        assert!(held.is_lost() && held.safe_remaining().is_zero());
        drop(held);
        stage.quiet(&near, SHORT * 2).await;
    }
}

/// A guard that is renewed outlives its ttl many times over.
pub async fn a_guard_that_is_renewed_is_held_for_as_long_as_it_lives(stage: Stage) {
    for kind in 0..KINDS {
        let (locks, wire) = stage.far().await;
        let near = stage.client().await;
        let held = guard(&locks, kind).await;
        for _ in 0..if stage.is_paused() { 20 } else { 3 } {
            stage.pass(SHORT).await;
            assert!(!held.is_lost(), "kind {kind}");
            assert!(held.safe_remaining() > SHORT / 4 && held.safe_remaining() < SHORT);
            near.busy(&near.ask("x")).await;
        }
        assert!(wire.trips(Step::Keep) <= 20 * 6, "kind {kind}: {} renewals", wire.trips(Step::Keep));
        held.release().await.unwrap();
        stage.quiet(&near, SHORT * 2).await;
    }
}

/// Renewals that fail for a while make a lease doubtful and not lost; it is held on when they succeed again.
pub async fn one_failed_renewal_is_doubt_and_not_loss(stage: Stage) {
    for fault in [Fault::LoseRequest, Fault::LoseReply, Fault::Hang, Fault::HangReply] {
        let (locks, wire) = stage.far().await;
        let ttl = SHORT * 3;
        let held = locks.lock("x").ttl(ttl).acquire().await.unwrap();
        wire.set(Step::Keep, fault);
        let mut waited = Duration::ZERO;
        while !held.is_doubtful() {
            assert!(!held.is_lost() && waited < ttl, "{fault:?}: neither doubtful nor held");
            stage.pass(ttl / 60).await;
            waited += ttl / 60;
        }
        wire.heal();
        for _ in 0..3 {
            stage.pass(ttl / 2).await;
            assert!(!held.is_lost(), "{fault:?}: lost although the store answers again");
        }
        assert!(!held.is_doubtful());
        held.release().await.unwrap();
    }
}

/// Once lost, lost: a store that comes back, and would still have the lease, does not bring the guard back.
pub async fn a_lost_guard_never_comes_back(stage: Stage) {
    let (locks, wire) = stage.far().await;
    let held = locks.lock("x").ttl(SHORT).acquire().await.unwrap();
    wire.set_all(Fault::LoseReply);
    assert_eq!(held.lost().await, Why::Expired);
    wire.heal();
    for _ in 0..10 {
        assert!(held.is_lost() && held.safe_remaining().is_zero());
        assert_eq!(held.lost().await, Why::Expired);
        stage.pass(SHORT / 4).await;
    }
    assert_eq!(held.release().await.unwrap_err().kind(), ErrorKind::Lost);
    stage.quiet(&stage.client().await, SHORT * 2).await;
}

/// Work under `run_until_lost` is dropped where it stands when the lease is lost, and its result is an error.
pub async fn work_is_dropped_when_the_lease_is_lost(stage: Stage) {
    struct OnDrop(Arc<AtomicU64>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (locks, wire) = stage.far().await;
    let held = locks.lock("x").ttl(SHORT).acquire().await.unwrap();
    assert_eq!(held.run_until_lost(async { 7 }).await.unwrap(), 7);
    let dropped = Arc::new(AtomicU64::new(0));
    wire.set_all(Fault::Hang);
    let work = async {
        let _mark = OnDrop(Arc::clone(&dropped));
        std::future::pending::<()>().await;
    };
    assert_eq!(held.run_until_lost(work).await.unwrap_err().kind(), ErrorKind::Lost);
    assert_eq!(dropped.load(Ordering::SeqCst), 1, "the work goes on");
    assert_eq!(held.run_until_lost(async { 7 }).await.unwrap_err().kind(), ErrorKind::Lost);
    wire.heal();
}

/// A reply that comes after the deadline of what it grants is no guard.
pub async fn a_grant_that_comes_after_its_deadline_is_not_a_guard(stage: Stage) {
    let (locks, wire) = stage.far().await;
    wire.latency(SHORT);
    if let Ok(Some(guard)) = locks.lock("x").ttl(SHORT).try_acquire().await {
        assert!(guard.is_lost(), "it believes in what has run out");
    }
    wire.latency(Duration::ZERO);
    stage.quiet(&stage.client().await, SHORT * 2).await;
}

/// A lease that is asked back is told to its holder at once, by push or by its next renewal, and is free when the guard is
/// given up.
pub async fn a_guard_that_is_asked_back_is_told(stage: Stage) {
    for how in [Force::Revoke, Force::Now] {
        for push in [true, false] {
            let (locks, wire) = stage.far().await;
            let near = stage.client().await;
            let held = locks.lock("x").ttl(SHORT * 3).acquire().await.unwrap();
            if !push {
                wire.lose_events();
            }
            stage.catch_up(&near).await;
            near.provider().force(held.lease(), how).await.unwrap();
            let asked = stage.clock().now();
            assert_eq!(held.lost().await, Why::Forced, "{how:?} push={push}");
            let took = asked.until(stage.clock().now());
            let bound = if push { Duration::ZERO } else { SHORT + SHORT / 2 };
            assert!(took <= bound + stage.slack(), "{how:?} push={push}: told after {took:?}");
            drop(held);
            let next = near.ask("x").waiting();
            if matches!(near.claim(&next).await.unwrap(), tenure::lease::Claimed::Queued(_)) {
                near.granted(&next).await;
            }
            near.end(&next).await;
            wire.heal();
            stage.quiet(&near, SHORT * 4).await;
        }
    }
}

/// The same on the way that the store itself offers.
pub async fn a_guard_of_this_store_that_is_ended_by_force_is_told(stage: Stage) {
    let (locks, near) = (stage.locks().await, stage.client().await);
    for kind in 0..KINDS {
        let held = guard(&locks, kind).await;
        stage.catch_up(&near).await;
        let (lost, forced) = tokio::join!(held.lost(), near.provider().force(held.lease(), Force::Now));
        assert_eq!((lost, forced.unwrap()), (Why::Forced, tenure::provider::Forced::Ended), "kind {kind}");
        assert!(held.is_lost());
        let next = near.ask("x y");
        near.hold(&next).await;
        assert_eq!(held.release().await.unwrap_err().kind(), ErrorKind::Lost);
        near.renew(&next).await;
        near.end(&next).await;
    }
}

/// A leader whose office is lost starts again with a greater token, and ends with what its work returns.
pub async fn a_leader_begins_a_new_term_after_a_loss(stage: Stage) {
    let (locks, wire) = stage.far().await;
    let mut terms = Vec::new();
    let office = locks.lead("office").ttl(SHORT);
    let done = office
        .run(async |term| {
            terms.push(term.token());
            if terms.len() < 3 {
                wire.set_all(Fault::Hang);
                let (wire, clock) = (wire.clone(), stage.clock());
                tokio::spawn(async move {
                    clock.sleep_until(clock.now() + SHORT * 2).await;
                    wire.heal();
                });
                std::future::pending::<()>().await;
            }
            "done"
        })
        .await;
    assert_eq!(done.unwrap(), "done");
    assert!(terms.len() == 3 && terms.windows(2).all(|pair| pair[0] < pair[1]), "{terms:?}");
    stage.quiet(&stage.client().await, SHORT * 2).await;
}
