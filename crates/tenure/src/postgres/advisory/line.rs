//! A connection that holds locks or waits for one: what goes over it, and how it is tended.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_postgres::Statement;

use super::super::link::{Link, failed};
use super::super::schema;
use super::super::url::Target;
use crate::clock::Instant;
use crate::error::{Error, Result};

/// What every session of ours is set to: no time-out of the server's ends it or a wait of it, a dead peer is noticed while a
/// statement waits, and what is written for lists and signs of life need not be on a disk.
const SETTINGS: &str = "set statement_timeout = 0; set lock_timeout = 0; set idle_session_timeout = 0;
    set idle_in_transaction_session_timeout = 0; set synchronous_commit = off; set jit = off;
    set client_connection_check_interval = '1s'";

/// Exclusive locks of many names, each by itself: whether each was taken, and the first of 1,024 tokens, drawn when all are.
const TRIES: &str = "select array_agg(ok), case when bool_or(ok) then nextval('tenure.token') end
    from (select pg_try_advisory_lock(k) as ok from unnest($1::bigint[]) k offset 0) t";

/// Locks to let go, and whether each was held.
const ENDS: &str = "select array_agg(pg_advisory_unlock(k)) from unnest($1::bigint[]) k";
const ENDS_SHARED: &str = "select array_agg(pg_advisory_unlock_shared(k)) from unnest($1::bigint[]) k";

/// A session that holds or may hold locks, with the statements that it knows.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) link: Link,
    pub(super) pid: i32,
    pub(super) tries: Statement,
    pub(super) claim: Statement,
    pub(super) ends: Statement,
    pub(super) ends_shared: Statement,
    pub(super) beat: Statement,
}

/// How long a session that holds nothing is believed to live without a sign: as a waiter.
pub(super) const WAITER: Duration = crate::limits::DEAD_WAITER;

impl Line {
    /// Connects, and has the session known to those who may wait for what it will hold.
    ///
    /// # Errors
    /// As [`Link::open`].
    pub(super) async fn open(target: &Target, process: i64) -> Result<Line> {
        let link = Link::open(target, Box::new(|_, _| ())).await?;
        Line::over(link, target, process).await
    }

    pub(super) async fn over(link: Link, target: &Target, process: i64) -> Result<Line> {
        let lost = |error: tokio_postgres::Error| failed("connect", &error);
        let prepared = async {
            link.client.batch_execute(SETTINGS).await.map_err(lost)?;
            schema::begin(&link).await?;
            let row = link.client.query_typed("select pg_backend_pid()", &[]).await.map_err(lost)?;
            let pid: i32 = row.first().map_or(0, |row| row.get(0));
            let tries = link.client.prepare(TRIES).await.map_err(lost)?;
            let ends = link.client.prepare(ENDS).await.map_err(lost)?;
            let ends_shared = link.client.prepare(ENDS_SHARED).await.map_err(lost)?;
            let claim = link
                .client
                .prepare("select * from tenure.claim($1, $2, $3, $4, $5, $6)")
                .await
                .map_err(lost)?;
            let beat = "select tenure.beat($1, $2::float8 * interval '1 ms')";
            let beat = link.client.prepare(beat).await.map_err(lost)?;
            link.client.query(&beat, &[&process, &millis(WAITER)]).await.map_err(lost)?;
            Ok::<_, Error>((pid, tries, ends, ends_shared, claim, beat))
        };
        let late = || Error::unavailable("connect", "the server did not answer");
        let prepared = tokio::time::timeout(target.connect_timeout, prepared).await.map_err(|_| late())??;
        let (pid, tries, ends, ends_shared, claim, beat) = prepared;
        Ok(Line { link, pid, tries, ends, ends_shared, claim, beat })
    }
}

/// Milliseconds, as the statements take them.
pub(super) fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}

/// What the desk knows of a line: how long its session is believed without a sign of life, and by when it must give one.
#[derive(Debug)]
pub(super) struct Pulse {
    /// When the last sign was sent that was answered.
    pub(super) sent: Instant,
    /// For how long the session is believed since then.
    pub(super) lasts: Duration,
    /// The ttls of what it holds, and how often.
    ttls: BTreeMap<Duration, usize>,
}

impl Pulse {
    pub(super) fn new(sent: Instant) -> Self {
        Pulse { sent, lasts: WAITER, ttls: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, ttl: Duration) {
        *self.ttls.entry(ttl).or_default() += 1;
    }

    pub(super) fn remove(&mut self, ttl: Duration) {
        if let Some(count) = self.ttls.get_mut(&ttl) {
            *count -= 1;
            if *count == 0 {
                self.ttls.remove(&ttl);
            }
        }
    }

    /// How many things the session holds.
    pub(super) fn holds(&self) -> usize {
        self.ttls.values().sum()
    }

    /// For how long the session must be believed from a sign of life on: the longest ttl that it holds, and what may pass
    /// until a lease is taken under that sign.
    pub(super) fn wanted(&self, ttl: Duration) -> Duration {
        let longest = self.ttls.keys().next_back().copied().unwrap_or_default().max(ttl);
        (longest + every(longest)).max(WAITER)
    }

    /// Whether a lease of `ttl` that is asked for at `now` would be over before the session is.
    pub(super) fn covers(&self, now: Instant, ttl: Duration) -> bool {
        now + ttl <= self.sent + self.lasts
    }

    /// Whether it is time for a sign of life, also of what nobody renews: a lease that lingers.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.holds() > 0 && self.sent + self.lasts / 3 <= now
    }
}

/// How long a lease may be asked for after a sign of life.
fn every(ttl: Duration) -> Duration {
    (ttl / 8).clamp(Duration::from_millis(20), Duration::from_secs(2))
}
