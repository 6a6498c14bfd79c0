//! G7: between processes first come, first served.

use tenure::Claim;
use tenure::provider::Order;

use crate::client::{Asking, Client};
use crate::stand::Stage;

/// Waiters of a name get it in the order in which they queued, whichever process they are of.
pub async fn waiters_are_served_in_the_order_in_which_they_came(stage: Stage) {
    let clients = [stage.client().await, stage.client().await, stage.client().await];
    if clients[0].provider().caps().order == Order::Turns {
        // Its processes take turns; the order inside one is that of the lease table.
        return;
    }
    let held = clients[0].ask("x");
    clients[0].hold(&held).await;
    let mut queue: Vec<(&Client, Claim)> = Vec::new();
    for place in 0..30 {
        let client = &clients[place * 7 % 3];
        let claim = client.ask("x").waiting();
        assert_eq!(client.queue(&claim).await.ahead as usize, place);
        queue.push((client, claim));
    }
    clients[0].end(&held).await;
    for place in 0..queue.len() {
        let (client, claim) = &queue[place];
        client.granted(claim).await;
        for (other, waiter) in &queue[place + 1..] {
            other.touch(waiter).await;
        }
        client.end(claim).await;
    }
}

/// A claim that does not wait does not pass those who do, in any mode.
pub async fn who_does_not_wait_does_not_pass_who_does(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let (reader, writer) = (a.ask("x").shared(), b.ask("x").waiting());
    a.hold(&reader).await;
    b.queue(&writer).await;
    stage.catch_up(&a).await;
    a.busy(&a.ask("x").shared()).await;
    a.busy(&a.ask("x y").shared()).await;
    a.end(&reader).await;
    a.busy(&a.ask("x").shared()).await;
    b.renew(&writer).await;
}

/// Readers queue behind a waiting writer; those before it and those behind it go in together.
pub async fn a_writer_is_not_starved_by_readers(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let first = a.ask("x").shared();
    a.hold(&first).await;
    let writer = b.ask("x").waiting();
    b.queue(&writer).await;
    stage.catch_up(&a).await;
    let late: Vec<Claim> = (0..5).map(|_| a.ask("x").shared().waiting()).collect();
    for reader in &late {
        a.queue(reader).await;
    }
    a.end(&first).await;
    b.renew(&writer).await;
    for reader in &late {
        a.touch(reader).await;
    }
    b.end(&writer).await;
    for reader in &late {
        a.renew(reader).await;
    }
}

/// A claim for few permits does not pass an earlier one for more, although it would fit.
pub async fn permits_do_not_pass_a_waiting_claim_for_more(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let held = a.ask("p").permits(3, 4);
    a.hold(&held).await;
    let (many, one) = (b.ask("p").permits(2, 4).waiting(), b.ask("p").permits(1, 4).waiting());
    b.queue(&many).await;
    b.queue(&one).await;
    if a.provider().caps().order == Order::Total {
        a.busy(&a.ask("p").permits(1, 4)).await;
    }
    b.touch(&one).await;
    a.end(&held).await;
    b.renew(&many).await;
    b.renew(&one).await;
    a.hold(&a.ask("p").permits(1, 4)).await;
    a.busy(&a.ask("p").permits(1, 4)).await;
}

/// Claiming again with the same lease id keeps the place: nobody is moved back by a lost reply.
pub async fn asking_again_keeps_the_place_in_the_queue(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let (held, first, second) = (a.ask("x"), b.ask("x").waiting(), b.ask("x").waiting());
    a.hold(&held).await;
    b.queue(&first).await;
    b.queue(&second).await;
    assert_eq!(b.queue(&first).await.ahead, 0);
    assert_eq!(b.queue(&second).await.ahead, 1);
    a.end(&held).await;
    b.renew(&first).await;
    b.touch(&second).await;
}

/// A claim on any of its names waits in the order of its coming too, and leaves all queues when it is served.
pub async fn a_claim_on_any_waits_in_turn_and_leaves_every_queue(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let (d1, d2) = (a.ask("d1"), a.ask("d2"));
    a.hold(&d1).await;
    a.hold(&d2).await;
    let (before, any, after) =
        (b.ask("d2").waiting(), b.ask("d1 d2").any(1).waiting(), b.ask("d1").waiting());
    for claim in [&before, &any, &after] {
        b.queue(claim).await;
    }
    a.end(&d2).await;
    b.renew(&before).await;
    b.touch(&any).await;
    a.end(&d1).await;
    assert_eq!(b.granted(&any).await.names.first().as_str(), "d1");
    b.touch(&after).await;
    b.end(&before).await;
    a.hold(&a.ask("d2")).await;
    b.end(&any).await;
    b.granted(&after).await;
}
