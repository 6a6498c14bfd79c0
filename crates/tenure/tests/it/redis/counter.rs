//! A counter in Redis, and the processes that add one to it under a lock.
//!
//! The number is read by one command and written by another, so that nothing protects it but the lock. What is written goes
//! into a journal in the same step: its numbers are those from 1 on, each once, if no update was lost.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, Script};
use tenure::{FencingToken, Locks};
use tenure_testkit::process::{Role, run, say};
use tokio::task::JoinSet;

use super::{PATIENCE, connect, pass};

/// The name of the lock.
pub(super) const NAME: &str = "counter";

/// What a process that counts is told.
pub(super) struct Job {
    /// The locks.
    pub(super) locks: String,
    /// The server of the counter, which may be another one.
    pub(super) resource: String,
    /// The counter's key.
    pub(super) key: String,
    /// The number at which it ends.
    pub(super) goal: u64,
    pub(super) ttl: Duration,
}

impl Job {
    pub(super) fn to_argument(&self) -> String {
        let Job { locks, resource, key, goal, ttl } = self;
        format!("{locks} {resource} {key} {goal} {}", ttl.as_millis())
    }

    fn from_argument(argument: &str) -> Self {
        let words: Vec<&str> = argument.split(' ').collect();
        let [locks, resource, key, goal, ttl] = words[..] else { panic!("five words: {argument}") };
        Job {
            locks: locks.to_owned(),
            resource: resource.to_owned(),
            key: key.to_owned(),
            goal: goal.parse().unwrap(),
            ttl: Duration::from_millis(ttl.parse().unwrap()),
        }
    }
}

/// The counter of a job.
#[derive(Clone)]
pub(super) struct Counter {
    connection: MultiplexedConnection,
    key: String,
}

impl Counter {
    pub(super) async fn of(job: &Job) -> Self {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
        let client = Client::open(job.resource.as_str()).unwrap();
        let connection = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
        Counter { connection, key: job.key.clone() }
    }

    fn journal(&self) -> String {
        format!("{}:journal", self.key)
    }

    /// The number, and the token of who wrote it.
    async fn read(&mut self) -> (u64, u64) {
        let text: Option<String> = Cmd::get(&self.key).query_async(&mut self.connection).await.unwrap();
        let text = text.unwrap_or_else(|| "0 0".to_owned());
        let (number, token) = text.split_once(' ').unwrap();
        (number.parse().unwrap(), token.parse().unwrap())
    }

    async fn write(&mut self, number: u64, token: FencingToken) {
        let line = format!("{number} {token}");
        let mut both = redis::pipe();
        both.atomic().set(&self.key, &line).ignore().rpush(self.journal(), &line).ignore();
        both.query_async::<()>(&mut self.connection).await.unwrap();
    }

    /// Raises the fence to `token` and reads, in one step of the resource.
    pub(super) async fn open_fenced(&mut self, token: FencingToken) -> Fenced {
        self.fenced(token, String::new()).await
    }

    /// Writes `number` in one step of the resource.
    pub(super) async fn write_fenced(&mut self, token: FencingToken, number: u64) -> Fenced {
        self.fenced(token, number.to_string()).await
    }

    async fn fenced(&mut self, token: FencingToken, number: String) -> Fenced {
        let script = Script::new(include_str!("fenced.lua"));
        let mut step = script.key(&self.key);
        let token = format!("{:020}", token.get());
        let step = step.key(self.journal()).arg(token).arg(number);
        match step.invoke_async::<i64>(&mut self.connection).await.unwrap() {
            -1 => Fenced::Refused,
            -2 => Fenced::Over,
            number => Fenced::Number(u64::try_from(number).unwrap()),
        }
    }

    /// A field of the fenced counter.
    pub(super) async fn field(&mut self, field: &str) -> u64 {
        let value: Option<u64> = Cmd::hget(&self.key, field).query_async(&mut self.connection).await.unwrap();
        value.unwrap_or(0)
    }

    /// Nobody counts any more.
    pub(super) async fn end(&mut self) {
        Cmd::hset(&self.key, "done", 1).query_async::<()>(&mut self.connection).await.unwrap();
    }

    /// Lets a process go on that waits for it.
    pub(super) async fn let_go(&mut self) {
        let key = format!("{}:go", self.key);
        Cmd::rpush(key, 1).query_async::<()>(&mut self.connection).await.unwrap();
    }

    async fn until_let_go(&mut self) {
        let key = format!("{}:go", self.key);
        Cmd::blpop(key, 0.0).query_async::<()>(&mut self.connection).await.unwrap();
    }

