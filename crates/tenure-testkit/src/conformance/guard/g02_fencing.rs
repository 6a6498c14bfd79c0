//! G2 for guards: each has a greater token than those before it, also when it was handed on inside the process.

use std::collections::BTreeSet;

use crate::cancel::cancel_at;
use crate::stand::Stage;

/// A lock that goes from task to task of one process has a fresh, greater token each time, for longer than any block of
/// reserved tokens lasts.
pub async fn a_lock_that_is_handed_on_has_a_greater_token_each_time(stage: Stage) {
    let (locks, other) = (stage.locks().await, stage.locks().await);
    let mut last = None;
    for _ in 0..stage.rounds(800) {
        let held = locks.lock("x").acquire().await.unwrap();
        let mut queue: Vec<_> = (0..4).map(|_| Box::pin(locks.lock("x").acquire())).collect();
        for next in &mut queue {
            // Queues behind the holder, so that the release hands the lock on.
            assert!(cancel_at(1, next).await.is_none());
        }
        assert!(Some(held.token()) > last, "{:?} after {last:?}", held.token());
        last = Some(held.token());
        drop(held);
        for next in queue {
            let guard = next.await.unwrap();
            assert!(Some(guard.token()) > last, "{:?} after {last:?}", guard.token());
            last = Some(guard.token());
        }
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
