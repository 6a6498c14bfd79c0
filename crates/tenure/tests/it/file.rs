//! The file provider between processes.
//!
//! A test starts this binary again as a child that holds a provider of the same directory and does what it is told on
//! its standard input. Each told line is answered by one line; events come as lines of their own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failure here fails the run")]

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tenure::claim::{Origin, ProcessId};
use tenure::file::File;
use tenure::lease::{Claimed, Ended, Kept};
use tenure::provider::{Event, Keep, Listener};
use tenure::{Claim, Clock, LeaseId, Locks, Names, Provider, Settings, Why};
use tokio::sync::mpsc;

/// Where a child finds its directory; unset in the tests proper.
const DIRECTORY: &str = "TENURE_TEST_DIRECTORY";

/// Longer than anything here takes by push, shorter than the 3 s after which an untouched claim is dropped.
const BY_PUSH: Duration = Duration::from_millis(2_500);

const LONG: Duration = Duration::from_secs(60);

/// A process with a provider.
struct Other {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Other {
    fn start(directory: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "file::is_the_other_process_when_started_as_one", "--nocapture"]);
        command.env(DIRECTORY, directory).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut other = Other { child, input, output: BufReader::new(output) };
        assert_eq!(other.line(), "open");
        other
    }

    /// The next line of the child itself; the test harness in it writes others.
    fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "the other process ended");
            if let Some((_, said)) = line.trim_end().split_once("other: ") {
                return said.to_owned();
            }
        }
    }

    fn tell(&mut self, what: &str) -> String {
        writeln!(self.input, "{what}").unwrap();
        self.line()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(what: &str) {
    // One write, so that lines of events and of answers do not mix.
    std::io::stdout().write_all(format!("other: {what}\n").as_bytes()).unwrap();
}

struct Says;

impl Listener for Says {
    fn on(&self, event: Event) {
        if let Event::Granted(_, Some(grant)) = event {
            say(&format!("granted {}", grant.tokens.first()));
        }
    }
}

// Not a test of its own: the other process of the tests below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn is_the_other_process_when_started_as_one() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let file = File::open(&directory, Clock::system()).await.unwrap();
    file.listen(Arc::new(Says));
    say("open");
    let mut lines = std::io::stdin().lines();
    while let Some(Ok(line)) = tokio::task::block_in_place(|| lines.next()) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["claim", lease, name, ttl_ms, origin] => {
                say(&word(&claim(&file, &asked(lease, name, ttl_ms, origin)).await))
            }
            ["keep", lease] => say(&format!("{:?}", keep(&file, lease.parse().unwrap(), LONG).await)),
            ["count", path, tasks, times] => {
                count(&file, path, tasks.parse().unwrap(), times.parse().unwrap()).await;
                say("counted");
            }
            ["bequeath"] => {
                let lifeline = file.lifeline().unwrap();
                rustix::io::fcntl_setfd(lifeline.as_fd(), rustix::io::FdFlags::empty()).unwrap();
                #[expect(clippy::zombie_processes, reason = "it is to outlive this process")]
                let heir = Command::new("sleep").arg("30").stdout(Stdio::null()).spawn().unwrap();
                say(&heir.id().to_string());
            }
            _ => panic!("unknown: {line}"),
        }
    }
}

fn asked(lease: &str, name: &str, ttl_ms: &str, origin: &str) -> Claim {
    let mut claim = claim_of(name);
    claim.lease = lease.parse().unwrap();
    claim.ttl = Duration::from_millis(ttl_ms.parse().unwrap());
    claim.origin = if origin == "remote" { Origin::Remote } else { Origin::Local };
    claim
}

/// An exclusive claim that waits.
fn claim_of(name: &str) -> Claim {
    let mut claim = Claim::new(ProcessId::random(), Names::parse([name]).unwrap());
    claim.wait = true;
    claim.ttl = LONG;
    claim
}

async fn claim(file: &File, claim: &Claim) -> Claimed {
    file.claim(std::slice::from_ref(claim)).await.remove(0).unwrap()
}

