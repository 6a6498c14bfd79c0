//! Withdrawals in Redis in three ways, each against its bare protocol over the same client, in turns within one run.
//!
//! ```sh
//! cargo bench -p bank --bench withdrawals -- [--quick] [--markdown]
//! ```
//! Without `--bench`, as in `cargo test --all-targets`, everything runs for a moment, to show that it works.
//!
//! The server is a private one of this machine's `redis-server`, on 127.0.0.1, which keeps nothing on the disk. It has the locks and the
//! wallets of both sides.
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock and waits")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "what goes wrong in a bench ends it")]
#![allow(missing_docs, missing_debug_implementations, unreachable_pub, reason = "a program")]

#[path = "../../../../crates/tenure/benches/support/grid.rs"]
mod grid;
#[path = "../../../../crates/tenure/benches/support/random.rs"]
mod random;
mod raw;
mod ways;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tenure_testkit::RedisServer;
use tokio::runtime::{Builder, Runtime};

use random::Random;
use ways::{NAMES, WAYS, Ways};

/// How many tasks withdraw at once.
const TASKS: usize = 64;
/// Among how many users.
const USERS: [usize; 2] = [1, 1_000];

/// How long each way runs in a round, and how many rounds there are.
#[derive(Clone, Copy, Debug)]
struct Effort {
    slice: Duration,
    rounds: usize,
}

impl Effort {
    fn of(words: &[String]) -> Effort {
        let has = |word: &str| words.iter().any(|given| given == word);
        let (slice, rounds) = match () {
            () if !has("--bench") => (5, 1),
            () if has("--quick") => (100, 3),
            () => (500, 5),
        };
        Effort { slice: Duration::from_millis(slice), rounds }
    }
}

/// What a way did in a slice: operations a second, and attempts that came to nothing for each.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    rate: f64,
    retries: f64,
}

/// The paces of all ways in one round.
type Round = [Pace; WAYS];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let effort = Effort::of(&words);
    let markdown = words.iter().any(|word| word == "--markdown");
    let server = RedisServer::start();
    println!("{}; Redis {}; {TASKS} tasks.\n", grid::machine(), server.info("redis_version"));
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let ways = runtime.block_on(Ways::make(&server.url(), TASKS));
    let mut rows = Vec::new();
    for users in USERS {
        runtime.block_on(ways.fill(users));
        let rounds = measure(&runtime, ways, users, effort);
        rows.extend((0..WAYS / 2).map(|way| row(&rounds, way, users)));
    }
    let head = ["way", "users", "ours ops/s", "retries", "raw ops/s", "retries", "ratio", "bar"];
    grid::print(markdown, &head.map(str::to_owned), &rows);
    println!("raw: the same work by the bare protocol, without history by version, tokens or keys.");
}

fn measure(runtime: &Runtime, ways: &'static Ways, users: usize, effort: Effort) -> Vec<Round> {
    let run = |way, slice| runtime.block_on(pace(ways, way, users, slice));
    for way in 0..WAYS {
        run(way, effort.slice / 5);
    }
    let mut rounds = Vec::new();
    for number in 0..effort.rounds {
        let mut round = Round::default();
        // Each round begins with another one, so that none always runs on the warmest machine.
        for way in (0..WAYS).map(|turn| (number + turn) % WAYS) {
            round[way] = run(way, effort.slice);
        }
        rounds.push(round);
    }
    rounds
}

/// All tasks withdraw one from a random user again and again, until the slice is over.
async fn pace(ways: &'static Ways, way: usize, users: usize, slice: Duration) -> Pace {
    let (over, retries) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let began = Instant::now();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (over, retries) = (Arc::clone(&over), Arc::clone(&retries));
            tokio::spawn(async move {
                let (mut random, mut done) = (Random::of(task), 0_u64);
                while !over.load(Ordering::Relaxed) {
                    let tried = ways.withdraw(way, task, random.below(users)).await;
                    done += u64::from(tried.is_done);
                    retries.fetch_add(tried.retries, Ordering::Relaxed);
                }
                done
            })
        })
        .collect();
    tokio::time::sleep(slice).await;
    over.store(true, Ordering::Relaxed);
    let mut done = 0;
    for task in tasks {
        done += task.await.unwrap();
    }
    let done = done as f64;
    Pace {
        rate: done / began.elapsed().as_secs_f64(),
        retries: retries.load(Ordering::Relaxed) as f64 / done.max(1.0),
    }
}

/// A row of the table: ours beside raw, and what the bar says of it.
fn row(rounds: &[Round], way: usize, users: usize) -> [String; 8] {
    let median = |of: &dyn Fn(&Round) -> f64| grid::median(rounds.iter().map(of));
    let (ours, raw) = (way, way + WAYS / 2);
    let ratio = median(&|round| round[ours].rate / round[raw].rate);
    let retries = median(&|round| round[ours].retries);
    let told = |what: &str, met: bool| format!("{what}: {}", grid::verdict(met));
    let bar = match (way, users) {
        (ways::ATOMIC, _) => told("W1, at least 0.9x", ratio >= 0.9),
        (ways::LOCKED, 1) => told("W2, at least 5x", ratio >= 5.0),
        (ways::OPTIMISTIC, 1) => {
            told("W3, at least 5x and at most 2 retries", ratio >= 5.0 && retries <= 2.0)
        }
        _ => String::new(),
    };
    [
        NAMES[way].to_owned(),
        users.to_string(),
        grid::figure(median(&|round| round[ours].rate)),
        format!("{retries:.2}"),
        grid::figure(median(&|round| round[raw].rate)),
        format!("{:.2}", median(&|round| round[raw].retries)),
        format!("{ratio:.2}"),
        bar,
    ]
}
