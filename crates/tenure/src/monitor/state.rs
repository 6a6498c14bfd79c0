//! What a monitor keeps: the last samples and alerts, each with its bound.

use std::collections::VecDeque;

use super::rules::{AlertKind, Change, Look, Watch};
use super::{Alert, Level, MAX_ALERTS, MAX_SAMPLES, Report, Sample, Settings};
use crate::metrics::Stats;

/// The samples and alerts of a monitor.
#[derive(Debug)]
pub(super) struct State {
    settings: Settings,
    watch: Watch,
    last: Option<Sample>,
    samples: VecDeque<Sample>,
    /// Those that were cleared, the last first.
    cleared: VecDeque<Alert>,
}

impl State {
    pub(super) fn new(settings: Settings, before: Stats) -> Self {
        State {
            settings,
            watch: Watch::new(settings.thresholds, before),
            last: None,
            samples: VecDeque::new(),
            cleared: VecDeque::new(),
        }
    }

    /// Takes a sample.
    pub(super) fn take(&mut self, look: &Look) {
        let Settings { raise_alerts, keep_samples, log_samples, .. } = self.settings;
        let rates = self.watch.rates(look);
        let sample = Sample { at: look.at, rates, answers: look.answers };
        self.last = Some(sample);
        if log_samples {
            tracing::debug!(?rates, answers = look.answers, "a sample of the locks");
        }
        if keep_samples {
            if self.samples.len() == MAX_SAMPLES {
                self.samples.pop_front();
            }
            self.samples.push_back(sample);
        }
        if raise_alerts {
            for change in self.watch.judge(look, &rates) {
                log(&change);
                if let Change::Cleared(alert) = change {
                    self.cleared.push_front(alert);
                }
            }
            self.cleared.truncate(MAX_ALERTS - AlertKind::ALL.len());
        }
    }

    pub(super) fn report(&self) -> Report {
        let mut alerts: Vec<Alert> = self.watch.active().collect();
        let in_the_end = self.last.and_then(|sample| sample.rates.final_contention).unwrap_or(0.0);
        let calm = if in_the_end > 0.0 { Level::Info } else { Level::Success };
        let level = alerts.iter().map(|alert| alert.level).max().unwrap_or(calm);
        alerts.extend(&self.cleared);
        Report { last: self.last, level, samples: self.samples.len(), alerts }
    }

    pub(super) fn samples(&self) -> impl Iterator<Item = Sample> {
        self.samples.iter().copied()
    }
}

fn log(change: &Change) {
    match change {
        Change::Raised(Alert { kind, level, value, threshold, .. }) => {
            let (alert, level) = (kind.word(), level.word());
            tracing::warn!(alert, level, value, threshold, "an alert is raised");
        }
        Change::Cleared(Alert { kind, .. }) => tracing::info!(alert = kind.word(), "an alert is cleared"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Instant;

    /// Alerts that come and go for longer than any history is kept.
    #[test]
    fn samples_and_alerts_stay_within_their_bounds_and_the_last_are_kept() {
        let mut state = State::new(Settings::default(), Stats::default());
        let mut stats = Stats::default();
        let at = |sample: u64| Instant::from_nanos(0) + Duration::from_secs(sample);
        for sample in 0..3_000 {
            stats.failed += if sample % 4 == 0 { 100 } else { 0 };
            state.take(&Look { at: at(sample), stats, answers: true });
            let report = state.report();
            assert!(report.samples <= MAX_SAMPLES && report.alerts.len() <= MAX_ALERTS);
        }
        let report = state.report();
        assert_eq!((report.samples, state.samples().count()), (MAX_SAMPLES, MAX_SAMPLES));
        assert_eq!(state.samples().next().unwrap().at, at(2_000));
        assert_eq!(report.alerts.len(), MAX_ALERTS - AlertKind::ALL.len());
        let raised: Vec<_> = report.alerts.iter().map(|alert| alert.raised).collect();
        assert!(raised.is_sorted_by(|a, b| a >= b), "{raised:?}");
        assert_eq!(raised[0], at(2_996));
        assert_eq!(report.level, Level::Success);
    }

    #[test]
    fn what_is_switched_off_is_not_done() {
        let settings = Settings { raise_alerts: false, keep_samples: false, ..Settings::default() };
        let mut state = State::new(settings, Stats::default());
        let stats = Stats { failed: 100, ..Stats::default() };
        state.take(&Look { at: Instant::from_nanos(1), stats, answers: false });
        let report = state.report();
        assert_eq!((report.samples, report.alerts.len()), (0, 0));
        assert_eq!(report.last.unwrap().rates.failures, Some(100.0));
    }

    #[test]
    fn the_level_is_success_only_while_nobody_is_kept_from_a_lock_in_the_end() {
        let mut state = State::new(Settings::default(), Stats::default());
        let mut stats = Stats { acquired: 95, contended: 5, ..Stats::default() };
        state.take(&Look { at: Instant::from_nanos(1), stats, answers: true });
        assert_eq!(state.report().level, Level::Success);
        stats.acquired += 95;
        stats.busy += 5;
        stats.contended += 5;
        state.take(&Look { at: Instant::from_nanos(2), stats, answers: true });
        assert_eq!(state.report().level, Level::Info);
    }
}
