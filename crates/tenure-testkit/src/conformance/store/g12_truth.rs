//! G12: health and lists ask the real store; held, busy, unavailable, invalid and gone are different answers.

use std::sync::Arc;
use std::time::Duration;

use tenure::lease::{Claimed, Kept, Kind, Query};
use tenure::provider::Caps;
use tenure::{Claim, ErrorKind, Meta, Mode, limits};

use crate::client::{Asking, Client};
use crate::conformance::SHORT;
use crate::relay::{Fault, Relay};
use crate::stand::{Stage, digests, everything};

/// What is listed is what is held, with what its holder said of itself and how long it lasts.
pub async fn the_list_shows_what_is_held(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let mut claim = a.ask("account:42 account:7");
    claim.meta = Some(Arc::new(Meta::new([("host", "a"), ("job", "settle")]).unwrap()));
    let token = a.hold(&claim).await.tokens.first();
    let permit = a.ask("gpu").permits(2, 5);
    a.hold(&permit).await;
    let lag = b.provider().caps().lag;
    stage.pass(lag + Duration::from_millis(500)).await;
    let list = b.list(&Query::new(Kind::Leases, "account:")).await;
    assert_eq!(digests(&list), [claim.lease.digest()]);
    let entry = &list[0];
    assert_eq!((&entry.names, entry.mode, entry.token), (&claim.names, Mode::Exclusive, Some(token)));
    assert_eq!((entry.ttl, entry.origin, entry.ahead), (claim.ttl, claim.origin, 0));
    assert_eq!(entry.meta.as_deref(), claim.meta.as_deref());
    let remaining = entry.remaining.expect("it expires");
    assert!(remaining <= claim.ttl - Duration::from_millis(450), "{remaining:?}");
    assert!(remaining >= claim.ttl - lag - Duration::from_millis(550) - stage.slack() * 4, "{remaining:?}");
    assert!(entry.age >= Duration::from_millis(450), "{:?}", entry.age);
    let permits = b.list(&Query::new(Kind::Leases, "gpu")).await;
    assert_eq!(permits[0].mode, Mode::Permits { take: 2, of: 5 });
    a.end(&claim).await;
    stage.catch_up(&b).await;
    assert_eq!(digests(&b.list(&Query::new(Kind::Leases, "")).await), [permit.lease.digest()]);
}

/// Waiters are listed with the number of claims before them, apart from leases.
pub async fn waiters_are_listed_with_their_place(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let held = a.ask("x");
    a.hold(&held).await;
    let waiters: Vec<Claim> = (0..5).map(|_| b.ask("x").waiting()).collect();
    for waiter in &waiters {
        b.queue(waiter).await;
    }
    stage.catch_up(&a).await;
    for waiter in &waiters {
        b.touch(waiter).await;
    }
    let list = a.list(&Query::new(Kind::Waiters, "x")).await;
    assert_eq!(list.len(), waiters.len());
    for (place, waiter) in waiters.iter().enumerate() {
        let entry = list.iter().find(|entry| entry.lease == waiter.lease.digest()).expect("it waits");
        assert_eq!((entry.ahead as usize, entry.token, entry.remaining), (place, None, None));
    }
    assert_eq!(digests(&a.list(&Query::new(Kind::Leases, "x")).await), [held.lease.digest()]);
    assert_eq!(a.list(&Query::new(Kind::Waiters, "y")).await.len(), 0);
}

/// A list of many pages has every entry once, in the order of the digests, and pages of the asked size.
pub async fn pages_have_every_entry_once(stage: Stage) {
    let client = stage.client().await;
    let claims: Vec<Claim> = (0..25).map(|n| client.ask(&format!("page:{n} other:{n}"))).collect();
    for claim in &claims {
        client.hold(claim).await;
    }
    let mut wanted: Vec<_> = claims.iter().map(|claim| claim.lease.digest()).collect();
    wanted.sort_unstable();
    for limit in [1, 7, 25, 26] {
        let mut query = Query::new(Kind::Leases, "page:");
        query.limit = limit;
        let first = client.provider().list(&query).await.expect("the store can be asked");
        assert_eq!(first.entries.len(), limit.min(25));
        assert_eq!(first.next.is_some(), limit < 25);
        assert_eq!(digests(&client.list(&query).await), wanted);
    }
}

