//! Locks through PostgreSQL's advisory locks, against the bare protocol, sqlx and pgbench, in turns within one run.
//!
//! ```sh
//! cargo bench -p tenure --bench postgres -- [--quick] [--markdown] [--only WORD]
//! ```
//! WORD is one of `uncontended`, `batch`, `contended`. Without `--bench`, as in `cargo test --all-targets`, everything runs for
//! a moment, to show that it works. The server is a private one of this machine, on 127.0.0.1.
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock and waits")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "what goes wrong in a bench ends it")]
#![allow(missing_docs, missing_debug_implementations, unreachable_pub, reason = "a program")]

#[path = "../support/clock.rs"]
mod clock;
#[path = "../support/contender.rs"]
mod contender;
mod contenders;
#[path = "../support/grid.rs"]
mod grid;
mod pgbench;
#[path = "../support/random.rs"]
mod random;
#[path = "../support/turns.rs"]
mod turns;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tenure_testkit::PostgresServer;
use tokio::runtime::{Builder, Runtime};

use contender::{Batches, Contender};
use contenders::{Local, Raw, Sqlx, Tenure};
use random::Random;
use turns::{Outcome, contend};

/// How many names there are.
const NAMES: usize = 100_000;

/// Names of a batch.
const BATCH: usize = 100;

/// How long and how often.
#[derive(Clone, Copy, Debug)]
struct Effort {
    slice: Duration,
    rounds: usize,
    contended: Duration,
}

impl Effort {
    fn of(words: &[String]) -> Effort {
        let has = |word: &str| words.iter().any(|given| given == word);
        let of = |slice, rounds, contended| Effort {
            slice: Duration::from_millis(slice),
            rounds,
            contended: Duration::from_millis(contended),
        };
        match () {
            () if !has("--bench") => of(5, 1, 30),
            () if has("--quick") => of(200, 3, 400),
            () => of(600, 5, 2_000),
        }
    }
}

/// All contenders at one store.
struct Field {
    tenure: &'static Tenure,
    raw: &'static Raw,
    sqlx: &'static Sqlx,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let effort = Effort::of(&words);
    let markdown = words.iter().any(|word| word == "--markdown");
    let only = words.iter().skip_while(|word| *word != "--only").nth(1).map_or("", String::as_str);
    let wanted = |part: &str| only.is_empty() || only == part;
    let server = PostgresServer::start();
    let database = server.database();
    let url = server.url(&database);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let field = runtime.block_on(async {
        Field { tenure: Tenure::make(&url).await, raw: Raw::make(&url).await, sqlx: Sqlx::make(&url).await }
    });
    println!("{}; PostgreSQL {}.\n", grid::machine(), server.sql("postgres", "show server_version"));
    let names: &[String] = Vec::leak((0..NAMES).map(|number| format!("order:process:{number:05}")).collect());
    if wanted("uncontended") {
        uncontended(&runtime, &field, &server, &database, names, effort, markdown);
    }
    if wanted("batch") {
        batch(&runtime, &field, names, effort, markdown);
    }
    if wanted("contended") {
        contended(&runtime, &field, effort, markdown);
    }
}

/// What each contender did, round by round.
type Rounds<const N: usize> = Vec<[f64; N]>;

fn median<const N: usize>(rounds: &Rounds<N>, of: impl Fn(&[f64; N]) -> f64) -> f64 {
    grid::median(rounds.iter().map(of))
}

fn bar(what: &str, ratio: f64, least: f64) -> String {
    format!("{what}: {}", grid::verdict(ratio >= least))
}

fn uncontended(
    runtime: &Runtime,
    field: &Field,
    server: &PostgresServer,
    database: &str,
    names: &'static [String],
    effort: Effort,
    markdown: bool,
) {
    let mut rows = Vec::new();
    for tasks in [1, 16, 64] {
        let mut rounds = Vec::new();
        for _ in 0..=effort.rounds {
            rounds.push([
                runtime.block_on(pace(field.tenure, tasks, names, effort.slice)),
                runtime.block_on(pace(field.raw, tasks, names, effort.slice)),
                runtime.block_on(pace(field.sqlx, tasks, names, effort.slice)),
                pgbench::rate(server, database, tasks, effort.slice),
            ]);
        }
        // The first is for warming up.
        rounds.remove(0);
        let (to_raw, to_sqlx) = (median(&rounds, |r| r[0] / r[1]), median(&rounds, |r| r[0] / r[2]));
        let bars = if tasks > 1 {
            [bar("P1 ≥ 1.5× raw", to_raw, 1.5), bar("≥ 2.5× sqlx", to_sqlx, 2.5)].join("; ")
        } else {
            String::new()
        };
        let rate = |who: usize| grid::figure(median(&rounds, |r| r[who]));
        let times = |ratio: f64| format!("{ratio:.2}×");
        rows.push([
            tasks.to_string(),
            rate(0),
            rate(1),
            rate(2),
            rate(3),
            times(to_raw),
            times(to_sqlx),
            bars,
        ]);
    }
    let head =
        ["U: tasks", "tenure", "raw, 16 connections", "sqlx, 16", "pgbench", "to raw", "to sqlx", "bars"];
    grid::print(markdown, &head.map(str::to_owned), &rows);
}

