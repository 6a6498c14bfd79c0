//! What is left when calls are cancelled, time out or panic, and when a process is killed: nothing, in tables, sessions and pools.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tenure::{Locks, Request};
use tenure_testkit::process::{Child, Role, play_role, run, say};
use tenure_testkit::{Asking, seed};
use tokio::task::JoinSet;

use super::{client, connect, in_time, rounds, sql, until, url};
use crate::stands::{POOL, database, pool, postgres};

/// Tasks that contend, over two processes or over connections of their own.
const TASKS: u64 = 8;

/// Leases and places in queues.
const ROWS: &str = "select (select count(*) from tenure.leases) + (select count(*) from tenure.places)";

/// Sessions that are in the middle of something.
const BUSY: &str =
    "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
    and (state <> 'idle' or xact_start is not null)";

/// Time-outs of a session that are not those of every new one.
const CHANGED: &str = "select count(*) from pg_settings where setting is distinct from reset_val
    and name in ('lock_timeout', 'statement_timeout', 'synchronous_commit', 'transaction_isolation', 'search_path')";

/// Looks until no row is left, no lock but those of processes that listen, and no session is in the middle of anything.
async fn nothing_is_left(database: &str, listening: usize) {
    until("no row is left", async || sql(postgres(), database, ROWS).await == "0").await;
    until("no lock is left", async || postgres().advisory_locks(database) == listening).await;
    until("no session is busy", async || sql(postgres(), database, BUSY).await == "0").await;
}

/// Whoever is given a connection of the pool, by turns all of them, has none of our locks, no transaction and no setting.
async fn pooled_connections_are_clean(database: &str) {
    let mut sessions = Vec::new();
    for _ in 0..POOL {
        let session = connect(&pool().url(database)).await;
        let depth = "select count(*) from pg_locks where pid = pg_backend_pid() and locktype = 'advisory'";
        session.batch_execute("begin").await.unwrap();
        for count in [depth, CHANGED] {
            let found: i64 = session.query_one(count, &[]).await.unwrap().get(0);
            assert_eq!(found, 0, "{count}");
        }
        // It keeps its connection until all were looked at.
        sessions.push(session);
    }
    for session in sessions {
        session.batch_execute("rollback").await.unwrap();
    }
}

/// Directly, through a pool that hears what is pushed, and through one that does not.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_after_panics_drops_cancellations_and_time_outs() {
    for (listens, has_pool) in [(true, false), (true, true), (false, true)] {
        let (database, seed) = (database().await, seed());
        let url = match (has_pool, listens) {
            (false, _) => url(&database),
            (true, false) => format!("{}?mode=rows", pool().url(&database)),
            (true, true) => {
                format!("{}?mode=rows&listen={}", pool().url(&database), postgres().url(&database))
            }
        };
        let stores = [Locks::connect(&url).await.unwrap(), Locks::connect(&url).await.unwrap()];
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let random = StdRng::seed_from_u64(seed ^ task);
            tasks.spawn(contend(stores[task as usize % 2].clone(), random));
        }
        while let Some(done) = in_time("the rounds", tasks.join_next()).await {
            done.unwrap();
        }
        nothing_is_left(&database, if listens { 2 } else { 0 }).await;
        for locks in &stores {
            let free = in_time("an answer", locks.lock("x").try_acquire()).await.unwrap();
            free.expect("it is free").release().await.unwrap();
        }
        drop(stores);
        nothing_is_left(&database, 0).await;
        if has_pool {
            pooled_connections_are_clean(&database).await;
        }
    }
}

async fn contend(locks: Locks, mut random: StdRng) {
    for _ in 0..rounds(125) {
        let span = Duration::from_micros(random.random_range(0..5_000));
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
}

fn request(locks: &Locks, shared: bool) -> Request<'_> {
    if shared { locks.lock_shared("x") } else { locks.lock("x") }
}

