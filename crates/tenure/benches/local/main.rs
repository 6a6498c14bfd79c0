//! Locks inside one process, against the ways in which Rust programs lock by name today, in turns within one run.
//!
//! ```sh
//! cargo bench -p tenure --bench local -- [--quick] [--markdown] [--only WORD]
//! ```
//! Without `--bench`, as in `cargo test --all-targets`, every job runs for a moment, to show that it works.
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock and waits")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "what goes wrong in a bench ends it")]
#![allow(missing_docs, missing_debug_implementations, unreachable_pub, reason = "a program")]

#[path = "../support/clock.rs"]
mod clock;
mod contended;
#[path = "../support/contender.rs"]
mod contender;
mod contenders;
mod drive;
#[path = "../support/grid.rs"]
mod grid;
mod held;
mod jobs;
#[path = "../support/random.rs"]
mod random;
mod report;
#[path = "../support/turns.rs"]
mod turns;
#[path = "../support/usage.rs"]
mod usage;

use std::time::Duration;

use contenders::{Dashed, Pool, Tenure};
use drive::Flavour;
use jobs::{Job, World};
use report::{Row, Table};

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Of one job of one contender in one round.
    pub slice: Duration,
    pub rounds: usize,
    /// Guards that are held at once, for their bytes and their idle time.
    pub held: usize,
    /// For how long they are held.
    pub idle: Duration,
    /// Of the contended job of one contender.
    pub contended: Duration,
}

impl Effort {
    const FULL: Effort = Effort {
        slice: Duration::from_millis(300),
        rounds: 7,
        held: 100_000,
        idle: Duration::from_secs(35),
        contended: Duration::from_secs(3),
    };
    const QUICK: Effort = Effort {
        slice: Duration::from_millis(80),
        rounds: 3,
        held: 100_000,
        idle: Duration::from_secs(12),
        contended: Duration::from_millis(700),
    };
    const SMOKE: Effort = Effort {
        slice: Duration::from_millis(2),
        rounds: 1,
        held: 100,
        idle: Duration::from_millis(10),
        contended: Duration::from_millis(20),
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
    if held::is_child(&words) {
        return;
    }
    let effort = Effort::of(&words);
    let markdown = words.iter().any(|word| word == "--markdown");
    let only =
        words.iter().skip_while(|word| *word != "--only").nth(1).map(String::as_str).unwrap_or_default();

    let world = World::new();
    let (tenure, dashed, pool) = (Tenure::make(), Dashed::make(), Pool::make());
    let mut table = Table::new(["tenure", "dashmap + tokio", "lockable"]);
    let jobs = Job::ALL.into_iter().filter(|job| job.title().contains(only));
    for (job, flavour) in jobs.flat_map(|job| Flavour::ALL.map(|flavour| (job, flavour))) {
        drive::warm(tenure, world, job);
        drive::warm(dashed, world, job);
        drive::warm(pool, world, job);
        let mut row = Row::new(job.title(), flavour, job.bar(flavour));
        table.cores.push(drive::cores());
        for round in 0..effort.rounds {
            // Each round begins with another contender, so that none always runs on the warmest machine.
            let mut rates = [0.0; 3];
            for turn in 0..3 {
                let who = (round + turn) % 3;
                rates[who] = match who {
                    0 => drive::rate(tenure, world, job, flavour, effort.slice),
                    1 => drive::rate(dashed, world, job, flavour, effort.slice),
                    _ => drive::rate(pool, world, job, flavour, effort.slice),
                };
            }
            row.add(rates);
        }
        eprintln!("{row}");
        table.rows.push(row);
    }
    table.print(markdown);
    if "contended".contains(only) {
        let span = effort.contended;
        let outcomes = [
            ("tenure", contended::measure(tenure, span)),
            ("dashmap + tokio", contended::measure(dashed, span)),
            ("lockable", contended::measure(pool, span)),
        ];
        contended::print(markdown, &outcomes);
    }
    if "held".contains(only) {
        held::print(markdown, effort);
    }
}
