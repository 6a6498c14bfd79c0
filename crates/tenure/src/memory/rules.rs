//! Who may go next: compatibility, order and overtaking, expiry and the hand-over to waiters.
//!
//! A claim is *runnable* when it is compatible with the holders of its names and no earlier claim that conflicts
//! with it waits for them. Only a runnable claim takes anything, all of it in one step, so batches cannot deadlock.

use super::table::{Entry, Held, Lease, State, Table};
use crate::claim::{Claim, LeaseId, Mode, Pick};
use crate::clock::Instant;
use crate::error::{Error, Result};
use crate::lease::Why;
use crate::limits;
use crate::name::{Name, Names};
use crate::provider::Event;

/// Waiters that one step looks at in one queue, so that a step stays short whatever waits there.
const MOST_LOOKED_AT: usize = 128;

impl Table {
    /// The names that a claim with this ticket would take now, or `None` when it has to wait.
    pub(super) fn runnable(
        &self,
        now: Instant,
        mode: Mode,
        pick: Pick,
        names: &Names,
        ticket: u64,
    ) -> Option<Names> {
        let open = |name: &&Name| self.is_open(now, name, mode, ticket);
        match pick {
            Pick::All => names.iter().all(|name| open(&name)).then(|| names.clone()),
            Pick::Any { count } => {
                let picked: Vec<Name> = names.iter().filter(open).take(count as usize).cloned().collect();
                (picked.len() == count as usize).then(|| Names::new(picked).ok()).flatten()
            }
        }
    }

    fn is_open(&self, now: Instant, name: &Name, mode: Mode, ticket: u64) -> bool {
        let Some(entry) = self.names.get(name) else {
            return true;
        };
        entry.awaited.is_none_or(|since| ticket <= since)
            && self.admits(entry, mode)
            && !self.is_behind(now, name, entry, mode, ticket)
    }

    /// Whether an earlier waiter that it may not pass stands before a claim.
    pub(super) fn is_behind(
        &self,
        now: Instant,
        name: &Name,
        entry: &Entry,
        mode: Mode,
        ticket: u64,
    ) -> bool {
        let earlier = entry.queue.iter().take_while(|(other, _)| *other < ticket);
        let live = earlier.filter(|(_, id)| !self.is_over(now, id));
        let mut waiters = live.filter_map(|(_, id)| self.leases.get(id));
        waiters.any(|waiter| conflicts(waiter.mode, mode) && !self.may_be_overtaken(now, name, waiter))
    }

    /// Whether the holders of a name, here and elsewhere, leave room for `mode`.
    fn admits(&self, entry: &Entry, mode: Mode) -> bool {
        self.leaves_room(entry, entry.elsewhere, mode)
    }

    pub(super) fn leaves_room(&self, entry: &Entry, elsewhere: Option<Mode>, mode: Mode) -> bool {
        let holders = entry.holders.iter().filter_map(|id| self.leases.get(id)).map(|lease| lease.mode);
        let mut holders = holders.chain(elsewhere);
        match mode {
            Mode::Exclusive => entry.holders.is_empty() && elsewhere.is_none(),
            Mode::Shared => holders.all(|holder| holder == Mode::Shared),
            Mode::Permits { take, of } => {
                let permits = |holder| {
                    if let Mode::Permits { take, .. } = holder { u64::from(take) } else { u64::from(of) }
                };
                holders.map(permits).sum::<u64>() + u64::from(take) <= u64::from(of)
            }
        }
    }

    /// Whether a waiter is held up by another of its names, and has not been passed too often or for too long.
    pub(super) fn may_be_overtaken(&self, now: Instant, name: &Name, waiter: &Lease) -> bool {
        let State::Waiting(waiting) = &waiter.state else {
            return true;
        };
        let admitted = |other: &&Name| {
            self.names.get(*other).is_none_or(|entry| self.leaves_room(entry, None, waiter.mode))
        };
        let others = waiter.names.iter().filter(|other| *other != name).filter(admitted).count();
        let needed = match waiter.pick {
            Pick::All => waiter.names.len() - 1,
            Pick::Any { count } => count as usize - 1,
        };
        let patient = waiting.overtaken_since.is_none_or(|since| now < since + limits::OVERTAKE_FOR);
        others < needed && waiting.overtaken < limits::MAX_OVERTAKES && patient
    }

    /// Notes that a claim with this ticket passes the waiters that stand before it.
    pub(super) fn overtake(&mut self, now: Instant, mode: Mode, names: &Names, ticket: u64) {
        for name in names {
            let Some(entry) = self.names.get(name) else {
                continue;
            };
            for (_, id) in entry.queue.iter().take_while(|(other, _)| *other < ticket) {
                let Some(waiter) = self.leases.get_mut(id) else {
                    continue;
                };
                if !conflicts(waiter.mode, mode) {
                    continue;
                }
                if let State::Waiting(waiting) = &mut waiter.state {
                    waiting.overtaken += 1;
                    waiting.overtaken_since.get_or_insert(now);
                }
            }
        }
    }

