//! The rules of the alerts: a fold over samples that knows neither the store nor the time beyond what it is told.
//!
//! An alert is *raised* by a window that is beyond its threshold and has enough in it to say so. A window reaches back from
//! the last sample to the one that the alert was judged at before, so that a quiet service is judged too, only later; but not
//! beyond [`REACH`] samples. An alert is *cleared* after [`CALM`] samples in a row that were not beyond the threshold, each by
//! itself: one in which nothing was done is calm, and one failure is not.

use std::time::Duration;

use super::Thresholds;
use crate::clock::Instant;
use crate::metrics::{Rates, Stats};

/// Attempts, or uses of the pool, that a window needs: with fewer, one that fails would be more than the five per cent that raise
/// an alert.
const ENOUGH: u64 = 20;

/// Samples that a window reaches back at the most: five minutes at the default interval.
const REACH: u32 = 10;

/// Samples in a row that clear an alert, so that one that comes and goes is not told each time.
const CALM: u32 = 2;

/// What an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlertKind {
    /// Too few attempts got their lock.
    LowSuccess,
    /// Locks take too long to get.
    SlowLocks,
    /// Too many attempts do not get their lock at the first try.
    Contention,
    /// Too many attempts wait in vain.
    Timeouts,
    /// Too many requests wait for a place on the way to the store.
    PoolExhausted,
    /// The store does not answer: its ping has failed, or most attempts have.
    Unhealthy,
}

impl AlertKind {
    /// All of them.
    pub const ALL: [AlertKind; 6] = [
        AlertKind::LowSuccess,
        AlertKind::SlowLocks,
        AlertKind::Contention,
        AlertKind::Timeouts,
        AlertKind::PoolExhausted,
        AlertKind::Unhealthy,
    ];

    /// Its word on wires and in logs.
    pub fn word(self) -> &'static str {
        match self {
            AlertKind::LowSuccess => "low_success_rate",
            AlertKind::SlowLocks => "high_lock_time",
            AlertKind::Contention => "high_contention_rate",
            AlertKind::Timeouts => "high_timeout_rate",
            AlertKind::PoolExhausted => "connection_pool_exhaustion",
            AlertKind::Unhealthy => "service_unhealthy",
        }
    }
}

/// How much an alert matters, from the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Nothing is wrong: no alert, and nobody was kept from a lock in the end. Never that of an alert.
    Success,
    /// To be known: contention at the first try; locks slower than their threshold.
    Info,
    /// To be looked at: less than 95 % success, more than 5 % time-outs, more than 200 ms to a lock, an exhausted pool.
    Warning,
    /// To be acted on: less than 90 % success, more than 10 % time-outs, a store that does not answer.
    Critical,
}

impl Level {
    /// Its word on wires and in logs.
    pub fn word(self) -> &'static str {
        match self {
            Level::Success => "success",
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Critical => "critical",
        }
    }
}

/// Something that was wrong, or is.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Alert {
    /// What it is about.
    pub kind: AlertKind,
    /// How much it mattered at its worst.
    pub level: Level,
    /// What was measured when it was raised, or became worse: per cent, or milliseconds for [`AlertKind::SlowLocks`]; the
    /// per cent of attempts that failed for [`AlertKind::Unhealthy`].
    pub value: f64,
    /// The threshold that it is beyond, in the same unit.
    pub threshold: f64,
    /// When it was raised.
    pub raised: Instant,
    /// When it was cleared; `None` while it is active.
    pub cleared: Option<Instant>,
}

/// One look at the locks and their store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) at: Instant,
    pub(super) stats: Stats,
    /// Whether the store answered its ping.
    pub(super) answers: bool,
}

/// What changed with a look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Change {
    Raised(Alert),
    Cleared(Alert),
}

/// The state of all alerts.
#[derive(Debug)]
pub(super) struct Watch {
    thresholds: Thresholds,
    last: Stats,
    states: [State; AlertKind::ALL.len()],
}

#[derive(Debug)]
struct State {
    kind: AlertKind,
    /// What it was judged at before, and how many looks ago.
    since: Stats,
    looks: u32,
    raised: Option<Raised>,
}

#[derive(Debug)]
struct Raised {
    alert: Alert,
    calm: u32,
}

/// What a window says of an alert.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verdict {
    /// Too little was done to say.
    Open,
    Calm,
    Beyond {
        value: f64,
        level: Level,
    },
}

impl Watch {
    /// Begins with what was counted before the first look.
    pub(super) fn new(thresholds: Thresholds, before: Stats) -> Self {
        let state = |kind| State { kind, since: before, looks: 0, raised: None };
        Watch { thresholds, last: before, states: AlertKind::ALL.map(state) }
    }

    /// Takes a look: the rates since the one before.
    pub(super) fn rates(&mut self, look: &Look) -> Rates {
        let rates = look.stats.rates_since(&self.last);
        self.last = look.stats;
        rates
    }

    /// Judges a look with its rates: what changes.
    pub(super) fn judge(&mut self, look: &Look, rates: &Rates) -> Vec<Change> {
        let thresholds = &self.thresholds;
        self.states.iter_mut().filter_map(|state| state.look(look, rates, thresholds)).collect()
    }

