//! The lease table: what a store does, as a pure and executable specification.
//!
//! Every method is one atomic step at an instant that the caller gives. There is no I/O, no clock, no task and no
//! lock here. The memory provider runs it behind a mutex; other stores are driven against it with random claims,
//! and any difference is a fault of one of them. `rules.rs` has the question who may go next.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::leases::Leases;
use super::tokens::TokenSource;
use crate::claim::{Claim, Digest, LeaseId, Meta, Mode, Origin, Pick};
use crate::clock::Instant;
use crate::error::{Error, Result};
use crate::lease::{Claimed, Ended, Grant, HeldBy, Kept, Why};
use crate::limits;
use crate::name::{Name, Names};
use crate::provider::{Event, Force, Forced, Keep};
use crate::token::TokenBlock;

/// For how long the table remembers that a lease id has ended, so that a late claim of it is never granted.
const REMEMBER: Duration = Duration::from_secs(60);

/// How many ended ids it remembers at most; the oldest go first.
const MOST_REMEMBERED: usize = 65_536;

/// All leases, queues and ended ids of a store.
#[derive(Debug)]
pub struct Table {
    pub(super) leases: Leases,
    pub(super) names: HashMap<Name, Entry, foldhash::fast::RandomState>,
    tokens: Arc<TokenSource>,
    pub(super) last_ticket: u64,
    pub(super) ended: HashMap<LeaseId, Why, foldhash::fast::RandomState>,
    pub(super) ended_in_order: VecDeque<(Instant, LeaseId)>,
    locals_expire: bool,
    pub(super) events: Vec<Event>,
    pub(super) idle: Vec<Name>,
}

/// Who holds a name and who waits for it, in the order of the tickets.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) holders: SmallVec<[LeaseId; 1]>,
    pub(super) queue: VecDeque<(u64, LeaseId)>,
    /// In which mode others hold it, where a store arbitrates between processes elsewhere (`others.rs`).
    pub(super) elsewhere: Option<Mode>,
    /// The ticket behind which others wait for it.
    pub(super) awaited: Option<u64>,
}

/// A claim that is held or waits.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) names: Names,
    pub(crate) mode: Mode,
    pub(crate) pick: Pick,
    pub(crate) ttl: Duration,
    pub(crate) linger: Duration,
    pub(crate) revocable: bool,
    pub(crate) origin: Origin,
    pub(crate) wanted: NonZeroU32,
    pub(crate) meta: Option<Arc<Meta>>,
    pub(crate) since: Instant,
    pub(crate) state: State,
}

/// Whether a claim is held or waits.
#[derive(Debug)]
pub(crate) enum State {
    Held(Held),
    Waiting(Waiting),
}

/// A claim's part in the table while it is held.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) names: Names,
    pub(crate) tokens: TokenBlock,
    pub(crate) expires: Instant,
    pub(crate) revoked: bool,
    pub(crate) ended: bool,
}

/// A claim's part in the table while it waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) ticket: u64,
    pub(crate) touched: Instant,
    pub(crate) overtaken: u32,
    pub(crate) overtaken_since: Option<Instant>,
}

impl Table {
    /// An empty table that takes its tokens from `tokens`.
    ///
    /// `locals_expire` is false where the store is the process: a local lease then ends by `end` or force alone.
    pub fn new(tokens: Arc<TokenSource>, locals_expire: bool) -> Self {
        Table {
            leases: Leases::default(),
            names: HashMap::default(),
            tokens,
            last_ticket: 0,
            ended: HashMap::default(),
            ended_in_order: VecDeque::new(),
            locals_expire,
            events: Vec::new(),
            idle: Vec::new(),
        }
    }

    /// Asks for a lease. The same lease id gives the same answer.
    ///
    /// # Errors
    /// `InvalidInput` when it mixes modes on a name, or a queue is full; nothing was changed.
    pub fn claim(&mut self, now: Instant, claim: &Claim) -> Result<Claimed> {
        self.forget(now);
        if self.leases.contains_key(&claim.lease) {
            return Ok(self.ask_again(now, claim));
        }
        if self.ended.contains_key(&claim.lease) {
            return Ok(Claimed::Busy(HeldBy::default()));
        }
        self.refresh(now, &claim.names);
        self.check_modes(claim)?;
        for replaced in &claim.replaces {
            self.end(now, replaced);
        }
        if let Some(names) = self.runnable(now, claim.mode, claim.pick, &claim.names, u64::MAX) {
            self.overtake(now, claim.mode, &names, u64::MAX);
            return Ok(Claimed::Granted(self.grant_new(now, claim, names)));
        }
        if !claim.wait {
            self.tell_holders(&claim.names);
            return Ok(Claimed::Busy(self.held_by(now, claim)));
        }
        self.enqueue(now, claim)
    }

