//! The directory: leases and waiting claims of all processes that are older than a second, for lists and for force.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::chores::query;
use super::desk::Desk;
use super::line::millis;
use super::shared::Shared;
use crate::claim::{Digest, LeaseId, Meta, Mode, Origin};
use crate::clock::Instant;
use crate::error::{Error, Result};
use crate::lease::{Kind, Listed, Page, Query};
use crate::memory::table::{Lease, State};
use crate::name::Names;
use crate::provider::{Force, Forced};
use crate::token::FencingToken;

/// What is younger is not written: most leases never are.
const OLD: Duration = Duration::from_secs(1);

/// How late the directory may be: the age from which it is written, and until it is.
pub(super) const LAG: Duration = Duration::from_millis(1_600);

/// What was written of a claim: whether it waited, its place and its end.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Written {
    waits: bool,
    ahead: u32,
    expires: Instant,
}

/// A row to be written.
struct Entry {
    digest: Digest,
    names: Vec<String>,
    mode: Mode,
    written: Written,
    remote: bool,
    token: Option<i64>,
    ttl: Duration,
    age: Duration,
    remaining: Option<Duration>,
    meta: Option<String>,
}

const PUT: &str = "insert into tenure.directory as d
    (digest, process, names, mode, take, permits, waits, remote, token, ttl, since, expires, ahead, meta)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10 * interval '1 ms',
        clock_timestamp() - $11 * interval '1 ms', clock_timestamp() + $12 * interval '1 ms', $13, $14)
    on conflict (process, digest) do update set names = excluded.names, waits = excluded.waits, token = excluded.token,
        expires = excluded.expires, ahead = excluded.ahead, since = excluded.since";

/// Writes what has changed since the last time.
pub(super) async fn write(shared: &Arc<Shared>, written: &mut HashMap<LeaseId, Written>) -> Result<()> {
    let now = shared.clock.now();
    let (entries, gone) = {
        let desk = shared.desk.lock();
        let mut entries = Vec::new();
        for (id, lease) in desk.table.all() {
            let state = written_of(&desk, now, id, lease);
            if lease.since.until(now) >= OLD && state.expires > now && written.get(id) != Some(&state) {
                entries.push((*id, entry(now, id, lease, state)));
            }
        }
        let is_gone = |id: &&LeaseId| {
            desk.table.lease(id).is_none_or(|lease| written_of(&desk, now, id, lease).expires <= now)
        };
        (entries, written.keys().filter(is_gone).copied().collect::<Vec<_>>())
    };
    if !gone.is_empty() {
        let digests: Vec<Vec<u8>> = gone.iter().map(|id| id.digest().to_bytes().to_vec()).collect();
        let sql = "delete from tenure.directory where process = $1 and digest = any ($2)";
        query(shared, sql, &[(&shared.process, Type::INT8), (&digests, Type::BYTEA_ARRAY)]).await?;
        for id in &gone {
            written.remove(id);
        }
    }
    for (id, entry) in entries {
        let state = entry.written;
        put(shared, entry).await?;
        written.insert(id, state);
    }
    Ok(())
}

async fn put(shared: &Shared, entry: Entry) -> Result<()> {
    let digest = entry.digest.to_bytes().to_vec();
    let (take, permits) = match entry.mode {
        Mode::Permits { take, of } => (take as i32, of as i32),
        _ => (0, 0),
    };
    let (ttl, age, remaining) = (millis(entry.ttl), millis(entry.age), entry.remaining.map(millis));
    let ahead = i32::try_from(entry.written.ahead).unwrap_or(i32::MAX);
    let word = entry.mode.word();
    query(
        shared,
        PUT,
        &[
            (&digest, Type::BYTEA),
            (&shared.process, Type::INT8),
            (&entry.names, Type::TEXT_ARRAY),
            (&word, Type::TEXT),
            (&take, Type::INT4),
            (&permits, Type::INT4),
            (&entry.written.waits, Type::BOOL),
            (&entry.remote, Type::BOOL),
            (&entry.token, Type::INT8),
            (&ttl, Type::FLOAT8),
            (&age, Type::FLOAT8),
            (&remaining, Type::FLOAT8),
            (&ahead, Type::INT4),
            (&entry.meta, Type::TEXT),
        ],
    )
    .await
    .map(drop)
}

fn written_of(desk: &Desk, now: Instant, id: &LeaseId, lease: &Lease) -> Written {
    match &lease.state {
        State::Held(held) => Written { waits: false, ahead: 0, expires: held.expires },
        State::Waiting(_) => {
            Written { waits: true, ahead: desk.table.place_of(now, *id), expires: Instant::NEVER }
        }
    }
}

fn entry(now: Instant, id: &LeaseId, lease: &Lease, written: Written) -> Entry {
    let (names, token, remaining) = match &lease.state {
        State::Held(held) => {
            (&held.names, i64::try_from(held.tokens.first().get()).ok(), Some(now.until(held.expires)))
        }
        State::Waiting(_) => (&lease.names, None, None),
    };
    Entry {
        digest: id.digest(),
        names: names.iter().map(|name| name.as_str().to_owned()).collect(),
        mode: lease.mode,
        written,
        remote: lease.origin == Origin::Remote,
        token,
        ttl: lease.ttl,
        age: lease.since.until(now),
        remaining,
        meta: lease.meta.as_ref().map(|meta| words_of(meta)),
    }
}

