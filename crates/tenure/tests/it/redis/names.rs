//! Names that were used leave nothing behind.

use std::time::Duration;

use tenure::claim::ProcessId;
use tenure::lease::{Claimed, Ended};
use tenure::{Claim, FencingToken, LeaseId, Locks, Names};
use tenure_testkit::RedisServer;
use tenure_testkit::process::{Child, Role, play_role, run, say};
use tokio::task::JoinSet;

use super::{connect, rounds, store_of, until};
use crate::stands::{keys_under, prefix, redis};

/// Claims of one call.
const BATCH: usize = 512;

/// Calls at a time.
const CALLS: usize = 8;

/// The test that a child runs, which plays the child's role.
const ROLE: &str = "redis::names::a_child_plays_its_role";

const ROLES: [Role; 1] = [("take", take_many)];

/// Of no effect in a run by hand: it is what children of the tests below run.
#[test]
fn a_child_plays_its_role() {
    play_role(&ROLES);
}

/// Claims on so many names from `first` on.
fn claims(first: usize, names: usize, ttl: Duration) -> Vec<Claim> {
    let process = ProcessId::random();
    let claim = |number| {
        let mut claim = Claim::new(process, Names::parse([format!("order:{number}")]).unwrap());
        claim.ttl = ttl;
        claim
    };
    (first..first + names).map(claim).collect()
}

/// Takes all names and says the greatest token.
async fn take(locks: &Locks, claims: &[Claim]) -> FencingToken {
    let mut greatest = None;
    for answer in locks.provider().claim(claims).await {
        let Ok(Claimed::Granted(grant)) = answer else { panic!("not granted: {answer:?}") };
        greatest = greatest.max(Some(grant.tokens.first()));
    }
    greatest.expect("there were claims")
}

/// 100,000 names; ten times as many with `TENURE_ROUNDS=10`. All that is there at the end was there at the beginning.
#[tokio::test(flavor = "multi_thread")]
async fn names_that_were_used_once_leave_nothing() {
    let names = rounds(100_000);
    let server = RedisServer::start();
    let locks = connect(&server.url()).await;
    let keys = || server.command::<u64>(&["DBSIZE"]);
    let before = keys();
    let mut calls = JoinSet::new();
    for call in 0..CALLS {
        let locks = locks.clone();
        calls.spawn(async move {
            for batch in (call..names.div_ceil(BATCH)).step_by(CALLS) {
                let claims = claims(batch * BATCH, BATCH, Duration::from_secs(30));
                take(&locks, &claims).await;
                let leases: Vec<LeaseId> = claims.iter().map(|claim| claim.lease).collect();
                for answer in locks.provider().end(&leases).await {
                    assert_eq!(answer.unwrap(), Ended::Released);
                }
            }
        });
    }
    calls.join_all().await;
    assert_eq!(keys(), before, "names leave keys behind");
    assert!(before <= 2, "{before}");
}

/// The role of a process that takes many names and is killed.
fn take_many(url: &str) {
    run(async {
        let locks = connect(url).await;
        for batch in 0..10 {
            take(&locks, &claims(batch * BATCH, BATCH, Duration::from_secs(1))).await;
        }
        say("holds", "");
        std::future::pending::<()>().await;
    });
}

/// Nothing is left of 5,000 leases of a killed process when their ttl is over.
#[tokio::test(flavor = "multi_thread")]
async fn names_of_a_killed_process_leave_nothing_after_their_ttl() {
    let prefix = prefix();
    let url = store_of(&prefix);
    let mut child = Child::start(ROLE, "take", &url);
    child.hears("holds");
    child.kill();
    assert!(keys_under(redis(), &prefix) > BATCH as u64, "it held none");
    until("the ttl is over", async || keys_under(redis(), &prefix) == 1).await;
}
