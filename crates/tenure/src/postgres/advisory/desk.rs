//! What this process holds and waits for: the lease table, which decides among its own claims, and the titles that the server
//! gave it, which decide between processes. No I/O here; what is to be sent goes into the outboxes of lines.
//!
//! A name of the table that this process has no title to is held by the others as far as the table knows, so nothing is granted
//! that the server has not given. A name on its way to the server is *flying*: whoever asks for it meanwhile comes after.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::num::NonZeroU32;
use std::sync::{Arc, Weak};

use tokio::sync::oneshot;

use super::outbox::{Done, Effects, Hard, Outbox, Single};
use super::shared::lost;
use super::title::{Title, all_of, asks, key_of, kind_of, taken_elsewhere};
use super::waits::Waits;
use crate::claim::{Claim, LeaseId, Mode, Pick};
use crate::clock::Instant;
use crate::error::{Error, Result};
use crate::lease::{Claimed, Ended, Kept, Why};
use crate::memory::TokenSource;
use crate::memory::table::{State, Table};
use crate::name::Name;
use crate::provider::{Event, Keep};

/// Tokens that one answer of the server brings.
pub(super) const BLOCK: u64 = 1_024;

/// Tokens that a claim reserves at the most: with the most that one step grants it stays below a block.
const MOST_TOKENS: NonZeroU32 = NonZeroU32::new(8).expect("not zero");

/// Tokens that must be left before a step that may grant without asking the server.
const RESERVE: u64 = 600;

/// Ends that are remembered until those that have arrived are forgotten.
const MOST_ENDING: usize = 1_024;

/// What is asked of the desk.
#[derive(Debug)]
pub(super) enum Job {
    Claim(Claim, oneshot::Sender<Result<Claimed>>),
    End(LeaseId, oneshot::Sender<Ended>),
}

/// The state of this process.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) table: Table,
    pub(super) tokens: Arc<TokenSource>,
    tokens_end: u64,
    pub(super) titles: HashMap<Name, Title, foldhash::fast::RandomState>,
    /// The names of the titles by their keys, which is what others tell of.
    pub(super) by_key: HashMap<i64, Name, foldhash::fast::RandomState>,
    flying: HashSet<Name, foldhash::fast::RandomState>,
    flying_ids: HashSet<LeaseId, foldhash::fast::RandomState>,
    deferred: VecDeque<Job>,
    deferred_names: HashMap<Name, usize, foldhash::fast::RandomState>,
    deferred_ids: HashMap<LeaseId, usize, foldhash::fast::RandomState>,
    pub(super) waits: Waits,
    pub(super) expiries: BinaryHeap<Reverse<(Instant, LeaseId)>>,
    pub(super) outbox: Outbox,
    /// The ends that are on their way to the server, and some that have arrived.
    ending: HashMap<LeaseId, Weak<Done>, foldhash::fast::RandomState>,
    /// Until when it is believed that others wait for a name.
    pub(super) awaited: HashMap<Name, Instant>,
    /// Whether tokens were asked for and have not come.
    pub(super) is_thirsty: bool,
}

impl Desk {
    pub(super) fn new() -> Self {
        let tokens = Arc::new(TokenSource::from_next(1));
        Desk {
            table: Table::new(Arc::clone(&tokens), true),
            tokens,
            tokens_end: 0,
            titles: HashMap::default(),
            by_key: HashMap::default(),
            flying: HashSet::default(),
            flying_ids: HashSet::default(),
            deferred: VecDeque::new(),
            deferred_names: HashMap::default(),
            deferred_ids: HashMap::default(),
            waits: Waits::default(),
            expiries: BinaryHeap::new(),
            outbox: Outbox::default(),
            ending: HashMap::default(),
            awaited: HashMap::new(),
            is_thirsty: false,
        }
    }

    /// Tokens that the server gave now: greater than all that it gave before to anybody.
    pub(super) fn fresh(&mut self, first: u64) {
        if first >= self.tokens.next() {
            self.tokens.raise(first);
            self.tokens_end = first + BLOCK;
            self.is_thirsty = false;
        }
    }

