//! G4: whatever is dropped or lost on the way, once things are quiet nothing of ours is left. The store's part.

use std::time::Duration;

use tenure::ErrorKind;
use tenure::lease::{Claimed, Ended, Kept};

use crate::cancel::cancel_at;
use crate::client::{Asking, Client};
use crate::conformance::SHORT;
use crate::relay::{Fault, Relay, Step};
use crate::seed::seed;
use crate::stand::Stage;

/// A claim whose reply was lost is settled by its id: asked again it is the same, ended it is gone.
pub async fn a_claim_whose_reply_was_lost_is_settled_by_its_id(stage: Stage) {
    let (relay, wire) = Relay::over(stage.open().await, stage.clock());
    let (near, far) = (stage.client().await, Client::new(relay, stage.clock()));
    for claim in [far.ask("x"), far.ask("x").shared(), far.ask("x y").waiting(), far.ask("x").permits(1, 2)] {
        wire.set(Step::Claim, Fault::LoseReply);
        assert_eq!(far.claim(&claim).await.unwrap_err().kind(), ErrorKind::Unavailable);
        wire.heal();
        let token = far.hold(&claim).await.tokens.first();
        assert_eq!(far.renew(&claim).await.tokens.first(), token);
        wire.set(Step::End, Fault::LoseReply);
        assert!(far.provider().end(&[claim.lease]).await.remove(0).is_err());
        wire.heal();
        assert_eq!(far.end(&claim).await, Ended::NotHeld, "the first end was executed");
        stage.quiet(&near, Duration::ZERO).await;
    }
}

/// A claim that is executed long after its caller gave up and ended it takes nothing.
pub async fn a_claim_that_was_under_way_when_it_was_ended_takes_nothing(stage: Stage) {
    let (relay, wire) = Relay::over(stage.open().await, stage.clock());
    let (near, far) = (stage.client().await, Client::new(relay, stage.clock()));
    for claim in [far.ask("x"), far.ask("x").waiting(), far.ask("x").local()] {
        wire.set(Step::Claim, Fault::Late(SHORT));
        assert!(far.claim(&claim).await.is_err());
        wire.heal();
        assert_eq!(far.end(&claim).await, Ended::NotHeld);
        stage.pass(SHORT + stage.slack()).await;
        far.gone(&claim).await;
        stage.quiet(&near, Duration::ZERO).await;
    }
}

/// Claims, keeps and ends that are dropped at any await are settled by one `end`.
pub async fn a_step_that_is_dropped_at_any_await_is_settled_by_end(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let ways: [fn(&Client) -> tenure::Claim; 4] =
        [|c| c.ask("x"), |c| c.ask("x y"), |c| c.ask("x").waiting(), |c| c.ask("y x").shared().waiting()];
    for (index, way) in ways.into_iter().enumerate() {
        for polls in 0.. {
            let claim = way(&a);
            let done = cancel_at(polls, a.claim(&claim)).await.is_some();
            let _ = cancel_at(polls, a.keep(&claim)).await;
            let _ = cancel_at(polls, a.provider().end(&[claim.lease])).await;
            assert_ne!(a.end(&claim).await, Ended::Lingering);
            assert!(!matches!(a.keep(&claim).await, Ok(Kept::Held(_) | Kept::Queued(_))));
            let all = b.ask("x y");
            b.hold(&all).await;
            b.end(&all).await;
            if done {
                break;
            }
            assert!(polls < 1_000, "way {index} does not end");
        }
    }
    stage.quiet(&b, Duration::ZERO).await;
}

/// While a step may have been dropped, nobody else waits longer for its name than the ttl.
pub async fn a_claim_that_nobody_settles_ends_with_its_ttl(stage: Stage) {
    let (relay, wire) = Relay::over(stage.open().await, stage.clock());
    let (near, far) = (stage.client().await, Client::new(relay, stage.clock()));
    wire.set_all(Fault::LoseReply);
    assert!(far.claim(&far.ask("x").lasting(SHORT)).await.is_err());
    let waiter = near.ask("x").waiting();
    near.queue(&waiter).await;
    near.granted(&waiter).await;
    near.end(&waiter).await;
    stage.quiet(&near, Duration::ZERO).await;
}

/// Random steps over a wire that loses a third of all trips leave nothing once everything was ended.
pub async fn nothing_is_left_after_random_faults(stage: Stage) {
    let seed = seed();
    let (relay, wire) = Relay::over(stage.open().await, stage.clock());
    let (near, far) = (stage.client().await, Client::new(relay, stage.clock()));
    wire.chaos(seed, 0.33);
    let mut claims = Vec::new();
    for round in 0..stage.rounds(2_000) {
        let names = ["a", "b", "a b", "c", "b c"][round % 5];
        let claim = if round % 3 == 0 { far.ask(names).waiting() } else { far.ask(names).shared() };
        let answer = far.claim(&claim).await;
        assert!(!matches!(answer, Ok(Claimed::Granted(ref grant)) if grant.names != claim.names));
        let _ = far.keep(&claim).await;
        let _ = far.provider().end(&[claim.lease]).await;
        claims.push(claim.lease);
    }
    wire.heal();
    for chunk in claims.chunks(100) {
        assert!(far.provider().end(chunk).await.iter().all(|ended| ended.is_ok()));
    }
    stage.pass(SHORT).await;
    stage.quiet(&near, Duration::ZERO).await;
}
