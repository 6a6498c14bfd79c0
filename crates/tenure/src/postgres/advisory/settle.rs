//! After each step: what the process does not need any more is let go, and what its waiters need is asked for.

use std::sync::Arc;
use std::time::Duration;

use super::claims::{Landed, wanted};
use super::desk::Desk;
use super::outbox::Done;
use super::title::{Kind, all_of, key_of};
use super::waits::Start;
use crate::claim::{Claim, LeaseId, Mode, Pick, ProcessId};
use crate::clock::Instant;
use crate::error::Error;
use crate::lease::{Claimed, Why};
use crate::memory::table::{Lease, State};
use crate::name::Name;

/// For how long it is believed that others wait for a name, unless they say so again: they do twice a second.
const BELIEVED: Duration = Duration::from_millis(1_500);

impl Desk {
    pub(super) fn settle_all(&mut self, now: Instant, names: &[Name]) {
        for name in names {
            self.settle(now, name, None);
        }
        for name in self.table.take_idle() {
            self.settle(now, &name, None);
        }
    }

    /// Brings what is held at the server, and asked of it, in line with the table.
    pub(super) fn settle(&mut self, now: Instant, name: &Name, done: Option<&Arc<Done>>) {
        if self.is_flying(name) {
            return;
        }
        if self.table.forget_idle(name) {
            self.waits.give_up(name, done);
            self.waits.polled.remove(name);
            if let Some(title) = self.drop_title(name) {
                self.outbox.end(&title, done);
            }
            return;
        }
        let is_held = self.table.holders(name).next().is_some();
        if is_held {
            self.let_surplus_go(name, done);
        } else if let Some(title) = self.drop_title(name) {
            // Those who wait here need more, or others wait before them: the name goes back first.
            let mode = self.table.at(name, 1).next().map_or(Mode::Exclusive, |(_, lease)| lease.mode);
            self.table.clear_awaited(name);
            self.table.set_elsewhere(name, Some(all_of(mode)));
            self.outbox.end(&title, done);
        }
        self.want(now, name, done);
    }

    /// Permits that no lease here needs.
    fn let_surplus_go(&mut self, name: &Name, done: Option<&Arc<Done>>) {
        let used: u32 = self
            .table
            .holders(name)
            .map(|lease| if let Mode::Permits { take, .. } = lease.mode { take } else { 0 })
            .sum();
        let Some(title) = self.titles.get_mut(name) else { return };
        let Kind::Permits { slots, .. } = &mut title.kind else { return };
        if slots.len() <= used as usize {
            return;
        }
        let surplus = slots.split_off(used as usize);
        let (line, elsewhere) = (title.line, title.elsewhere());
        self.table.set_elsewhere(name, elsewhere);
        self.outbox.end_keys(line, &surplus, done);
    }

    /// Asks for a name that the others alone keep from a waiter.
    fn want(&mut self, now: Instant, name: &Name, done: Option<&Arc<Done>>) {
        let Some((_, lease, _)) = self.table.first_kept_waiting(now, name) else {
            self.waits.give_up(name, done);
            self.waits.polled.remove(name);
            return;
        };
        let is_alone = lease.names.len() == 1 && !matches!(lease.mode, Mode::Permits { .. });
        let shared = lease.mode == Mode::Shared;
        if is_alone && !self.titles.contains_key(name) {
            self.waits.polled.remove(name);
            self.waits.want(name, shared);
        } else {
            self.waits.give_up(name, done);
            if self.waits.polled.insert(name.clone()) {
                self.poll_one(now, name);
            }
        }
    }

    /// Asks again for the names that are asked for by tries.
    pub(super) fn poll(&mut self, now: Instant) {
        self.refused.retain(|id, _| self.table.lease(id).is_some());
        let names: Vec<Name> = self.waits.polled.iter().cloned().collect();
        for name in names {
            self.poll_one(now, &name);
        }
    }

    fn poll_one(&mut self, now: Instant, name: &Name) {
        if self.is_flying(name) {
            return;
        }
        let Some((id, lease, open)) = self.table.first_kept_waiting(now, name) else {
            return self.settle(now, name, None);
        };
        if lease.names.iter().any(|name| self.is_flying(name) || self.waits.is_waiting(name)) {
            return;
        }
        let claim = claim_of(id, lease);
        let mut missing = self.missing(&claim, &open);
        let refused = self.refused.get(&id).and_then(|name| missing.iter().position(|other| other == name));
        if let (Some(at), Pick::All) = (refused, claim.pick) {
            missing.swap(0, at);
        }
        if missing.is_empty() {
            self.table.others_made_room(now, claim.names.as_slice());
            self.settle_all(now, claim.names.as_slice());
        } else {
            let most = wanted(&claim) - (open.len() - missing.len());
            self.fly(claim, missing, most, None);
        }
    }

    /// A wait stands in the server's queue.
    pub(super) fn queued(&mut self, now: Instant, start: &Start) {
        for (claim, reply, _) in self.waits.queued(start) {
            let _ = reply.send(self.table.claim(now, &claim));
        }
    }

