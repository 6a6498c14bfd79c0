//! G8: batches are all or nothing in one step; no order to agree on, no deadlock, nothing partial left behind.

use std::sync::Arc;

use tenure::lease::Claimed;
use tenure::limits::{MAX_OVERTAKES, OVERTAKE_FOR};
use tenure::provider::Order;

use crate::client::{Asking, Client};
use crate::conformance::SHORT;
use crate::stand::Stage;

/// A batch that is refused takes none of its names.
pub async fn a_batch_that_is_busy_takes_nothing(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    a.hold(&a.ask("c")).await;
    for _ in 0..3 {
        let by = b.busy(&b.ask("a b c d e")).await;
        assert_eq!(by.name.expect("a name is in the way").as_str(), "c");
    }
    for free in ["a", "b", "d", "e"] {
        b.hold(&b.ask(free)).await;
    }
}

/// A batch that waits holds none of its names meanwhile: others may take and give them.
pub async fn a_batch_that_waits_holds_nothing(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let c = a.ask("c");
    a.hold(&c).await;
    let batch = b.ask("a b c").waiting();
    b.queue(&batch).await;
    let quick = a.ask("a");
    a.hold(&quick).await;
    a.end(&quick).await;
    a.end(&c).await;
    assert_eq!(b.renew(&batch).await.names, batch.names);
    for name in ["a", "b", "c"] {
        a.busy(&a.ask(name)).await;
    }
}

/// A batch gets its names when the last of them is free, and all of them in that step.
pub async fn a_batch_is_granted_when_its_last_name_is_free(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let parts = [a.ask("a"), a.ask("b").shared(), a.ask("c")];
    for part in &parts {
        a.hold(part).await;
    }
    let batch = b.ask("a b c d").waiting();
    b.queue(&batch).await;
    for part in &parts {
        b.touch(&batch).await;
        a.end(part).await;
    }
    assert!(b.told(&batch, stage.slack()).await);
    b.renew(&batch).await;
    b.end(&batch).await;
    a.hold(&a.ask("a b c d")).await;
}

