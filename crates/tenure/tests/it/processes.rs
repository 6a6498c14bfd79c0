//! Several processes on one store: they contend, one is killed, one is stopped.

use std::time::Duration;

use tenure::Locks;
use tenure_testkit::counter::{self, Counter, Job};
use tenure_testkit::process::{Child, play_role};

/// The test that a child runs, which plays the child's role.
const ROLE: &str = "processes::a_child_plays_its_role";

/// Of no effect in a run by hand: it is what children of the tests below run.
#[test]
fn a_child_plays_its_role() {
    play_role(&counter::ROLES);
}

fn job(directory: &tempfile::TempDir, tasks: usize, goal: u64) -> Job {
    let store = directory.path().join("store");
    Job {
        url: format!("file://{}", store.display()),
        directory: directory.path().to_owned(),
        tasks,
        goal,
        ttl: Duration::from_secs(30),
    }
}

fn start(role: &str, job: &Job) -> Child {
    Child::start(ROLE, role, &job.to_argument())
}

/// 8 processes × 8 tasks add one to a counter file 20,000 times in all, under one lock: no update is lost, and the tokens
/// at the counter strictly rise.
#[test]
fn eight_processes_that_count_under_one_lock_lose_nothing() {
    const GOAL: u64 = 20_000;
    let directory = tempfile::tempdir().unwrap();
    let counter = Counter::new(directory.path());
    let job = job(&directory, 8, GOAL);
    let mut children: Vec<Child> = (0..8).map(|_| start("count", &job)).collect();
    let added: Vec<u64> = children.iter_mut().map(|child| child.hears("done ").parse().unwrap()).collect();
    children.into_iter().for_each(Child::ends);
    assert_eq!(counter.read().number, GOAL);
    assert_eq!(added.iter().sum::<u64>(), GOAL, "{added:?}");
    assert!(added.iter().filter(|added| **added > 0).count() >= 4, "the test is not vacuous: {added:?}");
    assert_eq!(counter::check_journals(directory.path(), GOAL, 0), usize::try_from(GOAL).unwrap());
}

/// One of four processes is killed in the middle of it: the others reach the goal, and lose nothing.
#[tokio::test]
async fn a_process_that_is_killed_while_it_counts_loses_nothing_of_the_others() {
    const GOAL: u64 = 4_000;
    let directory = tempfile::tempdir().unwrap();
    let counter = Counter::new(directory.path());
    let job = job(&directory, 4, GOAL);
    let mut children: Vec<Child> = (0..4).map(|_| start("count", &job)).collect();
    let mut victim = children.remove(0);
    victim.hears("ready");
    while counter.read().number < GOAL / 4 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    victim.kill();
    assert!(counter.read().number < GOAL, "it was killed before the end");
    for child in &mut children {
        child.hears("done ");
    }
    children.into_iter().for_each(Child::ends);
    assert_eq!(counter.read().number, GOAL);
    counter::check_journals(directory.path(), GOAL, 1);
}

/// The lock of a process that was killed is free at once, not after its ttl of 30 s.
#[tokio::test]
async fn the_lock_of_a_killed_process_is_free_long_before_its_ttl() {
    let directory = tempfile::tempdir().unwrap();
    let job = job(&directory, 1, 1);
    let locks = Locks::connect(&job.url).await.unwrap();
    let mut holder = start("hold", &job);
    let token: u64 = holder.hears("holds ").parse().unwrap();
    assert!(locks.lock("counter").try_acquire().await.unwrap().is_none());
    holder.kill();
    let next = locks.lock("counter").try_acquire_for(Duration::from_secs(10)).await.unwrap();
    assert!(next.expect("it is not free").token().get() > token);
}

/// A process that is stopped past its ttl loses the lock to another. When it goes on it knows, its write is refused by the
/// resource, and its release says that it was lost.
#[tokio::test]
async fn a_process_that_is_stopped_past_its_ttl_is_refused_by_the_resource() {
    let directory = tempfile::tempdir().unwrap();
    let mut job = job(&directory, 1, 1);
    job.ttl = Duration::from_secs(1);
    let counter = Counter::new(directory.path());
    let locks = Locks::connect(&job.url).await.unwrap();
    let mut stopped = start("stall", &job);
    let stale: u64 = stopped.hears("holds ").parse().unwrap();
    stopped.stop();
    let next = locks.lock("counter").try_acquire_for(Duration::from_secs(20)).await.unwrap();
    let next = next.expect("a stopped process keeps its lock for ever");
    assert!(next.token().get() > stale);
    let opened = counter.open_fenced(next.token()).unwrap();
    std::fs::write(directory.path().join("go"), "").unwrap();
    stopped.go_on();
    assert_eq!(stopped.hears("after "), "wrote=false knew=true released=false");
    let written = counter.write_fenced(next.token(), opened.number + 1).unwrap();
    assert_eq!((written.number, written.token), (1, next.token().get()));
    stopped.ends();
    next.release().await.unwrap();
}
