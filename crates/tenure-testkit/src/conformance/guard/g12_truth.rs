//! G12 for guards: errors say what to do, and what people see of a guard is what the store has.

use std::time::Duration;

use tenure::lease::{Kind, Listed, Query};
use tenure::{ErrorKind, Guard, Locks, limits};

use crate::client::Client;
use crate::relay::Fault;
use crate::stand::Stage;

/// A guard is listed under its digest, with its names, token and metadata, and shows no secret.
pub async fn a_guard_is_listed_as_what_it_is(stage: Stage) {
    for locks in [stage.locks().await, stage.far().await.0] {
        let near = stage.client().await;
        let guard = locks.lock_all(["x", "y"]).holder("job", "settle").acquire().await.unwrap();
        let plain = locks.lock("z").acquire().await.unwrap();
        stage.catch_up(&near).await;
        for (guard, job) in [(&guard, Some("settle")), (&plain, None)] {
            let entry = listed_with_token(&stage, &near, guard).await;
            assert_eq!((&entry.names, entry.token), (guard.names(), Some(guard.token())));
            let meta = entry.meta.as_deref();
            assert_eq!(
                meta.and_then(|meta| meta.iter().find(|(key, _)| *key == "job")).map(|(_, job)| job),
                job
            );
        }
        guard.release().await.unwrap();
        plain.release().await.unwrap();
        stage.quiet(&near, Duration::from_secs(2)).await;
    }
}

/// The entry of a guard. A store may be told the token of a new lease a moment later.
async fn listed_with_token(stage: &Stage, near: &Client, guard: &Guard) -> Listed {
    let deadline = stage.clock().now() + stage.slack();
    loop {
        let list = near.list(&Query::new(Kind::Leases, guard.names().first().as_str())).await;
        let entry = list.into_iter().find(|entry| entry.lease == guard.lease()).expect("it is listed");
        if entry.token.is_some() || stage.clock().now() > deadline {
            return entry;
        }
        stage.pass(Duration::from_millis(10)).await;
    }
}

/// Busy is `None`, a wrong call is `InvalidInput`, and a store that is away is `Unavailable`.
pub async fn busy_wrong_and_unavailable_are_told_apart(stage: Stage) {
    let (locks, wire) = stage.far().await;
    let near = stage.client().await;
    near.hold(&near.ask("x")).await;
    let held = locks.lock("z").acquire().await.unwrap();
    assert!(locks.lock("x").try_acquire().await.unwrap().is_none());
    wrong_calls(&locks).await;
    wrong_calls(&stage.locks().await).await;
    assert_eq!(locks.permit("z", 2).try_acquire().await.unwrap_err().kind(), ErrorKind::InvalidInput);
    held.release().await.unwrap();
    wire.set_all(Fault::LoseRequest);
    for error in [
        locks.lock("y").try_acquire().await.unwrap_err(),
        locks.lock("y").acquire().await.unwrap_err(),
        locks.lock_shared("y").try_acquire_for(Duration::from_secs(1)).await.unwrap_err(),
        locks.lock_each(["y"]).try_acquire().await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    wire.heal();
    locks.lock("y").try_acquire().await.unwrap().expect("the store answers").release().await.unwrap();
}

async fn wrong_calls(locks: &Locks) {
    let long = "x".repeat(256);
    for bad in ["", "a\nb", "\u{7f}", "a\0", &long] {
        assert_eq!(
            locks.lock(bad).try_acquire().await.unwrap_err().kind(),
            ErrorKind::InvalidInput,
            "{bad:?}"
        );
        assert_eq!(locks.lock_all(["ok", bad]).acquire().await.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(
            locks.lock_each(["ok", bad]).try_acquire().await.unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }
    for ttl in [Duration::ZERO, limits::MIN_TTL / 2, limits::MAX_TTL * 2, Duration::MAX] {
        for request in
            [locks.lock("a").ttl(ttl), locks.lock_shared("a").ttl(ttl), locks.lock_all(["a", "b"]).ttl(ttl)]
        {
            assert_eq!(request.try_acquire().await.unwrap_err().kind(), ErrorKind::InvalidInput, "{ttl:?}");
        }
    }
    for request in [
        locks.permit("a", 0),
        locks.permit("a", 2).take(3),
        locks.permit("a", 2).take(0),
        locks.lock_any(["a", "b"]).count(0),
        locks.lock_any(["a", "b"]).count(3),
        locks.lock_all(["a", "a"]),
        locks.lock("a").hold_at_least(limits::MAX_TTL * 2),
        locks.lock("a").holder("key", "x".repeat(2_000)),
    ] {
        assert_eq!(request.try_acquire().await.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    let none: [&str; 0] = [];
    assert!(locks.lock_all(none).try_acquire().await.is_err());
    // Nothing of all this has taken anything.
    locks.lock_all(["a", "b", "ok"]).try_acquire().await.unwrap().expect("free").release().await.unwrap();
}
