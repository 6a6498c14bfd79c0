//! G2 for guards: each has a greater token than those before it, also when it was handed on inside the process.

use std::collections::BTreeSet;

use crate::cancel::cancel_at;
use crate::stand::Stage;

/// A lock that goes from task to task of one process has a fresh, greater token each time, for longer than any block of
/// reserved tokens lasts.
pub async fn a_lock_that_is_handed_on_has_a_greater_token_each_time(stage: Stage) {
    let (locks, other) = (stage.locks().await, stage.locks().await);
    let mut last = None;
    for round in 0..stage.rounds(3_000) {
        let mut next = Box::pin(locks.lock("x").acquire());
        let guard = if round % 3 == 0 {
            next.await.unwrap()
        } else {
            let held = locks.lock("x").acquire().await.unwrap();
            assert!(Some(held.token()) > last);
            last = Some(held.token());
            // Queues behind the holder, so that the release hands the lock on.
            assert!(cancel_at(1, &mut next).await.is_none());
            drop(held);
            next.await.unwrap()
        };
        assert!(Some(guard.token()) > last, "{:?} after {last:?}", guard.token());
        last = Some(guard.token());
        guard.release().await.unwrap();
    }
    assert!(Some(other.lock("x").acquire().await.unwrap().token()) > last);
}

/// Guards of all kinds from two processes never share a token.
pub async fn no_two_guards_have_one_token(stage: Stage) {
    let (a, b) = (stage.locks().await, stage.locks().await);
    let mut seen = BTreeSet::new();
    let mut held = Vec::new();
    for locks in [&a, &b] {
        for _ in 0..5 {
            held.push(locks.lock_shared("r").acquire().await.unwrap());
            held.push(locks.permit("p", 10).acquire().await.unwrap());
        }
        held.extend(locks.lock_each(["a", "b", "c"]).try_acquire().await.unwrap().into_iter().flatten());
    }
    assert_eq!(held.len(), 23);
    for guard in &held {
        assert!(seen.insert(guard.token()), "a token was given twice");
    }
}
