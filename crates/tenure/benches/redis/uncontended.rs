//! Names that are nearly always free: acquire and release again and again, by few tasks and by many.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::Effort;
use crate::clock::now;
use crate::contender::Contender;
use crate::field::{Field, Rounds, Stage, Stages, bar, order, shown};
use crate::grid;
use crate::random::Random;

/// How many names there are.
const NAMES: usize = 100_000;

/// In the order of the columns.
const WHO: [&str; 6] = ["tenure", "tenure, dropped", "tenure, sticky", "raw", "rslock", "distributed-lock"];
const STICKY: usize = 2;
const RAW: usize = 3;

/// Which name a task takes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pick {
    Random,
    Own,
}

/// So many tasks, and what must come of it.
struct Load {
    tasks: usize,
    pick: Pick,
    bars: &'static [Bar],
}

/// A ratio of the first contender's rate to a reference's.
#[derive(Clone, Copy)]
enum Bar {
    /// To raw.
    Raw(&'static str, f64),
    /// To the better of the crates.
    Peer(&'static str, f64),
    /// Of dropped guards, to raw.
    Dropped(&'static str, f64),
    /// Of leases that stay, to raw.
    Sticky(&'static str, f64),
}

const LOADS: [Load; 6] = [
    Load { tasks: 1, pick: Pick::Random, bars: &[Bar::Dropped("U4", 1.5)] },
    Load { tasks: 16, pick: Pick::Random, bars: &[Bar::Dropped("U4", 1.5)] },
    Load { tasks: 64, pick: Pick::Random, bars: &[Bar::Raw("U1", 1.05), Bar::Peer("U3", 1.3)] },
    Load { tasks: 512, pick: Pick::Random, bars: &[Bar::Raw("U1", 1.5)] },
    Load { tasks: 1, pick: Pick::Own, bars: &[Bar::Sticky("A1", 100.0)] },
    Load { tasks: 16, pick: Pick::Own, bars: &[Bar::Sticky("A1", 20.0)] },
];

/// What one run showed.
struct Pace {
    /// Operations a second.
    rate: f64,
    /// The median time to the lock, in nanoseconds.
    lock: f64,
}

/// Measures all loads and prints their tables.
pub fn measure(stages: &Stages, effort: Effort, markdown: bool) {
    let names: &[String] = Vec::leak((0..NAMES).map(|number| format!("order:process:{number:05}")).collect());
    let mut rows = Vec::new();
    let mut latency = None;
    for load in &LOADS {
        let Stage { runtime, field } = stages.of(load.tasks);
        let run = |who, slice| runtime.block_on(pace_of(field, who, load, names, slice));
        for who in 0..WHO.len() {
            run(who, effort.slice / 5);
        }
        let (mut rates, mut locks) = (Rounds(Vec::new()), Rounds(Vec::new()));
        for round in 0..effort.rounds {
            let (mut rate, mut lock) = ([f64::NAN; 6], [f64::NAN; 6]);
            for who in order::<6>(round) {
                if let Some(pace) = run(who, effort.slice) {
                    (rate[who], lock[who]) = (pace.rate, pace.lock);
                }
            }
            rates.0.push(rate);
            locks.0.push(lock);
        }
        rows.push(row(load, &rates));
        latency.get_or_insert(locks);
    }
    let head = ["operations a second", "tasks"].into_iter().chain(WHO);
    let head = head.chain(["to raw", "dropped to raw", "sticky to raw", "to best crate", "bars"]);
    let head: Vec<String> = head.map(str::to_owned).collect();
    grid::print::<13>(markdown, &head.try_into().unwrap(), &rows);
    print_latency(markdown, &latency.expect("there are loads"));
}

fn row(load: &Load, rates: &Rounds<6>) -> [String; 13] {
    let to_raw = rates.ratio(0, |round| round[RAW]);
    let dropped = rates.ratio(1, |round| round[RAW]);
    let sticky = rates.ratio(STICKY, |round| round[RAW]);
    let to_peer = rates.ratio(0, |round| round[4].max(round[5]));
    let bars = load.bars.iter().map(|wanted| match *wanted {
        Bar::Raw(id, least) => bar(&format!("{id} ≥ {least}× raw"), to_raw, |ratio| ratio >= least),
        Bar::Peer(id, least) => {
            bar(&format!("{id} ≥ {least}× best crate"), to_peer, |ratio| ratio >= least)
        }
        Bar::Dropped(id, least) => {
            bar(&format!("{id} dropped ≥ {least}× raw"), dropped, |ratio| ratio >= least)
        }
        Bar::Sticky(id, least) => {
            bar(&format!("{id} sticky ≥ {least}× raw"), sticky, |ratio| ratio >= least)
        }
    });
    let bars: Vec<String> = bars.collect();
    let rate = |who| shown(rates.median(who), grid::figure);
    let times = |ratio| shown(ratio, |ratio| format!("{ratio:.2}×"));
    let title = match load.pick {
        Pick::Random => format!("U random name of {NAMES}"),
        Pick::Own => "A own name, again and again".to_owned(),
    };
    [
        title,
        load.tasks.to_string(),
        rate(0),
        rate(1),
        rate(2),
        rate(3),
        rate(4),
        rate(5),
        times(to_raw),
        times(dropped),
        times(sticky),
        times(to_peer),
        bars.join("; "),
    ]
}

fn print_latency(markdown: bool, locks: &Rounds<6>) {
    let micros = |who| shown(locks.median(who), |nanos| format!("{:.1} µs", nanos / 1_000.0));
    let ratio = locks.ratio(0, |round| round[RAW]);
    let head = ["time to the lock, p50, 1 task", WHO[0], WHO[RAW], WHO[4], WHO[5], "to raw", "bar"];
    let row = [
        format!("U random name of {NAMES}"),
        micros(0),
        micros(RAW),
        micros(4),
        micros(5),
        shown(ratio, |ratio| format!("{ratio:.2}×")),
        bar("U2 ≤ 1.15× raw", ratio, |ratio| ratio <= 1.15),
    ];
    grid::print(markdown, &head.map(str::to_owned), &[row]);
}

/// Runs one contender, `None` when it is left out.
async fn pace_of(
    field: &Field,
    who: usize,
    load: &Load,
    names: &'static [String],
    slice: Duration,
) -> Option<Pace> {
    let nothing = async || {};
    Some(match who {
        0 => pace(field.tenure?[0], load, names, slice, nothing).await,
        1 => {
            let tenure = field.tenure?[1];
            pace(tenure, load, names, slice, async || tenure.settle().await).await
        }
        STICKY if load.pick == Pick::Random => return None,
        STICKY => pace(field.tenure?[2], load, names, slice, nothing).await,
        RAW => pace(field.raw, load, names, slice, nothing).await,
        4 => pace(field.rslock, load, names, slice, nothing).await,
        _ => pace(field.distributed, load, names, slice, nothing).await,
    })
}

/// Acquires and releases with all tasks for `slice`. The time counts that `settle` takes after that.
async fn pace<C: Contender>(
    who: &'static C,
    load: &Load,
    names: &'static [String],
    slice: Duration,
    settle: impl AsyncFnOnce(),
) -> Pace {
    let stop = Arc::new(AtomicBool::new(false));
    let (pick, alone) = (load.pick, load.tasks == 1);
    let one = |task: usize| {
        let (stop, mut random) = (Arc::clone(&stop), Random::of(task));
        async move {
            let (mut done, mut waits) = (0_u64, Histogram::<u64>::new(3).unwrap());
            while !stop.load(Ordering::Relaxed) {
                let name = match pick {
                    Pick::Random => &names[random.below(NAMES)],
                    Pick::Own => &names[task],
                };
                // Many tasks wait for each other: only one alone tells how long the way is.
                let asked = if alone { now() } else { 0 };
                let guard = who.lock(name).await;
                if alone {
                    waits.record(now() - asked).unwrap();
                }
                C::unlock(guard).await;
                // What ends later belongs to no slice: one task may pause long after the others have ended.
                done += u64::from(!stop.load(Ordering::Relaxed));
            }
            (done, waits)
        }
    };
    let began = Instant::now();
    let tasks: Vec<_> = (0..load.tasks).map(|task| tokio::spawn(one(task))).collect();
    tokio::time::sleep(slice).await;
    stop.store(true, Ordering::Relaxed);
    let elapsed = began.elapsed();
    let (mut done, mut waits) = (0, Histogram::<u64>::new(3).unwrap());
    for task in tasks {
        let (turns, times) = task.await.unwrap();
        done += turns;
        waits.add(times).unwrap();
    }
    let stopped = Instant::now();
    settle().await;
    let elapsed = (elapsed + stopped.elapsed()).as_secs_f64();
    Pace { rate: done as f64 / elapsed, lock: waits.value_at_quantile(0.5) as f64 }
}
