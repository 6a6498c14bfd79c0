//! Connections are lost, processes die, a pool stands between.

use std::time::Duration;

use tenure::lease::Claimed;
use tenure::{Error, ErrorKind, Locks};
use tenure_testkit::Asking;

use super::{client, in_time, pass, sql, terminate_all, url};
use crate::stands::{database, pool, postgres};

/// All connections are terminated again and again: guards are renewed all the same, and pushes come.
#[tokio::test(flavor = "multi_thread")]
async fn terminated_connections_cost_no_lease_and_no_wait() {
    let database = database().await;
    let locks = Locks::connect(&url(&database)).await.unwrap();
    let others = Locks::connect(&url(&database)).await.unwrap();
    let ttl = Duration::from_secs(2);
    for round in 0..5 {
        let guard = locks.lock("a").ttl(ttl).acquire().await.unwrap();
        let token = guard.token();
        let wait = others.lock("a").ttl(ttl);
        let (next, ()) = tokio::join!(in_time("the waiter", wait.acquire()), async {
            pass(Duration::from_millis(200)).await;
            assert!(terminate_all(&database).await >= 2, "round {round}");
            pass(ttl / 2).await;
            assert!(!guard.is_lost(), "round {round}: the lease outlives the connection");
            guard.release().await.unwrap();
        });
        assert!(next.unwrap().token() > token);
    }
}

/// The process of the first waiter dies. The next is granted with the release and not after the time in which the dead one
/// would have had to touch its claim.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_waiter_at_the_head_does_not_delay_the_next() {
    let url = url(&database().await);
    let (holder, dead, next) = (client(&url).await, client(&url).await, client(&url).await);
    let held = holder.ask("a");
    holder.hold(&held).await;
    dead.queue(&dead.ask("a").waiting()).await;
    let waits = next.ask("a").waiting();
    assert_eq!(next.queue(&waits).await.ahead, 1);
    // Its connections end as those of a killed process do, without a word.
    drop(dead);
    pass(Duration::from_millis(100)).await;
    holder.end(&held).await;
    assert!(next.told(&waits, Duration::from_secs(2)).await, "it waited for the dead one");
}

/// Where nothing can be pushed, a touch finds the grant.
#[tokio::test(flavor = "multi_thread")]
async fn a_waiter_behind_a_pool_without_a_way_to_listen_is_granted_by_its_touch() {
    let url = format!("{}?mode=rows", pool().url(&database().await));
    let (locks, others) = (Locks::connect(&url).await.unwrap(), Locks::connect(&url).await.unwrap());
    let guard = locks.lock("a").acquire().await.unwrap();
    let wait = others.lock("a");
    let (next, ()) = tokio::join!(in_time("the touch", wait.acquire()), async {
        pass(Duration::from_millis(300)).await;
        guard.release().await.unwrap();
    });
    next.unwrap().release().await.unwrap();
}

/// A pool where the way to listen should lead is no way.
#[tokio::test(flavor = "multi_thread")]
async fn a_way_to_listen_that_leads_through_a_pool_is_refused() {
    let database = database().await;
    let url = format!("{}?mode=rows&listen={}", pool().url(&database), pool().url(&database));
    let error: Error = Locks::connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}

/// Two claims of one call have the same id by mistake: the server refuses the call, and the third claim is granted all the same.
#[tokio::test(flavor = "multi_thread")]
async fn an_element_that_fails_does_not_fail_the_others() {
    let client = client(&url(&database().await)).await;
    let (good, one) = (client.ask("a"), client.ask("b"));
    let mut double = client.ask("c");
    double.lease = one.lease;
    let answers = client.provider().claim(&[one, double, good]).await;
    assert!(matches!(answers.last(), Some(Ok(Claimed::Granted(_)))), "{answers:?}");
}

/// A user who may do no more than `docs/postgres-rows.md` lists, in a schema that an administrator has made.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_needs_no_more_than_is_listed() {
    let database = database().await;
    // Makes the schema and records the mode.
    Locks::connect(&url(&database)).await.unwrap();
    let role = format!("plain_{database}");
    let grants = format!(
        "create role {role} login; grant usage on schema tenure to {role};
        grant select, insert, update, delete on all tables in schema tenure to {role};
        grant usage, update, select on all sequences in schema tenure to {role};
        grant execute on all functions in schema tenure to {role}"
    );
    sql(postgres(), &database, &grants).await;
    let url = url(&database).replace("postgres@", &format!("{role}@"));
    let (locks, others) = (Locks::connect(&url).await.unwrap(), Locks::connect(&url).await.unwrap());
    let guard = locks.lock("a").acquire().await.unwrap();
    let wait = others.lock("a");
    let (next, ()) = tokio::join!(in_time("the push", wait.acquire()), async {
        pass(Duration::from_millis(100)).await;
        assert!(terminate_all(&database).await >= 2);
        pass(Duration::from_millis(500)).await;
        guard.release().await.unwrap();
    });
    next.unwrap().release().await.unwrap();
}
