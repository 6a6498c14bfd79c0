//! X: 64 tasks of four processes want one name and hold it for a millisecond each.

use std::io::BufRead as _;
use std::time::Duration;

use tenure_testkit::RedisServer;

use crate::Effort;
use crate::child::Child;
use crate::contended::{Outcomes, spread};
use crate::contender::Contender;
use crate::contenders::{Rslock, tenure};
use crate::field::{bar, order, shown};
use crate::grid;
use crate::monitor::Monitor;
use crate::raw::{Queue, Raw, list_of};
use crate::turns::{Outcome, Turn, contend};

const PROCESSES: usize = 4;

/// Tasks of a process, and for the count of commands fewer of them, to see whether waiters cost any.
const TASKS: usize = 16;
const FEW: usize = 4;

/// In the order of the rows, and how a child is told.
const WHO: [(&str, &str); 4] =
    [("tenure", "tenure"), ("BLPOP token queue", "queue"), ("raw, polling", "raw"), ("rslock", "rslock")];
const OURS: usize = 0;
const QUEUE: usize = 1;

/// Measures and prints the table. `ours` says whether the library takes part.
pub fn measure(server: &RedisServer, ours: bool, effort: Effort, markdown: bool) {
    let takes_part = |who: usize| ours || who != OURS;
    let mut outcomes = Outcomes(Vec::new());
    for round in 0..effort.rounds.min(3) {
        let mut outcome = [const { None }; 4];
        for who in order::<4>(round).filter(|who| takes_part(*who)) {
            let turns = contest(server, who, TASKS, effort.contended, || {}).0;
            outcome[who] = Some(Outcome::of(&turns, effort.contended));
        }
        outcomes.0.push(outcome);
    }
    let commands = |who: usize, tasks: usize| {
        if !takes_part(who) {
            return f64::NAN;
        }
        let start = || Monitor::start(server.addr());
        let (turns, monitor) = contest(server, who, tasks, effort.contended / 2, start);
        monitor.stop() as f64 / turns.iter().filter(|turn| turn.held.is_some()).count() as f64
    };
    let commands = std::array::from_fn(|who| [commands(who, FEW), commands(who, TASKS)]);
    print(markdown, &outcomes, &commands);
}

/// Lets all processes contend for a fresh name, and does `before` when they are ready.
fn contest<T>(
    server: &RedisServer,
    who: usize,
    tasks: usize,
    span: Duration,
    before: impl FnOnce() -> T,
) -> (Vec<Turn>, T) {
    let name = format!("order:process:{}", crate::clock::now());
    server.command::<()>(&["LPUSH", &list_of(&name), "token"]);
    let (url, tasks, span) = (server.url(), tasks.to_string(), span.as_millis().to_string());
    let words = ["turns", WHO[who].1, &url, &name, &tasks, &span];
    let mut children: Vec<Child> = (0..PROCESSES).map(|_| Child::start(&words)).collect();
    for child in &mut children {
        assert_eq!(child.answer(), "ready");
    }
    let done = before();
    children.iter_mut().for_each(|child| child.order("go"));
    let mut turns = Vec::new();
    for (process, child) in children.iter_mut().enumerate() {
        loop {
            let line = child.answer();
            if line == "end" {
                break;
            }
            turns.push(turn_of(process, &line));
        }
    }
    (turns, done)
}

/// What a child says of a turn: its task, when it was wanted, and when it was granted and released, or zeros.
fn turn_of(process: usize, line: &str) -> Turn {
    let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
    let held = (numbers[2] > 0).then_some((numbers[2], numbers[3]));
    Turn { process, task: usize::try_from(numbers[0]).unwrap(), wanted: numbers[1], held }
}

/// The work of a child: `who url name tasks span_ms`.
pub async fn child(words: &[String]) {
    let [who, url, name, tasks, span] = words else { panic!("five words") };
    let (tasks, span) = (tasks.parse().unwrap(), Duration::from_millis(span.parse().unwrap()));
    let turns = match who.as_str() {
        "tenure" => take_part(tenure(url).await.unwrap()[0], name, tasks, span).await,
        "queue" => take_part(Queue::make(url, tasks).await, name, tasks, span).await,
        "raw" => take_part(Raw::make(url).await, name, tasks, span).await,
        _ => take_part(Rslock::make(url), name, tasks, span).await,
    };
    for Turn { task, wanted, held, .. } in turns {
        let (granted, released) = held.unwrap_or_default();
        println!("{task} {wanted} {granted} {released}");
    }
    println!("end");
}

async fn take_part<C: Contender>(who: &'static C, name: &str, tasks: usize, span: Duration) -> Vec<Turn> {
    println!("ready");
    // Reading blocks this thread, and nothing else is to be done here yet.
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    contend(who, name, tasks, span).await
}

fn print(markdown: bool, outcomes: &Outcomes<4>, commands: &[[f64; 2]; 4]) {
    let rates = outcomes.each(|outcome| outcome.rate);
    let p50 = outcomes.each(|outcome| outcome.remote.value_at_quantile(0.5) as f64);
    let longest = outcomes.each(|outcome| outcome.longest_wait as f64);
    let spreads = outcomes.each(|outcome| spread(outcome.processes));
    let to_others = rates.ratio(OURS, |round| round[1..].iter().copied().fold(0.0, f64::max));
    let ratios = [p50.ratio(OURS, |round| round[QUEUE]), longest.ratio(OURS, |round| round[QUEUE])];
    let cheap = |[few, many]: [f64; 2]| many <= 2.0 && many <= few * 1.1;
    let row = |who: usize| {
        let bars = if who == OURS {
            vec![
                bar("X1 ≥ 1.1× all others", to_others, |ratio| ratio >= 1.1),
                bar("X2 p50 ≤ 1.1× BLPOP", ratios[0], |ratio| ratio <= 1.1),
                bar("wait ≤ 1.5× BLPOP", ratios[1], |ratio| ratio <= 1.5),
                bar("processes ≤ 1.2", spreads.median(who), |spread| spread <= 1.2),
                bar("X3 ≤ 2, whoever waits", commands[who][0], |_| cheap(commands[who])),
            ]
        } else {
            Vec::new()
        };
        [
            WHO[who].0.to_owned(),
            shown(rates.median(who), grid::figure),
            shown(p50.median(who), |nanos| format!("{:.0} µs", nanos / 1_000.0)),
            shown(longest.median(who), |nanos| format!("{:.0} ms", nanos / 1e6)),
            shown(spreads.median(who), |spread| format!("{spread:.2}")),
            commands[who].map(|count| shown(count, |count| format!("{count:.1}"))).join(" · "),
            bars.join("; "),
        ]
    };
    let head = ["X: 4 processes × 16 tasks, hold 1 ms", "turns a second", "hand-off to another process, p50"];
    let head = head.into_iter().chain(["longest wait", "luckiest / unluckiest process"]);
    let head: Vec<&str> = head.chain(["commands a turn, 4 × 4 · 4 × 16", "bars"]).collect();
    let head: [&str; 7] = head.try_into().unwrap();
    grid::print(markdown, &head.map(str::to_owned), &std::array::from_fn::<_, 4, _>(row));
}
