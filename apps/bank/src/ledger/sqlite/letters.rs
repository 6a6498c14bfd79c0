//! The outbox in SQLite.

use rusqlite::{Connection, Row, params};
use tenure::Result;
use uuid::Uuid;

use super::Sqlite;
use crate::ledger::outbox::{Message, Outbox, Outcome, State, Tally};
use crate::ledger::{Fut, Timestamp, signed, unsigned};

const MESSAGE: &str =
    "select id, account, version, operation, body, state, attempts, error, written_at from message as m";
/// A message that is the oldest open one of its account, and due at `?1`.
const IS_DUE: &str = "state in (0, 3) and due_at <= ?1 and not exists (select 1 from message as older \
                      where older.account = m.account and older.state in (0, 3) and older.id < m.id)";

impl Outbox for Sqlite {
    fn due(&self, limit: u32, now: Timestamp) -> Fut<'_, Result<Vec<Message>>> {
        Box::pin(self.file.read(move |db| {
            let mut ask = db.prepare_cached(&format!("{MESSAGE} where {IS_DUE} order by id limit ?2"))?;
            ask.query_map(params![now.0, limit], a_message)?.collect()
        }))
    }

    fn begin<'a>(&'a self, ids: &'a [u64], now: Timestamp, until: Timestamp) -> Fut<'a, Result<Vec<u64>>> {
        let ids = ids.to_vec();
        Box::pin(self.file.write(move |db| {
            let mut take = db.prepare_cached(&format!(
                "update message as m set state = 3, attempts = attempts + 1, due_at = ?2 where id = ?3 and {IS_DUE}"
            ))?;
            let mut begun = Vec::with_capacity(ids.len());
            for id in ids {
                if take.execute(params![now.0, until.0, signed(id)])? == 1 {
                    begun.push(id);
                }
            }
            Ok(begun)
        }))
    }

    fn finish<'a>(&'a self, outcomes: &'a [(u64, Outcome)], now: Timestamp) -> Fut<'a, Result<()>> {
        let outcomes = outcomes.to_vec();
        Box::pin(
            self.file
                .write(move |db| outcomes.iter().try_for_each(|(id, outcome)| finish(db, *id, outcome, now))),
        )
    }

    fn clean(&self, before: Timestamp) -> Fut<'_, Result<u64>> {
        Box::pin(self.file.write(move |db| {
            let removed = db.execute("delete from message where state = 1 and ended_at < ?1", [before.0])?;
            Ok(removed as u64)
        }))
    }

    fn tally(&self) -> Fut<'_, Result<Tally>> {
        Box::pin(self.file.read(|db| {
            let mut ask = db.prepare_cached("select state, count(*) from message group by state")?;
            let mut tally = Tally::default();
            for row in ask.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))? {
                let (state, count) = row?;
                if let Some(state) = State::of(state) {
                    *tally.of_mut(state) = unsigned(count);
                }
            }
            Ok(tally)
        }))
    }

    fn messages(&self, state: State, limit: u32) -> Fut<'_, Result<Vec<Message>>> {
        Box::pin(self.file.read(move |db| {
            let mut ask = db.prepare_cached(&format!("{MESSAGE} where state = ?1 order by id limit ?2"))?;
            ask.query_map(params![state.number(), limit], a_message)?.collect()
        }))
    }
}

fn finish(db: &Connection, id: u64, outcome: &Outcome, now: Timestamp) -> rusqlite::Result<()> {
    let (state, due, error) = outcome.standing(now);
    let mut end = db.prepare_cached(
        "update message set state = ?2, due_at = ?3, ended_at = ?4, error = ?5 where id = ?1 and state in (0, 3)",
    )?;
    end.execute(params![signed(id), state.number(), due.0, now.0, error])?;
    Ok(())
}

fn a_message(row: &Row<'_>) -> rusqlite::Result<Message> {
    Ok(Message {
        id: unsigned(row.get(0)?),
        account: row.get(1)?,
        version: unsigned(row.get(2)?),
        operation: Uuid::from_bytes(row.get(3)?),
        body: row.get(4)?,
        state: State::of(row.get(5)?).unwrap_or(State::Failed),
        attempts: row.get(6)?,
        error: row.get(7)?,
        written_at: Timestamp(row.get(8)?),
    })
}