    /// Renews a lease or touches a waiting claim.
    pub fn keep(&mut self, now: Instant, keep: &Keep) -> Kept {
        let Some(lease) = self.leases.get_mut(&keep.lease) else {
            return Kept::Gone(self.ended.get(&keep.lease).copied().unwrap_or(Why::Unknown));
        };
        if let State::Waiting(waiting) = &mut lease.state {
            waiting.touched = now;
        }
        let names = lease.names.clone();
        self.refresh(now, &names);
        self.promote(now, keep.lease);
        self.kept(now, keep)
    }

    fn kept(&mut self, now: Instant, keep: &Keep) -> Kept {
        let Some(lease) = self.leases.get_mut(&keep.lease) else {
            return Kept::Gone(self.ended.get(&keep.lease).copied().unwrap_or(Why::Unknown));
        };
        let mortal = lease.origin == Origin::Remote || self.locals_expire;
        match &mut lease.state {
            State::Waiting(_) => Kept::Queued(self.place(now, keep.lease)),
            State::Held(held) if held.ended => Kept::Gone(Why::Unknown),
            State::Held(held) => {
                if !held.revoked && mortal {
                    held.expires = held.expires.max(now + keep.ttl);
                }
                lease.ttl = keep.ttl;
                if let (Some(count), Mode::Exclusive) = (NonZeroU32::new(keep.tokens), lease.mode) {
                    held.tokens = self.tokens.reserve(count);
                }
                Kept::Held(self.grant_of(keep.lease))
            }
        }
    }

    /// Releases a lease or withdraws a waiting claim. Absorbing: the id is never granted again.
    pub fn end(&mut self, now: Instant, id: &LeaseId) -> Ended {
        let Some(lease) = self.leases.get_mut(id) else {
            self.remember(now, *id, Why::Unknown);
            return Ended::NotHeld;
        };
        let until = lease.since + lease.linger;
        match &mut lease.state {
            State::Held(held) if held.expires <= now => {
                self.drop_lease(now, *id, Some(Why::Expired));
                Ended::NotHeld
            }
            State::Held(held) if !lease.linger.is_zero() && until > now => {
                held.expires = until;
                held.ended = true;
                Ended::Lingering
            }
            State::Held(_) => {
                self.drop_lease(now, *id, None);
                Ended::Released
            }
            State::Waiting(_) => {
                self.drop_lease(now, *id, None);
                Ended::Withdrawn
            }
        }
    }

    /// Takes a lease from its holder, or a waiter from the queue.
    pub fn force(&mut self, now: Instant, digest: Digest, how: Force) -> Forced {
        let ids: Vec<LeaseId> = self.leases.keys().filter(|id| id.digest() == digest).copied().collect();
        let mut forced = Forced::NotFound;
        for id in ids {
            let asked = match self.leases.get_mut(&id).map(|lease| &mut lease.state) {
                Some(State::Held(held)) if how == Force::Revoke && !held.ended => {
                    held.revoked = true;
                    true
                }
                _ => false,
            };
            if asked {
                self.events.push(Event::Revoked(id));
                forced = Forced::Asked;
            } else {
                self.drop_lease(now, id, Some(Why::Forced));
                forced = Forced::Ended;
            }
        }
        forced
    }

