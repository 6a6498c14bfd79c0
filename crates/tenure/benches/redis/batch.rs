//! A hundred names, all or nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt as _};

use crate::Effort;
use crate::contender::Batches;
use crate::field::{Field, Rounds, Stage, Stages, bar, order, shown};
use crate::grid;
use crate::random::Random;
use crate::raw::Raw;

/// Names of a batch.
const NAMES: usize = 100;

/// Batches that a task has to choose from. No other task wants their names.
const BATCHES: usize = 10;

/// In the order of the columns.
const WHO: [&str; 5] = [
    "tenure",
    "raw, one script",
    "raw, one lock after the other",
    "rslock, 100 at once",
    "distributed-lock, 100 at once",
];

/// One batch, taken and given back.
type Step = Arc<dyn Fn(&'static [String]) -> BoxFuture<'static, ()> + Send + Sync>;

/// Measures one task and sixteen, and prints their table.
pub fn measure(stages: &Stages, effort: Effort, markdown: bool) {
    let names = (0..16 * BATCHES * NAMES).map(|number| format!("batch:item:{number:05}")).collect();
    let names: &[String] = Vec::leak(names);
    let mut rows = Vec::new();
    for tasks in [1, 16] {
        let Stage { runtime, field } = stages.of(tasks);
        let steps = steps(field);
        let mut rates = Rounds(Vec::new());
        for round in 0..effort.rounds {
            let mut rate = [f64::NAN; 5];
            for who in order::<5>(round) {
                if let Some(step) = &steps[who] {
                    rate[who] = runtime.block_on(pace(step, tasks, names, effort.slice));
                }
            }
            rates.0.push(rate);
        }
        rows.push(row(tasks, &rates));
    }
    let head = ["batches of 100 a second", WHO[0], WHO[1], WHO[2], WHO[3], WHO[4], "bars"];
    grid::print(markdown, &head.map(str::to_owned), &rows);
}

fn steps(field: &Field) -> [Option<Step>; 5] {
    let raw = field.raw;
    [
        field.tenure.map(|[tenure, ..]| at_once(tenure)),
        Some(at_once(raw)),
        Some(Arc::new(move |names| Raw::in_turn(raw, names).boxed())),
        Some(at_once(field.rslock)),
        Some(at_once(field.distributed)),
    ]
}

fn row(tasks: usize, rates: &Rounds<5>) -> [String; 7] {
    let rate = |who| shown(rates.median(who), grid::figure);
    let checked = |to: &str, least: f64, ratio: f64| {
        let ratio_shown = shown(ratio, |ratio| format!("{ratio:.2}×"));
        bar(&format!("{ratio_shown} ≥ {least}× {to}"), ratio, |ratio| ratio >= least)
    };
    let bars = [
        checked("in turn", 10.0, rates.ratio(0, |round| round[2])),
        checked("one script", 0.9, rates.ratio(0, |round| round[1])),
        checked("best crate", 1.3, rates.ratio(0, |round| round[3].max(round[4]))),
    ];
    let title = format!("B1, {tasks} {}", if tasks == 1 { "task" } else { "tasks" });
    [title, rate(0), rate(1), rate(2), rate(3), rate(4), bars.join("; ")]
}

/// All names by the contender's own means, and all given back at once.
fn at_once<C: Batches>(who: &'static C) -> Step {
    Arc::new(move |names| {
        async move {
            let guards = who.lock_all(names).await;
            futures_util::future::join_all(guards.into_iter().map(C::unlock)).await;
        }
        .boxed()
    })
}

async fn pace(step: &Step, tasks: usize, names: &'static [String], slice: Duration) -> f64 {
    let stop = Arc::new(AtomicBool::new(false));
    let one = |task: usize| {
        let (stop, step, mut random) = (Arc::clone(&stop), Arc::clone(step), Random::of(task));
        async move {
            let mut done = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let first = (task * BATCHES + random.below(BATCHES)) * NAMES;
                step(&names[first..first + NAMES]).await;
                done += u64::from(!stop.load(Ordering::Relaxed));
            }
            done
        }
    };
    let began = Instant::now();
    let tasks: Vec<_> = (0..tasks).map(|task| tokio::spawn(one(task))).collect();
    tokio::time::sleep(slice).await;
    stop.store(true, Ordering::Relaxed);
    let elapsed = began.elapsed();
    let mut done = 0;
    for task in tasks {
        done += task.await.unwrap();
    }
    done as f64 / elapsed.as_secs_f64()
}
