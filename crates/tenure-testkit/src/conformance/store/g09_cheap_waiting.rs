//! G9: no herd. A constant number of store operations per hand-off, whatever the number of waiters. The store's part.

use tenure::lease::Claimed;
use tenure::provider::Event;

use crate::client::Asking;
use crate::stand::Stage;

/// However many wait, a release wakes the one that is granted and no other.
pub async fn a_release_wakes_one_waiter_of_a_thousand(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let held = a.ask("x");
    a.hold(&held).await;
    let waiters: Vec<_> = (0..1_000).map(|_| b.ask("x").waiting()).collect();
    for chunk in waiters.chunks(100) {
        for answer in b.provider().claim(chunk).await {
            assert!(matches!(answer, Ok(Claimed::Queued(_))), "{answer:?}");
        }
    }
    let mut holder = held;
    for next in &waiters[..10] {
        let before = granted(&b.events());
        a.end(&holder).await;
        assert!(b.told(next, stage.slack()).await, "the waiter is not told");
        assert_eq!(granted(&b.events()) - before, 1, "a release woke more than one");
        holder = next.clone();
    }
}

fn granted(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::Granted(..))).count()
}

/// A holder is told that others wait when the first of them comes, not with each of them.
pub async fn a_holder_is_told_of_the_first_waiter_and_not_of_each(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let held = a.ask("x");
    assert!(!a.hold(&held).await.contended);
    for _ in 0..50 {
        b.queue(&b.ask("x").waiting()).await;
    }
    assert!(a.renew(&held).await.contended);
    let of_it = |event: &Event| matches!(event, Event::Contended(lease) if *lease == held.lease);
    assert!(a.tells(stage.slack(), of_it).await, "the holder is not told");
    assert!(a.events().iter().filter(|event| of_it(event)).count() <= 2);
}
