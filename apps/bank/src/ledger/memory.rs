//! The books in memory: the fastest, gone with the process, and what the other stores are compared with.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tenure::{FencingToken, Result};

use super::outbox::{Message, Notice, Outbox, Outcome, State, Tally};
use super::rules::{self, Loaded};
use super::step::{IdempotencyKey, Posted, Refusal, Refused, StaleWrites, Step};
use super::{Account, AccountKey, Book, Event, Fut, Ledger, Replayed, Stale, Timestamp, Totals};

/// Books that live as long as the process. Keeps all events: for tests, measurements and trying out.
#[derive(Debug, Default)]
pub struct Memory {
    books: Mutex<Books>,
    stale: StaleWrites,
}

#[derive(Debug, Default)]
struct Books {
    accounts: Loaded,
    streams: HashMap<AccountKey, Vec<Event>>,
    keys: HashMap<Arc<str>, (Arc<str>, Posted, Timestamp)>,
    letters: BTreeMap<u64, Letter>,
    /// Those that are neither delivered nor given up.
    open: BTreeSet<u64>,
    last: u64,
    /// What a step has told, before it is filed. Empty between steps.
    told: Vec<Event>,
}

#[derive(Debug)]
struct Letter {
    event: Event,
    state: State,
    attempts: u32,
    error: Option<String>,
    /// Not before this moment; in somebody's hands, until this moment.
    at: Timestamp,
    ended: Timestamp,
}

impl Books {
    fn apply(&mut self, step: &Step, at: Timestamp) -> Result<Posted, Refused> {
        if let Some(known) = step.key.as_ref().and_then(|key| self.repeated(key)) {
            return known;
        }
        let posted = rules::decide(&mut self.accounts, &mut self.told, step, at)?;
        for event in self.told.drain(..) {
            self.last += 1;
            let letter = Letter {
                event: event.clone(),
                state: State::Pending,
                attempts: 0,
                error: None,
                at: Timestamp::default(),
                ended: Timestamp::default(),
            };
            self.letters.insert(self.last, letter);
            self.open.insert(self.last);
            self.streams.entry(event.key.clone()).or_default().push(event);
        }
        if let Some(key) = &step.key {
            self.keys.insert(key.key.clone(), (key.request.clone(), posted.clone(), at));
        }
        Ok(posted)
    }

    fn repeated(&self, key: &IdempotencyKey) -> Option<Result<Posted, Refused>> {
        let (request, posted, _) = self.keys.get(&key.key)?;
        if *request == key.request {
            return Some(Ok(Posted { is_repeated: true, ..posted.clone() }));
        }
        Some(Err(Refused { entry: 0, why: Refusal::KeyReused }))
    }

    fn is_due(&self, letter: &Letter, now: Timestamp) -> bool {
        matches!(letter.state, State::Pending | State::Processing) && letter.at <= now
    }

    /// The oldest open letters of their accounts that are due.
    fn due(&self, limit: u32, now: Timestamp) -> Vec<u64> {
        let mut seen = HashSet::new();
        let open = self.open.iter().filter_map(|id| Some((*id, self.letters.get(id)?)));
        open.filter(|(_, letter)| seen.insert(&letter.event.key))
            .filter(|(_, letter)| self.is_due(letter, now))
            .map(|(id, _)| id)
            .take(limit as usize)
            .collect()
    }

    fn message(&self, id: u64) -> Option<Message> {
        let letter = self.letters.get(&id)?;
        Some(Message {
            id,
            account: letter.event.key.to_string(),
            version: letter.event.version,
            operation: letter.event.operation,
            body: Notice::body(&letter.event),
            state: letter.state,
            attempts: letter.attempts,
            error: letter.error.clone(),
            written_at: letter.event.at,
        })
    }

    fn finish(&mut self, id: u64, outcome: &Outcome, now: Timestamp) {
        let Some(letter) = self.letters.get_mut(&id) else { return };
        match outcome {
            Outcome::Delivered => (letter.state, letter.error) = (State::Processed, None),
            Outcome::Retry { at, error } => {
                (letter.state, letter.at, letter.error) = (State::Pending, *at, Some(error.clone()));
                return;
            }
            Outcome::Dead { error } => (letter.state, letter.error) = (State::Failed, Some(error.clone())),
        }
        letter.ended = now;
        self.open.remove(&id);
    }
}