    /// Grants the claims that became runnable because `names` were freed, in the order of their tickets.
    pub(super) fn grant_next(&mut self, now: Instant, names: &Names) {
        let mut freed: Vec<Name> = names.iter().cloned().collect();
        for _ in 0..limits::MAX_GRANTS {
            let Some((id, picked)) = self.next_runnable(now, &freed) else {
                return;
            };
            let Some(asked) = self.serve(now, id, picked) else {
                return;
            };
            // It left the queues of all names that it asked for: those behind it there may go now.
            freed.extend(asked.iter().cloned());
            freed.sort_unstable();
            freed.dedup();
        }
    }

    /// Grants a waiting claim the names that it may have, as an offer; the names that it asked for.
    fn serve(&mut self, now: Instant, id: LeaseId, picked: Names) -> Option<Names> {
        let lease = self.leases.get(&id)?;
        let State::Waiting(waiting) = &lease.state else {
            return None;
        };
        let (ticket, asked, mode) = (waiting.ticket, lease.names.clone(), lease.mode);
        let offer = lease.ttl.min(limits::OFFER);
        self.overtake(now, mode, &picked, ticket);
        self.unqueue(ticket, &asked);
        self.hold(now, id, picked, offer);
        let grant = self.grant_of(id);
        self.events.push(Event::Granted(id, Some(Box::new(grant))));
        self.note_idle(&asked);
        Some(asked)
    }

    /// Grants a waiting claim that may go: one that a step with many others to grant left waiting.
    pub(super) fn promote(&mut self, now: Instant, id: LeaseId) {
        let Some(lease) = self.leases.get(&id) else {
            return;
        };
        let State::Waiting(waiting) = &lease.state else {
            return;
        };
        let picked = self.runnable(now, lease.mode, lease.pick, &lease.names, waiting.ticket);
        if let Some(asked) = picked.and_then(|picked| self.serve(now, id, picked)) {
            self.grant_next(now, &asked);
        }
    }

    fn next_runnable(&self, now: Instant, freed: &[Name]) -> Option<(LeaseId, Names)> {
        let is_exclusive =
            |id: &LeaseId| self.leases.get(id).is_some_and(|lease| lease.mode == Mode::Exclusive);
        let first_of = |name: &Name| {
            let entry = self.names.get(name)?;
            if entry.holders.iter().any(is_exclusive) {
                return None;
            }
            let queue = entry.queue.iter().take(MOST_LOOKED_AT);
            queue.map(|(ticket, id)| (*ticket, *id)).find_map(|(ticket, id)| {
                let waiter = self.leases.get(&id).filter(|_| !self.is_over(now, &id))?;
                let names = self.runnable(now, waiter.mode, waiter.pick, &waiter.names, ticket)?;
                Some((ticket, id, names))
            })
        };
        let first = freed.iter().filter_map(first_of).min_by_key(|(ticket, ..)| *ticket)?;
        Some((first.1, first.2))
    }

    /// Drops what is over on `names`: leases that expired, waiters that nobody touched.
    pub(super) fn refresh(&mut self, now: Instant, names: &Names) {
        let mut over = Vec::new();
        for entry in names.iter().filter_map(|name| self.names.get(name)) {
            let queue = || entry.queue.iter().map(|(_, id)| id);
            // The dead at the head are in the way of all others, however many they are; each is met once.
            let head = queue().take_while(|id| self.is_over(now, id));
            let near = queue().take(MOST_LOOKED_AT).filter(|id| self.is_over(now, id));
            over.extend(head.chain(near).copied());
            over.extend(entry.holders.iter().filter(|id| self.is_over(now, id)).copied());
        }
        for id in over {
            self.drop_lease(now, id, Some(Why::Expired));
        }
    }

    pub(super) fn is_over(&self, now: Instant, id: &LeaseId) -> bool {
        let Some(lease) = self.leases.get(id) else {
            return false;
        };
        match &lease.state {
            State::Held(Held { expires, .. }) => *expires <= now,
            State::Waiting(waiting) => self.is_mortal(lease) && waiting.touched + limits::DEAD_WAITER <= now,
        }
    }

    /// Kinds of use do not mix on a name: permits with locks, or permits of different limits.
    pub(super) fn check_modes(&self, claim: &Claim) -> Result<()> {
        for name in &claim.names {
            let Some(entry) = self.names.get(name) else {
                continue;
            };
            let ids = entry.holders.first().into_iter().chain(entry.queue.front().map(|(_, id)| id));
            for other in ids.filter_map(|id| self.leases.get(id)) {
                if limit(other.mode) != limit(claim.mode) {
                    let what = format!("permits of one limit and locks do not mix on a name name={name}");
                    return Err(Error::invalid("mode", what));
                }
            }
        }
        Ok(())
    }
}

/// Whether a claim of mode `later` has to wait behind a waiting one of mode `earlier`.
pub(super) fn conflicts(earlier: Mode, later: Mode) -> bool {
    !matches!((earlier, later), (Mode::Shared, Mode::Shared))
}

fn limit(mode: Mode) -> Option<u32> {
    if let Mode::Permits { of, .. } = mode { Some(of) } else { None }
}
