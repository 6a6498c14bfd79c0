//! Claims as rows of the database, and back.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::fault::Fault;
use crate::claim::{LeaseId, Meta, Mode, Origin, Pick};
use crate::clock::Instant;
use crate::lease::Why;
use crate::memory::table::{Held, Lease, State, Waiting};
use crate::name::{Name, Names};
use crate::token::{FencingToken, TokenBlock};

/// A claim as it is kept.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) id: LeaseId,
    pub(super) seat: i64,
    pub(super) lease: Lease,
}

/// All claims at a name.
pub(super) fn at_name(db: &Connection, name: &Name) -> Result<Vec<Kept>, Fault> {
    let mut statement = db.prepare_cached(include_str!("sql/leases_at_name.sql"))?;
    let rows = statement.query_map([name.as_str()], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// All claims of the store.
pub(super) fn all(db: &Connection) -> Result<Vec<Kept>, Fault> {
    let mut statement = db.prepare_cached("select * from leases")?;
    let rows = statement.query_map([], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The names that a claim asked for, if it is held or waits.
pub(super) fn names_of(db: &Connection, id: &LeaseId) -> Result<Option<Names>, Fault> {
    let mut statement = db.prepare_cached("select names from leases where lease = ?1")?;
    let names = |row: &Row<'_>| split(&row.get::<_, String>(0)?);
    Ok(statement.query_row([id.to_bytes()], names).optional()?)
}

/// The claims that a statement with one parameter finds.
pub(super) fn ids(
    db: &Connection,
    sql: &str,
    parameter: impl rusqlite::ToSql,
) -> Result<Vec<LeaseId>, Fault> {
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([parameter], |row| Ok(LeaseId::from_bytes(row.get(0)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What is remembered of an id that ended.
pub(super) fn ended(db: &Connection, id: &LeaseId) -> Result<Option<Why>, Fault> {
    let mut statement = db.prepare_cached("select why from ended where lease = ?1")?;
    let why = |row: &Row<'_>| Ok(why_of(row.get(0)?));
    Ok(statement.query_row([id.to_bytes()], why).optional()?)
}

/// Remembers that an id ended.
pub(super) fn save_ended(db: &Connection, id: &LeaseId, why: Why, until: Instant) -> Result<(), Fault> {
    let mut statement = db.prepare_cached(include_str!("sql/save_ended.sql"))?;
    statement.execute(params![id.to_bytes(), why_number(why), instant(until)])?;
    Ok(())
}

/// Forgets ended ids whose time is over, and the oldest of more than `most`. At most 1,024 at a time.
pub(super) fn forget_ended(db: &Connection, now: Instant, most: i64) -> Result<(), Fault> {
    let mut oldest = db.prepare_cached("select seq, until from ended order by seq limit 1024")?;
    let newest: i64 =
        db.prepare_cached("select coalesce(max(seq), 0) from ended")?.query_row([], |row| row.get(0))?;
    let mut rows = oldest.query([])?;
    let mut last = None;
    while let Some(row) = rows.next()? {
        let (seq, until): (i64, i64) = (row.get(0)?, row.get(1)?);
        if until > instant(now) && seq > newest - most {
            break;
        }
        last = Some(seq);
    }
    drop(rows);
    if let Some(last) = last {
        db.prepare_cached("delete from ended where seq <= ?1")?.execute([last])?;
    }
    Ok(())
}

/// Writes a claim as it is.
pub(super) fn save(db: &Connection, id: &LeaseId, seat: i64, lease: &Lease) -> Result<(), Fault> {
    let (kind, take, of) = match lease.mode {
        Mode::Exclusive => (0, 0, 0),
        Mode::Shared => (1, 0, 0),
        Mode::Permits { take, of } => (2, take, of),
    };
    let picks = if let Pick::Any { count } = lease.pick { count } else { 0 };
    let (held, waiting) = match &lease.state {
        State::Held(held) => (Some(held), None),
        State::Waiting(waiting) => (None, Some(waiting)),
    };
    let mut statement = db.prepare_cached(include_str!("sql/save_lease.sql"))?;
    statement.execute(params![
        id.to_bytes(),
        id.digest().to_bytes(),
        seat,
        join(&lease.names),
        kind,
        take,
        of,
        picks,
        span(lease.ttl),
        span(lease.linger),
        lease.origin == Origin::Remote,
        lease.wanted.get(),
        lease.meta.as_deref().map(write_meta),
        instant(lease.since),
        held.is_some(),
        held.map(|held| join(&held.names)),
        held.map(|held| number(held.tokens.first().get())),
        held.map(|held| held.tokens.count().get()),
        held.map(|held| instant(held.expires)),
        held.map(|held| held.revoked),
        held.map(|held| held.ended),
        waiting.map(|waiting| number(waiting.ticket)),
        waiting.map(|waiting| instant(waiting.touched)),
        waiting.map(|waiting| waiting.overtaken),
        waiting.and_then(|waiting| waiting.overtaken_since).map(instant),
    ])?;
    Ok(())
}

/// Takes a claim out.
pub(super) fn remove(db: &Connection, id: &LeaseId) -> Result<(), Fault> {
    db.prepare_cached("delete from leases where lease = ?1")?.execute([id.to_bytes()])?;
    Ok(())
}

/// Puts a claim at its names.
pub(super) fn place(db: &Connection, id: &LeaseId, names: &Names) -> Result<(), Fault> {
    let mut statement = db.prepare_cached("insert into places (name, lease) values (?1, ?2)")?;
    for name in names {
        statement.execute(params![name.as_str(), id.to_bytes()])?;
    }
    Ok(())
}

/// Takes a claim away from names.
pub(super) fn unplace(db: &Connection, id: &LeaseId, names: &Names) -> Result<(), Fault> {
    let mut statement = db.prepare_cached("delete from places where name = ?1 and lease = ?2")?;
    for name in names {
        statement.execute(params![name.as_str(), id.to_bytes()])?;
    }
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<Kept> {
    let mode = match row.get("kind")? {
        0 => Mode::Exclusive,
        1 => Mode::Shared,
        2 => Mode::Permits { take: row.get("take")?, of: row.get("of")? },
        _ => return Err(damaged("an unknown kind of lease")),
    };
    let pick = match row.get("picks")? {
        0 => Pick::All,
        count => Pick::Any { count },
    };
    let lease = Lease {
        names: split(&row.get::<_, String>("names")?)?,
        mode,
        pick,
        ttl: to_span(row.get("ttl")?),
        linger: to_span(row.get("linger")?),
        revocable: false,
        origin: if row.get("remote")? { Origin::Remote } else { Origin::Local },
        wanted: count(row.get("wanted")?)?,
        meta: row.get::<_, Option<String>>("meta")?.map(|text| read_meta(&text)).transpose()?.map(Arc::new),
        since: to_instant(row.get("since")?),
        state: if row.get("held")? { read_held(row)? } else { read_waiting(row)? },
    };
    Ok(Kept { id: LeaseId::from_bytes(row.get("lease")?), seat: row.get("seat")?, lease })
}

fn read_held(row: &Row<'_>) -> rusqlite::Result<State> {
    let first = FencingToken::new(row.get::<_, i64>("token")?.unsigned_abs()).map_err(damaged)?;
    Ok(State::Held(Held {
        names: split(&row.get::<_, String>("picked")?)?,
        tokens: TokenBlock::new(first, count(row.get("tokens")?)?),
        expires: to_instant(row.get("expires")?),
        revoked: row.get("revoked")?,
        ended: row.get("ended")?,
    }))
}

fn read_waiting(row: &Row<'_>) -> rusqlite::Result<State> {
    Ok(State::Waiting(Waiting {
        ticket: row.get::<_, i64>("ticket")?.unsigned_abs(),
        touched: to_instant(row.get("touched")?),
        overtaken: row.get("overtaken")?,
        overtaken_since: row.get::<_, Option<i64>>("overtaken_since")?.map(to_instant),
    }))
}

/// A value that only a damaged database has.
fn damaged(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Null, what.into())
}

fn count(number: u32) -> rusqlite::Result<NonZeroU32> {
    NonZeroU32::new(number).ok_or_else(|| damaged("a count of zero"))
}

/// Instants and spans beyond 292 years are the greatest that a column holds.
pub(super) fn instant(instant: Instant) -> i64 {
    number(instant.as_nanos())
}

pub(super) fn to_instant(nanos: i64) -> Instant {
    if nanos == i64::MAX { Instant::NEVER } else { Instant::from_nanos(nanos.unsigned_abs()) }
}

pub(super) fn span(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

pub(super) fn to_span(nanos: i64) -> Duration {
    Duration::from_nanos(nanos.unsigned_abs())
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Names joined by a character that no name has.
pub(super) fn join(names: &Names) -> String {
    let names: Vec<&str> = names.iter().map(Name::as_str).collect();
    names.join("\n")
}

/// The names that [`join`] joined, in their order, which is the claim's preference.
pub(super) fn names(joined: &str) -> crate::error::Result<Names> {
    let names: Vec<Name> = joined.split('\n').map(Name::new).collect::<crate::error::Result<_>>()?;
    Names::ranked(names)
}

fn split(text: &str) -> rusqlite::Result<Names> {
    names(text).map_err(damaged)
}

fn write_meta(meta: &Meta) -> String {
    meta.iter().map(|(key, value)| format!("{key}\t{value}\n")).collect()
}

fn read_meta(text: &str) -> rusqlite::Result<Meta> {
    Meta::new(text.lines().filter_map(|line| line.split_once('\t'))).map_err(damaged)
}

const WHYS: [Why; 4] = [Why::Unknown, Why::Expired, Why::Forced, Why::Store];

/// The number of a reason in the database and in a datagram.
pub(super) fn why_number(why: Why) -> u8 {
    let found = WHYS.iter().position(|known| *known == why);
    found.and_then(|index| u8::try_from(index).ok()).unwrap_or(0)
}

/// The reason of a number; what is not known is `Unknown`.
pub(super) fn why_of(number: u8) -> Why {
    WHYS.get(usize::from(number)).copied().unwrap_or(Why::Unknown)
}
