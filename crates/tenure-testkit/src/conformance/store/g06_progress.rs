//! G6: a free name is granted to a live waiter; a dead holder or waiter delays it by no more than documented.

use std::time::Duration;

use tenure::lease::{Claimed, Ended, Kept, Why};
use tenure::limits::{DEAD_WAITER, DEFAULT_TTL, MAX_GRANTS, OFFER, TOUCH};
use tenure::provider::{Event, Takeover};

use crate::client::Asking;
use crate::conformance::SHORT;
use crate::stand::Stage;

/// The release grants the next waiter in the same step and tells it, without a touch.
pub async fn a_release_grants_the_next_waiter_and_tells_it(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let (held, waiter) = (a.ask("x"), b.ask("x").waiting());
    a.hold(&held).await;
    b.queue(&waiter).await;
    a.end(&held).await;
    a.busy(&a.ask("x")).await;
    assert!(b.told(&waiter, stage.slack()).await, "the waiter is not told");
    b.renew(&waiter).await;
}

/// One release that frees room for many grants all of them: readers, permits, and batches.
pub async fn one_release_grants_all_who_can_run_together(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let held = a.ask("m n");
    a.hold(&held).await;
    let together = ["m", "m", "m n", "n"].map(|names| b.ask(names).shared().waiting());
    for waiter in &together {
        b.queue(waiter).await;
    }
    a.end(&held).await;
    for waiter in &together {
        b.renew(waiter).await;
    }
}

/// More waiters than one step grants are all served, without further releases.
pub async fn more_waiters_than_a_step_grants_are_all_served(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let held = a.ask("x");
    a.hold(&held).await;
    let readers: Vec<_> = (0..2 * MAX_GRANTS + 5).map(|_| b.ask("x").shared().waiting()).collect();
    for answer in b.provider().claim(&readers).await {
        assert!(matches!(answer, Ok(Claimed::Queued(_))), "{answer:?}");
    }
    a.end(&held).await;
    let keeps: Vec<_> = readers
        .iter()
        .map(|reader| tenure::provider::Keep { lease: reader.lease, ttl: reader.ttl, tokens: 0 })
        .collect();
    let deadline = stage.clock().now() + TOUCH * 2 + stage.slack() * 4;
    loop {
        let kept = b.provider().keep(&keeps).await;
        if kept.iter().all(|kept| matches!(kept, Ok(Kept::Held(_)))) {
            return;
        }
        assert!(kept.iter().all(|kept| !matches!(kept, Ok(Kept::Gone(_)))), "a live waiter is gone");
        assert!(stage.clock().now() < deadline, "somebody is left waiting for a free name");
        stage.pass(TOUCH / 4).await;
    }
}

/// The waiter behind a holder that died gets the name when the ttl is over, one touch later at the most.
pub async fn an_expiry_grants_the_next_waiter(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let began = stage.clock().now();
    let grant = a.hold(&a.ask("x").lasting(SHORT)).await;
    let waiter = b.ask("x").waiting();
    let queued = b.queue(&waiter).await;
    assert!(queued.expires_in.is_none_or(|left| left <= SHORT), "{queued:?}");
    b.granted(&waiter).await;
    let now = stage.clock().now();
    assert!(now >= grant.deadline, "granted while its holder believed in it");
    assert!(now <= began + SHORT + TOUCH + stage.slack(), "granted late");
}

/// An expiry of one of many holders makes room for exactly what fits.
pub async fn an_expired_reader_and_an_expired_permit_make_room(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    a.hold(&a.ask("r").shared().lasting(SHORT)).await;
    let live = a.ask("r").shared();
    a.hold(&live).await;
    a.hold(&a.ask("p").permits(1, 2).lasting(SHORT)).await;
    a.hold(&a.ask("p").permits(1, 2)).await;
    stage.pass(SHORT + stage.slack()).await;
    b.busy(&b.ask("r")).await;
    b.hold(&b.ask("p").permits(1, 2)).await;
    b.busy(&b.ask("p").permits(1, 2)).await;
    a.end(&live).await;
    b.hold(&b.ask("r")).await;
}

/// A waiter that was not touched for three seconds is passed over; those behind it do not wait for it.
pub async fn a_dead_waiter_is_passed_over(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let (held, dead, live) = (a.ask("x"), b.ask("x").waiting(), b.ask("x").waiting());
    a.hold(&held).await;
    b.queue(&dead).await;
    b.queue(&live).await;
    let mut left = DEAD_WAITER + stage.slack();
    while !left.is_zero() {
        b.touch(&live).await;
        let piece = left.min(TOUCH);
        stage.pass(piece).await;
        left -= piece;
    }
    a.end(&held).await;
    b.renew(&live).await;
    assert!(!b.told(&dead, Duration::ZERO).await, "the dead waiter was granted");
    b.gone(&dead).await;
}

/// However many waiters died, together they cost no more than one.
pub async fn many_dead_waiters_cost_no_more_than_one(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let held = a.ask("x");
    a.hold(&held).await;
    let dead: Vec<_> = (0..500).map(|_| b.ask("x").waiting()).collect();
    for answer in b.provider().claim(&dead).await {
        assert!(matches!(answer, Ok(Claimed::Queued(_))), "{answer:?}");
    }
    let live = b.ask("x").waiting();
    b.queue(&live).await;
    a.end(&held).await;
    let freed = stage.clock().now();
    b.granted(&live).await;
    let took = freed.until(stage.clock().now());
    assert!(took <= OFFER.max(DEAD_WAITER) + TOUCH * 2 + stage.slack(), "took {took:?}");
}

