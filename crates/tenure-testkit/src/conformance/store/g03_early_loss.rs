//! G3: loss is told early, and a lost lease never comes back to life. The store's part.

use tenure::lease::{Claimed, Ended, Why};
use tenure::limits;
use tenure::provider::{Force, Forced};

use crate::client::Asking;
use crate::conformance::SHORT;
use crate::relay::{Fault, Relay, Step};
use crate::stand::Stage;

/// A deadline counts from the instant before the request: a slow trip shortens what the holder may believe.
pub async fn a_deadline_counts_from_before_the_request(stage: Stage) {
    let (relay, wire) = Relay::over(stage.open().await, stage.clock());
    let client = crate::client::Client::new(relay, stage.clock());
    wire.latency(SHORT / 4);
    let claim = client.ask("x").lasting(SHORT);
    let sent = stage.clock().now();
    let grant = client.hold(&claim).await;
    assert!(grant.deadline <= sent + SHORT - limits::drift(SHORT) + stage.slack());
    let sent = stage.clock().now();
    let renewed = client.renew(&claim).await;
    assert!(renewed.deadline <= sent + SHORT - limits::drift(SHORT) + stage.slack());
}

/// A renewal that reaches the store after the end of the lease says so, whoever holds the name then.
pub async fn a_renewal_that_comes_too_late_is_told_that_the_lease_is_gone(stage: Stage) {
    let (relay, wire) = Relay::over(stage.open().await, stage.clock());
    let client = crate::client::Client::new(relay, stage.clock());
    let claim = client.ask("x").lasting(SHORT);
    client.hold(&claim).await;
    wire.set(Step::Keep, Fault::Late(SHORT + stage.slack()));
    assert!(client.keep(&claim).await.is_err(), "the answer does not come");
    stage.pass(SHORT + stage.slack() * 2).await;
    wire.heal();
    client.gone(&claim).await;
    stage.client().await.hold(&client.ask("x")).await;
}

/// A lease that is asked back says so at its next renewal, stays exclusive until its holder gives it up, and is
/// free then.
pub async fn a_lease_that_is_asked_back_is_told_so_and_stays_exclusive(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let held = a.ask("x");
    assert!(!a.hold(&held).await.revoked);
    stage.catch_up(&b).await;
    assert_eq!(b.force(&held, Force::Revoke).await, Forced::Asked);
    b.busy(&b.ask("x")).await;
    assert!(a.renew(&held).await.revoked);
    b.busy(&b.ask("x")).await;
    assert_eq!(a.end(&held).await, Ended::Released);
    b.hold(&b.ask("x")).await;
}

/// A lease that is asked back from a holder that does not answer is free when its ttl is over.
pub async fn a_lease_that_is_asked_back_from_the_silent_ends_with_its_ttl(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let ttl = SHORT + a.provider().caps().lag * 2;
    let held = a.ask("x").lasting(ttl);
    let grant = a.hold(&held).await;
    stage.catch_up(&b).await;
    b.force(&held, Force::Revoke).await;
    let waiter = b.ask("x").waiting();
    b.queue(&waiter).await;
    b.granted(&waiter).await;
    assert!(stage.clock().now() >= grant.deadline, "granted while its holder believed in it");
}

/// A lease that is ended by force is free at once, and its holder learns why.
pub async fn a_lease_that_is_ended_by_force_is_gone_at_once(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let (held, waiter) = (a.ask("x"), b.ask("x").waiting());
    let token = a.hold(&held).await.tokens.first();
    b.queue(&waiter).await;
    stage.catch_up(&b).await;
    assert_eq!(b.force(&held, Force::Now).await, Forced::Ended);
    assert!(b.granted(&waiter).await.tokens.first() > token);
    assert_eq!(a.gone(&held).await, Why::Forced);
    assert_eq!(a.end(&held).await, Ended::NotHeld);
    b.renew(&waiter).await;
}

/// Force on what is not there says so; force on a waiter withdraws it for good.
pub async fn force_says_what_it_found(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let (held, waiter) = (a.ask("x"), b.ask("x").waiting());
    assert_eq!(b.force(&held, Force::Now).await, Forced::NotFound);
    assert_eq!(b.force(&held, Force::Revoke).await, Forced::NotFound);
    a.hold(&held).await;
    b.queue(&waiter).await;
    stage.catch_up(&a).await;
    assert_eq!(a.force(&waiter, Force::Now).await, Forced::Ended);
    b.gone(&waiter).await;
    a.end(&held).await;
    assert!(!matches!(b.claim(&waiter).await, Ok(Claimed::Granted(_))), "it is withdrawn for good");
    a.hold(&a.ask("x")).await;
}
