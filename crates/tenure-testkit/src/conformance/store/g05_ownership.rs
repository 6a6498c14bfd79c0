//! G5: only the holder releases. A stale or foreign release or renewal changes nothing and says so.

use tenure::lease::Ended;
use tenure::{Claim, LeaseId};

use crate::client::{Asking, Client};
use crate::conformance::SHORT;
use crate::stand::Stage;

/// An id that was never claimed can neither be kept nor ended, and the attempt changes nothing.
pub async fn an_unknown_id_keeps_and_ends_nothing(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let held = a.ask("x");
    let token = a.hold(&held).await.tokens.first();
    for _ in 0..3 {
        let foreign = b.ask("x");
        b.gone(&foreign).await;
        assert_eq!(b.end_id(LeaseId::random()).await, Ended::NotHeld);
    }
    assert_eq!(a.renew(&held).await.tokens.first(), token);
    b.busy(&b.ask("x")).await;
}

/// A holder that lost its lease by expiry cannot end or renew that of its successor.
pub async fn a_stale_holder_is_inert(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let (stale, next) = (a.ask("x").lasting(SHORT), b.ask("x").waiting());
    a.hold(&stale).await;
    b.queue(&next).await;
    let token = b.granted(&next).await.tokens.first();
    a.gone(&stale).await;
    assert_eq!(a.end(&stale).await, Ended::NotHeld);
    a.gone(&stale).await;
    assert_eq!(b.renew(&next).await.tokens.first(), token);
    a.busy(&a.ask("x")).await;
}

/// A lease that ran out is never renewed, also when another held the name in between and gave it back.
pub async fn a_lease_that_ran_out_never_comes_back(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let stale = a.ask("x").lasting(SHORT);
    a.hold(&stale).await;
    stage.pass(SHORT + stage.slack()).await;
    let between = b.ask("x");
    b.hold(&between).await;
    b.end(&between).await;
    a.gone(&stale).await;
    b.hold(&b.ask("x")).await;
    a.gone(&stale).await;
}

/// A lease that ran out is not renewed although nobody else wanted the name: its holder was told that it is lost.
pub async fn a_lease_that_ran_out_unnoticed_is_gone_too(stage: Stage) {
    let client = stage.client().await;
    let stale = client.ask("x").lasting(SHORT);
    client.hold(&stale).await;
    stage.pass(SHORT + stage.slack()).await;
    client.gone(&stale).await;
    assert_eq!(client.end(&stale).await, Ended::NotHeld);
    client.hold(&client.ask("x")).await;
}

/// Ending twice is harmless, and the second time frees nobody else's lease.
pub async fn ending_twice_does_not_free_the_successor(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    for _ in 0..stage.rounds(1_000) {
        let (first, second) = (a.ask("x"), b.ask("x"));
        a.hold(&first).await;
        assert_eq!(a.end(&first).await, Ended::Released);
        b.hold(&second).await;
        assert_eq!(a.end(&first).await, Ended::NotHeld);
        a.busy(&a.ask("x")).await;
        assert_eq!(b.end(&second).await, Ended::Released);
    }
}

/// Two claims of one process are two owners: the end of one leaves the other alone.
pub async fn two_claims_of_one_process_are_two_owners(stage: Stage) {
    let client = stage.client().await;
    let (one, two) = (client.ask("x").shared(), client.ask("x").shared());
    client.hold(&one).await;
    client.hold(&two).await;
    client.end(&one).await;
    client.renew(&two).await;
    client.busy(&client.ask("x")).await;
}

/// `end` absorbs: a claim that reaches the store after the end of its id is never granted and takes no place.
pub async fn a_claim_that_arrives_after_its_end_is_never_granted(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    for late in [a.ask("x"), a.ask("x").waiting(), a.ask("x").shared(), a.ask("w x y"), a.ask("x").local()] {
        assert_eq!(a.end(&late).await, Ended::NotHeld);
        a.busy(&late).await;
        a.busy(&late).await;
        takes_nothing(&b, &late).await;
    }
    stage.quiet(&a, std::time::Duration::ZERO).await;
}

/// The same for a claim that was held, and for one that waited, before its end.
pub async fn an_ended_lease_cannot_be_claimed_again(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let (held, waiter) = (a.ask("x"), a.ask("x").waiting());
    a.hold(&held).await;
    a.queue(&waiter).await;
    assert_eq!(a.end(&waiter).await, Ended::Withdrawn);
    assert_eq!(a.end(&held).await, Ended::Released);
    for again in [&held, &waiter] {
        a.busy(again).await;
        a.gone(again).await;
        takes_nothing(&b, again).await;
    }
}

async fn takes_nothing(other: &Client, late: &Claim) {
    let all = other.ask(&late.names.to_string());
    other.hold(&all).await;
    assert_eq!(other.end(&all).await, Ended::Released);
}
