//! What only this store has, as far as one process can show it.

use std::time::Duration;

use parking_lot::Mutex;
use tempfile::TempDir;

use super::*;
use crate::claim::{Origin, ProcessId};
use crate::error::ErrorKind;
use crate::lease::Kind;
use crate::name::Names;
use crate::provider::Event;

pub(super) fn claim_on(names: &[&str]) -> Claim {
    Claim::new(ProcessId::from_number(1), Names::parse(names).unwrap())
}

async fn claim(file: &File, claim: &Claim) -> Result<Claimed> {
    file.claim(std::slice::from_ref(claim)).await.remove(0)
}

async fn keep(file: &File, lease: LeaseId, ttl: Duration) -> Kept {
    file.keep(&[Keep { lease, ttl, tokens: 0 }]).await.remove(0).unwrap()
}

pub(super) async fn end(file: &File, lease: LeaseId) -> Ended {
    file.end(&[lease]).await.remove(0).unwrap()
}

pub(super) async fn token(file: &File, asked: &Claim) -> u64 {
    match claim(file, asked).await.unwrap() {
        Claimed::Granted(grant) => grant.tokens.first().get(),
        other => panic!("not granted: {other:?}"),
    }
}

pub(super) async fn in_boot(directory: &TempDir, clock: Clock, boot: &str) -> File {
    File::open_in_boot(directory.path().to_owned(), clock, boot.to_owned()).await.unwrap()
}

/// Keeps the events that it is told.
#[derive(Default)]
pub(super) struct Heard(pub(super) Mutex<Vec<Event>>);

impl Listener for Heard {
    fn on(&self, event: Event) {
        self.0.lock().push(event);
    }
}

struct Told(tokio::sync::mpsc::UnboundedSender<Event>);

impl Listener for Told {
    fn on(&self, event: Event) {
        let _ = self.0.send(event);
    }
}

/// The number that a query finds.
fn number(directory: &TempDir, sql: &str) -> i64 {
    let db = rusqlite::Connection::open(directory.path().join("locks.db")).unwrap();
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

fn remote(names: &[&str], ttl: Duration) -> Claim {
    let mut claim = claim_on(names);
    (claim.origin, claim.ttl) = (Origin::Remote, ttl);
    claim
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn nobody_else_may_read_what_is_made() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("deep/store");
    let file = File::open(&directory, Clock::system()).await.unwrap();
    claim(&file, &claim_on(&["a"])).await.unwrap();
    let mode = |path: &Path| std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&directory), mode(&directory.join("seats"))), (0o700, 0o700));
    let entries = ["", "seats"].map(|sub| std::fs::read_dir(directory.join(sub)).unwrap());
    let paths: Vec<PathBuf> = entries.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(paths.len(), 8, "{paths:?}");
    for path in paths.iter().filter(|path| !path.is_dir()) {
        assert_eq!(mode(path), 0o600, "{path:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_last_release_nothing_is_kept_and_ended_ids_are_forgotten_in_time() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), Clock::tokio());
    let file = in_boot(&directory, clock, "boot").await;
    let asked: Vec<Claim> =
        (0..50).map(|n| claim_on(&[&format!("{n}"), "x", &format!("y{n}")][..1 + n % 3])).collect();
    let answers = file.claim(&asked).await;
    assert!(answers.iter().filter(|answer| matches!(answer, Ok(Claimed::Granted(_)))).count() > 15);
    file.end(&asked.iter().map(|claim| claim.lease).collect::<Vec<_>>()).await;
    assert_eq!(number(&directory, "select (select count(*) from leases) + (select count(*) from places)"), 0);
    assert_eq!(number(&directory, "select count(*) from ended"), 50);
    tokio::time::advance(61 * SECOND).await;
    claim(&file, &claim_on(&["later"])).await.unwrap();
    assert_eq!(number(&directory, "select count(*) from ended"), 0);
}

#[tokio::test(start_paused = true)]
async fn tokens_rise_when_the_store_is_opened_again_and_when_the_machine_restarted() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), Clock::tokio());
    let (mut last, mut last_boot) = (0, "one");
    for boot in ["one", "one", "two", "two", "three"] {
        let file = in_boot(&directory, clock, boot).await;
        let next = token(&file, &claim_on(&["a"])).await;
        assert!(next > last, "{boot}");
        // Also if the commits of before the restart that used up 255 epochs did not reach the disk.
        assert!(boot == last_boot || next - last > 255 << 32, "{boot}");
        last_boot = boot;
        last = next;
        file.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_the_machine_ends_local_leases_and_keeps_remote_and_lingering_ones() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), Clock::tokio());
    let before = in_boot(&directory, clock, "one").await;
    let kept = remote(&["remote"], 5 * SECOND);
    let mut lingers = claim_on(&["lingers"]);
    lingers.linger = 10 * SECOND;
    let mut waits = remote(&["remote"], SECOND);
    waits.wait = true;
    let asked = [kept.clone(), lingers, claim_on(&["local"]), waits.clone()];
    let old = token(&before, &kept).await;
    before.claim(&asked).await;
    tokio::time::advance(4 * SECOND).await;
    let after = in_boot(&directory, clock, "two").await;
    // The wait for remote grants that may not have reached the disk.
    assert_eq!(kind(claim(&after, &claim_on(&["local"])).await), ErrorKind::Unavailable);
    tokio::time::advance(4 * SECOND).await;
    assert!(matches!(keep(&after, kept.lease, 8 * SECOND).await, Kept::Held(_)));
    assert!(matches!(keep(&after, waits.lease, SECOND).await, Kept::Gone(_)));
    tokio::time::advance(4 * SECOND).await;
    assert!(token(&after, &claim_on(&["local"])).await > old);
    assert!(matches!(claim(&after, &claim_on(&["remote"])).await, Ok(Claimed::Busy(_))));
    assert!(matches!(claim(&after, &claim_on(&["lingers"])).await, Ok(Claimed::Busy(_))));
    tokio::time::advance(4 * SECOND).await;
    assert!(matches!(claim(&after, &claim_on(&["lingers"])).await, Ok(Claimed::Granted(_))));
}