/// A prefix is compared byte for byte: no character of it has another meaning.
pub async fn a_prefix_finds_names_that_begin_so_and_no_others(stage: Stage) {
    let client = stage.client().await;
    for name in ["100%", "100", "a_b", "aXb", "A_b", "a*", "a[b]", "é", "e\u{301}", "a\\b", "z'"] {
        client.hold(&client.ask(name)).await;
    }
    let count = async |prefix: &str| client.list(&Query::new(Kind::Leases, prefix)).await.len();
    assert_eq!(count("").await, 11);
    for (prefix, found) in [
        ("100", 2),
        ("100%", 1),
        ("%", 0),
        ("_", 0),
        ("a_", 1),
        ("a", 5),
        ("A", 1),
        ("a*", 1),
        ("*", 0),
        ("a[", 1),
        ("e", 1),
        ("é", 1),
        ("a\\", 1),
        ("z'", 1),
        ("z' or 1=1", 0),
    ] {
        assert_eq!(count(prefix).await, found, "prefix {prefix:?}");
    }
}

/// No list, answer, event or debug text shows a lease id, which is the holder's secret.
pub async fn a_lease_id_is_shown_nowhere(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let (held, waiter) = (a.ask("x"), b.ask("x").waiting());
    let mut shown = String::new();
    shown += &format!("{:?}", a.claim(&held).await);
    shown += &format!("{:?}", b.claim(&waiter).await);
    shown += &format!("{:?}", b.claim(&b.ask("x")).await);
    shown += &format!("{:?} {:?}", a.keep(&held).await, b.keep(&waiter).await);
    shown += &format!("{:?} {held:?} {waiter:?}", everything(&b).await);
    shown += &format!("{:?} {:?}", a.provider(), b.provider());
    a.end(&held).await;
    b.told(&waiter, stage.slack()).await;
    shown += &format!("{:?} {:?} {:?}", a.events(), b.events(), b.keep(&waiter).await);
    for claim in [&held, &waiter] {
        let secret = claim.lease.reveal();
        let bare = secret.replace('-', "");
        let bytes = format!("{:?}", claim.lease.to_bytes());
        for secret in [secret, bare.to_uppercase(), bare, bytes] {
            assert!(!shown.contains(&secret), "a lease id is shown");
        }
        assert!(shown.contains(&claim.lease.digest().to_string()), "the test is not vacuous");
    }
}

/// Who is busy is told who holds the name, for how long, and how many wait.
pub async fn busy_tells_who_is_in_the_way(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let mut held = a.ask("x");
    held.meta = Some(Arc::new(Meta::new([("host", "a")]).unwrap()));
    a.hold(&held).await;
    b.queue(&b.ask("x").waiting()).await;
    let by = b.busy(&b.ask("w x y")).await;
    assert_eq!(by.name.as_ref().map(|name| name.as_str()), Some("x"));
    if !b.provider().caps().sees_others {
        return;
    }
    assert_eq!(by.lease, Some(held.lease.digest()));
    assert_eq!(by.meta.as_deref(), held.meta.as_deref());
    assert_eq!(by.waiting, 1);
    assert!(by.remaining.is_some_and(|left| left <= held.ttl && left > held.ttl / 2), "{by:?}");
}

/// Held, waiting, busy, gone, invalid and unavailable are six answers.
pub async fn each_state_has_an_answer_of_its_own(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let (held, waiter) = (a.ask("x"), b.ask("x").waiting());
    assert!(matches!(a.claim(&held).await, Ok(Claimed::Granted(_))));
    assert!(matches!(b.claim(&waiter).await, Ok(Claimed::Queued(_))));
    assert!(matches!(b.claim(&b.ask("x")).await, Ok(Claimed::Busy(_))));
    assert!(matches!(b.keep(&waiter).await, Ok(Kept::Queued(_))));
    assert!(matches!(b.keep(&b.ask("x")).await, Ok(Kept::Gone(_))));
    assert_eq!(a.refused(&a.ask("x").permits(1, 2)).await, "mode");
    let (relay, wire) = Relay::over(stage.open().await, stage.clock());
    let far = Client::new(relay, stage.clock());
    wire.set_all(Fault::LoseRequest);
    for kind in [
        far.claim(&far.ask("x")).await.unwrap_err().kind(),
        far.keep(&held).await.unwrap_err().kind(),
        far.provider().ping().await.unwrap_err().kind(),
        far.provider().list(&Query::new(Kind::Leases, "")).await.unwrap_err().kind(),
    ] {
        assert_eq!(kind, ErrorKind::Unavailable);
    }
    wire.heal();
    far.provider().ping().await.expect("the store answers");
}

