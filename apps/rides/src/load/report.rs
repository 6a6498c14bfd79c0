//! How a load went.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde_json::Value;

/// What went on while rides were booked.
#[derive(Debug)]
pub(super) struct Report {
    /// From when a ride was due to when it had its driver.
    pub(super) booked: Histogram<u64>,
    /// How many had none.
    pub(super) refused: BTreeMap<String, u64>,
    pub(super) drivers: HashSet<i64>,
    pub(super) took: Duration,
    /// What the service says of its locks, before and after.
    pub(super) locks: (Value, Value),
}

impl Report {
    pub(super) fn new(before: Value) -> Result<Self> {
        Ok(Report {
            booked: Histogram::new(3)?,
            refused: BTreeMap::new(),
            drivers: HashSet::new(),
            took: Duration::ZERO,
            locks: (before, Value::Null),
        })
    }

    pub(super) fn failed(&self) -> u64 {
        self.refused.values().sum()
    }

    /// By how much a count of the locks has grown.
    fn grown(&self, state: &str) -> f64 {
        let path = format!("/data/states/{state}");
        number(&self.locks.1, &path) - number(&self.locks.0, &path)
    }
}

fn number(stats: &Value, path: &str) -> f64 {
    stats.pointer(path).and_then(Value::as_f64).unwrap_or_default()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (booked, all) = (self.booked.len(), self.booked.len() + self.failed());
        let share = |part: f64, whole: f64| 100.0 * part / whole.max(1.0);
        let millis = |quantile| self.booked.value_at_quantile(quantile) as f64 / 1e3;
        let time = |name: &str| number(&self.locks.1, &format!("/data/times/{name}"));
        let (granted, late) = (self.grown("acquired"), self.grown("timedOut"));
        writeln!(
            f,
            "{:.0} rides/s, {:.2} % of {all} had a driver, of {} different drivers",
            all as f64 / self.took.as_secs_f64(),
            share(booked as f64, all as f64),
            self.drivers.len()
        )?;
        writeln!(
            f,
            "booked and assigned: p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
            millis(0.5),
            millis(0.99),
            millis(1.0)
        )?;
        writeln!(
            f,
            "locks: p50 {:.2} ms, p99 {:.2} ms since the service began; {granted:.0} granted, {:.2} % timed out, {:.0} changes without a lock",
            time("waitP50Ms"),
            time("waitP99Ms"),
            share(late, granted + late),
            self.grown("withoutLock")
        )?;
        for (answer, count) in &self.refused {
            writeln!(f, "{count:>10}  {answer}")?;
        }
        Ok(())
    }
}
