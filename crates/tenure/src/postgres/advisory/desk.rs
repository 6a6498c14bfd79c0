//! What this process holds and waits for: the lease table, which decides among its own claims, and the titles that the server
//! gave it, which decide between processes. No I/O here; what is to be sent goes into the outboxes of lines.
//!
//! A name of the table that this process has no title to is held by the others as far as the table knows, so nothing is granted
//! that the server has not given. A name on its way to the server is *flying*: whoever asks for it meanwhile comes after.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::num::NonZeroU32;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::oneshot;

use super::outbox::{Done, Effects, Outbox};
use super::title::{Kind, Title, key_of, kind_of};
use super::waits::Waits;
use crate::claim::{Claim, LeaseId, Mode};
use crate::clock::Instant;
use crate::error::Result;
use crate::lease::{Claimed, Ended, Kept, Why};
use crate::memory::TokenSource;
use crate::memory::table::{State, Table};
use crate::name::Name;
use crate::provider::{Event, Keep};

/// Tokens that one answer of the server brings.
pub(super) const BLOCK: u64 = 1_024;

/// Tokens that a claim reserves at the most: with the most that one step grants it stays below a block.
pub(super) const MOST_TOKENS: NonZeroU32 = NonZeroU32::new(8).expect("not zero");

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
    pub(super) flying: HashSet<Name, foldhash::fast::RandomState>,
    pub(super) flying_ids: HashSet<LeaseId, foldhash::fast::RandomState>,
    deferred: VecDeque<Job>,
    deferred_names: HashMap<Name, usize, foldhash::fast::RandomState>,
    deferred_ids: HashMap<LeaseId, usize, foldhash::fast::RandomState>,
    pub(super) waits: Waits,
    /// The name that a claim on several was refused for: it is asked for first the next time, so that nothing else is taken
    /// for a moment while it is not free.
    pub(super) refused: HashMap<LeaseId, Name, foldhash::fast::RandomState>,
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
            refused: HashMap::default(),
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

    pub(super) fn names_of(&self, id: &LeaseId) -> impl Iterator<Item = &Name> {
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

    pub(super) fn add_title(&mut self, name: &Name, line: usize, mode: Mode, slots: Vec<i64>, ttl: Duration) {
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
        if ended == Ended::NotHeld {
            // It is known when all that was asked before has been answered.
            self.outbox.when_sent(self.outbox.primary(), vec![Arc::clone(&done)]);
        }
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

    fn lengthen(&mut self, name: &Name, ttl: Duration) {
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
