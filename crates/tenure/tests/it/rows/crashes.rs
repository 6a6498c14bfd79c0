//! The server crashes, or is started anew.

use std::time::Duration;

use tenure::lease::Claimed;
use tenure::{Clock, Locks};
use tenure_testkit::{Asking, PostgresConfig, PostgresServer};

use super::client;

const TTL: Duration = Duration::from_secs(2);

/// A server that loses what was committed last when it crashes, as every one can: here nothing is written down meanwhile.
fn forgetful() -> PostgresServer {
    PostgresConfig::default().line("wal_writer_delay = 10s").line("bgwriter_delay = 10s").start()
}

/// A name is held when the server is killed, by a grant that it forgets. Whoever asks for it then gets it after the holder's deadline
/// and not before, with a greater token.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_never_yields_two_holders_within_a_ttl() {
    let mut server = forgetful();
    let database = server.database();
    let url = format!("{}?mode=rows", server.url(&database));
    let mut forgotten = 0;
    for round in 0..3 {
        let holder = client(&url).await;
        // The first lease of this ttl is written down, together with how long such leases last.
        let first = holder.ask("first").lasting(TTL);
        holder.hold(&first).await;
        holder.end(&first).await;
        let held = holder.ask("a").lasting(TTL);
        let grant = holder.hold(&held).await;
        tokio::task::block_in_place(|| server.restart());
        let count = "select count(*) from tenure.leases where names = array['a'::bytea]";
        forgotten += usize::from(server.sql(&database, count) == "0");
        let other = client(&url).await;
        let clock = Clock::system();
        let (asked, next) = loop {
            let asked = other.ask("a").lasting(TTL);
            match other.claim(&asked).await {
                Ok(Claimed::Granted(next)) => break (asked, next),
                // Not there yet, or busy.
                _ => super::pass(Duration::from_millis(20)).await,
            }
        };
        assert!(clock.now() > grant.deadline, "round {round}: granted while the first holder believed in it");
        assert!(next.tokens.first() > grant.tokens.first(), "round {round}: the tokens went back");
        other.end(&asked).await;
    }
    assert!(forgotten > 0, "the test shows nothing: the server remembered every grant");
}

/// A restart in order forgets nothing: leases go on, and free names are granted at once, with greater tokens.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_order_keeps_leases_and_does_not_close_the_store() {
    let mut server = forgetful();
    let url = format!("{}?mode=rows", server.url(&server.database()));
    let holder = client(&url).await;
    let held = holder.ask("a");
    let grant = holder.hold(&held).await;
    tokio::task::block_in_place(|| server.restart_cleanly());
    let other = client(&url).await;
    other.busy(&other.ask("a")).await;
    let next = other.hold(&other.ask("b")).await;
    assert!(next.tokens.first() > grant.tokens.first());
    assert_eq!(other.renew(&held).await.tokens, grant.tokens);
}

/// Who waits while the server is away waits on, and keeps its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_guard_and_a_waiter_outlast_a_restart() {
    let mut server = forgetful();
    let url = format!("{}?mode=rows", server.url(&server.database()));
    let locks = Locks::connect(&url).await.unwrap();
    let others = Locks::connect(&url).await.unwrap();
    let guard = locks.lock("a").acquire().await.unwrap();
    let waiter = tokio::spawn(async move { others.lock("a").acquire().await.map(|guard| guard.token()) });
    super::pass(Duration::from_millis(300)).await;
    tokio::task::block_in_place(|| server.restart_cleanly());
    super::pass(Duration::from_millis(1_500)).await;
    let token = guard.token();
    assert!(!guard.is_lost(), "the lease was kept");
    guard.release().await.unwrap();
    let next = super::in_time("the waiter", waiter).await.unwrap().unwrap();
    assert!(next > token);
}
