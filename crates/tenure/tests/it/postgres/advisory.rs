//! Session advisory locks: sessions that end, stop or are cut off, and what many names and waiters cost.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tenure::{Clock, Guard, Locks, Request, Why};
use tenure_testkit::process::{Child, Role, play_role, run, say};
use tenure_testkit::{PostgresServer, seed};
use tokio::task::JoinSet;

use super::{connect, database, sql};
use crate::patience::{in_time, rounds, until};
use crate::stands::postgres;

/// The test that a child runs, which plays the child's role.
const ROLE: &str = "postgres::advisory::a_child_plays_its_role";

const ROLES: [Role; 2] = [("hold", hold), ("wait", wait)];

/// The ttl of holders that fall silent.
const TTL: Duration = Duration::from_secs(2);

/// How much later than it must a lock may come, on a machine that has much else to do.
const SLACK: Duration = Duration::from_secs(3);

/// Who holds an advisory lock in the database.
const HOLDERS: &str = "select distinct pid from pg_locks where locktype = 'advisory' and granted
    and database = (select oid from pg_database where datname = current_database())";

#[test]
fn a_child_plays_its_role() {
    play_role(&ROLES);
}

/// Holds `x` until it is lost, and says so.
fn hold(url: &str) {
    run(async {
        let locks = Locks::connect(url).await.unwrap();
        let guard = locks.lock("x").ttl(TTL).acquire().await.unwrap();
        say("held ", guard.token());
        say("lost ", format!("{:?}", guard.lost().await));
    });
}

/// Waits for `x` for ever.
fn wait(url: &str) {
    run(async {
        let locks = Locks::connect(url).await.unwrap();
        say("waits", "");
        drop(locks.lock("x").acquire().await.unwrap());
    });
}

/// How many claims stand in the server's queue.
async fn queued(database: &str) -> usize {
    let count = "select count(*) from pg_locks where locktype = 'advisory' and not granted
        and database = (select oid from pg_database where datname = current_database())";
    sql(database, count).await.parse().unwrap()
}

/// The failure: the lost signal that fires at once on a healthy lock and never on a real loss.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_terminated_is_lost_at_once_and_the_next_waiter_has_its_lock() {
    let database = database().await;
    let (a, b) = (connect(&database).await, connect(&database).await);
    let held = a.lock("x").acquire().await.unwrap();
    let waiter = tokio::spawn(async move { b.lock("x").acquire().await });
    until("it waits", async || queued(&database).await == 1).await;
    assert!(!held.is_lost());
    let pid = sql(&database, HOLDERS).await.parse().unwrap();
    assert!(tokio::task::spawn_blocking(move || postgres().terminate(pid)).await.unwrap());
    let why = tokio::time::timeout(SLACK, held.lost()).await.expect("the loss is told");
    assert_eq!(why, Why::Store);
    let next = in_time("the waiter", waiter).await.unwrap().unwrap();
    assert!(next.token() > held.token());
    assert!(held.release().await.is_err(), "it was lost");
    next.release().await.unwrap();
    a.lock("x").try_acquire().await.unwrap().expect("it connects again").release().await.unwrap();
}

/// The failure: waiters that take every connection of a pool, so that the holder cannot release.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_names_take_four_connections_and_fifty_waiters_eight_more() {
    const SESSIONS: &str = "select count(*) from pg_stat_activity where application_name = 'tenure'
        and datname = current_database()";
    let database = database().await;
    let a = connect(&database).await;
    let mut held = Vec::new();
    for number in 0..1_000 {
        held.push(a.lock(format!("x{number}")).acquire().await.unwrap());
    }
    let of_holder: usize = sql(&database, SESSIONS).await.parse().unwrap();
    assert!(of_holder <= 4, "{of_holder} connections hold 1,000 names");
    let b = connect(&database).await;
    let mut waiters = JoinSet::new();
    for number in 0..50 {
        let b = b.clone();
        waiters.spawn(async move {
            b.lock(format!("x{number}")).acquire().await.unwrap().release().await.unwrap()
        });
    }
    until("eight wait", async || queued(&database).await == 8).await;
    let all: usize = sql(&database, SESSIONS).await.parse().unwrap();
    assert!(all - of_holder <= 12, "{all} connections, {of_holder} of them the holder's");
    for guard in held {
        in_time("a release", guard.release()).await.unwrap();
    }
    while let Some(done) = in_time("the waiters", waiters.join_next()).await {
        done.unwrap();
    }
}

