//! What the [`Table`] answers about leases and places in its queues. Nothing here changes a lease.

use std::time::Duration;

use super::table::{Entry, State, Table};
use crate::claim::{Claim, LeaseId};
use crate::clock::Instant;
use crate::lease::{Grant, HeldBy, Queued};
use crate::limits;
use crate::name::Names;
use crate::provider::Event;

impl Table {
    /// Tells those who want to know that they are in somebody's way.
    pub(super) fn tell_holders(&mut self, names: &Names) {
        let holders = names.iter().filter_map(|name| self.names.get(name)).flat_map(|entry| &entry.holders);
        let told = holders.filter(|id| self.leases.get(*id).is_some_and(|lease| lease.revocable));
        self.events.extend(told.map(|id| Event::Contended(*id)));
    }

    pub(super) fn grant_of(&self, id: LeaseId) -> Grant {
        let lease = self.leases.get(&id).expect("asked for a lease that was just looked up");
        let State::Held(held) = &lease.state else { unreachable!("asked for the grant of a waiting claim") };
        let deadline = match held.expires {
            Instant::NEVER => Instant::NEVER,
            expires => expires - limits::drift(lease.ttl),
        };
        let mut grant = Grant::new(held.names.clone(), held.tokens, deadline);
        grant.contended = held
            .names
            .iter()
            .any(|name| self.names.get(name).is_some_and(|e| !e.queue.is_empty() || e.awaited.is_some()));
        grant.revoked = held.revoked;
        grant
    }

    pub(super) fn place(&self, now: Instant, id: LeaseId) -> Queued {
        let Some(lease) = self.leases.get(&id) else {
            return Queued::new(0, None);
        };
        let State::Waiting(waiting) = &lease.state else {
            return Queued::new(0, None);
        };
        let ahead = |entry: &Entry| entry.queue.partition_point(|(ticket, _)| *ticket < waiting.ticket);
        let most = lease.names.iter().filter_map(|name| self.names.get(name)).map(ahead).max().unwrap_or(0);
        Queued::new(u32::try_from(most).unwrap_or(u32::MAX), self.next_expiry(now, &lease.names))
    }

    fn next_expiry(&self, now: Instant, names: &Names) -> Option<Duration> {
        let holders = names.iter().filter_map(|name| self.names.get(name)).flat_map(|entry| &entry.holders);
        let expiries = holders.filter_map(|id| match &self.leases.get(id)?.state {
            State::Held(held) if held.expires != Instant::NEVER => Some(held.expires),
            _ => None,
        });
        expiries.min().map(|expires| now.until(expires))
    }

    pub(super) fn held_by(&self, now: Instant, claim: &Claim) -> HeldBy {
        let taken = claim.names.iter().find(|name| self.names.contains_key(*name));
        let Some((name, entry)) = taken.and_then(|name| self.names.get_key_value(name)) else {
            return HeldBy::default();
        };
        let holder = entry.holders.first().and_then(|id| Some((id, self.leases.get(id)?)));
        HeldBy {
            name: Some(name.clone()),
            lease: holder.map(|(id, _)| id.digest()),
            remaining: self.next_expiry(now, &Names::one(name.clone())),
            meta: holder.and_then(|(_, lease)| lease.meta.clone()),
            waiting: u32::try_from(entry.queue.len()).unwrap_or(u32::MAX),
        }
    }
}
