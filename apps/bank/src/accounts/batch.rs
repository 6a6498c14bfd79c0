//! Batches of operations: grouped by account, locked in one trip, and written in one transaction for all accounts whose locks were
//! won.
//!
//! Accounts whose locks others hold are put into the next round, and never dropped: each is waited for in its place of the lock's
//! queue, and a round writes those that have come meanwhile. What is not won in time is told as busy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use futures_util::{FutureExt as _, future};
use tenure::{Guard, Result};

use super::{Accounts, Command, Declined, Done, declined, done, unavailable};
use crate::amount::Cents;
use crate::ledger::{Account, AccountKey, Action, Entry, IdempotencyKey, Posted, Refused, Step};
use crate::names::account_lock;

/// What an operation of a batch does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Looks at the account as the operations before it in the batch leave it. Takes no lock.
    Read,
    /// Changes it.
    Command(Command),
}

/// An operation of a batch.
#[derive(Clone, Debug)]
pub struct BatchOperation {
    /// Which account.
    pub id: Arc<str>,
    /// What to do.
    pub kind: Kind,
    /// Only if the account has this version then.
    pub expected: Option<u64>,
}

/// A batch that is none: nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoBatch {
    /// It has no operations.
    #[error("A batch has at least one operation")]
    Empty,
    /// It has too many.
    #[error("A batch has at most {0} operations")]
    TooLarge(usize),
    /// Its key was used for another batch.
    #[error("The Idempotency-Key was used for another request")]
    KeyReused,
    /// A store did not answer.
    #[error("A store does not answer")]
    Unavailable,
}

type Answer = Result<Done, Declined>;

/// What is to be done to one account, in the order of the batch.
struct Group {
    key: AccountKey,
    /// As it was before the batch, as far as is known here.
    known: Arc<Account>,
    work: Vec<Work>,
}

/// An operation of the batch, by its number; it does nothing where it reads.
struct Work {
    number: usize,
    action: Option<Action>,
    expected: Option<u64>,
}

/// A batch that is under way.
struct Running<'a> {
    accounts: &'a Accounts,
    operations: &'a [BatchOperation],
    key: Option<IdempotencyKey>,
    answers: Vec<Option<Answer>>,
}

impl Accounts {
    /// Carries out operations, each by itself, and answers for each in their order. Operations of one account are carried out in
    /// their order; those of different accounts in any. With a key, an operation that was carried out is not repeated.
    ///
    /// # Errors
    /// When it is no batch; what an operation is declined for is told in its place.
    ///
    /// # Cancel safety
    /// Dropped, some operations may have been carried out, each as a whole; its locks are given back.
    pub async fn batch(
        &self,
        operations: &[BatchOperation],
        key: Option<IdempotencyKey>,
    ) -> Result<Vec<Answer>, NoBatch> {
        if operations.is_empty() {
            return Err(NoBatch::Empty);
        }
        if operations.len() > self.settings.max_batch_size {
            return Err(NoBatch::TooLarge(self.settings.max_batch_size));
        }
        let answers = vec![None; operations.len()];
        let mut running = Running { accounts: self, operations, key, answers };
        running.check_key().await?;
        let groups = running.groups().await?;
        running.rounds(groups).await;
        Ok(running.answers.into_iter().map(|answer| answer.unwrap_or(Err(Declined::Unavailable))).collect())
    }
}

