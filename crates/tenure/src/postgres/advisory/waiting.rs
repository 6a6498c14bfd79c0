//! Waiting in the server's queue for a name, on a connection that holds nothing else.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::link::failed;
use super::line::{Line, millis};
use super::settle::Won;
use super::shared::Shared;
use super::title::key_of;
use super::waits::Start;
use crate::clock::Instant;
use crate::error::Result;

/// Connections that wait, or hold what they waited for, at the most.
const MOST: u64 = 8;

/// How often a wait looks at whether it stands in the queue, at first and later.
const SOON: std::time::Duration = std::time::Duration::from_millis(1);
const LATER: std::time::Duration = std::time::Duration::from_millis(500);

/// Waits for a name until it is given, or not wanted any more.
pub(super) async fn wait(shared: Arc<Shared>, start: Start) {
    let Some(line) = borrow(&shared).await else {
        return shared.visit(|desk| desk.cannot_wait(shared.clock.now(), &start));
    };
    match stand(&shared, &start, &line).await {
        Ok(true) => {
            let sent = shared.clock.now();
            let taken = take_over(&shared, &start, &line).await;
            let now = shared.clock.now();
            match taken {
                Ok((token, others, lasts)) => {
                    let number = shared.visit(|desk| {
                        let number = desk.outbox.open(sent, false);
                        if let Some(pulse) = desk.outbox.pulse(number) {
                            pulse.lasts = lasts;
                        }
                        number
                    });
                    let won = Won { line: number, token, others };
                    shared.visit(|desk| desk.waited(now, &start, Some(won)));
                    shared.drive(number, line);
                }
                Err(error) => fall(&shared, &start, &line, &error),
            }
        }
        Ok(false) => {
            shared.idle_waits.lock().push(line);
            shared.visit(|desk| desk.waited(shared.clock.now(), &start, None));
        }
        Err(error) => fall(&shared, &start, &line, &error),
    }
}

fn fall(shared: &Arc<Shared>, start: &Start, line: &Line, why: &crate::error::Error) {
    tracing::debug!(%why, "a connection that waited is lost");
    line.link.close();
    shared.waits_open.fetch_sub(1, Ordering::AcqRel);
    // What waits here asks again by tries, until the server can be reached.
    shared.visit(|desk| desk.cannot_wait(shared.clock.now(), start));
}

async fn borrow(shared: &Arc<Shared>) -> Option<Arc<Line>> {
    loop {
        let Some(line) = shared.idle_waits.lock().pop() else { break };
        if !line.link.client.is_closed() {
            return Some(line);
        }
        shared.waits_open.fetch_sub(1, Ordering::AcqRel);
    }
    let may = shared
        .waits_open
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| (open < MOST).then_some(open + 1));
    may.ok()?;
    match Line::open(&shared.target, shared.process).await {
        Ok(line) => Some(Arc::new(line)),
        Err(error) => {
            tracing::debug!(%error, "no connection to wait on");
            shared.waits_open.fetch_sub(1, Ordering::AcqRel);
            None
        }
    }
}

/// Stands in the queue; whether the lock was given, or the wait given up.
async fn stand(shared: &Arc<Shared>, start: &Start, line: &Arc<Line>) -> Result<bool> {
    let key = key_of(&start.name);
    let sql = if start.shared { "select pg_advisory_lock_shared($1)" } else { "select pg_advisory_lock($1)" };
    let lasts = millis(super::line::WAITER);
    let sign: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&shared.process, &lasts];
    line.link.within(shared.target.timeout, line.link.client.query(&line.beat, &sign)).await?;
    let _waiting = shared.note_waiting(line.pid);
    let asked = [(&key as &(dyn tokio_postgres::types::ToSql + Sync), tokio_postgres::types::Type::INT8)];
    let mut lock = std::pin::pin!(line.link.client.query_typed(sql, &asked));
    let (mut is_queued, mut is_cancelled, mut pause) = (false, false, SOON);
    loop {
        tokio::select! {
            biased;
            given = &mut lock => {
                let was_given = match given {
                    Ok(_) => true,
                    Err(error) if is_cancelled && is_cancel(&error) => false,
                    Err(error) => return Err(failed("postgres", &error)),
                };
                if is_cancelled {
                    let let_go = (!was_given).then_some((key, start.shared));
                    outlast_cancel(shared, line, let_go).await?;
                }
                return Ok(was_given);
            }
            () = line_closed(line) => return Err(super::shared::lost()),
            () = shared.closed() => {
                // Its session would stand in the queue until the server notices.
                line.link.cancel().await;
                return Err(super::shared::lost());
            }
            () = start.unwanted.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
        if !is_cancelled && shared.desk.lock().waits.is_given_up(start) {
            is_cancelled = true;
            line.link.cancel().await;
            pause = SOON;
            continue;
        }
        if is_cancelled {
            // The request to cancel may have come before the statement.
            line.link.cancel().await;
            pause = LATER;
            continue;
        }
        // Later looks are the chores'.
        if !is_queued && super::chores::look(shared, key, line.pid, true).await {
            is_queued = true;
            shared.visit(|desk| desk.queued(shared.clock.now(), start));
        }
        pause = if is_queued { super::chores::TICK } else { pause * 2 };
    }
}

fn is_cancel(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&tokio_postgres::error::SqlState::QUERY_CANCELED)
}

/// A cancel may come late, and end the next statement instead; and a wait that was cancelled may have been given its lock
/// before, which then has to go.
async fn outlast_cancel(shared: &Shared, line: &Line, let_go: Option<(i64, bool)>) -> Result<()> {
    let sql = match let_go {
        Some((key, true)) => format!("select pg_advisory_unlock_shared({key})"),
        Some((key, false)) => format!("select pg_advisory_unlock({key})"),
        None => "select".to_owned(),
    };
    loop {
        let answer = tokio::time::timeout(shared.target.timeout, line.link.client.simple_query(&sql)).await;
        match answer.map_err(|_| super::shared::lost())? {
            Err(error) if is_cancel(&error) => {}
            answer => return answer.map(drop).map_err(|error| failed("postgres", &error)),
        }
    }
}

async fn line_closed(line: &Arc<Line>) {
    line.link.closed().await;
}

/// The lock was given: a sign of life, a token, and whether others wait too.
async fn take_over(
    shared: &Arc<Shared>,
    start: &Start,
    line: &Line,
) -> Result<(u64, bool, std::time::Duration)> {
    let lasts = shared.visit(|desk| {
        let ttl = desk.table.at(&start.name, 64).map(|(_, lease)| lease.ttl).max().unwrap_or_default();
        super::line::Pulse::new(Instant::from_nanos(0)).wanted(ttl)
    });
    let client = &line.link.client;
    let (key, lasts_ms) = (key_of(&start.name), millis(lasts));
    let int8 = tokio_postgres::types::Type::INT8;
    let others_of =
        [(&key as &(dyn tokio_postgres::types::ToSql + Sync), int8.clone()), (&shared.process, int8)];
    let beat_of: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&shared.process, &lasts_ms];
    let both = futures_util::future::try_join(
        client.query_one(&line.beat, &beat_of),
        client.query_typed("select tenure.others_wait($1, $2)", &others_of),
    );
    let (beat, others) = line.link.within(shared.target.timeout, both).await?;
    let token = u64::try_from(beat.get::<_, i64>(0)).unwrap_or(0);
    Ok((token, others.first().is_some_and(|row| row.get(0)), lasts))
}
