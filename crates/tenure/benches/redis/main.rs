//! Locks through Redis, against the bare protocol and the crates that Rust programs use today, in turns within one run.
//!
//! ```sh
//! cargo bench -p tenure --bench redis -- [--quick] [--markdown] [--only WORD]
//! ```
//! WORD is one of `uncontended`, `batch`, `contended`, `processes`, `held`. Without `--bench`, as in
//! `cargo test --all-targets`, everything runs for a moment, to show that it works.
//!
//! The server is a private one of this machine's `redis-server`, on 127.0.0.1, which keeps nothing on the disk.
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock and waits")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "what goes wrong in a bench ends it")]
#![allow(missing_docs, missing_debug_implementations, unreachable_pub, reason = "a program")]

mod batch;
#[path = "../support/child.rs"]
mod child;
#[path = "../support/clock.rs"]
mod clock;
mod contended;
#[path = "../support/contender.rs"]
mod contender;
mod contenders;
mod field;
#[path = "../support/grid.rs"]
mod grid;
mod held;
mod monitor;
mod processes;
#[path = "../support/random.rs"]
mod random;
mod raw;
#[path = "../support/turns.rs"]
mod turns;
mod uncontended;
#[path = "../support/usage.rs"]
mod usage;

use std::time::Duration;

use tenure_testkit::RedisServer;
use tokio::runtime::{Builder, Runtime};

use field::Stages;

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Of one load of one contender in one round.
    pub slice: Duration,
    pub rounds: usize,
    /// Of the contended load of one contender in one round, of which there are three at the most.
    pub contended: Duration,
    /// Guards that are held at once, for their bytes and their idle time.
    pub held: usize,
    /// For how long they are held.
    pub idle: Duration,
}

impl Effort {
    const FULL: Effort = Effort {
        slice: Duration::from_millis(300),
        rounds: 5,
        contended: Duration::from_secs(2),
        held: 100_000,
        idle: Duration::from_secs(35),
    };
    const QUICK: Effort = Effort {
        slice: Duration::from_millis(60),
        rounds: 3,
        contended: Duration::from_millis(400),
        held: 20_000,
        idle: Duration::from_secs(11),
    };
    const SMOKE: Effort = Effort {
        slice: Duration::from_millis(5),
        rounds: 1,
        contended: Duration::from_millis(30),
        held: 100,
        idle: Duration::from_millis(10),
    };

    fn of(words: &[String]) -> Effort {
        let has = |word: &str| words.iter().any(|given| given == word);
        match () {
            () if !has("--bench") => Effort::SMOKE,
            () if has("--quick") => Effort::QUICK,
            () => Effort::FULL,
        }
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = words.iter().position(|word| word == "--child") {
        return child_of(&words[at + 1], &words[at + 2..]);
    }
    let effort = Effort::of(&words);
    let markdown = words.iter().any(|word| word == "--markdown");
    let only =
        words.iter().skip_while(|word| *word != "--only").nth(1).map(String::as_str).unwrap_or_default();

    let server = RedisServer::start();
    let stages = Stages::make(&server.url());
    let ours = stages.of(1).field.tenure.is_some();
    if !ours {
        eprintln!("tenure is left out: this build of the library has no provider for Redis");
    }
    println!("{}; Redis {}.\n", grid::machine(), server.info("redis_version"));
    let wanted = |part: &str| only.is_empty() || only == part;
    if wanted("uncontended") {
        uncontended::measure(&stages, effort, markdown);
    }
    if wanted("batch") {
        batch::measure(&stages, effort, markdown);
    }
    if wanted("contended") {
        contended::measure(&server, stages.of(contended::TASKS), effort, markdown);
    }
    // From here on only the children work: what these connections still did would be counted as theirs.
    drop(stages);
    if wanted("processes") {
        processes::measure(&server, ours, effort, markdown);
    }
    if wanted("held") {
        held::measure(&server, ours, effort, markdown);
    }
}

/// The work of a child process.
fn child_of(what: &str, words: &[String]) {
    match what {
        "turns" => runtime(1).block_on(processes::child(words)),
        "bytes" => runtime(1).block_on(held::bytes(words)),
        _ => runtime(1).block_on(held::idle(words)),
    }
}

/// A runtime of so many threads.
fn runtime(threads: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap()
}