    /// The alerts that are active.
    pub(super) fn active(&self) -> impl Iterator<Item = Alert> {
        self.states.iter().filter_map(|state| state.raised.as_ref().map(|raised| raised.alert))
    }
}

impl State {
    fn look(&mut self, look: &Look, latest: &Rates, thresholds: &Thresholds) -> Option<Change> {
        self.looks += 1;
        let window = look.stats.rates_since(&self.since);
        let verdict = thresholds.judge(self.kind, &window, look.answers);
        if verdict != Verdict::Open || self.looks >= REACH {
            self.since = look.stats;
            self.looks = 0;
        }
        let Some(raised) = &mut self.raised else {
            let Verdict::Beyond { value, level } = verdict else { return None };
            let threshold = thresholds.of(self.kind);
            let alert = Alert { kind: self.kind, level, value, threshold, raised: look.at, cleared: None };
            self.raised = Some(Raised { alert, calm: 0 });
            return Some(Change::Raised(alert));
        };
        if let Verdict::Beyond { value, level } = verdict
            && level > raised.alert.level
        {
            raised.alert = Alert { level, value, ..raised.alert };
        }
        let is_calm = thresholds.beyond(self.kind, latest, look.answers).is_none();
        raised.calm = if is_calm { raised.calm + 1 } else { 0 };
        if raised.calm < CALM {
            return None;
        }
        let alert = Alert { cleared: Some(look.at), ..raised.alert };
        self.raised = None;
        Some(Change::Cleared(alert))
    }
}

impl Thresholds {
    /// The threshold of an alert, in the unit of its value.
    fn of(&self, kind: AlertKind) -> f64 {
        match kind {
            AlertKind::LowSuccess => self.success,
            AlertKind::SlowLocks => millis(self.mean_wait),
            AlertKind::Contention => self.contention,
            AlertKind::Timeouts => self.timeouts,
            AlertKind::PoolExhausted => self.pool_hits,
            AlertKind::Unhealthy => MOST,
        }
    }

    fn judge(&self, kind: AlertKind, rates: &Rates, answers: bool) -> Verdict {
        let counted = match kind {
            AlertKind::PoolExhausted => rates.pool_uses,
            // One ping that fails says enough.
            AlertKind::Unhealthy if !answers => ENOUGH,
            _ => rates.attempts,
        };
        if counted < ENOUGH {
            return Verdict::Open;
        }
        match self.beyond(kind, rates, answers) {
            Some((value, level)) => Verdict::Beyond { value, level },
            None => Verdict::Calm,
        }
    }

    /// What was measured and how much it matters, if it is beyond the threshold. Nothing of which there is none is.
    fn beyond(&self, kind: AlertKind, rates: &Rates, answers: bool) -> Option<(f64, Level)> {
        let threshold = self.of(kind);
        let above = |value: Option<f64>| value.filter(|value| *value > threshold);
        let below = |value: Option<f64>| value.filter(|value| *value < threshold);
        match kind {
            AlertKind::LowSuccess => below(rates.success)
                .map(|value| (value, if value < 90.0 { Level::Critical } else { Level::Warning })),
            AlertKind::SlowLocks => above(rates.mean_wait.map(millis))
                .map(|value| (value, if value > 200.0 { Level::Warning } else { Level::Info })),
            AlertKind::Contention => above(rates.contention).map(|value| (value, Level::Info)),
            AlertKind::Timeouts => above(rates.timeouts)
                .map(|value| (value, if value > 10.0 { Level::Critical } else { Level::Warning })),
            AlertKind::PoolExhausted => below(rates.pool_hits).map(|value| (value, Level::Warning)),
            AlertKind::Unhealthy if !answers => Some((rates.failures.unwrap_or(100.0), Level::Critical)),
            AlertKind::Unhealthy => above(rates.failures).map(|value| (value, Level::Critical)),
        }
    }
}