#[tokio::test(start_paused = true)]
async fn a_restart_closes_the_store_only_when_remote_grants_may_be_missing() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), Clock::tokio());
    let unsynced = || number(&directory, "select unsynced_ttl from meta");
    let file = in_boot(&directory, clock, "one").await;
    claim(&file, &claim_on(&["local"])).await.unwrap();
    assert_eq!(unsynced(), 0);
    claim(&file, &remote(&["a"], 5 * SECOND)).await.unwrap();
    assert_eq!(unsynced(), 8_000_000_000);
    claim(&file, &remote(&["b"], 3_600 * SECOND)).await.unwrap();
    assert_eq!(unsynced(), 60_000_000_000);
    file.close().await;
    assert_eq!(unsynced(), 0);
    let file = in_boot(&directory, clock, "two").await;
    assert!(matches!(claim(&file, &claim_on(&["local"])).await, Ok(Claimed::Granted(_))));
}

#[tokio::test]
async fn what_is_not_a_store_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let plain = directory.path().join("plain");
    std::fs::write(&plain, "text").unwrap();
    assert_eq!(kind(File::open(&plain, Clock::system()).await), ErrorKind::InvalidInput);
    assert_eq!(kind(File::open(plain.join("below"), Clock::system()).await), ErrorKind::InvalidInput);
    assert_eq!(kind(File::open("/proc/tenure", Clock::system()).await), ErrorKind::Unavailable);

    let foreign = directory.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    let db = rusqlite::Connection::open(foreign.join("locks.db")).unwrap();
    db.execute_batch("create table theirs (a)").unwrap();
    assert_eq!(kind(File::open(&foreign, Clock::system()).await), ErrorKind::InvalidInput);
    db.execute_batch("select a from theirs").unwrap();

    let newer = directory.path().join("newer");
    File::open(&newer, Clock::system()).await.unwrap().close().await;
    let db = rusqlite::Connection::open(newer.join("locks.db")).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    let error = File::open(&newer, Clock::system()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains("found=99"), "{error}");

    let damaged = directory.path().join("damaged");
    std::fs::create_dir(&damaged).unwrap();
    std::fs::write(damaged.join("locks.db"), [7; 8192]).unwrap();
    let error = File::open(&damaged, Clock::system()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && error.to_string().contains("damaged"), "{error}");
    assert_eq!(std::fs::read(damaged.join("locks.db")).unwrap(), [7; 8192]);
}