    /// Whether the tokens at hand may not last for a step.
    pub(super) fn is_dry(&self) -> bool {
        self.tokens_end.saturating_sub(self.tokens.next()) < RESERVE
    }

    /// Takes a job: it is done at once, sent to the server, or put off until what it waits for has come back.
    pub(super) fn submit(&mut self, now: Instant, job: Job) {
        if self.must_wait(&job) {
            self.defer(job);
        } else {
            self.run(now, job);
        }
    }

    fn run(&mut self, now: Instant, job: Job) {
        match job {
            Job::Claim(claim, reply) => self.claim(now, claim, reply),
            Job::End(id, reply) => self.end(now, id, reply),
        }
    }

    fn must_wait(&self, job: &Job) -> bool {
        if self.is_thirsty && self.is_dry() {
            return true;
        }
        let is_away = |id: &LeaseId| self.flying_ids.contains(id) || self.deferred_ids.contains_key(id);
        match job {
            Job::End(id, _) => is_away(id) || self.names_of(id).any(|name| self.flying.contains(name)),
            Job::Claim(claim, _) => {
                is_away(&claim.lease)
                    || claim.replaces.iter().any(is_away)
                    || claim
                        .names
                        .iter()
                        .any(|n| self.flying.contains(n) || self.deferred_names.contains_key(n))
            }
        }
    }

    fn names_of(&self, id: &LeaseId) -> impl Iterator<Item = &Name> {
        self.table.lease(id).into_iter().flat_map(|lease| lease.names.iter())
    }

    fn defer(&mut self, job: Job) {
        match &job {
            Job::Claim(claim, _) => {
                *self.deferred_ids.entry(claim.lease).or_default() += 1;
                for name in &claim.names {
                    *self.deferred_names.entry(name.clone()).or_default() += 1;
                }
            }
            Job::End(id, _) => *self.deferred_ids.entry(*id).or_default() += 1,
        }
        self.deferred.push_back(job);
    }

    /// Tries again what was put off, in its order.
    pub(super) fn resume(&mut self, now: Instant) {
        if self.deferred.is_empty() {
            return;
        }
        let deferred = std::mem::take(&mut self.deferred);
        self.deferred_names.clear();
        self.deferred_ids.clear();
        for job in deferred {
            self.submit(now, job);
        }
    }

    fn claim(&mut self, now: Instant, mut claim: Claim, reply: oneshot::Sender<Result<Claimed>>) {
        claim.tokens = claim.tokens.min(MOST_TOKENS);
        if self.table.has_seen(&claim.lease) {
            let answer = self.table.claim(now, &claim);
            let _ = reply.send(answer);
            return self.settle_all(now, claim.names.as_slice());
        }
        if let Err(error) = self.table.check(now, &claim) {
            let _ = reply.send(Err(error));
            return self.settle_all(now, claim.names.as_slice());
        }
        let mut touched: Vec<Name> = claim.names.iter().cloned().collect();
        for replaced in std::mem::take(&mut claim.replaces) {
            let names: Vec<Name> = self.names_of(&replaced).cloned().collect();
            let awaited: Vec<Name> =
                names.iter().filter(|name| self.table.is_awaited(name)).cloned().collect();
            self.table.end(now, &replaced);
            // What others wait for goes to them first, although the claim wants it again.
            for name in &awaited {
                if self.table.forget_idle(name)
                    && let Some(title) = self.drop_title(name)
                {
                    self.outbox.end(&title, None);
                }
            }
            touched.extend(names);
        }
        match self.table.could_run(now, &claim) {
            Some(open) => {
                let missing = self.missing(&claim, &open);
                if missing.is_empty() {
                    self.answer(now, now, claim, reply);
                } else {
                    let most = wanted(&claim) - (open.len() - missing.len());
                    self.fly(claim, missing, most, Some(reply));
                }
            }
            None => self.answer(now, now, claim, reply),
        }
        self.settle_all(now, &touched);
    }

