//! G2: later grants of a name have greater tokens, and no token is given twice.

use std::collections::BTreeSet;

use tenure::lease::Kept;
use tenure::{Claim, FencingToken};

use crate::client::{Asking, Client};
use crate::conformance::SHORT;
use crate::stand::Stage;

/// Every way to hold a name gets a greater token than all before it, from whichever process.
pub async fn tokens_of_a_name_rise_in_every_mode_and_across_batches(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let mut last = None;
    for round in 0..20 {
        let client = if round % 2 == 0 { &a } else { &b };
        let ways = [
            client.ask("n"),
            client.ask("n").shared(),
            client.ask("n").permits(1, 2),
            client.ask("m n o"),
            client.ask("m n").shared(),
            client.ask("n o").permits(2, 2),
            client.ask("n z").any(1),
            client.ask("n").reserving(7),
        ];
        for claim in ways {
            let grant = client.hold(&claim).await;
            let first = grant.tokens.first();
            assert!(Some(first) > last, "{first:?} after {last:?} for {:?}", claim.mode);
            last = tokens(&grant.tokens).pop();
            client.end(&claim).await;
        }
    }
}

/// Readers and permits that hold at the same time have different tokens.
pub async fn holders_at_the_same_time_have_different_tokens(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let mut seen = BTreeSet::new();
    for client in [&a, &b, &a, &b] {
        for claim in [client.ask("r").shared(), client.ask("p").permits(1, 9), client.ask("q r").shared()] {
            assert!(seen.insert(client.hold(&claim).await.tokens.first()), "a token was given twice");
        }
    }
}

/// The tokens that a grant reserved are its own: the next grant of the name begins above them.
pub async fn reserved_tokens_are_given_to_nobody_else(stage: Stage) {
    let client = stage.client().await;
    let mut seen = BTreeSet::new();
    for count in [1, 32, 1, 1_000, 3] {
        let claim = client.ask("n").reserving(count);
        let grant = client.hold(&claim).await;
        assert!((1..=count).contains(&grant.tokens.count().get()), "at least one and no more than asked for");
        for token in tokens(&grant.tokens) {
            assert!(seen.last().is_none_or(|last| *last < token) && seen.insert(token));
        }
        client.end(&claim).await;
    }
}

/// A `keep` may reserve more tokens: they lie above all that were given before, for this lease and the next.
pub async fn a_renewal_reserves_further_tokens_above_all_before(stage: Stage) {
    let client = stage.client().await;
    let (claim, other) = (client.ask("n").reserving(4), client.ask("other"));
    let mut seen: BTreeSet<FencingToken> = tokens(&client.hold(&claim).await.tokens).into_iter().collect();
    let plain = client.renew(&claim).await.tokens;
    assert_eq!(plain.first(), *seen.first().unwrap(), "a plain renewal keeps the block");
    client.hold(&other).await;
    for _ in 0..3 {
        let Ok(Kept::Held(grant)) = client.keep_for(&claim, claim.ttl, 8).await else { panic!("it is held") };
        for token in tokens(&grant.tokens) {
            assert!(
                seen.last().is_none_or(|last| *last < token) && seen.insert(token),
                "{token:?} is not new"
            );
        }
    }
    client.end(&claim).await;
    let next = client.hold(&client.ask("n")).await.tokens.first();
    assert!(next > *seen.last().unwrap());
}

/// Asking again with the same lease id, as after a lost reply, gives the same token and takes nothing more.
pub async fn asking_again_gives_the_same_token(stage: Stage) {
    let client = stage.client().await;
    for claim in [
        client.ask("x"),
        client.ask("y").shared(),
        client.ask("p").permits(1, 2),
        client.ask("k l m").any(2),
        client.ask("q").reserving(16),
    ] {
        let first = client.hold(&claim).await;
        for _ in 0..3 {
            let again = client.hold(&claim).await;
            assert_eq!(again.tokens.first(), first.tokens.first());
            assert_eq!(again.names, first.names);
        }
        assert_eq!(client.renew(&claim).await.tokens.first(), first.tokens.first());
    }
    client.hold(&client.ask("p").permits(1, 2)).await;
    client.busy(&client.ask("p").permits(1, 2)).await;
}

/// The grant that is pushed to a waiter, the one that `keep` fetches and the one that asking again gives are one.
pub async fn a_waiter_has_one_token_however_it_learns_of_it(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let (held, waiter) = (a.ask("x"), b.ask("x").waiting());
    let first = a.hold(&held).await.tokens.first();
    b.queue(&waiter).await;
    a.end(&held).await;
    let fetched = b.granted(&waiter).await.tokens.first();
    assert!(fetched > first);
    assert_eq!(b.hold(&waiter).await.tokens.first(), fetched);
    for event in b.events() {
        if let tenure::provider::Event::Granted(_, Some(grant)) = event {
            assert_eq!(grant.tokens.first(), fetched);
        }
    }
}

/// Who takes over an expired lease has a greater token than any the expired one could use.
pub async fn the_successor_of_an_expired_lease_has_a_greater_token(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let stale = a.hold(&a.ask("x").lasting(SHORT).reserving(100)).await;
    let waiter = b.ask("x").waiting();
    b.queue(&waiter).await;
    let next = b.granted(&waiter).await;
    assert!(next.tokens.first() > *tokens(&stale.tokens).last().unwrap());
}

/// A process that comes later, after all others have gone, still gets greater tokens.
pub async fn tokens_rise_for_a_process_that_comes_after_all_have_gone(stage: Stage) {
    let mut last = None;
    for _ in 0..5 {
        let client = stage.client().await;
        let claim = client.ask("x").reserving(5);
        let grant = client.hold(&claim).await;
        assert!(Some(grant.tokens.first()) > last);
        last = tokens(&grant.tokens).pop();
        client.end(&claim).await;
        client.provider().close().await;
    }
}

/// Of many that ask at once for different names, no two get one token.
pub async fn claims_at_the_same_moment_never_share_a_token(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let ask = |client: &Client, tag: &str| -> Vec<Claim> {
        (0..64).map(|n| client.ask(&format!("{tag}{n}")).reserving(1 + n % 3)).collect()
    };
    let (first, second) = (ask(&a, "a"), ask(&b, "b"));
    let (left, right) = tokio::join!(a.provider().claim(&first), b.provider().claim(&second));
    let mut seen = BTreeSet::new();
    for answer in left.into_iter().chain(right) {
        let Ok(tenure::lease::Claimed::Granted(grant)) = answer else { panic!("all names are free") };
        assert!(tokens(&grant.tokens).into_iter().all(|token| seen.insert(token)), "a token was given twice");
    }
}

/// All tokens of a block, in order.
fn tokens(block: &tenure::token::TokenBlock) -> Vec<FencingToken> {
    let (mut found, mut left) = (Vec::new(), Some(*block));
    while let Some(block) = left {
        let (token, rest) = block.take();
        found.push(token);
        left = rest;
    }
    found
}
