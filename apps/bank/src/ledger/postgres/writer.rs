//! The one task of a process that changes the books: steps that wait together are one transaction.
//!
//! A transaction locks the accounts of all its steps, in the order of their ids, so that no two processes wait for each other;
//! lets the rules decide; and writes what changed with one statement a table. Three trips, however many steps.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use deadpool_postgres::{Object, Pool};
use futures_util::future::join_all;
use futures_util::{FutureExt as _, try_join};
use tenure::{Error, Result};
use tenure_server::postgres::{ask, connection};
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::rows::{ACCOUNT, an_account, columns};
use crate::ledger::outbox::Notice;
use crate::ledger::rules::{self, Loaded};
use crate::ledger::step::{IdempotencyKey, Posted, Refused, StaleWrites, Step};
use crate::ledger::{Account, AccountKey, Event, SNAPSHOT_EVERY, Timestamp, signed};

/// How many calls may wait.
const QUEUE: usize = 4_096;
/// How many calls one transaction has at most.
const GROUP: usize = 256;
/// How often a transaction is begun again when somebody else was faster to open an account or to use a key.
const TRIES: usize = 5;

type Answers = Vec<Result<Posted, Refused>>;
type Call = (Vec<Step>, oneshot::Sender<Result<Answers>>);

/// The handle of the task. It ends with the last handle.
#[derive(Clone)]
pub(super) struct Writer {
    calls: mpsc::Sender<Call>,
    pub(super) stale: Arc<StaleWrites>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn start(pool: Pool) -> Self {
        let (calls, asked) = mpsc::channel(QUEUE);
        let stale = Arc::<StaleWrites>::default();
        tokio::spawn(run(pool, asked, Arc::clone(&stale)));
        Writer { calls, stale }
    }

