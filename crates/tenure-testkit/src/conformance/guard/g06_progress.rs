//! G6 for guards: a free name is granted to who waits, within the documented bounds, whatever was lost on the way.

use std::time::Duration;

use tenure::limits::TOUCH;

use crate::cancel::cancel_at;
use crate::conformance::SHORT;
use crate::relay::{Fault, Step};
use crate::stand::Stage;

/// A release in one process wakes the waiter in another, without waiting for a touch.
pub async fn a_release_wakes_the_waiter_of_another_process(stage: Stage) {
    let (a, b) = (stage.far().await.0, stage.far().await.0);
    for round in 0..20 {
        let (holder, waiter) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let held = holder.lock("x").acquire().await.unwrap();
        let mut next = Box::pin(waiter.lock("x").acquire());
        tokio::select! {
            guard = &mut next => panic!("two holders: {guard:?}"),
            () = stage.pass(Duration::from_millis(50)) => {}
        }
        let released = stage.clock().now();
        held.release().await.unwrap();
        let guard = next.await.unwrap();
        let took = released.until(stage.clock().now());
        assert!(took <= stage.slack(), "round {round}: woken after {took:?}");
        guard.release().await.unwrap();
    }
}

/// When the push is lost, the next touch finds the grant.
pub async fn a_lost_push_costs_one_touch(stage: Stage) {
    let (a, (b, wire)) = (stage.locks().await, stage.far().await);
    wire.lose_events();
    let held = a.lock("x").acquire().await.unwrap();
    let mut next = Box::pin(b.lock("x").acquire());
    assert!(cancel_at(1, &mut next).await.is_none());
    tokio::select! {
        guard = &mut next => panic!("two holders: {guard:?}"),
        () = stage.pass(Duration::from_millis(50)) => {}
    }
    let released = stage.clock().now();
    held.release().await.unwrap();
    drop(next.await.unwrap());
    let took = released.until(stage.clock().now());
    assert!(took <= TOUCH * 6 / 5 + stage.slack(), "woken after {took:?}");
}

/// A push that comes without the grant makes the waiter fetch it at once.
pub async fn a_push_without_the_grant_is_as_good(stage: Stage) {
    let (a, (b, wire)) = (stage.locks().await, stage.far().await);
    wire.bare_events();
    let held = a.lock("x").acquire().await.unwrap();
    let mut next = Box::pin(b.lock("x").acquire());
    tokio::select! {
        guard = &mut next => panic!("two holders: {guard:?}"),
        () = stage.pass(Duration::from_millis(50)) => {}
    }
    let released = stage.clock().now();
    held.release().await.unwrap();
    drop(next.await.unwrap());
    assert!(released.until(stage.clock().now()) <= stage.slack());
}

/// The names of a process that died are granted when its ttl is over.
pub async fn the_names_of_a_dead_process_are_granted_after_its_ttl(stage: Stage) {
    let ((dead, wire), locks) = (stage.far().await, stage.far().await.0);
    let held = dead.lock("x").ttl(SHORT).acquire().await.unwrap();
    wire.set_all(Fault::Hang);
    let began = stage.clock().now();
    let next = locks.lock("x").acquire().await.unwrap();
    let took = began.until(stage.clock().now());
    assert!(held.is_lost());
    assert!(took <= SHORT + TOUCH + stage.slack(), "granted after {took:?}");
    drop(next);
}

/// A waiter whose touches fail for a while keeps waiting and is served when the store answers again, also when its place
/// was given away meanwhile.
pub async fn a_waiter_outlasts_a_store_that_is_away(stage: Stage) {
    for away in [SHORT, SHORT * 5] {
        let (near, (locks, wire)) = (stage.locks().await, stage.far().await);
        let held = near.lock("x").acquire().await.unwrap();
        let waiting =
            tokio::spawn(async move { locks.lock("x").acquire().await.unwrap().release().await.unwrap() });
        stage.pass(Duration::from_millis(50)).await;
        wire.set_all(Fault::LoseRequest);
        stage.pass(away).await;
        wire.heal();
        held.release().await.unwrap();
        waiting.await.unwrap();
    }
}

/// An offer is confirmed: the lease of a waiter that was woken by push lasts for as long as its guard.
pub async fn a_lock_that_came_by_push_is_held_for_as_long_as_its_guard(stage: Stage) {
    let (near, (locks, _wire)) = (stage.locks().await, stage.far().await);
    let held = near.lock("x").acquire().await.unwrap();
    let waiting = tokio::spawn(async move { locks.lock("x").acquire().await.unwrap() });
    stage.pass(Duration::from_millis(50)).await;
    held.release().await.unwrap();
    let guard = waiting.await.unwrap();
    for _ in 0..5 {
        stage.pass(SHORT).await;
        assert!(!guard.is_lost());
        assert!(near.lock("x").try_acquire().await.unwrap().is_none());
    }
    guard.release().await.unwrap();
}

/// An offer whose confirmation fails is lost at the end of the offer, before the store gives it to the next.
pub async fn an_offer_that_cannot_be_confirmed_is_lost_in_time(stage: Stage) {
    let (near, (locks, wire)) = (stage.locks().await, stage.far().await);
    let client = stage.client().await;
    let held = near.lock("x").acquire().await.unwrap();
    let waiting = tokio::spawn(async move { locks.lock("x").acquire().await.unwrap() });
    stage.pass(Duration::from_millis(50)).await;
    wire.set(Step::Keep, Fault::Hang);
    held.release().await.unwrap();
    let next = near.lock("x").acquire().await.unwrap();
    // A push that carries no grant has made no guard, for it could not be fetched.
    if waiting.is_finished() {
        assert!(waiting.await.unwrap().is_lost(), "two holders");
    } else {
        waiting.abort();
    }
    drop(next);
    wire.heal();
    stage.quiet(&client, SHORT * 2).await;
}