/// A pushed grant that its waiter does not confirm passes on after three seconds, and not before.
pub async fn an_offer_that_nobody_takes_passes_on(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let (held, silent, next) = (a.ask("x"), b.ask("x").waiting(), b.ask("x").waiting());
    a.hold(&held).await;
    b.queue(&silent).await;
    b.queue(&next).await;
    let offered = stage.clock().now();
    a.end(&held).await;
    assert!(b.told(&silent, stage.slack()).await);
    b.granted(&next).await;
    let took = offered.until(stage.clock().now());
    assert!(took >= OFFER - tenure::limits::drift(OFFER), "passed on while it stood: {took:?}");
    assert!(took <= OFFER + TOUCH + stage.slack(), "passed on late: {took:?}");
    assert!(matches!(b.gone(&silent).await, Why::Expired | Why::Unknown));
}

/// The deadline of a pushed grant is that of the offer; a `keep` makes it a lease for the full ttl.
pub async fn a_confirmed_offer_lasts_for_its_ttl(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let (held, waiter) = (a.ask("x"), b.ask("x").waiting());
    a.hold(&held).await;
    b.queue(&waiter).await;
    a.end(&held).await;
    assert!(b.told(&waiter, stage.slack()).await);
    let told = stage.clock().now();
    for event in b.events() {
        if let Event::Granted(_, Some(grant)) = event {
            assert!(grant.deadline <= told + OFFER, "an offer lasts for three seconds at the most");
        }
    }
    let confirmed = b.renew(&waiter).await;
    assert!(confirmed.deadline > told + DEFAULT_TTL / 2, "{confirmed:?}");
    stage.pass(OFFER + stage.slack()).await;
    a.busy(&a.ask("x")).await;
    b.renew(&waiter).await;
}

/// An offer never lasts longer than the ttl that was asked for.
pub async fn an_offer_lasts_no_longer_than_its_ttl(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let (held, silent) = (a.ask("x"), b.ask("x").waiting().lasting(SHORT));
    a.hold(&held).await;
    b.queue(&silent).await;
    a.end(&held).await;
    let next = b.ask("x").waiting();
    b.queue(&next).await;
    let offered = stage.clock().now();
    b.granted(&next).await;
    let took = offered.until(stage.clock().now());
    assert!(took <= SHORT + TOUCH + stage.slack(), "took {took:?}");
}

/// A waiter that gives up, before or after it was granted, passes the name on in the same step.
pub async fn who_gives_up_passes_the_name_on(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let (held, writer, reader) = (a.ask("x").shared(), b.ask("x").waiting(), b.ask("x").shared().waiting());
    a.hold(&held).await;
    b.queue(&writer).await;
    b.queue(&reader).await;
    assert_eq!(b.end(&writer).await, Ended::Withdrawn);
    assert!(b.told(&reader, stage.slack()).await, "the reader behind the writer that left is not granted");
    b.renew(&reader).await;

    let (next, last) = (b.ask("x").waiting(), b.ask("x").waiting());
    b.queue(&next).await;
    b.queue(&last).await;
    a.end(&held).await;
    b.end(&reader).await;
    assert!(b.told(&next, stage.slack()).await);
    assert_eq!(b.end(&next).await, Ended::Released);
    assert!(b.told(&last, stage.slack()).await, "the offer that was turned down is not passed on");
    b.renew(&last).await;
}

/// A touch keeps a waiter in its place for longer than a dead one would have.
pub async fn a_waiter_that_is_touched_keeps_its_place(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let (held, first, second) = (a.ask("x"), b.ask("x").waiting(), b.ask("x").waiting());
    a.hold(&held).await;
    b.queue(&first).await;
    b.queue(&second).await;
    for _ in 0..6 {
        stage.pass(TOUCH).await;
        assert_eq!((b.touch(&first).await.ahead, b.touch(&second).await.ahead), (0, 1));
    }
    a.end(&held).await;
    b.renew(&first).await;
    b.touch(&second).await;
}

/// `replaces`: leases that end in the same step count as free for the claim that names them.
pub async fn a_claim_gets_what_it_replaces(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let (x, y) = (a.ask("x"), a.ask("y").shared());
    let token = a.hold(&x).await.tokens.first();
    a.hold(&y).await;
    let both = a.ask("x y").replacing(&x).replacing(&y);
    assert!(a.hold(&both).await.tokens.first() > token);
    a.gone(&x).await;
    a.gone(&y).await;
    assert_eq!(a.end(&x).await, Ended::NotHeld);
    b.busy(&b.ask("y").shared()).await;
    a.end(&both).await;
    b.hold(&b.ask("x y")).await;
}

/// What a claim replaces ends also when the claim itself has to wait, and is granted to who waited for it.
pub async fn what_is_replaced_ends_although_the_claim_is_busy(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let (x, waiter) = (a.ask("x"), b.ask("x").waiting());
    a.hold(&x).await;
    b.hold(&b.ask("y")).await;
    b.queue(&waiter).await;
    let both = a.ask("x y").replacing(&x);
    assert!(!matches!(a.claim(&both).await, Ok(Claimed::Granted(_))));
    a.gone(&x).await;
    assert!(b.told(&waiter, stage.slack()).await);
    b.renew(&waiter).await;
}

/// Closing a provider ends the local leases and claims of its process, and those alone.
pub async fn closing_ends_what_is_bound_to_the_process(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let caps = a.provider().caps();
    // Where the store is the process, its end is that of the store.
    if caps.takeover != Takeover::AtOnce || !caps.outlives_process {
        return;
    }
    a.hold(&a.ask("x").local()).await;
    a.hold(&a.ask("y")).await;
    let waiter = b.ask("x").waiting();
    b.queue(&waiter).await;
    a.provider().close().await;
    b.granted(&waiter).await;
    b.busy(&b.ask("y")).await;
}