impl Ledger for Memory {
    fn apply(&self, steps: Vec<Step>) -> Fut<'_, Result<Vec<Result<Posted, Refused>>>> {
        let at = Timestamp::now();
        let mut books = self.books.lock();
        let answers: Vec<_> = steps.iter().map(|step| books.apply(step, at)).collect();
        self.stale.count(&answers);
        Box::pin(std::future::ready(Ok(answers)))
    }

    fn repeated<'a>(&'a self, key: &'a IdempotencyKey) -> Fut<'a, Result<Option<Result<Posted, Refused>>>> {
        let known = self.books.lock().repeated(key);
        Box::pin(std::future::ready(Ok(known)))
    }

    fn read<'a>(&'a self, keys: &'a [AccountKey]) -> Fut<'a, Result<Vec<Option<Account>>>> {
        let books = self.books.lock();
        let found = keys.iter().map(|key| books.accounts.get(key).cloned()).collect();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn open<'a>(
        &'a self,
        key: &'a AccountKey,
        token: FencingToken,
    ) -> Fut<'a, Result<Result<Option<Account>, Stale>>> {
        let mut books = self.books.lock();
        let opened = match books.accounts.get_mut(key) {
            Some(account) if token.get() < account.fence => Err(Stale { fence: account.fence }),
            Some(account) => {
                account.fence = token.get();
                Ok(Some(account.clone()))
            }
            None => Ok(None),
        };
        Box::pin(std::future::ready(Ok(opened)))
    }

    fn list<'a>(&'a self, book: Book, after: Option<&'a str>, limit: u32) -> Fut<'a, Result<Vec<Account>>> {
        let books = self.books.lock();
        let mut found: Vec<&Account> = books
            .accounts
            .values()
            .filter(|account| account.key.book == book && after.is_none_or(|after| &*account.key.id > after))
            .collect();
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let found = found.into_iter().take(limit as usize).cloned().collect();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn history<'a>(
        &'a self,
        key: &'a AccountKey,
        before: Option<u64>,
        limit: u32,
    ) -> Fut<'a, Result<Vec<Event>>> {
        let books = self.books.lock();
        let stream = books.streams.get(key).map(Vec::as_slice).unwrap_or_default();
        let found = stream
            .iter()
            .rev()
            .filter(|event| before.is_none_or(|before| event.version < before))
            .take(limit as usize)
            .cloned()
            .collect();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn replay<'a>(&'a self, key: &'a AccountKey) -> Fut<'a, Result<Option<Replayed>>> {
        let books = self.books.lock();
        let replayed = books.streams.get(key).map(|stream| {
            let balance = stream.iter().fold(0_i64, |sum, event| sum.wrapping_add(event.change));
            let version = stream.last().map_or(0, |event| event.version);
            Replayed { balance, version, events_read: stream.len() as u64 }
        });
        Box::pin(std::future::ready(Ok(replayed)))
    }

    fn totals(&self, book: Book) -> Fut<'_, Result<Totals>> {
        let books = self.books.lock();
        let of_book = books.accounts.values().filter(|account| account.key.book == book);
        let totals = of_book.fold(Totals::default(), |totals, account| Totals {
            accounts: totals.accounts + 1,
            balance: totals.balance + i128::from(account.balance),
        });
        Box::pin(std::future::ready(Ok(totals)))
    }

    fn forget_keys(&self, before: Timestamp) -> Fut<'_, Result<u64>> {
        let mut books = self.books.lock();
        let known = books.keys.len();
        books.keys.retain(|_, (_, _, at)| *at >= before);
        let forgotten = known - books.keys.len();
        Box::pin(std::future::ready(Ok(forgotten as u64)))
    }

    fn ping(&self) -> Fut<'_, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn stale_writes(&self) -> u64 {
        self.stale.get()
    }

    fn store(&self) -> &'static str {
        "memory"
    }
}

impl Outbox for Memory {
    fn due(&self, limit: u32, now: Timestamp) -> Fut<'_, Result<Vec<Message>>> {
        let books = self.books.lock();
        let due = books.due(limit, now).into_iter().filter_map(|id| books.message(id)).collect();
        Box::pin(std::future::ready(Ok(due)))
    }

    fn begin<'a>(&'a self, ids: &'a [u64], now: Timestamp, until: Timestamp) -> Fut<'a, Result<Vec<u64>>> {
        let mut books = self.books.lock();
        let due: HashSet<u64> = books.due(u32::MAX, now).into_iter().collect();
        let mut begun = Vec::with_capacity(ids.len());
        for id in ids.iter().filter(|id| due.contains(id)) {
            if let Some(letter) = books.letters.get_mut(id) {
                (letter.state, letter.at) = (State::Processing, until);
                letter.attempts += 1;
                begun.push(*id);
            }
        }
        Box::pin(std::future::ready(Ok(begun)))
    }

    fn finish<'a>(&'a self, outcomes: &'a [(u64, Outcome)], now: Timestamp) -> Fut<'a, Result<()>> {
        let mut books = self.books.lock();
        for (id, outcome) in outcomes {
            books.finish(*id, outcome, now);
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn clean(&self, before: Timestamp) -> Fut<'_, Result<u64>> {
        let mut books = self.books.lock();
        let known = books.letters.len();
        books.letters.retain(|_, letter| letter.state != State::Processed || letter.ended >= before);
        let removed = known - books.letters.len();
        Box::pin(std::future::ready(Ok(removed as u64)))
    }

    fn tally(&self) -> Fut<'_, Result<Tally>> {
        let books = self.books.lock();
        let mut tally = Tally::default();
        for letter in books.letters.values() {
            *tally.of_mut(letter.state) += 1;
        }
        Box::pin(std::future::ready(Ok(tally)))
    }

    fn messages(&self, state: State, limit: u32) -> Fut<'_, Result<Vec<Message>>> {
        let books = self.books.lock();
        let of_state = books.letters.iter().filter(|(_, letter)| letter.state == state);
        let found = of_state.take(limit as usize).filter_map(|(id, _)| books.message(*id)).collect();
        Box::pin(std::future::ready(Ok(found)))
    }
}
