//! A counter in a file that nothing protects but a lock: processes add one to it, and a journal shows what was lost.
//!
//! The counter holds a number and the token of who wrote it last. Each process writes a journal of the numbers that it
//! wrote, so that the numbers of all journals are those from 1 on, each once, if no update was lost.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};
use tenure::{FencingToken, Guard, Locks};

/// The name of the lock.
const NAME: &str = "counter";

/// Bytes of the counter's record: two numbers of 20 digits, a blank and an end of line.
const RECORD: usize = 42;

/// A counter in a directory.
#[derive(Clone, Debug)]
pub struct Counter(PathBuf);

/// What the counter holds: the number, and the token of who wrote it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Count {
    /// The number.
    pub number: u64,
    /// The token.
    pub token: u64,
}

impl Counter {
    /// The counter in `directory`, which begins at zero.
    pub fn new(directory: &Path) -> Self {
        let counter = Counter(directory.to_owned());
        counter.write(&counter.file(), Count { number: 0, token: 0 });
        counter
    }

    fn file(&self) -> File {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        options.open(self.0.join("counter")).expect("the counter can be opened")
    }

    /// What it holds.
    pub fn read(&self) -> Count {
        self.read_from(&self.file())
    }

    fn read_from(&self, file: &File) -> Count {
        let mut record = [0; RECORD];
        file.read_exact_at(&mut record, 0).expect("the record is whole");
        let text = std::str::from_utf8(&record).expect("digits");
        let (number, token) = text.trim().split_once(' ').expect("two numbers");
        Count { number: number.parse().expect("a number"), token: token.parse().expect("a number") }
    }

    fn write(&self, file: &File, count: Count) {
        let record = format!("{:020} {:020}\n", count.number, count.token);
        file.write_all_at(record.as_bytes(), 0).expect("the counter can be written");
    }

    /// Raises the fence to `token` and reads, in one step of the resource; `None` when the token is stale.
    ///
    /// The step is the resource's own, as a transaction of a database would be; the lock of this library has no part in it.
    pub fn open_fenced(&self, token: FencingToken) -> Option<Count> {
        self.fenced(token, |count| count.number)
    }

    /// Writes `number` in one step of the resource; `None` when the token is stale.
    pub fn write_fenced(&self, token: FencingToken, number: u64) -> Option<Count> {
        self.fenced(token, |_| number)
    }

    fn fenced(&self, token: FencingToken, next: impl FnOnce(Count) -> u64) -> Option<Count> {
        let file = self.file();
        flock(&file, FlockOperation::LockExclusive).expect("the resource has its own lock");
        let count = self.read_from(&file);
        if token.get() < count.token {
            return None;
        }
        let next = Count { number: next(count), token: token.get() };
        self.write(&file, next);
        Some(next)
    }
}

/// What a process that counts is told: `url directory tasks goal ttl_ms`.
#[derive(Clone, Debug)]
pub struct Job {
    /// The store.
    pub url: String,
    /// Where the counter is.
    pub directory: PathBuf,
    /// Tasks of the process.
    pub tasks: usize,
    /// The number at which it ends.
    pub goal: u64,
    /// The ttl of its locks.
    pub ttl: Duration,
}

impl Job {
    /// As the argument of a role.
    pub fn to_argument(&self) -> String {
        let directory = self.directory.display();
        format!("{} {directory} {} {} {}", self.url, self.tasks, self.goal, self.ttl.as_millis())
    }

    fn from_argument(argument: &str) -> Self {
        let words: Vec<&str> = argument.split(' ').collect();
        let [url, directory, tasks, goal, ttl] = words[..] else { panic!("five words: {argument}") };
        Job {
            url: url.to_owned(),
            directory: PathBuf::from(directory),
            tasks: tasks.parse().expect("a number"),
            goal: goal.parse().expect("a number"),
            ttl: Duration::from_millis(ttl.parse().expect("a number")),
        }
    }
}