/// SIGKILL of the server's first process: its sessions are gone, and with them the locks.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_server_never_yields_two_holders_and_tokens_rise() {
    let mut server = tokio::task::spawn_blocking(PostgresServer::start).await.unwrap();
    let url = server.url("postgres");
    let mut last: Option<Guard> = None;
    for round in 0..4 {
        let locks = Locks::connect(&url).await.unwrap();
        let guard = in_time("the lock", locks.lock("x").acquire()).await.unwrap();
        if let Some(before) = &last {
            assert!(before.is_lost(), "two holders in round {round}");
            assert!(guard.token() > before.token(), "{:?} after {:?}", guard.token(), before.token());
        }
        server = tokio::task::spawn_blocking(move || {
            server.restart();
            server
        })
        .await
        .unwrap();
        // It may be that nobody has told yet, but never that somebody else holds it meanwhile.
        last = Some(guard);
        in_time("the loss", last.as_ref().unwrap().lost()).await;
    }
}

/// A process that stands still keeps its socket open: only its silence tells.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_process_loses_its_locks_after_its_ttl() {
    let database = database().await;
    let url = postgres().url(&database);
    let mut child = Child::start(ROLE, "hold", &url);
    let token: u64 = child.hears("held ").parse().unwrap();
    let locks = connect(&database).await;
    child.stop();
    let clock = Clock::system();
    let began = clock.now();
    let guard = in_time("the lock", locks.lock("x").acquire()).await.unwrap();
    let took = began.until(clock.now());
    assert!(took <= TTL * 5 / 4 + SLACK, "took {took:?}");
    assert!(guard.token().get() > token);
    child.go_on();
    child.hears("lost ");
    assert!(!guard.is_lost());
    guard.release().await.unwrap();
}

/// The failure: a dead waiter at the head of the server's queue is given the lock, and holds it for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_waiter_at_the_head_delays_the_next_by_a_second_at_the_most() {
    let database = database().await;
    let (a, b) = (connect(&database).await, connect(&database).await);
    let held = a.lock("x").acquire().await.unwrap();
    let mut child = Child::start(ROLE, "wait", &postgres().url(&database));
    child.hears("waits");
    until("it waits", async || queued(&database).await == 1).await;
    let waiter = tokio::spawn(async move { b.lock("x").acquire().await });
    until("both wait", async || queued(&database).await == 2).await;
    child.kill();
    held.release().await.unwrap();
    let clock = Clock::system();
    let began = clock.now();
    let next = in_time("the waiter", waiter).await.unwrap().unwrap();
    let took = began.until(clock.now());
    assert!(took <= Duration::from_secs(1) + SLACK, "took {took:?}");
    next.release().await.unwrap();
}

/// The failures: a drop that leaks the lock into a pool, a drop that leaves a transaction open, a cancelled wait that was
/// granted all the same, a time-out of less than a millisecond that waits for ever.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_after_panics_drops_cancellations_and_time_outs() {
    let (database, seed) = (database().await, seed());
    let stores = [connect(&database).await, connect(&database).await];
    let mut tasks = JoinSet::new();
    for task in 0..8_u64 {
        let locks = stores[task as usize % 2].clone();
        let mut random = StdRng::seed_from_u64(seed ^ task);
        let rounds = rounds(250);
        tasks.spawn(async move {
            for _ in 0..rounds {
                let span = Duration::from_micros(random.random_range(0..3_000));
                let (own, shared) = (locks.clone(), random.random_bool(0.2));
                match random.random_range(0..4) {
                    0 => drop(request(&own, shared).try_acquire_for(span).await.unwrap()),
                    1 => drop(tokio::time::timeout(span, request(&own, shared).acquire()).await),
                    2 => {
                        let task = tokio::spawn(async move {
                            let _guard = request(&own, shared).try_acquire_for(span).await.unwrap();
                            std::panic::resume_unwind(Box::new("a task that panics"));
                        });
                        assert!(task.await.is_err());
                    }
                    _ => {
                        let task = tokio::spawn(async move { drop(request(&own, shared).acquire().await) });
                        tokio::task::yield_now().await;
                        task.abort();
                        let _ = task.await;
                    }
                }
            }
        });
    }
    while let Some(done) = in_time("the rounds", tasks.join_next()).await {
        done.unwrap();
    }
    until("nothing is left", async || postgres().advisory_locks(&database) == 0).await;
    let odd =
        "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
        and (state <> 'idle' or xact_start is not null)";
    until("no session is busy", async || sql(&database, odd).await == "0").await;
    for locks in &stores {
        locks.lock("x").try_acquire().await.unwrap().expect("it is free").release().await.unwrap();
    }
}

fn request(locks: &Locks, shared: bool) -> Request<'_> {
    if shared { locks.lock_shared("x") } else { locks.lock("x") }
}