    /// The names that the claim could have here and that the server must be asked for.
    pub(super) fn missing(&self, claim: &Claim, open: &[Name]) -> Vec<Name> {
        let covered = |name: &&Name| self.is_covered(name, claim.mode);
        let missing: Vec<Name> = open.iter().filter(|name| !covered(name)).cloned().collect();
        let wanted = wanted(claim);
        if open.len() - missing.len() >= wanted { Vec::new() } else { missing }
    }

    fn is_covered(&self, name: &Name, mode: Mode) -> bool {
        let permits = |mode| if let Mode::Permits { take, .. } = mode { take } else { 0 };
        let used = || self.table.holders(name).map(|lease| permits(lease.mode)).sum();
        self.titles.get(name).is_some_and(|title| title.covers(mode, used()))
    }

    /// Sends a claim to the server for `most` of the names that are missing. Without a reply it is of a waiter in the table.
    pub(super) fn fly(
        &mut self,
        claim: Claim,
        missing: Vec<Name>,
        most: usize,
        reply: Option<oneshot::Sender<Result<Claimed>>>,
    ) {
        // A title that does not suffice is in the way of one that does, unless leases stand on it.
        for name in &missing {
            let is_idle = self.table.holders(name).next().is_none();
            if is_idle && let Some(title) = self.drop_title(name) {
                self.outbox.end(&title, None);
            }
        }
        let line = missing.iter().find_map(|name| self.titles.get(name).map(|title| title.line));
        let line = line.unwrap_or_else(|| self.outbox.primary());
        self.flying.extend(claim.names.iter().cloned());
        self.flying_ids.insert(claim.lease);
        let (shared, permits, take) = asks(claim.mode);
        if let ([name], false) = (missing.as_slice(), shared) {
            let single = Single { key: key_of(name), name: name.clone(), claim, reply };
            match self.outbox.lines(line) {
                Some(letters) => letters.singles.push(single),
                None => return self.fall(&single.claim, single.reply, &lost()),
            }
        } else {
            let mine =
                missing.iter().filter_map(|name| self.titles.get(name)).flat_map(|t| t.locks().0).collect();
            let keys = missing.iter().map(key_of).collect();
            let hard = Hard { keys, names: missing, shared, most, permits, take, mine, claim, reply };
            match self.outbox.lines(line) {
                Some(letters) => letters.hard.push(hard),
                None => return self.fall(&hard.claim, hard.reply, &lost()),
            }
        }
        self.outbox.note(line);
    }

    /// Answers a claim by the table, to which everything missing is held by the others.
    fn answer(
        &mut self,
        now: Instant,
        asked: Instant,
        claim: Claim,
        reply: oneshot::Sender<Result<Claimed>>,
    ) {
        if claim.wait || asked != now || self.missing(&claim, claim.names.as_slice()).is_empty() {
            self.cloak(&claim);
        }
        let answer = self.table.claim(asked, &claim);
        self.note_expiry(&claim.lease);
        for name in &claim.names {
            self.table.forget_idle(name);
        }
        if matches!(answer, Ok(Claimed::Queued(_))) {
            self.settle_all(now, claim.names.as_slice());
            self.waits.answer_when_queued(claim, reply, answer);
            return;
        }
        let _ = reply.send(answer);
    }

    /// Tells the table that the others hold what this process has no title to.
    pub(super) fn cloak(&mut self, claim: &Claim) {
        for name in &claim.names {
            let elsewhere = match self.titles.get(name) {
                Some(title) => title.elsewhere(),
                None => Some(all_of(claim.mode)),
            };
            self.table.set_elsewhere(name, elsewhere);
        }
    }

