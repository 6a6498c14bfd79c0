//! What others hold and wait for: the table's side of a store that arbitrates between processes elsewhere, and inside a
//! process here.
//!
//! For each name such a store says in which mode the others hold it, as if they were one more holder, and whether they wait
//! for it, as if they were one more waiter. The table never sets either by itself.

use super::table::{Lease, State, Table};
use crate::claim::{Claim, LeaseId, Mode, Pick};
use crate::clock::Instant;
use crate::error::Result;
use crate::lease::Why;
use crate::name::{Name, Names};
use crate::provider::Event;
use crate::token::TokenBlock;

impl Table {
    /// The names that a new claim may have as far as this process alone is concerned, in the claim's order; `None` when others
    /// of this process are in the way, or somebody waits before it.
    pub(crate) fn could_run(&self, now: Instant, claim: &Claim) -> Option<Vec<Name>> {
        self.open_here(now, claim.mode, claim.pick, &claim.names, u64::MAX)
    }

    /// The first waiter of a name that only the others keep from running, and the names that it may have.
    pub(crate) fn first_kept_waiting(
        &self,
        now: Instant,
        name: &Name,
    ) -> Option<(LeaseId, &Lease, Vec<Name>)> {
        let entry = self.names.get(name)?;
        entry.queue.iter().find_map(|(ticket, id)| {
            let lease = self.leases.get(id).filter(|_| !self.is_over(now, id))?;
            let names = self.open_here(now, lease.mode, lease.pick, &lease.names, *ticket)?;
            Some((*id, lease, names))
        })
    }

    fn open_here(
        &self,
        now: Instant,
        mode: Mode,
        pick: Pick,
        names: &Names,
        ticket: u64,
    ) -> Option<Vec<Name>> {
        let open: Vec<Name> =
            names.iter().filter(|name| self.is_open_here(now, name, mode, ticket)).cloned().collect();
        let wanted = match pick {
            Pick::All => names.len(),
            Pick::Any { count } => count as usize,
        };
        (open.len() >= wanted).then_some(open)
    }

    fn is_open_here(&self, now: Instant, name: &Name, mode: Mode, ticket: u64) -> bool {
        let Some(entry) = self.names.get(name) else {
            return true;
        };
        entry.awaited.is_none_or(|since| ticket <= since)
            && self.leaves_room(entry, None, mode)
            && !self.is_behind(now, name, entry, mode, ticket)
    }

    /// Says in which mode the others hold a name, if at all.
    pub(crate) fn set_elsewhere(&mut self, name: &Name, mode: Option<Mode>) {
        match mode {
            Some(_) => self.names.entry(name.clone()).or_default().elsewhere = mode,
            None => {
                if let Some(entry) = self.names.get_mut(name) {
                    entry.elsewhere = None;
                }
            }
        }
    }

    /// Says that others wait for a name: before all who wait here, or behind them. Its holders are told.
    pub(crate) fn set_awaited(&mut self, name: &Name, before_all: bool) {
        let since = if before_all { 0 } else { self.last_ticket };
        let Some(entry) = self.names.get_mut(name) else { return };
        if entry.awaited.is_some() {
            return;
        }
        entry.awaited = Some(since);
        if entry.queue.is_empty() {
            let holders = entry.holders.clone();
            self.events.extend(holders.into_iter().map(Event::Contended));
        }
    }

    /// Says that others wait for a name no more, or that it was given to them.
    pub(crate) fn clear_awaited(&mut self, name: &Name) {
        if let Some(entry) = self.names.get_mut(name) {
            entry.awaited = None;
        }
    }

    /// Forgets what was said of the others at a name that nobody here holds or waits for; whether so.
    pub(crate) fn forget_idle(&mut self, name: &Name) -> bool {
        let is_idle = self.names.get(name).is_none_or(|e| e.holders.is_empty() && e.queue.is_empty());
        if is_idle {
            self.names.remove(name);
        }
        is_idle
    }

    /// Grants who may go now that the others have made room at some names.
    pub(crate) fn others_made_room(&mut self, now: Instant, names: &[Name]) {
        for name in names {
            let names = Names::one(name.clone());
            self.refresh(now, &names);
            self.grant_next(now, &names);
        }
    }

    /// Grants a waiter that may go, whatever stands before it.
    pub(crate) fn grant_waiter(&mut self, now: Instant, id: LeaseId) {
        self.promote(now, id);
    }

    /// Whether others wait for a name.
    pub(crate) fn is_awaited(&self, name: &Name) -> bool {
        self.names.get(name).is_some_and(|entry| entry.awaited.is_some())
    }

    /// Whether anybody here waits for a name.
    pub(crate) fn has_waiters(&self, name: &Name) -> bool {
        self.names.get(name).is_some_and(|entry| !entry.queue.is_empty())
    }

    /// Refuses a claim that mixes modes on a name, having dropped what is over.
    ///
    /// # Errors
    /// `InvalidInput`; nothing but what was over was changed.
    pub(crate) fn check(&mut self, now: Instant, claim: &Claim) -> Result<()> {
        self.refresh(now, &claim.names);
        self.check_modes(claim)
    }

    /// Whether a claim was asked before, whatever became of it.
    pub(crate) fn has_seen(&self, id: &LeaseId) -> bool {
        self.leases.contains_key(id) || self.ended.contains_key(id)
    }

    /// Ends a lease that its holder has lost, or a claim.
    pub(crate) fn lose(&mut self, now: Instant, id: LeaseId, why: Why) {
        self.drop_lease(now, id, Some(why));
    }

    /// Gives a lease other tokens than those of its grant.
    pub(crate) fn retoken(&mut self, id: &LeaseId, tokens: TokenBlock) {
        if let Some(Lease { state: State::Held(held), .. }) = self.leases.get_mut(id) {
            held.tokens = tokens;
        }
    }

    /// How many claims are served before a waiting one.
    pub(crate) fn place_of(&self, now: Instant, id: LeaseId) -> u32 {
        self.place(now, id).ahead
    }

    /// All claims and leases.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&LeaseId, &Lease)> {
        self.leases.iter()
    }

    /// The names that fell idle since the last call.
    pub(crate) fn take_idle(&mut self) -> Vec<Name> {
        std::mem::take(&mut self.idle)
    }
}