/// Per cent of attempts that fail while the store answers its ping, and say that it does not work all the same.
const MOST: f64 = 50.0;

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Locks whose counters a test raises, and a watch over them.
    struct Scene {
        watch: Watch,
        stats: Stats,
        seconds: u64,
        answers: bool,
    }

    impl Scene {
        fn new() -> Self {
            let watch = Watch::new(Thresholds::default(), Stats::default());
            Scene { watch, stats: Stats::default(), seconds: 0, answers: true }
        }

        /// Attempts that got their lock at once.
        fn grant(&mut self, count: u64) {
            self.stats.acquired += count;
            self.stats.wait.count += count;
        }

        fn time_out(&mut self, count: u64) {
            self.stats.timeouts += count;
            self.stats.contended += count;
        }

        /// The next sample: what changed, as kind and whether it was raised.
        fn sample(&mut self) -> Vec<(AlertKind, bool)> {
            self.seconds += 30;
            let at = Instant::from_nanos(0) + Duration::from_secs(self.seconds);
            let look = Look { at, stats: self.stats, answers: self.answers };
            let rates = self.watch.rates(&look);
            let told = |change: Change| match change {
                Change::Raised(alert) => (alert.kind, true),
                Change::Cleared(alert) => (alert.kind, false),
            };
            self.watch.judge(&look, &rates).into_iter().map(told).collect()
        }

        fn level(&self, kind: AlertKind) -> Option<Level> {
            self.watch.active().find(|alert| alert.kind == kind).map(|alert| alert.level)
        }
    }

    #[test]
    fn nothing_done_and_nothing_but_reads_raise_nothing() {
        let mut scene = Scene::new();
        for _ in 0..50 {
            scene.stats.operations.reads += 10_000;
            assert_eq!(scene.sample(), []);
        }
    }

    #[test]
    fn one_busy_answer_of_a_quiet_service_raises_nothing() {
        let mut scene = Scene::new();
        for _ in 0..50 {
            scene.stats.busy += 1;
            scene.stats.contended += 1;
            assert_eq!(scene.sample(), []);
            (0..REACH).for_each(|_| assert_eq!(scene.sample(), []));
        }
    }

    #[test]
    fn a_rate_is_beyond_its_threshold_only_when_it_is_not_equal_to_it() {
        let mut scene = Scene::new();
        scene.grant(95);
        scene.time_out(5);
        assert_eq!(scene.sample(), []);
        scene.grant(94);
        scene.time_out(6);
        assert_eq!(scene.sample(), [(AlertKind::LowSuccess, true), (AlertKind::Timeouts, true)]);
        assert_eq!(scene.level(AlertKind::LowSuccess), Some(Level::Warning));
        assert_eq!(scene.level(AlertKind::Timeouts), Some(Level::Warning));
    }

    /// A failure every 30 s, and a success: half of all attempts fail, but no sample has enough of them.
    #[test]
    fn a_slow_service_is_judged_over_several_samples() {
        let mut scene = Scene::new();
        let mut raised = None;
        for sample in 1..=REACH {
            scene.grant(1);
            scene.time_out(1);
            let changed = scene.sample();
            raised = raised.or((!changed.is_empty()).then_some((sample, changed)));
        }
        let (sample, changed) = raised.expect("it is told");
        assert_eq!(u64::from(sample), ENOUGH / 2);
        assert!(changed.contains(&(AlertKind::LowSuccess, true)), "{changed:?}");
    }

    #[test]
    fn an_alert_is_cleared_after_two_calm_samples_and_not_by_one() {
        let mut scene = Scene::new();
        scene.stats.wait.total += Duration::from_secs(30);
        scene.grant(100);
        assert_eq!(scene.sample(), [(AlertKind::SlowLocks, true)]);
        assert_eq!(scene.level(AlertKind::SlowLocks), Some(Level::Warning));
        // Calm, but then again one that is slow: too few to raise an alert, enough to keep it.
        assert_eq!(scene.sample(), []);
        scene.stats.wait.total += Duration::from_secs(30);
        scene.grant(1);
        assert_eq!(scene.sample(), []);
        scene.grant(100);
        assert_eq!(scene.sample(), []);
        assert_eq!(scene.sample(), [(AlertKind::SlowLocks, false)]);
        assert_eq!(scene.watch.active().count(), 0);
        assert_eq!(scene.sample(), []);
    }

    #[test]
    fn an_active_alert_gets_worse_and_is_not_raised_twice() {
        let mut scene = Scene::new();
        scene.grant(93);
        scene.time_out(7);
        scene.sample();
        scene.grant(50);
        scene.time_out(50);
        assert_eq!(scene.sample(), [(AlertKind::Contention, true)]);
        assert_eq!(scene.level(AlertKind::LowSuccess), Some(Level::Critical));
        assert_eq!(scene.level(AlertKind::Timeouts), Some(Level::Critical));
        assert_eq!(scene.level(AlertKind::Contention), Some(Level::Info));
    }

    #[test]
    fn a_store_is_unhealthy_that_does_not_answer_or_fails_most_attempts() {
        let mut scene = Scene::new();
        scene.answers = false;
        assert_eq!(scene.sample(), [(AlertKind::Unhealthy, true)]);
        scene.answers = true;
        assert_eq!(scene.sample(), []);
        assert_eq!(scene.sample(), [(AlertKind::Unhealthy, false)]);
        scene.stats.failed += 60;
        scene.grant(40);
        assert_eq!(scene.sample(), [(AlertKind::LowSuccess, true), (AlertKind::Unhealthy, true)]);
    }

    #[test]
    fn a_pool_without_room_is_told_and_one_without_a_bound_is_not() {
        let mut scene = Scene::new();
        scene.stats.load.misses += 30;
        scene.stats.load.hits += 70;
        assert_eq!(scene.sample(), [(AlertKind::PoolExhausted, true)]);
        scene.stats.load.hits += 100;
        assert_eq!(scene.sample(), []);
        assert_eq!(scene.sample(), [(AlertKind::PoolExhausted, false)]);
        scene.stats.load.in_flight = 1_000;
        assert_eq!(scene.sample(), []);
    }
}
