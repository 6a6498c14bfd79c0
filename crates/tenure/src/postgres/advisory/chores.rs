//! What happens by itself: leases run out, waiters ask again, sessions give signs of life, overdue ones are ended, and the
//! directory for lists is written. One connection serves all of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_postgres::types::{ToSql, Type};

use super::super::link::Link;
use super::super::schema;
use super::directory::{self, Written};
use super::line::Line;
use super::shared::{Shared, lost};
use super::title::key_of;
use crate::claim::LeaseId;
use crate::clock::Instant;
use crate::error::Result;

/// How often waiters that ask by tries ask, and leases that have run out are looked for.
pub(super) const TICK: Duration = Duration::from_millis(50);

/// How often waiters look at those who hold what they wait for, in ticks; how often the directory is written; and how often
/// signs of life are given for those who wait.
const LOOK: u64 = 10;
const WRITE: u64 = 5;
const BEAT: u64 = 20;

/// How often what is gone is swept up.
const SWEEP: u64 = 600;

/// The connection for looks, lists and what others tell.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) link: Link,
}

/// What others tell: a payload of our channel.
pub(super) type News = mpsc::Receiver<String>;

/// Opens the connection, and listens.
pub(super) async fn open(shared: &Shared) -> Result<(Control, News)> {
    let (sender, news) = mpsc::channel(4_096);
    let ear = Box::new(move |_: &str, payload: &str| {
        // A hint: what is told when there is no room is found out later.
        let _ = sender.try_send(payload.to_owned());
    });
    let link = Link::open(&shared.target, ear).await?;
    let setting = "set statement_timeout = 0; set idle_session_timeout = 0; set synchronous_commit = off";
    let listen = format!("{setting}; listen tenure_{}", shared.process);
    link.within(shared.target.connect_timeout, link.client.batch_execute(&listen)).await?;
    schema::begin(&link).await?;
    Ok((Control { link }, news))
}

/// The task: until everything is closed.
pub(super) async fn run(shared: Arc<Shared>, mut news: News) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut count = 0_u64;
    let mut written: HashMap<LeaseId, Written> = HashMap::new();
    loop {
        tokio::select! {
            () = shared.closed() => return,
            told = news.recv() => match told {
                Some(told) => hear(&shared, &told),
                None => match reopen(&shared).await {
                    Some(again) => news = again,
                    None => return,
                },
            },
            _ = tick.tick() => {
                count += 1;
                step(&shared);
                if let Err(error) = by_turns(&shared, count, &mut written).await {
                    tracing::debug!(%error, "a chore was not done");
                }
            }
        }
    }
}

fn step(shared: &Arc<Shared>) {
    let now = shared.clock.now();
    shared.visit(|desk| {
        if desk.is_thirsty && desk.is_dry() {
            return;
        }
        desk.expire(now);
        desk.forget_waiters(now);
        desk.poll(now);
        desk.outbox.beat_due(now);
        if desk.is_dry() && !desk.titles.is_empty() {
            desk.is_thirsty = true;
            desk.outbox.fetch_tokens();
        }
    });
    if shared.desk.lock().outbox.primaries() == 0 {
        let shared = Arc::clone(shared);
        tokio::spawn(async move { add_primary(&shared).await });
    }
}

async fn by_turns(shared: &Arc<Shared>, count: u64, written: &mut HashMap<LeaseId, Written>) -> Result<()> {
    if count.is_multiple_of(LOOK) {
        let polled: Vec<_> = shared.desk.lock().waits.polled.iter().cloned().collect();
        for name in polled {
            look(shared, key_of(&name), 0, true).await;
        }
        let queued = shared.desk.lock().waits.names();
        for name in queued {
            look(shared, key_of(&name), 0, true).await;
        }
    }
    if count.is_multiple_of(BEAT) {
        let pids: Vec<i32> = shared.waiting.lock().iter().copied().collect();
        if !pids.is_empty() {
            query(shared, "select tenure.beat_for($1)", &[(&pids, Type::INT4_ARRAY)]).await?;
        }
    }
    if count.is_multiple_of(WRITE) {
        directory::write(shared, written).await?;
    }
    if count.is_multiple_of(SWEEP) {
        query(shared, "select tenure.sweep()", &[]).await?;
    }
    Ok(())
}

/// What another process told.
fn hear(shared: &Arc<Shared>, told: &str) {
    let now = shared.clock.now();
    match told.split_at_checked(1) {
        Some(("w", key)) => {
            if let Ok(key) = key.parse() {
                shared.visit(|desk| desk.hear_waiter(now, key));
            }
        }
        Some((how @ ("f" | "r"), digest)) => {
            if let Ok(digest) = digest.parse() {
                shared.visit(|desk| desk.force(now, digest, how == "f"));
            }
        }
        _ => tracing::debug!("a message of another version was passed over"),
    }
}

async fn reopen(shared: &Arc<Shared>) -> Option<News> {
    let mut pause = TICK;
    loop {
        if shared.is_closed() {
            return None;
        }
        match open(shared).await {
            Ok((control, news)) => {
                *shared.control.lock().await = Some(control);
                return Some(news);
            }
            Err(error) => tracing::debug!(%error, "no connection to postgres"),
        }
        step(shared);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

/// Opens a connection that takes locks by trying.
pub(super) async fn add_primary(shared: &Arc<Shared>) -> bool {
    let _one_at_a_time = shared.opening.lock().await;
    if shared.is_closed() || shared.desk.lock().outbox.primaries() > 0 {
        return true;
    }
    let sent: Instant = shared.clock.now();
    match Line::open(&shared.target, shared.process).await {
        Ok(line) => {
            shared.add_primary(sent, line);
            true
        }
        Err(error) => {
            tracing::debug!(%error, "no connection to postgres");
            false
        }
    }
}

/// Looks at who holds a key: they are told that somebody waits, where `announce` says so, and ended when they are overdue.
/// Whether the session `waiter` waits for it.
pub(super) async fn look(shared: &Shared, key: i64, waiter: i32, announce: bool) -> bool {
    let asked: [(&(dyn ToSql + Sync), Type); 3] =
        [(&key, Type::INT8), (&waiter, Type::INT4), (&announce, Type::BOOL)];
    let rows = query(shared, "select waits, ended from tenure.look($1, $2, $3)", &asked).await;
    rows.ok().and_then(|rows| rows.first().map(|row| row.get(0))).unwrap_or(false)
}

/// What the connection for such things answers.
pub(super) async fn query(
    shared: &Shared,
    sql: &str,
    asked: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<tokio_postgres::Row>> {
    let control = shared.control.lock().await;
    let Some(control) = control.as_ref() else { return Err(lost()) };
    control.link.within(shared.target.timeout, control.link.client.query_typed(sql, asked)).await
}