    /// How many numbers were written.
    ///
    /// # Panics
    /// When one was written twice or left out, or the tokens do not rise with them.
    pub(super) async fn check_journal(&mut self) -> u64 {
        let lines: Vec<String> =
            Cmd::lrange(self.journal(), 0, -1).query_async(&mut self.connection).await.unwrap();
        let line = |line: &String| {
            let (number, token) = line.split_once(' ').unwrap();
            (number.parse().unwrap(), token.parse().unwrap())
        };
        let lines: Vec<(u64, u64)> = lines.iter().map(line).collect();
        for (index, (number, _)) in lines.iter().enumerate() {
            assert_eq!(*number, index as u64 + 1, "an update was lost");
        }
        assert!(
            lines.windows(2).all(|pair| pair[0].1 < pair[1].1),
            "the tokens do not rise with the numbers"
        );
        lines.len() as u64
    }
}

/// What the fenced counter answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fenced {
    Number(u64),
    Refused,
    Over,
}

/// Tasks of a process that counts.
const TASKS: usize = 16;

/// The role of a process that adds one until the goal is reached: `ready` with its id when it has the store, `done` with its
/// additions.
fn count(argument: &str) {
    play(argument, add_until_the_goal);
}

async fn add_until_the_goal(locks: Locks, job: Arc<Job>, mut counter: Counter) -> u64 {
    for added in 0.. {
        let request = locks.lock(NAME).ttl(job.ttl).holder("pid", std::process::id().to_string());
        let guard = request.acquire().await.expect("the store works");
        let (number, token) = counter.read().await;
        if number >= job.goal {
            return added;
        }
        assert!(token < guard.token().get(), "the tokens at the counter do not rise");
        // Only a process that stood still for most of the ttl has lost it.
        if !guard.is_lost() {
            counter.write(number + 1, guard.token()).await;
        }
    }
    unreachable!("the goal is reached first")
}

/// The role of a process that counts with its tokens, whatever happens to the store, until the counting is over.
fn count_fenced(argument: &str) {
    play(argument, add_until_it_is_over);
}

async fn add_until_it_is_over(locks: Locks, job: Arc<Job>, mut counter: Counter) -> u64 {
    let mut added = 0;
    loop {
        let Ok(guard) = locks.lock(NAME).ttl(job.ttl).acquire().await else {
            pass(Duration::from_millis(10)).await;
            continue;
        };
        match counter.open_fenced(guard.token()).await {
            Fenced::Over => return added,
            Fenced::Refused => {}
            Fenced::Number(number) => {
                let written = counter.write_fenced(guard.token(), number + 1).await;
                added += u64::from(matches!(written, Fenced::Number(_)));
            }
        }
    }
}

/// Works with all tasks of the process, from when it is let go.
fn play<F>(argument: &str, work: fn(Locks, Arc<Job>, Counter) -> F)
where
    F: Future<Output = u64> + Send + 'static,
{
    let job = Arc::new(Job::from_argument(argument));
    run(async {
        let (locks, mut counter) = (connect(&job.locks).await, Counter::of(&job).await);
        say("ready ", std::process::id());
        counter.until_let_go().await;
        let mut tasks = JoinSet::new();
        for _ in 0..TASKS {
            tasks.spawn(work(locks.clone(), Arc::clone(&job), counter.clone()));
        }
        let added: u64 = tasks.join_all().await.into_iter().sum();
        locks.close(Duration::from_secs(5)).await;
        say("done ", added);
    });
}

/// The role of a process that is stopped while it holds the lock: says `holds` with its token, waits until it is let go, and
/// writes what it would have.
fn stall(argument: &str) {
    let job = Job::from_argument(argument);
    run(async {
        let (locks, mut counter) = (connect(&job.locks).await, Counter::of(&job).await);
        let guard = locks.lock(NAME).ttl(job.ttl).acquire().await.expect("the store works");
        let Fenced::Number(number) = counter.open_fenced(guard.token()).await else {
            panic!("nobody newer has opened it");
        };
        say("holds ", guard.token());
        counter.until_let_go().await;
        let knew = guard.is_lost();
        let written = counter.write_fenced(guard.token(), number + 1).await;
        let released = guard.release().await.is_ok();
        say("after ", format_args!("{written:?} knew={knew} released={released}"));
    });
}

/// The roles of the processes, for `play_role`.
pub(super) const ROLES: [Role; 3] = [("count", count), ("count_fenced", count_fenced), ("stall", stall)];