fn batch(runtime: &Runtime, field: &Field, names: &'static [String], effort: Effort, markdown: bool) {
    let mut rows = Vec::new();
    for tasks in [1, 16] {
        let mut rounds = Vec::new();
        for _ in 0..=effort.rounds {
            rounds.push([
                runtime.block_on(batches(field.tenure, tasks, names, effort.slice)),
                runtime.block_on(batches(field.raw, tasks, names, effort.slice)),
            ]);
        }
        rounds.remove(0);
        let rate = |who: usize| grid::figure(median(&rounds, |r| r[who]));
        let ratio = median(&rounds, |r| r[0] / r[1]);
        rows.push([tasks.to_string(), rate(0), rate(1), format!("{ratio:.2}×")]);
    }
    let head = ["batch of 100 names: tasks", "tenure, all or nothing", "raw, one statement", "to raw"];
    grid::print(markdown, &head.map(str::to_owned), &rows);
}

fn contended(runtime: &Runtime, field: &Field, effort: Effort, markdown: bool) {
    const TASKS: usize = 64;
    let local = Local::make();
    let mut outcomes: Vec<[Outcome; 4]> = Vec::new();
    for round in 0..effort.rounds.min(3) {
        let name = format!("order:process:wanted:{round}");
        outcomes.push(runtime.block_on(async {
            [
                run(local, &name, TASKS, effort).await,
                run(field.tenure, &name, TASKS, effort).await,
                run(field.raw, &name, TASKS, effort).await,
                run(field.sqlx, &name, TASKS, effort).await,
            ]
        }));
    }
    let row = |(who, title): (usize, &str)| {
        let figure = |of: &dyn Fn(&[Outcome; 4]) -> f64| grid::median(outcomes.iter().map(of));
        let ratio = figure(&|round| round[who].rate / round[0].rate);
        let p50 = figure(&|round| round[who].handoff.value_at_quantile(0.5) as f64);
        let bars = if who == 1 {
            let near = format!("p50 ≤ 10 µs: {}", grid::verdict(p50 <= 10_000.0));
            [bar("P2 ≥ 0.98× ideal", ratio, 0.98), near].join("; ")
        } else {
            String::new()
        };
        let rate = grid::figure(figure(&|round| round[who].rate));
        let tasks = |fewest: bool| {
            grid::figure(figure(&|round| {
                let (most, least) = round[who].tasks;
                (if fewest { least } else { most }) as f64
            }))
        };
        let spread = format!("{} / {}", tasks(false), tasks(true));
        [title.to_owned(), rate, format!("{ratio:.2}×"), format!("{:.1} µs", p50 / 1_000.0), spread, bars]
    };
    let who = ["ideal: local queue only", "tenure", "raw, 16 connections", "sqlx, 16"];
    let rows: Vec<[String; 6]> = who.into_iter().enumerate().map(row).collect();
    let head = [
        "C: 64 tasks, hold 1 ms",
        "turns a second",
        "to ideal",
        "hand-off p50",
        "luckiest / unluckiest task",
        "bars",
    ];
    grid::print(markdown, &head.map(str::to_owned), &rows);
}

async fn run<C: Contender>(who: &'static C, name: &str, tasks: usize, effort: Effort) -> Outcome {
    Outcome::of(&contend(who, name, tasks, effort.contended).await, effort.contended)
}

/// Locks and unlocks random names with all tasks for `slice`; how often a second.
async fn pace<C: Contender>(who: &'static C, tasks: usize, names: &'static [String], slice: Duration) -> f64 {
    drive(tasks, slice, async move |mut random: Random| {
        C::unlock(who.lock(&names[random.below(NAMES)]).await).await;
        random
    })
    .await
}

/// The same with a hundred names at a time; each task has names of its own.
async fn batches<C: Batches>(
    who: &'static C,
    tasks: usize,
    names: &'static [String],
    slice: Duration,
) -> f64 {
    drive(tasks, slice, async move |mut random: Random| {
        let first = random.below(NAMES / BATCH) * BATCH;
        for guard in who.lock_all(&names[first..first + BATCH]).await {
            C::unlock(guard).await;
        }
        random
    })
    .await
}

async fn drive<F, T>(tasks: usize, slice: Duration, turn: F) -> f64
where
    F: Fn(Random) -> T + Copy + Send + 'static,
    T: Future<Output = Random> + Send,
{
    let stop = Arc::new(AtomicBool::new(false));
    let one = |task: usize| {
        let (stop, mut random) = (Arc::clone(&stop), Random::of(task));
        async move {
            let mut done = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                random = turn(random).await;
                done += u64::from(!stop.load(Ordering::Relaxed));
            }
            done
        }
    };
    let began = Instant::now();
    let all: Vec<_> = (0..tasks).map(|task| tokio::spawn(one(task))).collect();
    tokio::time::sleep(slice).await;
    stop.store(true, Ordering::Relaxed);
    let elapsed = began.elapsed().as_secs_f64();
    let mut done = 0;
    for task in all {
        done += task.await.unwrap();
    }
    done as f64 / elapsed
}
