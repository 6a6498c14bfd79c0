//! The outbox in PostgreSQL.

use tenure::Result;
use tenure_server::postgres::{ask, connection};
use tokio_postgres::Row;

use super::Postgres;
use crate::ledger::outbox::{Message, Outbox, Outcome, State, Tally};
use crate::ledger::{Fut, Timestamp, signed, unsigned};

const MESSAGE: &str =
    "m.id, m.account, m.version, m.operation, m.body, m.state, m.attempts, m.error, m.written_at";
/// A message that is the oldest open one of its account, and due at `$1`.
const IS_DUE: &str = "m.state in (0, 3) and m.due_at <= $1 and not exists (select from bank.message as older \
                      where older.account = m.account and older.state in (0, 3) and older.id < m.id)";

impl Outbox for Postgres {
    fn due(&self, limit: u32, now: Timestamp) -> Fut<'_, Result<Vec<Message>>> {
        Box::pin(async move {
            let sql =
                format!("select {MESSAGE} from bank.message as m where {IS_DUE} order by m.id limit $2");
            let rows = self.rows(&sql, &[&now.0, &i64::from(limit)]).await?;
            Ok(rows.iter().map(a_message).collect())
        })
    }

    fn begin<'a>(&'a self, ids: &'a [u64], now: Timestamp, until: Timestamp) -> Fut<'a, Result<Vec<u64>>> {
        Box::pin(async move {
            let sql = format!(
                "update bank.message as m set state = 3, attempts = m.attempts + 1, due_at = $2 \
                 where m.id = any($3) and {IS_DUE} returning m.id"
            );
            let ids: Vec<i64> = ids.iter().copied().map(signed).collect();
            let rows = self.rows(&sql, &[&now.0, &until.0, &ids]).await?;
            let mut begun: Vec<u64> = rows.iter().map(|row| unsigned(row.get(0))).collect();
            begun.sort_unstable();
            Ok(begun)
        })
    }

    fn finish<'a>(&'a self, outcomes: &'a [(u64, Outcome)], now: Timestamp) -> Fut<'a, Result<()>> {
        Box::pin(async move {
            let sql = "update bank.message as m set state = o.state, due_at = o.due_at, ended_at = $5, error = o.error \
                       from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[]) as o (id, state, due_at, error) \
                       where m.id = o.id and m.state in (0, 3)";
            let ids: Vec<i64> = outcomes.iter().map(|(id, _)| signed(*id)).collect();
            let (mut states, mut dues, mut errors) = (Vec::new(), Vec::new(), Vec::new());
            for (_, outcome) in outcomes {
                let (state, due, error) = outcome.standing(now);
                states.push(state.number());
                dues.push(due.0);
                errors.push(error);
            }
            self.rows(sql, &[&ids, &states, &dues, &errors, &now.0]).await.map(|_| ())
        })
    }

    fn clean(&self, before: Timestamp) -> Fut<'_, Result<u64>> {
        Box::pin(async move {
            let sql = "delete from bank.message where state = 1 and ended_at < $1";
            ask(connection(&self.pool).await?, async |db| db.execute(sql, &[&before.0]).await).await
        })
    }

    fn tally(&self) -> Fut<'_, Result<Tally>> {
        Box::pin(async move {
            let rows = self.rows("select state, count(*) from bank.message group by state", &[]).await?;
            let mut tally = Tally::default();
            for row in &rows {
                if let Some(state) = State::of(row.get(0)) {
                    *tally.of_mut(state) = unsigned(row.get(1));
                }
            }
            Ok(tally)
        })
    }

    fn messages(&self, state: State, limit: u32) -> Fut<'_, Result<Vec<Message>>> {
        Box::pin(async move {
            let sql =
                format!("select {MESSAGE} from bank.message as m where m.state = $1 order by m.id limit $2");
            let rows = self.rows(&sql, &[&state.number(), &i64::from(limit)]).await?;
            Ok(rows.iter().map(a_message).collect())
        })
    }
}

fn a_message(row: &Row) -> Message {
    Message {
        id: unsigned(row.get(0)),
        account: row.get(1),
        version: unsigned(row.get(2)),
        operation: row.get(3),
        body: row.get(4),
        state: State::of(row.get(5)).unwrap_or(State::Failed),
        attempts: u32::try_from(row.get::<_, i64>(6)).unwrap_or(u32::MAX),
        error: row.get(7),
        written_at: Timestamp(row.get(8)),
    }
}