/// Locks of transactions, directly and through a pool, beside guards: calls that are dropped, transactions that are dropped with
/// a lock or in the middle of a wait, and tasks that panic in them.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_after_transactions_that_are_dropped_cancelled_or_panic() {
    for (mode, has_pool) in [("rows", false), ("rows", true), ("advisory", false), ("advisory", true)] {
        let (database, seed) = (database().await, seed());
        let locks = Locks::connect(&format!("{}?mode={mode}", postgres().url(&database))).await.unwrap();
        let before = postgres().advisory_locks(&database);
        let url = if has_pool { pool().url(&database) } else { postgres().url(&database) };
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let random = StdRng::seed_from_u64(seed ^ task);
            tasks.spawn(transact(locks.clone(), url.clone(), random));
        }
        while let Some(done) = in_time("the rounds", tasks.join_next()).await {
            done.unwrap();
        }
        let free = in_time("the name", locks.lock("x").acquire()).await.unwrap();
        free.release().await.unwrap();
        nothing_is_left(&database, before).await;
        if has_pool {
            pooled_connections_are_clean(&database).await;
        }
    }
}

/// Uses one connection for all rounds, as long as it serves.
async fn transact(locks: Locks, url: String, mut random: StdRng) {
    let mut session = connect(&url).await;
    for _ in 0..rounds(40) {
        let span = Duration::from_micros(random.random_range(0..5_000));
        let wait = Duration::from_millis(random.random_range(1..5));
        let own = locks.clone();
        match random.random_range(0..4) {
            0 => drop(request(&locks, false).try_acquire_for(span).await.unwrap()),
            1 => {
                let transaction = session.transaction().await.unwrap();
                // The statement goes on without us, and ends before the rollback.
                let _ = tokio::time::timeout(span, own.within(&transaction).acquire("x")).await;
            }
            2 => {
                let transaction = session.transaction().await.unwrap();
                let _ = own.within(&transaction).try_acquire_for("x", wait).await.unwrap();
                transaction.commit().await.unwrap();
            }
            _ => {
                let task = tokio::spawn(async move {
                    let transaction = session.transaction().await.unwrap();
                    let _ = own.within(&transaction).try_acquire_for("x", wait).await.unwrap();
                    std::panic::resume_unwind(Box::new("a task that panics"));
                });
                assert!(task.await.is_err());
                session = connect(&url).await;
            }
        }
        // Without a named statement, which a pool would look for in another session.
        let left = in_time("the connection", session.query_typed(CHANGED, &[])).await.unwrap();
        let left: i64 = left[0].get(0);
        assert_eq!(left, 0, "a setting was changed");
    }
}

/// The test that a child runs, which plays the child's role.
const ROLE: &str = "rows::leftovers::a_child_plays_its_role";

const ROLES: [Role; 1] = [("wait", wait)];

/// Of no effect in a run by hand: it is what children of the tests below run.
#[test]
fn a_child_plays_its_role() {
    play_role(&ROLES);
}

/// The role of a process that waits for `a`, and says so when it has connected.
fn wait(url: &str) {
    run(async {
        let locks = Locks::connect(url).await.unwrap();
        say("connected", "");
        drop(locks.lock("a").acquire().await.unwrap());
    });
}

/// The process at the head of the queue is killed by SIGKILL, and nobody tidies up after it. The next is granted with the release.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_while_it_waits_delays_the_next_by_a_second_at_most() {
    for has_pool in [false, true] {
        let database = database().await;
        let direct = url(&database);
        let theirs = if has_pool {
            format!("{}?mode=rows&listen={}", pool().url(&database), postgres().url(&database))
        } else {
            direct.clone()
        };
        let (holder, next) = (client(&direct).await, client(&direct).await);
        let held = holder.ask("a");
        holder.hold(&held).await;
        let mut dead = Child::start(ROLE, "wait", &theirs);
        dead.hears("connected");
        let waiting = "select count(*) from tenure.leases where ticket is not null";
        until("it waits", async || sql(postgres(), &database, waiting).await == "1").await;
        let waits = next.ask("a").waiting();
        assert_eq!(next.queue(&waits).await.ahead, 1);
        dead.kill();
        // The kernel tells the server.
        until("its session ends", async || postgres().advisory_locks(&database) == 2).await;
        holder.end(&held).await;
        assert!(next.told(&waits, Duration::from_secs(1)).await, "it waited for the dead one");
    }
}