impl Running<'_> {
    /// The key of an operation.
    fn key_of(&self, number: usize) -> Option<IdempotencyKey> {
        let key = self.key.as_ref()?;
        Some(IdempotencyKey { key: format!("{} {number}", key.key).into(), request: key.request.clone() })
    }

    /// Whether nothing of another batch was carried out with the key.
    async fn check_key(&self) -> Result<(), NoBatch> {
        let keys: Vec<IdempotencyKey> =
            (0..self.operations.len()).filter_map(|number| self.key_of(number)).collect();
        let known: Vec<_> = keys.iter().map(|key| self.accounts.store.repeated(key)).collect();
        let known = future::try_join_all(known).await.map_err(no_batch)?;
        if known.into_iter().flatten().any(|known| known.is_err()) { Err(NoBatch::KeyReused) } else { Ok(()) }
    }

    /// The accounts that are to be locked, by id. Operations that are wrong or about nothing are declined, and accounts that are
    /// only read are answered.
    async fn groups(&mut self) -> Result<Vec<Group>, NoBatch> {
        let mut by_id: BTreeMap<Arc<str>, Vec<Work>> = BTreeMap::new();
        for (number, BatchOperation { id, kind, expected }) in self.operations.iter().enumerate() {
            let action = match kind {
                Kind::Read => Ok(None),
                Kind::Command(command) => command.action().map(Some),
            };
            match action {
                Ok(action) => {
                    self.accounts.locks.metrics().record(kind.operation());
                    by_id.entry(id.clone()).or_default().push(Work { number, action, expected: *expected });
                }
                Err(declined) => self.answer(number, Err(declined)),
            }
        }
        let keys: Vec<AccountKey> = by_id.keys().map(|id| AccountKey::account(id.clone())).collect();
        let known = self.accounts.reads.hints(&keys).await.map_err(no_batch)?;
        let mut groups = Vec::new();
        for ((key, work), known) in keys.into_iter().zip(by_id.into_values()).zip(known) {
            let Some(known) = known else {
                let unknown = Declined::Unknown(key.id);
                work.iter().for_each(|work| self.answer(work.number, Err(unknown.clone())));
                continue;
            };
            let group = Group { key, known, work };
            let only_reads = group.work.iter().all(|work| work.action.is_none());
            if only_reads && self.accounts.reads.is_lock_free() {
                self.settle(&group, &mut std::iter::empty());
            } else {
                groups.push(group);
            }
        }
        Ok(groups)
    }

    async fn rounds(&mut self, groups: Vec<Group>) {
        if groups.is_empty() {
            return;
        }
        let (locks, ttl) = (&self.accounts.locks, self.accounts.settings.batch_ttl);
        let clock = locks.clock();
        let until = clock.now() + self.accounts.wait;
        let names: Vec<String> = groups.iter().map(|group| account_lock(&group.key.id)).collect();
        let tried = self.accounts.again(|| Box::pin(locks.lock_each(&names).ttl(ttl).try_acquire())).await;
        let tried = match tried {
            Ok(tried) => tried,
            Err(error) => {
                let declined = unavailable(error);
                return groups.iter().for_each(|group| self.decline(group, &declined));
            }
        };
        let (mut won, mut lost) = (Vec::new(), FuturesUnordered::new());
        for ((group, guard), name) in groups.into_iter().zip(tried).zip(names) {
            match guard {
                Some(guard) => won.push((group, guard)),
                None => lost.push(async move {
                    let left = clock.now().until(until).max(Duration::from_millis(1));
                    (group, locks.lock(name).ttl(ttl).try_acquire_for(left).await)
                }),
            }
        }
        self.write(won).await;
        while let Some(first) = lost.next().await {
            let mut came = vec![first];
            while let Some(Some(next)) = lost.next().now_or_never() {
                came.push(next);
            }
            let mut won = Vec::new();
            for (group, guard) in came {
                match guard {
                    Ok(Some(guard)) => won.push((group, guard)),
                    Ok(None) => self.decline(&group, &Declined::Busy(group.key.id.clone())),
                    Err(error) => self.decline(&group, &unavailable(error)),
                }
            }
            self.write(won).await;
        }
    }

    /// Writes the accounts whose locks were won, in one transaction, and gives the locks back.
    async fn write(&mut self, won: Vec<(Group, Guard)>) {
        if won.is_empty() {
            return;
        }
        let mut steps = Vec::new();
        for (group, guard) in &won {
            for work in &group.work {
                let Some(action) = work.action.clone() else { continue };
                let mut entry = Entry::new(group.key.clone(), action).under(guard.token());
                entry.expected = work.expected;
                steps.push(Step::new(vec![entry]).once(self.key_of(work.number)));
            }
        }
        match self.accounts.apply(steps).await {
            Ok(answers) => {
                let mut answers = answers.into_iter();
                won.iter().for_each(|(group, _)| self.settle(group, &mut answers));
            }
            Err(declined) => won.iter().for_each(|(group, _)| self.decline(group, &declined)),
        }
    }

    /// Tells the operations of an account how they went.
    fn settle(&mut self, group: &Group, answers: &mut impl Iterator<Item = Result<Posted, Refused>>) {
        let id = &group.key.id;
        let (balance, version) = (Cents(group.known.balance), group.known.version);
        let mut now = Done { id: id.clone(), balance, version, operation: None };
        for work in &group.work {
            let answer = match work.action.as_ref().map(|_| answers.next()) {
                None => Ok(now.clone()),
                Some(Some(Ok(posted))) => done(id.clone(), &posted),
                Some(Some(Err(refused))) => Err(declined(id, refused, work.expected)),
                Some(None) => Err(Declined::Unavailable),
            };
            if let Ok(done) = &answer {
                now = Done { operation: None, ..done.clone() };
            }
            self.answer(work.number, answer);
        }
    }

    fn decline(&mut self, group: &Group, declined: &Declined) {
        group.work.iter().for_each(|work| self.answer(work.number, Err(declined.clone())));
    }

    fn answer(&mut self, number: usize, answer: Answer) {
        if let Some(place) = self.answers.get_mut(number) {
            *place = Some(answer);
        }
    }
}

fn no_batch(error: tenure::Error) -> NoBatch {
    unavailable(error);
    NoBatch::Unavailable
}

impl Kind {
    fn operation(self) -> tenure::metrics::Operation {
        match self {
            Kind::Read => tenure::metrics::Operation::Read,
            Kind::Command(command) => command.operation(),
        }
    }
}
