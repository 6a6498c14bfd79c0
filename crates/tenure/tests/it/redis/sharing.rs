//! Readers, writers and permits, between processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use tenure::{ErrorKind, Locks};
use tenure_testkit::process::{Child, Role, play_role, run, say};
use tokio::task::JoinSet;

use super::{connect, in_time, own_store, rounds, until};

/// The test that a child runs, which plays the child's role.
const ROLE: &str = "redis::sharing::a_child_plays_its_role";

const ROLES: [Role; 1] = [("hold", hold)];

/// Of no effect in a run by hand: it is what children of the tests below run.
#[test]
fn a_child_plays_its_role() {
    play_role(&ROLES);
}

/// For how long the lock of a process that is killed may be in the way.
const TTL: Duration = Duration::from_secs(1);

/// The role of a process that reads `x`, and has one of two permits of `p`, until it is killed.
fn hold(url: &str) {
    run(async {
        let locks = connect(url).await;
        let _reads = locks.lock_shared("x").ttl(TTL).acquire().await.unwrap();
        let _has = locks.permit("p", 2).ttl(TTL).acquire().await.unwrap();
        say("holds", "");
        std::future::pending::<()>().await;
    });
}

/// A room for many readers or one writer: -1 with a writer in it.
#[derive(Clone, Default)]
struct Room(Arc<AtomicI64>);

impl Room {
    async fn read(&self) {
        assert!(self.0.fetch_add(1, Ordering::AcqRel) >= 0, "a reader came in beside a writer");
        tokio::task::yield_now().await;
        self.0.fetch_sub(1, Ordering::AcqRel);
    }

    async fn write(&self) {
        let alone = self.0.compare_exchange(0, -1, Ordering::AcqRel, Ordering::Acquire);
        assert!(alone.is_ok(), "a writer came in beside {alone:?}");
        tokio::task::yield_now().await;
        self.0.store(0, Ordering::Release);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_and_writers_never_overlap() {
    let (url, room) = (own_store(), Room::default());
    let mut tasks = JoinSet::new();
    for _ in 0..3 {
        let locks = connect(&url).await;
        for task in 0..6 {
            let (locks, room) = (locks.clone(), room.clone());
            tasks.spawn(async move {
                for round in 0..rounds(60) {
                    if (task + round) % 3 == 0 {
                        let guard = locks.lock("x").acquire().await.unwrap();
                        room.write().await;
                        guard.release().await.unwrap();
                    } else {
                        let guard = locks.lock_shared("x").acquire().await.unwrap();
                        room.read().await;
                        guard.release().await.unwrap();
                    }
                }
            });
        }
    }
    in_time("all", tasks.join_all()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn releasing_one_of_two_readers_admits_no_writer() {
    let url = own_store();
    let (locks, others) = (connect(&url).await, connect(&url).await);
    for (first, second) in [(&locks, &others), (&locks, &locks)] {
        let one = first.lock_shared("x").acquire().await.unwrap();
        let two = second.lock_shared("x").acquire().await.unwrap();
        one.release().await.unwrap();
        for writer in [&locks, &others] {
            assert!(writer.lock("x").try_acquire().await.unwrap().is_none());
        }
        two.release().await.unwrap();
        others.lock("x").try_acquire().await.unwrap().expect("both are gone").release().await.unwrap();
    }
}

/// Another reader, which lives, renews its own lease and not that of the dead one.
#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_reader_never_pins_a_writer_out() {
    let url = own_store();
    let locks = connect(&url).await;
    let mut child = Child::start(ROLE, "hold", &url);
    child.hears("holds");
    let alive = locks.lock_shared("x").ttl(TTL).acquire().await.unwrap();
    child.kill();
    super::pass(2 * TTL).await;
    alive.release().await.unwrap();
    let writer = locks.lock("x").try_acquire_for(TTL).await.unwrap();
    writer.expect("a dead reader is in the way").release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permit_of_a_killed_process_comes_back() {
    let url = own_store();
    let locks = connect(&url).await;
    let mut child = Child::start(ROLE, "hold", &url);
    child.hears("holds");
    let one = locks.permit("p", 2).try_acquire().await.unwrap().expect("there are two");
    assert!(locks.permit("p", 2).try_acquire().await.unwrap().is_none());
    child.kill();
    let two = in_time("the dead one's", locks.permit("p", 2).acquire()).await.unwrap();
    assert!(locks.permit("p", 2).try_acquire().await.unwrap().is_none());
    one.release().await.unwrap();
    two.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_number_of_permits_is_refused_while_there_are_some() {
    let url = own_store();
    let (locks, others) = (connect(&url).await, connect(&url).await);
    let one = locks.permit("x", 2).acquire().await.unwrap();
    let error = others.permit("x", 3).try_acquire().await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::InvalidInput, "mode"));
    assert!(others.permit("x", 2).try_acquire().await.unwrap().is_some());
    one.release().await.unwrap();
}

/// Readers of three processes come and go without a gap; the writers are let in all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_writer_is_not_starved() {
    let url = own_store();
    let reads = Arc::new(AtomicU64::new(0));
    let mut readers = JoinSet::new();
    for _ in 0..3 {
        let locks = connect(&url).await;
        for _ in 0..4 {
            readers.spawn(read_on(locks.clone(), Arc::clone(&reads)));
        }
    }
    let writer = connect(&url).await;
    for _ in 0..20 {
        let before = reads.load(Ordering::Acquire);
        until("they read", async || reads.load(Ordering::Acquire) > before + 20).await;
        let guard = tokio::time::timeout(Duration::from_secs(10), writer.lock("x").acquire()).await;
        guard.expect("the writer is starved").unwrap().release().await.unwrap();
    }
    assert!(readers.try_join_next().is_none(), "a reader has ended");
}

async fn read_on(locks: Locks, reads: Arc<AtomicU64>) {
    loop {
        let guard = locks.lock_shared("x").acquire().await.unwrap();
        tokio::task::yield_now().await;
        guard.release().await.unwrap();
        reads.fetch_add(1, Ordering::AcqRel);
    }
}