/// The role of a process that adds one to the counter until it has reached its goal. Says `ready` when it has the store,
/// and `done` with the number of its additions.
pub fn count(argument: &str) {
    let job = Job::from_argument(argument);
    crate::process::run(async {
        let locks = Locks::connect(&job.url).await.expect("the store can be had");
        let journal = job.directory.join(format!("journal.{}", std::process::id()));
        let journal = Arc::new(Mutex::new(File::create(journal).expect("a journal can be written")));
        crate::process::say("ready", "");
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..job.tasks {
            tasks.spawn(add_until(locks.clone(), job.clone(), Arc::clone(&journal)));
        }
        let added: u64 = tasks.join_all().await.into_iter().sum();
        locks.close(Duration::from_secs(5)).await;
        crate::process::say("done ", added);
    });
}

async fn add_until(locks: Locks, job: Job, journal: Arc<Mutex<File>>) -> u64 {
    let counter = Counter(job.directory.clone());
    let file = counter.file();
    for added in 0.. {
        let guard = locks.lock(NAME).ttl(job.ttl).acquire().await.expect("the store works");
        let before = counter.read_from(&file);
        if before.number >= job.goal {
            return added;
        }
        assert!(before.token < guard.token().get(), "the tokens at the counter do not rise");
        // Where another holder would come between, were there one.
        tokio::task::yield_now().await;
        let after = Count { number: before.number + 1, token: guard.token().get() };
        // The work is written down before it is done: a process that dies between the two has one line too many.
        writeln!(journal.lock(), "{} {}", after.number, after.token).expect("a journal can be written");
        counter.write(&file, after);
    }
    unreachable!("the goal is reached first")
}

/// The role of a process that is stopped while it holds the lock. It reads, says `holds` with its token, waits until its
/// parent writes the file `go`, tries to write what it would have, and says `wrote` or `refused`, and whether it knew.
pub fn stall(argument: &str) {
    let job = Job::from_argument(argument);
    crate::process::run(async {
        let locks = Locks::connect(&job.url).await.expect("the store can be had");
        let guard: Guard = locks.lock(NAME).ttl(job.ttl).acquire().await.expect("the store works");
        let counter = Counter(job.directory.clone());
        let read = counter.open_fenced(guard.token()).expect("nobody newer has opened it");
        crate::process::say("holds ", guard.token());
        while !job.directory.join("go").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let knew = guard.is_lost();
        let wrote = counter.write_fenced(guard.token(), read.number + 1).is_some();
        let released = guard.release().await.is_ok();
        crate::process::say("after ", format_args!("wrote={wrote} knew={knew} released={released}"));
    });
}

/// The role of a process that holds the lock until it is killed. Says `holds` with its token.
pub fn hold(argument: &str) {
    let job = Job::from_argument(argument);
    crate::process::run(async {
        let locks = Locks::connect(&job.url).await.expect("the store can be had");
        let guard = locks.lock(NAME).ttl(job.ttl).acquire().await.expect("the store works");
        crate::process::say("holds ", guard.token());
        std::future::pending::<()>().await;
    });
}

/// All roles of this file, for [`play_role`](crate::process::play_role).
pub const ROLES: [crate::process::Role<'static>; 3] = [("count", count), ("stall", stall), ("hold", hold)];

/// Checks the journals in `directory` against the counter: each number from 1 to the counter's once, and tokens that
/// strictly rise with them. `lost_lines` numbers may be there twice: those that a killed process wrote down and did not
/// reach. Returns how many lines there were.
///
/// # Panics
/// When an update was lost, or tokens do not rise.
pub fn check_journals(directory: &Path, goal: u64, lost_lines: usize) -> usize {
    let mut lines: Vec<(u64, u64)> = Vec::new();
    for entry in std::fs::read_dir(directory).expect("the directory can be read") {
        let path = entry.expect("the directory can be read").path();
        if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("journal.")) {
            continue;
        }
        let text = std::fs::read_to_string(path).expect("a journal can be read");
        lines.extend(text.lines().map(|line| {
            let (number, token) = line.split_once(' ').expect("two numbers");
            (number.parse::<u64>().expect("a number"), token.parse::<u64>().expect("a number"))
        }));
    }
    lines.sort_unstable();
    let numbers: std::collections::BTreeSet<u64> = lines.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers.len() as u64, goal, "numbers are missing");
    assert_eq!(numbers.last().copied(), Some(goal));
    assert!(lines.len() - numbers.len() <= lost_lines, "{} updates were lost", lines.len() - numbers.len());
    assert!(lines.windows(2).all(|pair| pair[0].1 < pair[1].1), "the tokens do not rise with the numbers");
    lines.len()
}
