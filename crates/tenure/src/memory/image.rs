//! A table as the image of a part of a store: what is kept elsewhere is put in before a step, and what the step
//! changed is taken out after it.
//!
//! A step is right when these are complete in the table: the names of the claim or of the leases that it is about,
//! the names of every waiter of a name that is complete, and the names of every lease that is over.

use std::collections::VecDeque;
use std::sync::Arc;

use super::leases::Leases;
use super::table::{Entry, Lease, State, Table};
use super::tokens::TokenSource;
use crate::claim::{Claim, LeaseId};
use crate::clock::Instant;
use crate::lease::Why;
use crate::name::Name;

impl Table {
    /// An empty image whose next ticket is the one after `last_ticket`. Its local leases expire.
    pub(crate) fn image(tokens: Arc<TokenSource>, last_ticket: u64) -> Self {
        let mut table = Table::new(tokens, true);
        table.leases = Leases::noting();
        table.last_ticket = last_ticket;
        table
    }

    /// The ticket that was given last.
    pub(crate) fn last_ticket(&self) -> u64 {
        self.last_ticket
    }

    /// A claim that is held or waits.
    pub(crate) fn lease(&self, id: &LeaseId) -> Option<&Lease> {
        self.leases.get(id)
    }

    /// Puts in a claim. Its names are put in by [`restore_name`](Self::restore_name).
    pub(crate) fn restore(&mut self, id: LeaseId, lease: Lease) {
        self.leases.restore(id, lease);
    }

    /// Puts in a name with all who hold it or wait for it, which have been put in before, in any order.
    pub(crate) fn restore_name(&mut self, name: Name, mut ids: Vec<LeaseId>) {
        if ids.is_empty() {
            return;
        }
        // Holders stand in the order of their grants, which is that of their tokens: only an exclusive lease, which
        // stands alone, gets other tokens later.
        let order = |id: &LeaseId| match self.leases.get(id).map(|lease| &lease.state) {
            Some(State::Held(held)) => held.tokens.first().get(),
            Some(State::Waiting(waiting)) => waiting.ticket,
            None => 0,
        };
        ids.sort_by_key(order);
        let mut entry = Entry::default();
        let mut queue = VecDeque::new();
        for id in ids {
            match self.leases.get(&id).map(|lease| &lease.state) {
                Some(State::Held(_)) => entry.holders.push(id),
                Some(State::Waiting(waiting)) => queue.push_back((waiting.ticket, id)),
                None => {}
            }
        }
        entry.queue = queue;
        self.names.insert(name, entry);
    }

    /// Puts in that an id has ended.
    pub(crate) fn restore_ended(&mut self, id: LeaseId, why: Why) {
        self.ended.insert(id, why);
    }

    /// What became of an id that ended, as far as it was put in or happened since the last [`take_ended`](Self::take_ended).
    pub(crate) fn ended(&self, id: &LeaseId) -> Option<Why> {
        self.ended.get(id).copied()
    }

    /// Who holds a name or waits for it, the first `most` of them.
    pub(crate) fn at(&self, name: &Name, most: usize) -> impl Iterator<Item = (LeaseId, &Lease)> {
        let entry = self.names.get(name).into_iter();
        let ids = entry.flat_map(|entry| entry.holders.iter().chain(entry.queue.iter().map(|(_, id)| id)));
        ids.take(most).filter_map(|id| Some((*id, self.leases.get(id)?)))
    }

    /// Who holds a name.
    pub(crate) fn holders(&self, name: &Name) -> impl Iterator<Item = &Lease> {
        let ids = self.names.get(name).into_iter().flat_map(|entry| &entry.holders);
        ids.filter_map(|id| self.leases.get(id))
    }

    /// Whether a claim would be granted at once.
    pub(crate) fn is_free_for(&self, now: Instant, claim: &Claim) -> bool {
        self.runnable(now, claim.mode, claim.pick, &claim.names, u64::MAX).is_some()
    }

    /// The ids of the claims that may have changed since the last call, each once.
    pub(crate) fn take_changed(&mut self) -> Vec<LeaseId> {
        let mut changed = self.leases.take_changed();
        changed.sort_unstable();
        changed.dedup();
        self.idle.clear();
        changed
    }

    /// The ids that ended since the last call, with the instant until which that is remembered. The table forgets them.
    pub(crate) fn take_ended(&mut self) -> Vec<(LeaseId, Instant, Why)> {
        let ended = std::mem::take(&mut self.ended);
        let in_order = std::mem::take(&mut self.ended_in_order);
        in_order.into_iter().filter_map(|(until, id)| Some((id, until, *ended.get(&id)?))).collect()
    }
}