/// Metadata as one text: it has no control characters of its own.
fn words_of(meta: &Meta) -> String {
    meta.iter().map(|(key, value)| format!("{key}\t{value}")).collect::<Vec<_>>().join("\n")
}

fn meta_of(words: &str) -> Option<Meta> {
    Meta::new(words.lines().filter_map(|line| line.split_once('\t'))).ok()
}

const LIST: &str = "select digest, names, mode, take, permits, remote, token,
        extract(epoch from d.ttl)::float8, extract(epoch from clock_timestamp() - since)::float8,
        extract(epoch from expires - clock_timestamp())::float8, ahead, meta
    from tenure.directory_of_the_living d
    where process <> $1 and waits = $2 and digest > $3 and (expires is null or expires > clock_timestamp())
        and exists (select from unnest(names) n where starts_with(n, $4))
    order by digest limit $5";

/// Lists what this process has, and what the directory says of the others.
pub(super) async fn list(shared: &Shared, asked: &Query) -> Result<Page> {
    let now = shared.clock.now();
    let mut page = shared.desk.lock().table.list(now, asked);
    let waits = asked.kind == Kind::Waiters;
    let after = asked.after.map_or(Vec::new(), |digest| digest.to_bytes().to_vec());
    let limit = i64::try_from(asked.limit).unwrap_or(i64::MAX - 1) + 1;
    let rows = query(
        shared,
        LIST,
        &[
            (&shared.process, Type::INT8),
            (&waits, Type::BOOL),
            (&after, Type::BYTEA),
            (&asked.prefix, Type::TEXT),
            (&limit, Type::INT8),
        ],
    )
    .await?;
    for row in &rows {
        page.entries.push(listed(row, waits)?);
    }
    page.entries.sort_by_key(|entry| entry.lease);
    let more = page.next.is_some() || page.entries.len() > asked.limit;
    page.entries.truncate(asked.limit);
    page.next = more.then(|| page.entries.last().map(|entry| entry.lease)).flatten();
    Ok(page)
}

fn listed(row: &Row, waits: bool) -> Result<Listed> {
    let strange = || Error::internal("list", "a row of the directory cannot be read");
    let digest: Vec<u8> = row.get(0);
    let digest = Digest::from_bytes(digest.try_into().map_err(|_| strange())?);
    let names = Names::parse(row.get::<_, Vec<String>>(1))?;
    let permits = |index| u32::try_from(row.get::<_, i32>(index)).unwrap_or(0);
    let mode = match row.get::<_, &str>(2) {
        "exclusive" => Mode::Exclusive,
        "shared" => Mode::Shared,
        _ => Mode::Permits { take: permits(3), of: permits(4) },
    };
    let origin = if row.get(5) { Origin::Remote } else { Origin::Local };
    let span = |seconds: f64| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default();
    let mut listed = Listed::new(digest, names, mode, span(row.get(7)), origin);
    listed.token =
        row.get::<_, Option<i64>>(6).and_then(|token| FencingToken::new(token.cast_unsigned()).ok());
    listed.age = span(row.get(8));
    listed.remaining = row.get::<_, Option<f64>>(9).map(span).filter(|_| !waits);
    listed.ahead = permits(10);
    listed.meta = row.get::<_, Option<&str>>(11).and_then(meta_of).map(Arc::new);
    Ok(listed)
}

impl Desk {
    /// Takes a lease from its holder here, or asks for it; what became of it.
    pub(super) fn force(&mut self, now: Instant, digest: Digest, at_once: bool) -> Forced {
        let found = self.table.all().find(|(id, _)| id.digest() == digest);
        let names: Vec<_> = found.into_iter().flat_map(|(_, lease)| lease.names.iter().cloned()).collect();
        let forced = self.table.force(now, digest, if at_once { Force::Now } else { Force::Revoke });
        self.settle_all(now, &names);
        forced
    }
}

/// How long another process may take to give up what it is told to.
const PATIENCE: Duration = Duration::from_secs(3);

/// Takes a lease from its holder, here or in another process.
pub(super) async fn force(shared: &Arc<Shared>, digest: Digest, how: Force) -> Result<Forced> {
    let now = shared.clock.now();
    let here = shared.visit(|desk| desk.force(now, digest, how == Force::Now));
    if here != Forced::NotFound {
        return Ok(here);
    }
    let bytes = digest.to_bytes().to_vec();
    let word = if how == Force::Now { "f" } else { "r" };
    let told = format!("{word}{digest}");
    let sql =
        "select d.waits from (select waits, process from tenure.directory_of_the_living where digest = $1) d,
        pg_notify('tenure_' || d.process, $2)";
    let rows = query(shared, sql, &[(&bytes, Type::BYTEA), (&told, Type::TEXT)]).await?;
    let Some(row) = rows.first() else { return Ok(Forced::NotFound) };
    if how == Force::Revoke && !row.get::<_, bool>(0) {
        return Ok(Forced::Asked);
    }
    let until = now + PATIENCE;
    while shared.clock.now() < until {
        let rows = query(
            shared,
            "select from tenure.directory_of_the_living where digest = $1",
            &[(&bytes, Type::BYTEA)],
        )
        .await?;
        if rows.is_empty() {
            return Ok(Forced::Ended);
        }
        tokio::time::sleep(super::chores::TICK).await;
    }
    let what = "the process that holds it does not answer; its leases end with their ttl";
    Err(Error::unavailable("force", what))
}
