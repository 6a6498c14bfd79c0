//! C: 64 tasks of one process want one name and hold it for a millisecond each.

use crate::Effort;
use crate::contender::Contender;
use crate::contenders::Local;
use crate::field::{Rounds, Stage, bar, order, shown};
use crate::grid;
use crate::raw::{Queue, list_of};
use crate::turns::{Outcome, contend};
use tenure_testkit::RedisServer;

pub const TASKS: usize = 64;

/// In the order of the rows. The first is the limit: a mutex of this process, without any store.
const WHO: [&str; 5] = ["ideal: local queue only", "tenure", "BLPOP token queue", "raw, polling", "rslock"];
const IDEAL: usize = 0;
const OURS: usize = 1;

/// What the contenders did, round by round; `None` for one that was left out.
pub struct Outcomes<const N: usize>(pub Vec<[Option<Outcome>; N]>);

impl<const N: usize> Outcomes<N> {
    /// One figure of all outcomes.
    pub fn each(&self, figure: impl Fn(&Outcome) -> f64) -> Rounds<N> {
        let of = |outcome: &Option<Outcome>| outcome.as_ref().map_or(f64::NAN, &figure);
        Rounds(self.0.iter().map(|round| round.each_ref().map(of)).collect())
    }
}

/// The most by the fewest; the fewest may be none.
pub fn spread((most, fewest): (usize, usize)) -> f64 {
    most as f64 / fewest as f64
}

/// Measures and prints the table.
pub fn measure(server: &RedisServer, stage: &Stage, effort: Effort, markdown: bool) {
    let Stage { runtime, field } = stage;
    let (local, queue) = (Local::make(), runtime.block_on(Queue::make(&server.url(), TASKS)));
    let mut outcomes = Outcomes(Vec::new());
    for round in 0..effort.rounds.min(3) {
        let name = format!("order:process:wanted:{round}");
        server.command::<()>(&["LPUSH", &list_of(&name), "token"]);
        let mut outcome = [const { None }; 5];
        for who in order::<5>(round) {
            outcome[who] = runtime.block_on(async {
                Some(match who {
                    IDEAL => run(local, &name, effort).await,
                    OURS => run(field.tenure?[0], &name, effort).await,
                    2 => run(queue, &name, effort).await,
                    3 => run(field.raw, &name, effort).await,
                    _ => run(field.rslock, &name, effort).await,
                })
            });
        }
        outcomes.0.push(outcome);
    }
    print(markdown, &outcomes);
}

async fn run<C: Contender>(who: &'static C, name: &str, effort: Effort) -> Outcome {
    Outcome::of(&contend(who, name, TASKS, effort.contended).await, effort.contended)
}

fn print(markdown: bool, outcomes: &Outcomes<5>) {
    let rates = outcomes.each(|outcome| outcome.rate);
    let p50 = outcomes.each(|outcome| outcome.handoff.value_at_quantile(0.5) as f64);
    let p99 = outcomes.each(|outcome| outcome.handoff.value_at_quantile(0.99) as f64);
    let most = outcomes.each(|outcome| outcome.tasks.0 as f64);
    let fewest = outcomes.each(|outcome| outcome.tasks.1 as f64);
    let spreads = outcomes.each(|outcome| spread(outcome.tasks));
    let micros = |nanos| format!("{:.1} µs", nanos / 1_000.0);
    let row = |who: usize| {
        let ratio = rates.ratio(who, |round| round[IDEAL]);
        let bars = if who == OURS {
            vec![
                bar("C1 ≥ 0.98× ideal", ratio, |ratio| ratio >= 0.98),
                bar("p50 ≤ 10 µs", p50.median(who), |nanos| nanos <= 10_000.0),
                bar("unluckiest ≥ 0.9 of luckiest", spreads.median(who), |spread| 1.0 / spread >= 0.9),
            ]
        } else {
            Vec::new()
        };
        [
            WHO[who].to_owned(),
            shown(rates.median(who), grid::figure),
            shown(ratio, |ratio| format!("{ratio:.2}×")),
            shown(p50.median(who), micros),
            shown(p99.median(who), micros),
            format!(
                "{} / {}",
                shown(most.median(who), grid::figure),
                shown(fewest.median(who), grid::figure)
            ),
            bars.join("; "),
        ]
    };
    let head = ["C: 64 tasks, hold 1 ms", "turns a second", "to ideal", "hand-off p50", "p99"];
    let head: Vec<&str> = head.into_iter().chain(["luckiest / unluckiest task", "bars"]).collect();
    let head: [&str; 7] = head.try_into().unwrap();
    grid::print(markdown, &head.map(str::to_owned), &std::array::from_fn::<_, 5, _>(row));
}