/// Batches in opposite orders, a thousand times from four processes, never wait for each other for ever.
pub async fn batches_in_opposite_orders_never_deadlock(stage: Stage) {
    let mut tasks = tokio::task::JoinSet::new();
    for (index, names) in ["a b", "b a", "b c a", "c b", "a c", "c a"].into_iter().enumerate() {
        let (client, rounds) = (Arc::new(stage.client().await), stage.rounds(1_000));
        tasks.spawn(async move {
            for round in 0..rounds {
                let claim =
                    if (round + index) % 7 == 0 { client.ask(names).shared() } else { client.ask(names) };
                let claim = claim.waiting();
                match client.claim(&claim).await.expect("the store can be asked") {
                    Claimed::Granted(_) => tokio::task::yield_now().await,
                    Claimed::Queued(_) => drop(client.granted(&claim).await),
                    Claimed::Busy(by) => panic!("a claim that waits is not busy: {by:?}"),
                }
                client.end(&claim).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no deadlock");
    }
    stage.quiet(&stage.client().await, std::time::Duration::ZERO).await;
}

/// A blocked batch is overtaken sixteen times at the most; then its names are kept for it.
pub async fn a_blocked_batch_is_overtaken_a_bounded_number_of_times(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    if a.provider().caps().order == Order::Turns {
        return;
    }
    let blocker = a.ask("b");
    a.hold(&blocker).await;
    let batch = b.ask("a b").waiting();
    b.queue(&batch).await;
    let overtakes = overtake(&a, 200).await;
    assert!(overtakes >= 1, "a blocked batch lets others have what it cannot use");
    assert!(overtakes <= MAX_OVERTAKES as usize, "overtaken {overtakes} times");
    a.end(&blocker).await;
    b.renew(&batch).await;
}

/// The same bound in time: a tenth of a second after it was first overtaken, a batch's names are kept for it.
pub async fn a_blocked_batch_is_overtaken_for_a_bounded_time(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    if a.provider().caps().order == Order::Turns {
        return;
    }
    let blocker = a.ask("b");
    a.hold(&blocker).await;
    let batch = b.ask("a b").waiting();
    b.queue(&batch).await;
    assert_eq!(overtake(&a, 1).await, 1);
    stage.pass(OVERTAKE_FOR + stage.slack() / 10).await;
    b.touch(&batch).await;
    a.busy(&a.ask("a")).await;
    let behind = a.ask("a").waiting();
    a.queue(&behind).await;
    a.end(&blocker).await;
    b.renew(&batch).await;
    b.end(&batch).await;
    a.granted(&behind).await;
}

/// A hand-over to a waiter behind a blocked batch counts as an overtaking too.
pub async fn waiters_overtake_a_blocked_batch_within_the_same_bound(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    if a.provider().caps().order == Order::Turns {
        return;
    }
    let (blocker, first) = (a.ask("b"), a.ask("a"));
    a.hold(&blocker).await;
    a.hold(&first).await;
    let batch = b.ask("a b").waiting();
    b.queue(&batch).await;
    let behind: Vec<_> = (0..2 * MAX_OVERTAKES).map(|_| a.ask("a").waiting()).collect();
    for claim in &behind {
        a.queue(claim).await;
    }
    a.end(&first).await;
    let mut overtakes = 0;
    for claim in &behind {
        if !a.told(claim, SHORT).await {
            break;
        }
        a.renew(claim).await;
        overtakes += 1;
        a.end(claim).await;
    }
    assert!((1..=MAX_OVERTAKES).contains(&overtakes), "overtaken {overtakes} times");
    a.end(&blocker).await;
    b.renew(&batch).await;
}

/// How often out of `most` the name `a` can be taken and given back.
async fn overtake(client: &Client, most: usize) -> usize {
    for done in 0..most {
        let claim = client.ask("a");
        match client.claim(&claim).await.expect("the store can be asked") {
            Claimed::Granted(_) => drop(client.end(&claim).await),
            _ => return done,
        }
    }
    most
}

/// The claims of one call are independent: each is answered by itself, in the order of the call.
pub async fn the_claims_of_one_call_are_answered_one_by_one(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    a.hold(&a.ask("taken")).await;
    a.hold(&a.ask("p").permits(1, 3)).await;
    let claims = [
        b.ask("free"),
        b.ask("taken"),
        b.ask("p").permits(1, 4),
        b.ask("taken").waiting(),
        b.ask("free"),
        b.ask("other taken"),
        b.ask("other"),
    ];
    let answers = b.provider().claim(&claims).await;
    assert_eq!(answers.len(), claims.len());
    let granted = |answer: &tenure::Result<Claimed>| matches!(answer, Ok(Claimed::Granted(_)));
    assert!(granted(&answers[0]) != granted(&answers[4]), "one of the two gets it: {answers:?}");
    assert!(matches!(answers[1], Ok(Claimed::Busy(_))), "{:?}", answers[1]);
    let is_refused = answers[2].as_ref().is_err_and(|error| error.operation() == "mode");
    assert!(is_refused || !b.provider().caps().sees_others, "{:?}", answers[2]);
    assert!(matches!(answers[3], Ok(Claimed::Queued(_))), "{:?}", answers[3]);
    assert!(matches!(answers[5], Ok(Claimed::Busy(_))), "{:?}", answers[5]);
    assert!(matches!(answers[6], Ok(Claimed::Granted(_))), "{:?}", answers[6]);
    let leases: Vec<_> = claims.iter().map(|claim| claim.lease).collect();
    assert_eq!(b.provider().end(&leases).await.len(), leases.len());
    assert_eq!(b.provider().claim(&[]).await.len(), 0);
}

/// A lease on as many names as the store takes is held and given back as one.
pub async fn a_batch_of_the_greatest_size_is_one_lease(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let most = a.provider().caps().max_names.min(256);
    let all: Vec<String> = (0..most).map(|n| format!("n{n}")).collect();
    let batch = a.ask(&all.join(" "));
    assert_eq!(a.hold(&batch).await.names.len(), most);
    b.busy(&b.ask(&all[most - 1])).await;
    a.end(&batch).await;
    b.hold(&b.ask(&all.join(" "))).await;
}
