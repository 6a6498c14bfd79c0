//! Many tasks want one name, and hold it for a millisecond each: who had it when, and what follows from that.

use std::collections::HashMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::net::unix::pipe::Receiver;

use crate::clock::now;
use crate::contender::Contender;

/// For how long each holds the name.
const HOLD: Duration = Duration::from_millis(1);

/// A task's wait for the name and its time with it, on the machine's clock.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    pub process: usize,
    pub task: usize,
    pub wanted: u64,
    /// When it was granted and released; `None` when the time was over before.
    pub held: Option<(u64, u64)>,
}

/// Contends for `name` with so many tasks for `span`.
pub async fn contend<C: Contender>(who: &'static C, name: &str, tasks: usize, span: Duration) -> Vec<Turn> {
    let end = now() + u64::try_from(span.as_nanos()).unwrap();
    let one = |task: usize| {
        let name = name.to_owned();
        async move {
            let (mut turns, timer) = (Vec::new(), Timer::new());
            loop {
                let wanted = now();
                let left = Duration::from_nanos(end.saturating_sub(wanted));
                let granted = tokio::time::timeout(left, who.lock(&name)).await;
                // A timeout lets through what is there at once, also after the end.
                let (Ok(guard), false) = (granted, left.is_zero()) else {
                    turns.push(Turn { process: 0, task, wanted, held: None });
                    return turns;
                };
                let granted = now();
                timer.wait(HOLD).await;
                turns.push(Turn { process: 0, task, wanted, held: Some((granted, now())) });
                C::unlock(guard).await;
            }
        }
    };
    let tasks: Vec<_> = (0..tasks).map(|task| tokio::spawn(one(task))).collect();
    let mut turns = Vec::new();
    for task in tasks {
        turns.extend(task.await.unwrap());
    }
    turns
}

/// A timer of the kernel: tokio's own counts whole milliseconds, and makes nearly two of one. To its reader it is as a
/// pipe, in which eight bytes lie when the time is over.
struct Timer(Receiver);

impl Timer {
    fn new() -> Timer {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC);
        Timer(Receiver::from_owned_fd_unchecked(timer.unwrap()).unwrap())
    }

    async fn wait(&self, span: Duration) {
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec::try_from(span).unwrap(),
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once).unwrap();
        while self.0.try_read(&mut [0; 8]).is_err() {
            self.0.readable().await.unwrap();
        }
    }
}

/// What turns show. Times are in nanoseconds.
#[derive(Debug)]
pub struct Outcome {
    /// Turns a second.
    pub rate: f64,
    /// From a release to the next holder's first step.
    pub handoff: Histogram<u64>,
    /// The same, where the next holder is in another process.
    #[allow(dead_code, reason = "not every bench has several processes")]
    pub remote: Histogram<u64>,
    #[allow(dead_code, reason = "not every bench asks")]
    pub longest_wait: u64,
    /// Turns of the luckiest and the unluckiest task.
    pub tasks: (usize, usize),
    /// The same for processes.
    #[allow(dead_code, reason = "not every bench has several processes")]
    pub processes: (usize, usize),
}

impl Outcome {
    /// What `turns` show, which came about within `span`.
    ///
    /// # Panics
    /// When two have held the name at once.
    pub fn of(turns: &[Turn], span: Duration) -> Outcome {
        let last = turns.iter().map(|turn| turn.held.map_or(turn.wanted, |(_, released)| released)).max();
        let (mut by_task, mut by_process) = (Counts::default(), Counts::default());
        let (mut held, mut longest_wait) = (Vec::new(), 0);
        for turn in turns {
            let served = usize::from(turn.held.is_some());
            by_task.add((turn.process, turn.task), served);
            by_process.add((turn.process, 0), served);
            // Who was not served has waited until the end.
            let until = turn.held.map(|(granted, _)| granted).or(last).unwrap_or_default();
            longest_wait = longest_wait.max(until.saturating_sub(turn.wanted));
            held.extend(turn.held.map(|(granted, released)| (granted, released, turn.process)));
        }
        held.sort_unstable();
        let (mut handoff, mut remote) = (Histogram::new(3).unwrap(), Histogram::new(3).unwrap());
        for pair in held.windows(2) {
            let ((_, released, from), (granted, _, to)) = (pair[0], pair[1]);
            let gap = granted.checked_sub(released).expect("two have held the name at once");
            handoff.record(gap).unwrap();
            if from != to {
                remote.record(gap).unwrap();
            }
        }
        let rate = held.len() as f64 / span.as_secs_f64();
        Outcome { rate, handoff, remote, longest_wait, tasks: by_task.ends(), processes: by_process.ends() }
    }
}

/// Turns by task or process.
#[derive(Default)]
struct Counts(HashMap<(usize, usize), usize>);

impl Counts {
    fn add(&mut self, whose: (usize, usize), turns: usize) {
        *self.0.entry(whose).or_default() += turns;
    }

    /// The most and the fewest.
    fn ends(&self) -> (usize, usize) {
        let values = || self.0.values().copied();
        (values().max().unwrap_or_default(), values().min().unwrap_or_default())
    }
}