    /// Takes in what the server gave a claim. `sent`: the instant before it was asked.
    pub(super) fn land(&mut self, now: Instant, landed: Landed) {
        let Landed { sent, line, claim, names, taken, slots, token, reply } = landed;
        for name in &claim.names {
            self.flying.remove(name);
        }
        self.flying_ids.remove(&claim.lease);
        if let Some(token) = token {
            self.fresh(token);
            let permits = asks(claim.mode).2 as usize;
            let mut slots = slots.as_slice();
            for (name, _) in names.iter().zip(&taken).filter(|(_, taken)| **taken) {
                let (mine, rest) = slots.split_at(permits.min(slots.len()));
                slots = rest;
                self.add_title(name, line, claim.mode, mine.to_vec(), claim.ttl);
            }
            match reply {
                Some(reply) => self.answer(now, sent, claim.clone(), reply),
                None => {
                    self.cloak(&claim);
                    self.table.grant_waiter(now, claim.lease);
                }
            }
        } else if let Some(reply) = reply {
            if claim.wait {
                self.answer(now, now, claim.clone(), reply);
            } else {
                let refused = names.iter().zip(&taken).find(|(_, taken)| !**taken);
                let _ = reply.send(Ok(Claimed::Busy(taken_elsewhere(refused.map(|(name, _)| name.clone())))));
            }
        }
        self.settle_all(now, claim.names.as_slice());
    }

    /// The server could not be asked, and what it did is unknown: its line is lost.
    pub(super) fn fall(
        &mut self,
        claim: &Claim,
        reply: Option<oneshot::Sender<Result<Claimed>>>,
        why: &Error,
    ) {
        for name in &claim.names {
            self.flying.remove(name);
        }
        self.flying_ids.remove(&claim.lease);
        if let Some(reply) = reply {
            let _ = reply.send(Err(Error::new(why.kind(), why.operation(), why.what().to_owned())));
        }
    }

    pub(super) fn add_title(
        &mut self,
        name: &Name,
        line: usize,
        mode: Mode,
        slots: Vec<i64>,
        ttl: std::time::Duration,
    ) {
        use super::title::Kind;
        let mut kind = kind_of(mode, slots);
        if let (Some(Title { kind: Kind::Permits { slots: old, .. }, .. }), Kind::Permits { slots, .. }) =
            (self.titles.get(name), &mut kind)
        {
            slots.extend_from_slice(old);
            // The key of the name is shared once more by the same session.
            self.outbox.end_shared(line, key_of(name));
        }
        self.drop_title(name);
        let key = key_of(name);
        self.by_key.insert(key, name.clone());
        if let Some(pulse) = self.outbox.pulse(line) {
            pulse.add(ttl);
        }
        let title = Title { line, kind, key, ttl, is_turn: false };
        self.table.set_elsewhere(name, title.elsewhere());
        self.titles.insert(name.clone(), title);
    }

    pub(super) fn drop_title(&mut self, name: &Name) -> Option<Title> {
        let title = self.titles.remove(name)?;
        self.by_key.remove(&title.key);
        if let Some(pulse) = self.outbox.pulse(title.line) {
            pulse.remove(title.ttl);
        }
        Some(title)
    }

    fn end(&mut self, now: Instant, id: LeaseId, reply: oneshot::Sender<Ended>) {
        let names: Vec<Name> = self.names_of(&id).cloned().collect();
        let ended = self.table.end(now, &id);
        self.note_expiry(&id);
        self.waits.forget(&id);
        if let Some(done) = self.ending.get(&id).and_then(Weak::upgrade) {
            // Its end is on the way to the server: it is done when that is.
            return done.tell_too(reply);
        }
        let done = Done::new(ended, reply);
        if self.ending.len() > MOST_ENDING {
            self.ending.retain(|_, done| done.strong_count() > 0);
        }
        self.ending.insert(id, Arc::downgrade(&done));
        let mut after = names.clone();
        after.extend(self.table.take_idle());
        for name in &after {
            self.settle(now, name, Some(&done));
        }
    }