async fn keep(file: &File, lease: LeaseId, ttl: Duration) -> Kept {
    file.keep(&[Keep { lease, ttl, tokens: 0 }]).await.remove(0).unwrap()
}

fn word(claimed: &Claimed) -> String {
    match claimed {
        Claimed::Granted(grant) => format!("granted {}", grant.tokens.first()),
        Claimed::Queued(_) => "queued".into(),
        Claimed::Busy(_) => "busy".into(),
    }
}

/// Adds one to a number in a plain file, `tasks` × `times` times, under one lock; its last token stands beside it.
async fn count(file: &File, path: &str, tasks: usize, times: usize) {
    let locks = Locks::over(Arc::new(file.clone()), Settings::default());
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            let (locks, path) = (locks.clone(), path.to_owned());
            tokio::spawn(async move {
                for _ in 0..times {
                    let guard = locks.lock("counter").acquire().await.unwrap();
                    let text = std::fs::read_to_string(&path).unwrap();
                    let (number, token) = text.split_once(' ').unwrap();
                    assert!(
                        guard.token().get() > token.parse().unwrap(),
                        "the token fell: {token} {:?}",
                        guard.token()
                    );
                    let number: u64 = number.parse().unwrap();
                    tokio::task::yield_now().await;
                    std::fs::write(&path, format!("{} {}", number + 1, guard.token())).unwrap();
                    guard.release().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

struct Pushed(mpsc::UnboundedSender<Event>);

impl Listener for Pushed {
    fn on(&self, event: Event) {
        let _ = self.0.send(event);
    }
}

/// A provider of this process, and the events that it is told.
async fn open(directory: &TempDir) -> (File, mpsc::UnboundedReceiver<Event>) {
    let file = File::open(directory.path(), Clock::system()).await.unwrap();
    let (sender, events) = mpsc::unbounded_channel();
    file.listen(Arc::new(Pushed(sender)));
    (file, events)
}

/// Waits for a grant that is pushed: nobody touches the claim meanwhile.
async fn granted(events: &mut mpsc::UnboundedReceiver<Event>, lease: LeaseId) {
    let wait = async {
        while let Some(event) = events.recv().await {
            if matches!(&event, Event::Granted(granted, Some(_)) if *granted == lease) {
                return;
            }
        }
    };
    tokio::time::timeout(BY_PUSH, wait).await.expect("the grant was not pushed");
}

#[tokio::test]
async fn the_lease_of_a_killed_process_passes_to_the_waiter_of_another_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let (file, mut events) = open(&directory).await;
    let mut other = Other::start(directory.path());
    assert!(
        other.tell(&format!("claim {} a 60000 local", LeaseId::random().reveal())).starts_with("granted")
    );
    let waiting = claim_of("a");
    assert_eq!(word(&claim(&file, &waiting).await), "queued");
    other.kill();
    granted(&mut events, waiting.lease).await;
}

#[tokio::test]
async fn the_lease_of_a_killed_process_is_free_for_a_claim_that_does_not_wait() {
    let directory = tempfile::tempdir().unwrap();
    let (file, _events) = open(&directory).await;
    let mut other = Other::start(directory.path());
    other.tell(&format!("claim {} a 60000 local", LeaseId::random().reveal()));
    let mut hasty = claim_of("a");
    hasty.wait = false;
    assert_eq!(word(&claim(&file, &hasty).await), "busy");
    other.kill();
    assert!(word(&claim(&file, &hasty).await).starts_with("granted"));
    assert_eq!(
        std::fs::read_dir(directory.path().join("seats")).unwrap().count(),
        2,
        "files of the dead are left"
    );
}

#[tokio::test]
async fn a_killed_waiter_does_not_hold_up_those_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let (file, mut events) = open(&directory).await;
    let holding = claim_of("a");
    claim(&file, &holding).await;
    let mut other = Other::start(directory.path());
    assert_eq!(other.tell(&format!("claim {} a 60000 local", LeaseId::random().reveal())), "queued");
    let waiting = claim_of("a");
    assert_eq!(word(&claim(&file, &waiting).await), "queued");
    other.kill();
    file.end(&[holding.lease]).await.remove(0).unwrap();
    granted(&mut events, waiting.lease).await;
}

#[tokio::test]
async fn a_release_is_pushed_to_the_waiter_of_another_process() {
    let directory = tempfile::tempdir().unwrap();
    let (file, _events) = open(&directory).await;
    let holding = claim_of("a");
    let first = word(&claim(&file, &holding).await);
    let mut other = Other::start(directory.path());
    let lease = LeaseId::random();
    assert_eq!(other.tell(&format!("claim {} a 60000 local", lease.reveal())), "queued");
    assert_eq!(file.end(&[holding.lease]).await.remove(0).unwrap(), Ended::Released);
    let second = other.line();
    assert!(second.starts_with("granted") && second > first, "{first} {second}");
    assert!(other.tell(&format!("keep {}", lease.reveal())).starts_with("Held"));
}

#[tokio::test]
async fn a_process_that_is_stopped_beyond_its_ttl_loses_its_lease_and_is_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let (file, _events) = open(&directory).await;
    let mut other = Other::start(directory.path());
    let lease = LeaseId::random();
    assert!(other.tell(&format!("claim {} a 300 local", lease.reveal())).starts_with("granted"));
    other.signal(Signal::STOP);
    let waiting = claim_of("a");
    let Claimed::Queued(place) = claim(&file, &waiting).await else { panic!("not queued") };
    tokio::time::sleep(place.expires_in.expect("the lease in the way expires")).await;
    assert!(matches!(keep(&file, waiting.lease, LONG).await, Kept::Held(_)));
    other.signal(Signal::CONT);
    assert_eq!(other.tell(&format!("keep {}", lease.reveal())), format!("{:?}", Kept::Gone(Why::Expired)));
}

#[tokio::test]
async fn a_remote_lease_outlives_the_process_that_served_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut other = Other::start(directory.path());
    let lease = LeaseId::random();
    assert!(other.tell(&format!("claim {} a 60000 remote", lease.reveal())).starts_with("granted"));
    other.kill();
    let (file, mut events) = open(&directory).await;
    let waiting = claim_of("a");
    assert_eq!(word(&claim(&file, &waiting).await), "queued");
    assert!(matches!(keep(&file, lease, LONG).await, Kept::Held(_)));
    assert_eq!(file.end(&[lease]).await.remove(0).unwrap(), Ended::Released);
    granted(&mut events, waiting.lease).await;
}

