//! G9: no herd. A constant number of store operations per hand-off, whatever the number of waiters. The store's part.

use std::time::Duration;

use tenure::LeaseId;
use tenure::lease::Claimed;
use tenure::provider::Event;

use crate::client::Asking;
use crate::stand::Stage;

/// However many wait, a release wakes the one that is granted and no other.
pub async fn a_release_wakes_one_waiter_of_a_thousand(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let held = a.ask("x");
    a.hold(&held).await;
    let waiters: Vec<_> = (0..stage.rounds(1_000)).map(|_| b.ask("x").waiting()).collect();
    for chunk in waiters.chunks(100) {
        for answer in b.provider().claim(chunk).await {
            assert!(matches!(answer, Ok(Claimed::Queued(_))), "{answer:?}");
        }
    }
    let (mut client, mut holder) = (&a, held);
    for served in 0..10 {
        client.end(&holder).await;
        let more = |events: &[Event]| granted(events).len() > served;
        assert!(b.sees(stage.slack(), more).await, "no waiter is told");
        let told = granted(&b.events());
        assert_eq!(told.len(), served + 1, "a release woke more than one");
        client = &b;
        holder =
            waiters.iter().find(|waiter| waiter.lease == told[served]).expect("it is one of them").clone();
    }
}

fn granted(events: &[Event]) -> Vec<LeaseId> {
    let lease = |event: &Event| if let Event::Granted(lease, _) = event { Some(*lease) } else { None };
    events.iter().filter_map(lease).collect()
}

/// A holder learns that others wait with its next renewal at the latest, and is told once at the most before.
pub async fn a_holder_is_told_of_the_first_waiter_and_not_of_each(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let held = a.ask("x");
    assert!(!a.hold(&held).await.contended);
    for _ in 0..50 {
        b.queue(&b.ask("x").waiting()).await;
    }
    // Some stores look at what others do only every so often.
    let until = stage.clock().now() + a.provider().caps().lag + stage.slack();
    while !a.renew(&held).await.contended {
        assert!(stage.clock().now() < until, "the holder does not learn that others wait");
        stage.pass(Duration::from_millis(20)).await;
    }
    let of_it = |event: &Event| matches!(event, Event::Contended(lease) if *lease == held.lease);
    assert!(a.events().iter().filter(|event| of_it(event)).count() <= 1);
}