    /// Renews a lease, or touches a waiting claim. `sent`: the instant before the server confirmed what it stands on, with which
    /// tokens came.
    pub(super) fn keep(&mut self, now: Instant, sent: Instant, keep: &Keep) -> Kept {
        let names: Vec<Name> = self.names_of(&keep.lease).cloned().collect();
        let is_exclusive = self.table.lease(&keep.lease).is_some_and(|lease| lease.mode == Mode::Exclusive);
        let mut kept = self.table.keep(sent, &Keep { tokens: 0, ..*keep });
        if let Kept::Held(grant) = &mut kept {
            if let Some(count) = NonZeroU32::new(keep.tokens.min(self.spare())).filter(|_| is_exclusive) {
                grant.tokens = self.tokens.reserve(count);
                self.table.retoken(&keep.lease, grant.tokens);
            }
            for name in &names {
                self.lengthen(name, keep.ttl);
            }
        }
        self.settle_all(now, &names);
        kept
    }

    /// Tokens that a renewal may reserve.
    fn spare(&self) -> u32 {
        let left = self.tokens_end.saturating_sub(self.tokens.next()).saturating_sub(RESERVE);
        u32::try_from(left).unwrap_or(u32::MAX).max(1)
    }

    fn lengthen(&mut self, name: &Name, ttl: std::time::Duration) {
        if let Some(title) = self.titles.get_mut(name).filter(|title| title.ttl < ttl) {
            if let Some(pulse) = self.outbox.pulse(title.line) {
                pulse.remove(title.ttl);
                pulse.add(ttl);
            }
            title.ttl = ttl;
        }
    }

    /// The lines that a lease stands on, when it is held.
    pub(super) fn lines_of(&self, id: &LeaseId) -> Vec<usize> {
        match self.table.lease(id).map(|lease| &lease.state) {
            Some(State::Held(held)) => {
                held.names.iter().filter_map(|name| self.titles.get(name)).map(|title| title.line).collect()
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn note_expiry(&mut self, id: &LeaseId) {
        if let Some(State::Held(held)) = self.table.lease(id).map(|lease| &lease.state)
            && held.expires != Instant::NEVER
        {
            self.expiries.push(Reverse((held.expires, *id)));
        }
    }

    /// Ends what has run out by now.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(Reverse((at, id))) = self.expiries.peek().copied() {
            if at > now {
                return;
            }
            self.expiries.pop();
            match self.table.lease(&id).map(|lease| &lease.state) {
                Some(State::Held(held)) if held.expires <= now => {
                    let names: Vec<Name> = self.names_of(&id).cloned().collect();
                    if names.iter().any(|name| self.flying.contains(name)) {
                        self.expiries.push(Reverse((at, id)));
                        return;
                    }
                    self.table.lose(now, id, Why::Expired);
                    self.settle_all(now, &names);
                }
                Some(State::Held(held)) => self.expiries.push(Reverse((held.expires, id))),
                _ => {}
            }
        }
    }

    pub(super) fn is_flying(&self, name: &Name) -> bool {
        self.flying.contains(name)
    }

    /// What came of the steps since the last call, to be told.
    pub(super) fn take_effects(&mut self) -> Effects {
        let events = self.table.take_events();
        for event in &events {
            if let Event::Granted(id, _) = event {
                self.note_expiry(id);
            }
        }
        Effects { events, lines: self.outbox.take_noted(), starts: self.waits.take_starts() }
    }
}

/// What the server gave a claim.
#[derive(Debug)]
pub(super) struct Landed {
    pub(super) sent: Instant,
    pub(super) line: usize,
    pub(super) claim: Claim,
    /// The names that it was asked for, and for each of the first of them whether it was free.
    pub(super) names: Vec<Name>,
    pub(super) taken: Vec<bool>,
    pub(super) slots: Vec<i64>,
    /// When all that was needed was taken.
    pub(super) token: Option<u64>,
    pub(super) reply: Option<oneshot::Sender<Result<Claimed>>>,
}

/// How many of its names a claim needs.
pub(super) fn wanted(claim: &Claim) -> usize {
    match claim.pick {
        Pick::All => claim.names.len(),
        Pick::Any { count } => count as usize,
    }
}
