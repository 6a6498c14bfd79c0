//! The [`Table`]'s side of the fast lane: leases that were taken there and come here when somebody else wants their names.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::table::{Held, Lease, State, Table};
use crate::claim::{LeaseId, Meta, Mode, Origin, Pick};
use crate::clock::Instant;
use crate::limits;
use crate::name::{Name, Names};
use crate::token::{FencingToken, TokenBlock};

/// What is known of a lease that was taken outside the table.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) meta: Option<Arc<Meta>>,
    pub(super) since: Instant,
}

impl Table {
    /// Adds a lease that was taken outside the table, as one that does not expire.
    pub(super) fn adopt(&mut self, now: Instant, id: LeaseId, name: Name, token: FencingToken, taken: Taken) {
        let names = Names::one(name.clone());
        let held = Held {
            names: names.clone(),
            tokens: TokenBlock::one(token),
            expires: Instant::NEVER,
            revoked: false,
            ended: false,
        };
        let lease = Lease {
            names,
            mode: Mode::Exclusive,
            pick: Pick::All,
            ttl: limits::DEFAULT_TTL,
            linger: Duration::ZERO,
            revocable: false,
            origin: Origin::Local,
            wanted: NonZeroU32::MIN,
            meta: taken.meta,
            since: taken.since.min(now),
            state: State::Held(held),
        };
        self.leases.insert(id, lease);
        self.names.entry(name).or_default().holders.push(id);
    }

    /// Ends adopted leases as one; whether all of them were held.
    pub(super) fn end_together(&mut self, now: Instant, ids: &[LeaseId]) -> bool {
        let mut freed = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some(Lease { names, .. }) = self.leases.remove(id) {
                self.vacate(*id, &names);
                freed.extend(names.iter().cloned());
            }
        }
        let all = freed.len() == ids.len();
        if let Ok(names) = Names::new(freed) {
            self.grant_next(now, &names);
            self.note_idle(&names);
        }
        all
    }

    /// Whether anybody holds a name or waits for it.
    pub(super) fn knows(&self, name: &Name) -> bool {
        self.names.contains_key(name)
    }

    /// Whether anybody waits for a name.
    pub(super) fn is_waited_for(&self, name: &Name) -> bool {
        self.names.get(name).is_some_and(|entry| !entry.queue.is_empty())
    }

    /// Whether a lease is held and nobody asked for it back.
    pub(super) fn is_held(&self, id: &LeaseId) -> bool {
        matches!(self.leases.get(id), Some(Lease { state: State::Held(held), .. }) if !held.revoked && !held.ended)
    }
}
