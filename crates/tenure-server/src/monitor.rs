//! How the locks do: `GET /v1/stats`, `/v1/monitor` and `/v1/alerts`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use tenure::lease::{Kind, Query};
use tenure::metrics::Durations;
use tenure::monitor;
use tenure_wire::{
    Alert, Alerts, CurrentMetrics, LockDetail, LockMetrics, MonitorConfig, MonitorReport, Operations,
    ServerStats, Spans, Stats,
};

use crate::answer::json;
use crate::desk::Desk;
use crate::shape::millis;

/// Leases that are counted at the most: a report has a bound, also of a store that is full.
const MOST_COUNTED: usize = 100_000;

/// Counters.
///
/// What this server was asked over HTTP, and what the locks of its process did, those over HTTP included. All since it started:
/// for rates of now see `/v1/monitor`.
#[utoipa::path(get, path = "/v1/stats", tag = "lists", responses(
    (status = 200, description = "What was done since the start.", body = ServerStats),
))]
pub(crate) async fn stats(State(desk): State<Arc<Desk>>) -> Response {
    let locks = desk.locks.stats();
    let stats =
        ServerStats { server: desk.stats(), metrics: desk.metrics(&locks).await, locks: detail(&locks) };
    json(StatusCode::OK, &stats, vec![])
}

/// The report of the monitor.
///
/// It samples every 30 s unless it is configured otherwise. Rates are of the last window, from one sample to the next.
#[utoipa::path(get, path = "/v1/monitor", tag = "lists", responses(
    (status = 200, description = "How the locks do.", body = MonitorReport),
))]
pub(crate) async fn monitor(State(desk): State<Arc<Desk>>) -> Response {
    let redis_metrics = desk.metrics(&desk.locks.stats()).await;
    let (report, settings) = (desk.monitor().report(), desk.monitor().settings());
    let report = MonitorReport {
        current_metrics: current(&report),
        performance_history_count: report.samples as u64,
        alert_history_count: report.alerts.len() as u64,
        last_check: report.last.map(|last| millis(last.at.until(desk.clock.now()))),
        redis_metrics,
        config: config(&settings),
        level: report.level.word().to_owned(),
        healthy: report.last.map(|last| last.answers),
    };
    json(StatusCode::OK, &report, vec![])
}

/// What is wrong, and what was.
///
/// An alert is raised by a window that is beyond its threshold, and cleared after two samples in a row that are not.
#[utoipa::path(get, path = "/v1/alerts", tag = "lists", responses(
    (status = 200, description = "The alerts that are active, and those that were cleared.", body = Alerts),
))]
pub(crate) async fn alerts(State(desk): State<Arc<Desk>>) -> Response {
    json(StatusCode::OK, &desk.alerts(), vec![])
}

impl Desk {
    /// What was asked over HTTP.
    pub(crate) fn stats(&self) -> Stats {
        self.counts.stats(self.started.until(self.clock.now()))
    }

    /// The alerts, as far as they are kept.
    pub(crate) fn alerts(&self) -> Alerts {
        let now = self.clock.now();
        let shape = |alert: monitor::Alert| Alert {
            kind: alert.kind.word().to_owned(),
            level: alert.level.word().to_owned(),
            value: alert.value,
            threshold: alert.threshold,
            raised_ms_ago: millis(alert.raised.until(now)),
            cleared_ms_ago: alert.cleared.map(|cleared| millis(cleared.until(now))),
        };
        let alerts = self.monitor().report().alerts;
        let (active, recent) =
            alerts.into_iter().map(shape).partition(|alert| alert.cleared_ms_ago.is_none());
        Alerts { active, recent }
    }

    /// What the locks did, with how many leases there are now.
    async fn metrics(&self, stats: &tenure::Stats) -> LockMetrics {
        let mut query = Query::new(Kind::Leases, "");
        query.limit = MOST_COUNTED;
        let leases = self.list(query).await.ok();
        LockMetrics {
            locks_acquired: stats.acquired,
            locks_failed: stats.attempts() - stats.acquired,
            locks_released: stats.released,
            batch_locks_acquired: stats.batch_acquired,
            batch_locks_failed: stats.batch_failed,
            lock_free_operations: stats.operations.reads,
            lock_timeout_count: stats.timeouts,
            lock_contention_count: stats.contended,
            avg_lock_acquisition_time_us: micros(stats.wait.mean()),
            avg_batch_lock_time_us: micros(stats.batch_wait.mean()),
            connection_pool_hits: stats.load.hits,
            connection_pool_misses: stats.load.misses,
            active_connections: stats.load.active_connections,
            total_operations: stats.attempts() + stats.operations.reads,
            active_locks: leases.map(|page| page.entries.len() as u64),
            success_rate: stats.rates().success.unwrap_or(100.0),
        }
    }
}

fn current(report: &monitor::Report) -> CurrentMetrics {
    let rates = report.last.map(|last| last.rates).unwrap_or_default();
    CurrentMetrics {
        success_rate: rates.success.unwrap_or(100.0),
        avg_lock_time_us: micros(rates.mean_wait),
        contention_rate: rates.contention.unwrap_or(0.0),
        timeout_rate: rates.timeouts.unwrap_or(0.0),
        total_operations: rates.attempts + rates.lock_free,
        lock_free_operations: rates.lock_free,
        connection_pool_hit_rate: rates.pool_hits.unwrap_or(100.0),
    }
}

fn config(settings: &monitor::Settings) -> MonitorConfig {
    MonitorConfig {
        monitoring_interval_secs: settings.interval.as_secs(),
        alert_threshold_success_rate: settings.thresholds.success,
        alert_threshold_avg_lock_time_ms: millis(settings.thresholds.mean_wait),
        alert_threshold_contention_rate: settings.thresholds.contention,
        alert_threshold_timeout_rate: settings.thresholds.timeouts,
    }
}

fn detail(stats: &tenure::Stats) -> LockDetail {
    let done = stats.operations;
    LockDetail {
        attempts: stats.attempts(),
        busy: stats.busy,
        failed: stats.failed,
        abandoned: stats.abandoned,
        local_handoffs: stats.local_handoffs,
        sticky_hits: stats.sticky_hits,
        remote_handoffs: stats.remote_handoffs,
        renewals: stats.renewals,
        lost: stats.lost,
        wait: spans(&stats.wait),
        hold: spans(&stats.hold),
        operations: Operations {
            read: done.reads,
            write: done.writes,
            create: done.creates,
            update: done.updates,
            delete: done.deletes,
        },
    }
}

fn spans(durations: &Durations) -> Spans {
    Spans {
        count: durations.count,
        mean_us: micros(durations.mean()),
        p50_us: micros(Some(durations.p50)),
        p90_us: micros(Some(durations.p90)),
        p99_us: micros(Some(durations.p99)),
        max_us: micros(Some(durations.max)),
    }
}

/// Whole microseconds; none of nothing.
fn micros(span: Option<Duration>) -> u64 {
    span.map_or(0, |span| u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
}