    /// What became of claims and leases since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn ask_again(&mut self, now: Instant, claim: &Claim) -> Claimed {
        let keep = Keep { lease: claim.lease, ttl: claim.ttl, tokens: 0 };
        if let Some(Lease { state: State::Waiting(waiting), .. }) = self.leases.get_mut(&claim.lease) {
            waiting.touched = now;
        }
        self.refresh(now, &claim.names);
        self.promote(now, claim.lease);
        match self.leases.get(&claim.lease).map(|lease| &lease.state) {
            Some(State::Held(held)) if !held.ended => {
                let mut grant = self.grant_of(keep.lease);
                grant.repeated = true;
                Claimed::Granted(grant)
            }
            Some(State::Waiting(_)) => Claimed::Queued(self.place(now, keep.lease)),
            _ => Claimed::Busy(self.held_by(now, claim)),
        }
    }

    fn grant_new(&mut self, now: Instant, claim: &Claim, names: Names) -> Grant {
        let lease = self.lease_of(now, claim, State::Waiting(Waiting::new(u64::MAX, now)));
        self.leases.insert(claim.lease, lease);
        self.hold(now, claim.lease, names, claim.ttl);
        self.grant_of(claim.lease)
    }

    /// Makes a claim the holder of `names`, out of the next tokens.
    pub(super) fn hold(&mut self, now: Instant, id: LeaseId, names: Names, ttl: Duration) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        let mortal = lease.origin == Origin::Remote || self.locals_expire;
        let count = if lease.mode == Mode::Exclusive { lease.wanted } else { NonZeroU32::MIN };
        for name in &names {
            self.names.entry(name.clone()).or_default().holders.push(id);
        }
        lease.since = now;
        lease.state = State::Held(Held {
            names,
            tokens: self.tokens.reserve(count),
            expires: if mortal { now + ttl } else { Instant::NEVER },
            revoked: false,
            ended: false,
        });
    }

    fn enqueue(&mut self, now: Instant, claim: &Claim) -> Result<Claimed> {
        let full = |name: &Name| self.names.get(name).is_some_and(|e| e.queue.len() >= limits::MAX_WAITERS);
        if let Some(name) = claim.names.iter().find(|name| full(name)) {
            let most = limits::MAX_WAITERS;
            return Err(Error::invalid("waiters", format!("a name has at most {most} waiters name={name}")));
        }
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        let lease = self.lease_of(now, claim, State::Waiting(Waiting::new(ticket, now)));
        self.leases.insert(claim.lease, lease);
        for name in &claim.names {
            let entry = self.names.entry(name.clone()).or_default();
            if entry.queue.is_empty() {
                self.events.extend(entry.holders.iter().map(|holder| Event::Contended(*holder)));
            }
            entry.queue.push_back((ticket, claim.lease));
        }
        Ok(Claimed::Queued(self.place(now, claim.lease)))
    }

    fn lease_of(&self, now: Instant, claim: &Claim, state: State) -> Lease {
        Lease {
            names: claim.names.clone(),
            mode: claim.mode,
            pick: claim.pick,
            ttl: claim.ttl,
            linger: claim.linger,
            revocable: claim.revocable,
            origin: claim.origin,
            wanted: claim.tokens,
            meta: claim.meta.clone(),
            since: now,
            state,
        }
    }

    /// Takes a claim out of the table and lets the next ones in. `why` is for a holder who did not end it.
    pub(super) fn drop_lease(&mut self, now: Instant, id: LeaseId, why: Option<Why>) {
        let Some(lease) = self.leases.remove(&id) else {
            return;
        };
        let ended = matches!(&lease.state, State::Held(held) if held.ended);
        if let (Some(why), false) = (why, ended) {
            self.events.push(Event::Lost(id, why));
        }
        if why.is_some() || self.is_mortal(&lease) {
            self.remember(now, id, why.unwrap_or(Why::Unknown));
        }
        let names = match lease.state {
            State::Held(held) => {
                self.vacate(id, &held.names);
                held.names
            }
            State::Waiting(waiting) => {
                self.unqueue(waiting.ticket, &lease.names);
                lease.names
            }
        };
        self.grant_next(now, &names);
        self.note_idle(&names);
    }

    /// Whether time alone can end a lease or a place in the queue.
    pub(super) fn is_mortal(&self, lease: &Lease) -> bool {
        lease.origin == Origin::Remote || self.locals_expire
    }

    pub(super) fn vacate(&mut self, id: LeaseId, names: &Names) {
        for name in names {
            if let Some(entry) = self.names.get_mut(name) {
                entry.holders.retain(|holder| *holder != id);
            }
        }
    }

    pub(super) fn unqueue(&mut self, ticket: u64, names: &Names) {
        for name in names {
            let Some(entry) = self.names.get_mut(name) else {
                continue;
            };
            if let Ok(index) = entry.queue.binary_search_by_key(&ticket, |(ticket, _)| *ticket) {
                entry.queue.remove(index);
            }
        }
    }

    pub(super) fn note_idle(&mut self, names: &Names) {
        for name in names {
            if self.names.get(name).is_some_and(|e| e.holders.is_empty() && e.queue.is_empty()) {
                self.names.remove(name);
                self.idle.push(name.clone());
            }
        }
    }

    fn remember(&mut self, now: Instant, id: LeaseId, why: Why) {
        if self.ended.insert(id, why).is_none() {
            self.ended_in_order.push_back((now + REMEMBER, id));
        }
    }

    fn forget(&mut self, now: Instant) {
        while let Some((until, id)) = self.ended_in_order.front().copied() {
            if until > now && self.ended_in_order.len() <= MOST_REMEMBERED {
                return;
            }
            self.ended_in_order.pop_front();
            self.ended.remove(&id);
        }
    }
}

impl Waiting {
    fn new(ticket: u64, now: Instant) -> Self {
        Waiting { ticket, touched: now, overtaken: 0, overtaken_since: None }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
