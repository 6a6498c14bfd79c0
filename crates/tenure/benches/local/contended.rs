//! 64 tasks want one name and hold it for a millisecond each: how fast it is handed on, and how fairly.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::contenders::Contender;
use crate::drive;
use crate::report;

const TASKS: usize = 64;
const HOLD: Duration = Duration::from_millis(1);

/// What a while of contention showed.
#[derive(Debug)]
pub struct Outcome {
    who: &'static str,
    rate: f64,
    handoff: Histogram<u64>,
    luckiest: u64,
    unluckiest: u64,
}

/// Contends for `span`, on a runtime of two threads.
pub fn measure<C: Contender>(who: &'static str, contender: &'static C, span: Duration) -> Outcome {
    let runtime = drive::shared(2);
    let name = "order:process:wanted".to_owned();
    let (stop, released) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let began = Instant::now();
    let task = || {
        let (name, stop, released) = (name.clone(), Arc::clone(&stop), Arc::clone(&released));
        let nanos = move || u64::try_from(began.elapsed().as_nanos()).unwrap();
        async move {
            let (mut turns, mut handoff) = (0_u64, Histogram::<u64>::new(3).unwrap());
            while !stop.load(Ordering::Relaxed) {
                let guard = contender.lock(&name).await;
                // Zero before the first release: that was no hand-off.
                let before = released.swap(0, Ordering::Relaxed);
                if before > 0 {
                    handoff.record(nanos().saturating_sub(before)).unwrap();
                }
                tokio::time::sleep(HOLD).await;
                turns += 1;
                released.store(nanos(), Ordering::Relaxed);
                drop(guard);
            }
            (turns, handoff)
        }
    };
    runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS).map(|_| tokio::spawn(task())).collect();
        tokio::time::sleep(span).await;
        stop.store(true, Ordering::Relaxed);
        let elapsed = began.elapsed();
        let mut outcome = Outcome {
            who,
            rate: 0.0,
            handoff: Histogram::new(3).unwrap(),
            luckiest: 0,
            unluckiest: u64::MAX,
        };
        for task in tasks {
            let (turns, handoff) = task.await.unwrap();
            outcome.rate += turns as f64 / elapsed.as_secs_f64();
            outcome.handoff.add(handoff).unwrap();
            outcome.luckiest = outcome.luckiest.max(turns);
            outcome.unluckiest = outcome.unluckiest.min(turns);
        }
        outcome
    })
}

/// Prints the outcomes; the hand-off's latency is from the drop of the guard to the next holder's first step.
pub fn print(markdown: bool, outcomes: &[Outcome]) {
    let head = ["64 tasks, hold 1 ms", "turns a second", "hand-off p50", "p99", "luckiest / unluckiest task"];
    let micros = |outcome: &Outcome, quantile| {
        format!("{:.1} µs", outcome.handoff.value_at_quantile(quantile) as f64 / 1_000.0)
    };
    let row = |outcome: &Outcome| {
        [
            outcome.who.to_owned(),
            format!("{:.0}", outcome.rate),
            micros(outcome, 0.5),
            micros(outcome, 0.99),
            format!("{} / {}", outcome.luckiest, outcome.unluckiest),
        ]
    };
    report::grid(markdown, &head.map(str::to_owned), &outcomes.iter().map(row).collect::<Vec<_>>());
}