/// Permits of two limits, and permits with locks, do not mix on a name; the refusal changes nothing.
pub async fn mixed_modes_are_refused_and_change_nothing(stage: Stage) {
    let a = stage.client().await;
    // Where a store does not tell of other processes, it refuses what a process itself mixes.
    let other = stage.client().await;
    let b = if a.provider().caps().sees_others { &other } else { &a };
    let (permit, lock) = (a.ask("p").permits(1, 3), a.ask("x"));
    a.hold(&permit).await;
    a.hold(&lock).await;
    let before = digests(&everything(b).await);
    for bad in [
        b.ask("p"),
        b.ask("p").shared(),
        b.ask("p").permits(1, 2),
        b.ask("p").permits(1, 4).waiting(),
        b.ask("a p"),
        b.ask("x").permits(1, 3),
        b.ask("a x").permits(1, 3).waiting(),
    ] {
        assert_eq!(b.refused(&bad).await, "mode");
        b.gone(&bad).await;
    }
    assert_eq!(digests(&everything(b).await), before);
    b.hold(&b.ask("a")).await;
    b.hold(&b.ask("p").permits(2, 3)).await;
}

/// A name that is free again may be used in another mode, also when its holder merely ran out.
pub async fn a_free_name_may_be_used_in_another_mode(stage: Stage) {
    let client = stage.client().await;
    let (permit, dead) = (client.ask("p").permits(1, 3), client.ask("q").permits(1, 3).lasting(SHORT));
    client.hold(&permit).await;
    client.hold(&dead).await;
    client.end(&permit).await;
    client.hold(&client.ask("p").shared()).await;
    stage.pass(SHORT + stage.slack()).await;
    client.hold(&client.ask("q")).await;
}

/// Replaced leases are not in the way of the mode of what replaces them.
pub async fn a_refused_claim_replaces_nothing(stage: Stage) {
    let client = stage.client().await;
    let (old, permit) = (client.ask("x"), client.ask("p").permits(1, 3));
    client.hold(&old).await;
    client.hold(&permit).await;
    assert_eq!(client.refused(&client.ask("p x").replacing(&old)).await, "mode");
    client.renew(&old).await;
}

/// One more waiter than a name may have is refused; the others keep their places.
pub async fn one_waiter_too_many_is_refused(stage: Stage) {
    if !stage.is_paused() {
        // Ten thousand waiters cost minutes where each is a trip.
        return;
    }
    let (a, b) = (stage.client().await, stage.client().await);
    let held = a.ask("x");
    a.hold(&held).await;
    let waiters: Vec<Claim> = (0..limits::MAX_WAITERS).map(|_| b.ask("x").waiting()).collect();
    for chunk in waiters.chunks(500) {
        for answer in b.provider().claim(chunk).await {
            assert!(matches!(answer, Ok(Claimed::Queued(_))), "{answer:?}");
        }
    }
    let one_more = a.ask("w x").waiting();
    assert_eq!(a.refused(&one_more).await, "waiters");
    a.gone(&one_more).await;
    a.hold(&a.ask("w")).await;
    b.end(&waiters[0]).await;
    a.queue(&a.ask("x").waiting()).await;
}

/// Claims beyond the limits of the library or of the store are refused before anything happens.
pub async fn claims_beyond_the_limits_are_refused(stage: Stage) {
    let client = stage.client().await;
    let caps: &Caps = client.provider().caps();
    let mut bad = vec![
        ("ttl", client.ask("x").lasting(Duration::ZERO)),
        ("ttl", client.ask("x").lasting(limits::MIN_TTL - Duration::from_nanos(1))),
        ("ttl", client.ask("x").lasting(limits::MAX_TTL + Duration::from_nanos(1))),
        ("ttl", client.ask("x").lasting(Duration::MAX)),
        ("hold_at_least", client.ask("x").lingering(limits::MAX_TTL + Duration::from_nanos(1))),
        ("of", client.ask("x").permits(1, 0)),
        ("of", client.ask("x").permits(1, limits::MAX_PERMITS + 1)),
        ("take", client.ask("x").permits(0, 3)),
        ("take", client.ask("x").permits(4, 3)),
        ("count", client.ask("x y").any(0)),
        ("count", client.ask("x y").any(3)),
    ];
    if caps.max_names <= limits::MAX_NAMES {
        let many: Vec<String> = (0..=caps.max_names).map(|n| format!("n{n}")).collect();
        bad.push(("names", client.ask(&many.join(" "))));
    }
    for (field, claim) in bad {
        assert_eq!(claim.check(caps).expect_err("it is beyond a limit").operation(), field);
    }
    for good in [
        client.ask("a").lasting(limits::MIN_TTL),
        client.ask("b").lasting(limits::MAX_TTL),
        client.ask("c").permits(limits::MAX_PERMITS, limits::MAX_PERMITS),
    ] {
        good.check(caps).expect("it is within the limits");
        client.hold(&good).await;
    }
}
