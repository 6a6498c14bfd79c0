//! G8 for guards: batches are all or nothing, in any order, without deadlock.

use std::time::Duration;

use crate::cancel::cancel_at;
use crate::conformance::SHORT;
use crate::relay::{Fault, Step};
use crate::stand::Stage;

/// Tasks of several processes take the same names in opposite orders, with single locks between, and all come to an end.
pub async fn opposite_orders_never_deadlock(stage: Stage) {
    let rounds = stage.rounds(300);
    let mut tasks = tokio::task::JoinSet::new();
    for locks in [stage.locks().await, stage.far().await.0] {
        for names in [["a", "b"], ["b", "a"], ["b", "c"], ["c", "a"]] {
            let locks = locks.clone();
            tasks.spawn(async move {
                for round in 0..rounds {
                    let guard = match round % 5 {
                        0 => locks.lock(names[0]).acquire().await,
                        1 => locks.lock_shared(names[1]).acquire().await,
                        _ => locks.lock_all(names).acquire().await,
                    };
                    let guard = guard.unwrap();
                    tokio::task::yield_now().await;
                    guard.release().await.unwrap();
                }
            });
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    stage.quiet(&stage.client().await, SHORT).await;
}

/// A batch that is refused, or gives up, has taken none of its names.
pub async fn a_batch_that_fails_takes_nothing(stage: Stage) {
    for locks in [stage.locks().await, stage.far().await.0] {
        let other = stage.locks().await;
        let held = other.lock("b").acquire().await.unwrap();
        assert!(locks.lock_all(["a", "b", "c"]).try_acquire().await.unwrap().is_none());
        let patience = Duration::from_millis(30);
        assert!(locks.lock_all(["a", "b", "c"]).try_acquire_for(patience).await.unwrap().is_none());
        let rest = other.lock_all(["a", "c"]).try_acquire().await.unwrap();
        rest.expect("a batch that failed left something").release().await.unwrap();
        held.release().await.unwrap();
    }
}

/// `lock_each` gives a guard for each name that was free, in the given order; where the store fails, none is left held.
pub async fn each_is_answered_name_by_name_and_leaves_nothing_on_failure(stage: Stage) {
    let (locks, wire) = stage.far().await;
    let near = stage.client().await;
    let held = near.ask("b");
    near.hold(&held).await;
    let each = locks.lock_each(["c", "b", "a"]).try_acquire().await.unwrap();
    let names: Vec<_> =
        each.iter().map(|guard| guard.as_ref().map(|guard| guard.names().to_string())).collect();
    assert_eq!(names, [Some("c".into()), None, Some("a".into())]);
    assert_eq!(wire.trips(Step::Claim), 1, "one trip for all");
    drop(each);
    near.end(&held).await;
    stage.quiet(&near, SHORT).await;
    for fault in [Fault::LoseReply, Fault::LoseRequest] {
        wire.set(Step::Claim, fault);
        assert!(locks.lock_each(["a", "b"]).try_acquire().await.is_err());
        wire.heal();
        stage.quiet(&near, SHORT).await;
    }
}

/// `lock_any` takes the first free names in the given order, and waits for one when none is free.
pub async fn any_takes_what_is_free_in_the_given_order(stage: Stage) {
    for locks in [stage.locks().await, stage.far().await.0] {
        let other = stage.locks().await;
        let held = other.lock_all(["z", "a"]).acquire().await.unwrap();
        let any = locks.lock_any(["z", "m", "a", "b"]).acquire().await.unwrap();
        assert_eq!(any.names().to_string(), "m");
        assert!(locks.lock_any(["z", "a"]).try_acquire().await.unwrap().is_none());
        let mut waiting = Box::pin(locks.lock_any(["z", "a"]).acquire());
        assert!(cancel_at(1, &mut waiting).await.is_none());
        held.release().await.unwrap();
        let picked = waiting.await.unwrap();
        assert_eq!(picked.names().to_string(), "z");
        let two = locks.lock_any(["z", "a", "b"]).count(2).try_acquire().await.unwrap().unwrap();
        assert_eq!(two.names().len(), 2);
    }
}