#[tokio::test]
async fn a_full_disk_is_unavailable_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = File::open(directory.path(), Clock::system()).await.unwrap();
    let held = claim_on(&["held"]);
    let first = token(&file, &held).await;
    file.0.limit_pages(true);
    let big: Vec<Claim> = (0..200).map(|n| claim_on(&[&format!("{n:0>250}")])).collect();
    assert!(file.claim(&big).await.into_iter().all(|answer| kind(answer) == ErrorKind::Unavailable));
    assert!(matches!(keep(&file, held.lease, SECOND).await, Kept::Held(_)));
    file.0.limit_pages(false);
    assert!(file.claim(&big).await.iter().all(|answer| matches!(answer, Ok(Claimed::Granted(_)))));
    assert!(token(&file, &claim_on(&["next"])).await > first);
}

#[tokio::test]
async fn a_store_whose_directory_was_removed_grants_nothing_any_more() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("store");
    let file = File::open(&directory, Clock::system()).await.unwrap();
    file.ping().await.unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    let other = File::open(&directory, Clock::system()).await.unwrap();
    assert_eq!(kind(claim(&file, &claim_on(&["a"])).await), ErrorKind::Unavailable);
    assert_eq!(kind(file.ping().await), ErrorKind::Unavailable);
    assert!(matches!(claim(&other, &claim_on(&["a"])).await, Ok(Claimed::Granted(_))));
}

#[tokio::test]
async fn a_closed_provider_has_given_up_its_local_leases_and_nothing_of_it_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let file = File::open(directory.path(), Clock::system()).await.unwrap();
    let other = File::open(directory.path(), Clock::system()).await.unwrap();
    let held = claim_on(&["a"]);
    claim(&file, &held).await.unwrap();
    assert!(matches!(claim(&other, &claim_on(&["a"])).await, Ok(Claimed::Busy(_))));
    let seats = || std::fs::read_dir(directory.path().join("seats")).unwrap().count();
    assert_eq!(seats(), 4);
    file.close().await;
    assert!(matches!(claim(&other, &claim_on(&["a"])).await, Ok(Claimed::Granted(_))));
    assert_eq!(kind(claim(&file, &claim_on(&["b"])).await), ErrorKind::Unavailable);
    assert_eq!(kind(file.list(&Query::new(Kind::Leases, "")).await), ErrorKind::Unavailable);
    // Who still has a lease of it learns that it is gone.
    assert!(matches!(keep(&file, held.lease, SECOND).await, Kept::Gone(_)));
    assert_eq!(end(&file, held.lease).await, Ended::NotHeld);
    file.close().await;
    assert_eq!(seats(), 2);
}

#[tokio::test]
async fn a_dropped_provider_is_as_dead_as_its_process() {
    let directory = tempfile::tempdir().unwrap();
    let file = File::open(directory.path(), Clock::system()).await.unwrap();
    let other = File::open(directory.path(), Clock::system()).await.unwrap();
    claim(&file, &claim_on(&["a"])).await.unwrap();
    let (told, mut events) = tokio::sync::mpsc::unbounded_channel();
    other.listen(Arc::new(Told(told)));
    let mut waits = claim_on(&["a"]);
    waits.wait = true;
    assert!(matches!(claim(&other, &waits).await, Ok(Claimed::Queued(_))));
    drop(file);
    assert!(matches!(events.recv().await, Some(Event::Granted(lease, Some(_))) if lease == waits.lease));
}

// Goal: a step costs about as many rows as it has names, also in a long queue. Method: a thousand claims wait for one
// name; another provider, which has nothing loaded, claims a free one.
#[tokio::test]
async fn a_claim_loads_no_more_than_what_stands_at_its_names() {
    let directory = tempfile::tempdir().unwrap();
    let file = File::open(directory.path(), Clock::system()).await.unwrap();
    let mut waiting: Vec<Claim> = (0..1_000).map(|_| claim_on(&["busy"])).collect();
    waiting.iter_mut().for_each(|claim| claim.wait = true);
    file.claim(&waiting).await;
    let other = File::open(directory.path(), Clock::system()).await.unwrap();
    claim(&other, &claim_on(&["free", "also free"])).await.unwrap();
    assert_eq!(other.0.loaded(), 1);
    let Ok(Claimed::Busy(held_by)) = claim(&other, &claim_on(&["busy", "third"])).await else {
        panic!("not busy")
    };
    assert_eq!((held_by.waiting, other.0.loaded()), (999, 1_001));
}
