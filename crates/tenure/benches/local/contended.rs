//! 64 tasks want one name and hold it for a millisecond each: how fast it is handed on, and how fairly.

use std::time::Duration;

use crate::contender::Contender;
use crate::drive;
use crate::grid;
use crate::turns::{Outcome, contend};

const TASKS: usize = 64;

/// Contends for `span`, on a runtime of two threads.
pub fn measure<C: Contender>(who: &'static C, span: Duration) -> Outcome {
    let turns = drive::shared(2).block_on(contend(who, "order:process:wanted", TASKS, span));
    Outcome::of(&turns, span)
}

/// Prints the outcomes; the hand-off's latency is from the call of release to the next holder's first step.
pub fn print(markdown: bool, outcomes: &[(&str, Outcome)]) {
    let head = ["64 tasks, hold 1 ms", "turns a second", "hand-off p50", "p99", "luckiest / unluckiest task"];
    let micros = |outcome: &Outcome, quantile| {
        format!("{:.1} µs", outcome.handoff.value_at_quantile(quantile) as f64 / 1_000.0)
    };
    let row = |(who, outcome): &(&str, Outcome)| {
        [
            (*who).to_owned(),
            format!("{:.0}", outcome.rate),
            micros(outcome, 0.5),
            micros(outcome, 0.99),
            format!("{} / {}", outcome.tasks.0, outcome.tasks.1),
        ]
    };
    grid::print(markdown, &head.map(str::to_owned), &outcomes.iter().map(row).collect::<Vec<_>>());
}