#[tokio::test]
async fn a_child_that_inherited_the_lifeline_keeps_the_lease_of_its_killed_parent() {
    let directory = tempfile::tempdir().unwrap();
    let (file, mut events) = open(&directory).await;
    let mut other = Other::start(directory.path());
    other.tell(&format!("claim {} a 60000 local", LeaseId::random().reveal()));
    let heir: i32 = other.tell("bequeath").parse().unwrap();
    other.kill();
    let waiting = claim_of("a");
    assert_eq!(word(&claim(&file, &waiting).await), "queued");
    kill_process(Pid::from_raw(heir).unwrap(), Signal::KILL).unwrap();
    granted(&mut events, waiting.lease).await;
}

// Goal: no update is lost and tokens rise. Method: processes and tasks add to a plain file under one lock.
#[tokio::test]
async fn eight_processes_add_to_a_plain_file_and_lose_nothing() {
    const PROCESSES: usize = 8;
    const TASKS: usize = 4;
    const TIMES: usize = 25;
    let directory = tempfile::tempdir().unwrap();
    let counter = directory.path().join("counter");
    std::fs::write(&counter, "0 0").unwrap();
    let store = directory.path().join("store");
    let mut others: Vec<Other> = (0..PROCESSES).map(|_| Other::start(&store)).collect();
    for other in &mut others {
        writeln!(other.input, "count {} {TASKS} {TIMES}", counter.display()).unwrap();
    }
    for other in &mut others {
        while other.line() != "counted" {}
    }
    let text = std::fs::read_to_string(&counter).unwrap();
    assert_eq!(text.split_once(' ').unwrap().0, (PROCESSES * TASKS * TIMES).to_string());
}