    /// A wait has ended with a lock, which `line` holds, or without. `sent`: the instant before the session was known to live.
    pub(super) fn waited(&mut self, now: Instant, start: &Start, won: Option<Won>) {
        let (ends, untold) = self.waits.over(start);
        let name = &start.name;
        if let Some(Won { line, token, others }) = won {
            self.fresh(token);
            let mode = if start.shared { Mode::Shared } else { Mode::Exclusive };
            if self.titles.contains_key(name) || self.is_flying(name) || !self.table.has_waiters(name) {
                let key = key_of(name);
                if start.shared {
                    self.outbox.end_shared(line, key);
                } else {
                    self.outbox.end_keys(line, &[key], None);
                }
                self.outbox.when_sent(line, ends);
            } else {
                let ttl = self.table.at(name, 64).map(|(_, lease)| lease.ttl).max().unwrap_or(Duration::ZERO);
                self.add_title(name, line, mode, Vec::new(), ttl);
                if let Some(title) = self.titles.get_mut(name) {
                    title.is_turn = true;
                }
                self.table.others_made_room(now, std::slice::from_ref(name));
                if others {
                    self.table.set_awaited(name, true);
                    self.awaited.insert(name.clone(), now + BELIEVED);
                }
            }
        }
        for (claim, reply, _) in untold {
            let answer = self.table.claim(now, &claim);
            self.note_expiry(&claim.lease);
            match answer {
                Ok(Claimed::Queued(_)) => self.waits.answer_when_queued(claim, reply, answer),
                answer => drop(reply.send(answer)),
            }
        }
        self.settle(now, name, None);
    }

    /// A wait could not begin: all connections for it are taken, or cannot be had.
    pub(super) fn cannot_wait(&mut self, now: Instant, start: &Start) {
        let (_, untold) = self.waits.over(start);
        if self.table.has_waiters(&start.name) {
            self.waits.polled.insert(start.name.clone());
        }
        for (claim, reply, _) in untold {
            let _ = reply.send(self.table.claim(now, &claim));
        }
    }

    /// Forgets waiters elsewhere that have not been heard of again: they were served, or have left.
    pub(super) fn forget_waiters(&mut self, now: Instant) {
        let over: Vec<Name> =
            self.awaited.iter().filter(|(_, at)| **at <= now).map(|(name, _)| name.clone()).collect();
        for name in over {
            self.awaited.remove(&name);
            self.table.clear_awaited(&name);
            self.table.others_made_room(now, std::slice::from_ref(&name));
            self.settle(now, &name, None);
        }
    }

    /// Others wait for what has this key.
    pub(super) fn hear_waiter(&mut self, now: Instant, key: i64) {
        if let Some(name) = self.by_key.get(&key).cloned() {
            let is_turn = self.titles.get(&name).is_some_and(|title| title.is_turn);
            self.table.set_awaited(&name, is_turn);
            self.awaited.insert(name.clone(), now + BELIEVED);
            self.settle(now, &name, None);
        }
    }

    /// A line is lost, and with it all that stands on it.
    pub(super) fn lose_line(&mut self, now: Instant, line: usize, why: &Error) {
        let names: Vec<Name> = self
            .titles
            .iter()
            .filter(|(_, title)| title.line == line)
            .map(|(name, _)| name.clone())
            .collect();
        for name in &names {
            self.drop_title(name);
            let mode = self.table.at(name, 1).next().map_or(Mode::Exclusive, |(_, lease)| lease.mode);
            self.table.set_elsewhere(name, Some(all_of(mode)));
            self.table.clear_awaited(name);
        }
        let lost: Vec<LeaseId> = names
            .iter()
            .flat_map(|name| self.table.at(name, usize::MAX))
            .filter(|(_, lease)| matches!(lease.state, State::Held(_)))
            .map(|(id, _)| id)
            .collect();
        let mut touched = names;
        for id in lost {
            touched.extend(self.table.lease(&id).into_iter().flat_map(|lease| lease.names.iter().cloned()));
            self.table.lose(now, id, Why::Store);
        }
        if let Some(slot) = self.outbox.close(line) {
            for single in slot.letters.singles {
                self.fall(&single.claim, single.reply, why);
            }
            for hard in slot.letters.hard {
                self.fall(&hard.claim, hard.reply, why);
            }
        }
        self.settle_all(now, &touched);
        self.resume(now);
    }

    /// Takes in what the server gave many claims at once.
    pub(super) fn land_all(&mut self, now: Instant, landed: Vec<Landed>) {
        for landed in landed {
            self.land(now, landed);
        }
        self.resume(now);
    }
}

/// What a wait that has ended brought.
#[derive(Debug)]
pub(super) struct Won {
    pub(super) line: usize,
    pub(super) token: u64,
    /// Whether others wait for the name too.
    pub(super) others: bool,
}

/// The claim that a waiter of the table made.
fn claim_of(id: LeaseId, lease: &Lease) -> Claim {
    let mut claim = Claim::new(ProcessId::from_number(0), lease.names.clone());
    claim.lease = id;
    (claim.mode, claim.pick, claim.ttl, claim.linger) = (lease.mode, lease.pick, lease.ttl, lease.linger);
    (claim.origin, claim.meta, claim.wait, claim.tokens) =
        (lease.origin, lease.meta.clone(), true, lease.wanted);
    claim
}
