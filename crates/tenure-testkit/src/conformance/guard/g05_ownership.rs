//! G5 for guards: a stale guard is inert, and says so.

use tenure::ErrorKind;

use crate::client::Asking;
use crate::conformance::SHORT;
use crate::relay::Fault;
use crate::stand::Stage;

/// The guard of an expired lease, dropped or released, does not free the name of its successor.
pub async fn a_stale_guard_does_not_release_its_successor(stage: Stage) {
    for release in [true, false] {
        let (locks, wire) = stage.far().await;
        let near = stage.client().await;
        let stale = locks.lock("x").ttl(SHORT).acquire().await.unwrap();
        wire.set_all(Fault::Hang);
        let next = near.ask("x").waiting();
        near.queue(&next).await;
        near.granted(&next).await;
        wire.heal();
        if release {
            assert_eq!(stale.release().await.unwrap_err().kind(), ErrorKind::Lost);
        } else {
            drop(stale);
        }
        stage.pass(SHORT).await;
        near.renew(&next).await;
        near.busy(&near.ask("x")).await;
        near.end(&next).await;
    }
}

/// Two guards of one process are two owners: the release of one leaves the other alone.
pub async fn the_release_of_one_guard_leaves_the_other_alone(stage: Stage) {
    let (locks, near) = (stage.far().await.0, stage.client().await);
    let (one, two) =
        (locks.lock_shared("x").acquire().await.unwrap(), locks.lock_shared("x").acquire().await.unwrap());
    assert_ne!(one.token(), two.token());
    one.release().await.unwrap();
    assert!(!two.is_lost());
    near.busy(&near.ask("x")).await;
    two.release().await.unwrap();
    near.hold(&near.ask("x")).await;
}

/// A release is `Ok` when the lease was held until then, on every way.
pub async fn a_release_of_what_is_held_is_ok(stage: Stage) {
    for locks in [stage.locks().await, stage.far().await.0] {
        for _ in 0..50 {
            locks.lock("x").acquire().await.unwrap().release().await.unwrap();
            locks.lock_all(["x", "y"]).acquire().await.unwrap().release().await.unwrap();
            locks.lock_shared("x").acquire().await.unwrap().release().await.unwrap();
        }
    }
}

/// A release that the store did not answer is unavailable, not lost, and is done later.
pub async fn a_release_that_is_not_answered_is_unavailable(stage: Stage) {
    for fault in [Fault::LoseRequest, Fault::LoseReply] {
        let (locks, wire) = stage.far().await;
        let guard = locks.lock("x").acquire().await.unwrap();
        wire.set_all(fault);
        assert_eq!(guard.release().await.unwrap_err().kind(), ErrorKind::Unavailable, "{fault:?}");
        wire.heal();
        stage.quiet(&stage.client().await, SHORT * 2).await;
    }
}