    pub(super) async fn apply(&self, steps: Vec<Step>) -> Result<Answers> {
        let gone = || Error::unavailable("books", "the writer of the books has ended");
        let (answer, answered) = oneshot::channel();
        self.calls.send((steps, answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

async fn run(pool: Pool, mut asked: mpsc::Receiver<Call>, stale: Arc<StaleWrites>) {
    let mut group = Vec::with_capacity(GROUP);
    while asked.recv_many(&mut group, GROUP).await > 0 {
        let steps: Vec<&Step> = group.iter().flat_map(|(steps, _)| steps).collect();
        let ended = carry_out(&pool, &steps).await;
        if let Err(error) = &ended {
            tracing::warn!(error = %error, steps = steps.len(), "a transaction of the books failed");
        }
        if let Ok(answers) = &ended {
            stale.count(answers);
        }
        let mut answers = ended.map(Vec::into_iter);
        for (steps, answer) in group.drain(..) {
            let own = match &mut answers {
                Ok(answers) => Ok(answers.by_ref().take(steps.len()).collect()),
                Err(error) => Err(error.twin()),
            };
            // Whoever asked may have gone.
            let _ = answer.send(own);
        }
    }
}

async fn carry_out(pool: &Pool, steps: &[&Step]) -> Result<Answers> {
    for _ in 0..TRIES {
        let db = connection(pool).await?;
        if let Some(answers) = ask(db, async |db| transaction(db, steps).await).await?? {
            return Ok(answers);
        }
    }
    Err(Error::unavailable("books", "others open the same accounts again and again"))
}

/// One transaction. `None` when somebody else was faster and nothing was changed.
async fn transaction(db: &Object, steps: &[&Step]) -> Result<Result<Option<Answers>>, tokio_postgres::Error> {
    let (known, keys) = match load(db, steps).await? {
        Ok(loaded) => loaded,
        Err(error) => return db.batch_execute("rollback").await.map(|()| Err(error)),
    };
    let mut accounts = known.clone();
    let mut work = Work { at: Timestamp::now(), keys, events: Vec::new(), new_keys: Vec::new() };
    let answers = steps.iter().map(|step| work.decide(&mut accounts, step)).collect();
    if work.events.is_empty() {
        return db.batch_execute("rollback").await.map(|()| Ok(Some(answers)));
    }
    match save(db, &known, &accounts, &work).await {
        Ok(true) => db.batch_execute("commit").await.map(|()| Ok(Some(answers))),
        Ok(false) => db.batch_execute("rollback").await.map(|()| Ok(None)),
        Err(error) if error.code().is_some_and(is_lost_race) => {
            db.batch_execute("rollback").await.map(|()| Ok(None))
        }
        Err(error) => Err(error),
    }
}

/// Events of an account that somebody else has just opened are refused as the account is; and two that open each other's
/// accounts may wait for each other.
fn is_lost_race(code: &SqlState) -> bool {
    [SqlState::UNIQUE_VIOLATION, SqlState::T_R_DEADLOCK_DETECTED].contains(code)
}

/// Keys that were used before, with what was asked and what was answered.
type Keys = HashMap<String, (String, String)>;

/// Begins the transaction, and loads and locks what the steps are about.
async fn load(db: &Object, steps: &[&Step]) -> Result<Result<(Loaded, Keys)>, tokio_postgres::Error> {
    let mut ids: Vec<AccountKey> =
        steps.iter().flat_map(|step| &step.entries).map(|entry| entry.account.clone()).collect();
    ids.sort_unstable();
    ids.dedup();
    let (books, ids) = columns(&ids);
    let keys: Vec<&str> = steps.iter().filter_map(|step| Some(&*step.key.as_ref()?.key)).collect();
    let lock = format!(
        "select {ACCOUNT} from bank.account as a join unnest($1::text[], $2::text[]) as k (book, id) using (book, id) \
         order by a.book, a.id for update of a"
    );
    let known = "select key, request, outcome from bank.idempotency where key = any($1)";
    let (lock, known) = try_join!(db.prepare_cached(&lock), db.prepare_cached(known))?;
    // All three leave in one go, in this order.
    let lock_values: [&(dyn ToSql + Sync); 2] = [&books, &ids];
    let key_values: [&(dyn ToSql + Sync); 1] = [&keys];
    let began = db.batch_execute("begin");
    let locking = db.query(&lock, &lock_values);
    let (rows, known) = if keys.is_empty() {
        let ((), rows) = try_join!(began, locking)?;
        (rows, Vec::new())
    } else {
        let ((), rows, known) = try_join!(began, locking, db.query(&known, &key_values))?;
        (rows, known)
    };
    let accounts =
        rows.iter().map(|row| an_account(row).map(|account| (account.key.clone(), account))).collect();
    let keys = known.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
    Ok(Result::<Loaded>::map(accounts, |accounts| (accounts, keys)))
}

/// What a transaction is about to write.
struct Work<'a> {
    at: Timestamp,
    keys: Keys,
    events: Vec<Event>,
    new_keys: Vec<(&'a IdempotencyKey, String)>,
}

impl<'a> Work<'a> {
    fn decide(&mut self, accounts: &mut Loaded, step: &'a Step) -> Result<Posted, Refused> {
        if let Some(key) = &step.key
            && let Some((request, outcome)) = self.keys.get(&*key.key)
        {
            return key.answer(request, outcome);
        }
        let posted = rules::decide(accounts, &mut self.events, step, self.at)?;
        if let Some(key) = &step.key {
            let outcome = posted.to_text();
            self.keys.insert(key.key.to_string(), (key.request.to_string(), outcome.clone()));
            self.new_keys.push((key, outcome));
        }
        Ok(posted)
    }
}

/// Writes everything, and answers whether all of it could be: an account or a key may be there by now.
async fn save(
    db: &Object,
    known: &Loaded,
    accounts: &Loaded,
    work: &Work<'_>,
) -> Result<bool, tokio_postgres::Error> {
    let mut changed: Vec<&Account> =
        accounts.values().filter(|account| known.get(&account.key) != Some(*account)).collect();
    changed.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    let (old, new): (Vec<&Account>, Vec<&Account>) =
        changed.into_iter().partition(|account| known.contains_key(&account.key));
    let due: Vec<&Event> =
        work.events.iter().filter(|event| event.version.is_multiple_of(SNAPSHOT_EVERY)).collect();
    let writes = [
        insert_accounts(db, &new).boxed(),
        update_accounts(db, &old).boxed(),
        insert_keys(db, work).boxed(),
        insert_events(db, &work.events).boxed(),
        insert_messages(db, &work.events).boxed(),
        insert_snapshots(db, &due).boxed(),
    ];
    let (mut is_all_done, mut failure) = (true, None);
    for written in join_all(writes).await {
        match written {
            Ok(is_done) => is_all_done &= is_done,
            // Whatever came behind the one that failed is told no more than that: which was first depends on what was prepared.
            Err(error) if error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION) => {
                failure.get_or_insert(error);
            }
            Err(error) => failure = Some(error),
        }
    }
    failure.map_or(Ok(is_all_done), Err)
}

/// Runs a statement over columns, unless they are empty, and answers whether it wrote all rows.
async fn write(
    db: &Object,
    rows: usize,
    sql: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<bool, tokio_postgres::Error> {
    if rows == 0 {
        return Ok(true);
    }
    let prepared = db.prepare_cached(sql).await?;
    Ok(db.execute(&prepared, values).await? == rows as u64)
}

fn column<'a, T, V>(rows: &'a [T], value: impl Fn(&'a T) -> V) -> Vec<V> {
    rows.iter().map(value).collect()
}

async fn insert_accounts(db: &Object, rows: &[&Account]) -> Result<bool, tokio_postgres::Error> {
    let sql = "insert into bank.account select * from unnest($1::text[], $2::text[], $3::text[], $4::bool[], $5::bigint[], \
               $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[]) on conflict do nothing";
    let values: [&(dyn ToSql + Sync); 9] = [
        &column(rows, |row| row.key.book.word()),
        &column(rows, |row| &*row.key.id),
        &column(rows, |row| row.owner.as_deref()),
        &column(rows, |row| row.is_open),
        &column(rows, |row| row.balance),
        &column(rows, |row| signed(row.version)),
        &column(rows, |row| signed(row.fence)),
        &column(rows, |row| row.opened_at.0),
        &column(rows, |row| row.changed_at.0),
    ];
    write(db, rows.len(), sql, &values).await
}

async fn update_accounts(db: &Object, rows: &[&Account]) -> Result<bool, tokio_postgres::Error> {
    let sql = "update bank.account as a set is_open = u.is_open, balance = u.balance, version = u.version, fence = u.fence, \
               changed_at = u.changed_at from unnest($1::text[], $2::text[], $3::bool[], $4::bigint[], $5::bigint[], \
               $6::bigint[], $7::bigint[]) as u (book, id, is_open, balance, version, fence, changed_at) \
               where a.book = u.book and a.id = u.id";
    let values: [&(dyn ToSql + Sync); 7] = [
        &column(rows, |row| row.key.book.word()),
        &column(rows, |row| &*row.key.id),
        &column(rows, |row| row.is_open),
        &column(rows, |row| row.balance),
        &column(rows, |row| signed(row.version)),
        &column(rows, |row| signed(row.fence)),
        &column(rows, |row| row.changed_at.0),
    ];
    write(db, rows.len(), sql, &values).await
}

async fn insert_keys(db: &Object, work: &Work<'_>) -> Result<bool, tokio_postgres::Error> {
    let sql = "insert into bank.idempotency select *, $4::bigint from unnest($1::text[], $2::text[], $3::text[]) \
               on conflict do nothing";
    let rows = work.new_keys.as_slice();
    let values: [&(dyn ToSql + Sync); 4] = [
        &column(rows, |(key, _)| &*key.key),
        &column(rows, |(key, _)| &*key.request),
        &column(rows, |(_, outcome)| outcome),
        &work.at.0,
    ];
    write(db, rows.len(), sql, &values).await
}

async fn insert_events(db: &Object, rows: &[Event]) -> Result<bool, tokio_postgres::Error> {
    let sql = "insert into bank.event select * from unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], \
               $6::bigint[], $7::text[], $8::uuid[], $9::bigint[])";
    let values: [&(dyn ToSql + Sync); 9] = [
        &column(rows, |row| row.key.book.word()),
        &column(rows, |row| &*row.key.id),
        &column(rows, |row| signed(row.version)),
        &column(rows, |row| row.kind.word()),
        &column(rows, |row| row.change),
        &column(rows, |row| row.balance),
        &column(rows, |row| row.other.as_deref()),
        &column(rows, |row| row.operation),
        &column(rows, |row| row.at.0),
    ];
    write(db, rows.len(), sql, &values).await
}

async fn insert_messages(db: &Object, rows: &[Event]) -> Result<bool, tokio_postgres::Error> {
    let sql = "insert into bank.message (account, version, operation, body, written_at) \
               select account, version, operation, body, at from unnest($1::text[], $2::bigint[], $3::uuid[], $4::text[], \
               $5::bigint[]) with ordinality as m (account, version, operation, body, at, line) order by line";
    let values: [&(dyn ToSql + Sync); 5] = [
        &column(rows, |row| row.key.to_string()),
        &column(rows, |row| signed(row.version)),
        &column(rows, |row| row.operation),
        &column(rows, Notice::body),
        &column(rows, |row| row.at.0),
    ];
    write(db, rows.len(), sql, &values).await
}

async fn insert_snapshots(db: &Object, rows: &[&Event]) -> Result<bool, tokio_postgres::Error> {
    let sql =
        "insert into bank.snapshot select * from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])";
    let values: [&(dyn ToSql + Sync); 4] = [
        &column(rows, |row| row.key.book.word()),
        &column(rows, |row| &*row.key.id),
        &column(rows, |row| signed(row.version)),
        &column(rows, |row| row.balance),
    ];
    write(db, rows.len(), sql, &values).await
}
