//! The claims of a table by their ids, with a note of which changed for a store that keeps them elsewhere.

use std::collections::HashMap;
use std::ops::Deref;

use super::table::Lease;
use crate::claim::LeaseId;

type Map = HashMap<LeaseId, Lease, foldhash::fast::RandomState>;

/// Claims by id. Whatever is changed goes through a method here, so that no change is left unnoted.
#[derive(Debug, Default)]
pub(super) struct Leases {
    map: Map,
    changed: Option<Vec<LeaseId>>,
}

impl Leases {
    /// Without claims, and with a note of what changes.
    pub(super) fn noting() -> Self {
        Leases { map: Map::default(), changed: Some(Vec::new()) }
    }

    /// The ids that were added, removed or lent out to be changed since the last call; some of them twice.
    pub(super) fn take_changed(&mut self) -> Vec<LeaseId> {
        self.changed.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn get_mut(&mut self, id: &LeaseId) -> Option<&mut Lease> {
        self.note(id);
        self.map.get_mut(id)
    }

    pub(super) fn insert(&mut self, id: LeaseId, lease: Lease) {
        self.note(&id);
        self.map.insert(id, lease);
    }

    pub(super) fn remove(&mut self, id: &LeaseId) -> Option<Lease> {
        self.note(id);
        self.map.remove(id)
    }

    /// Adds a claim as it is kept elsewhere: not a change.
    pub(super) fn restore(&mut self, id: LeaseId, lease: Lease) {
        self.map.insert(id, lease);
    }

    fn note(&mut self, id: &LeaseId) {
        if let Some(changed) = &mut self.changed {
            changed.push(*id);
        }
    }
}

impl Deref for Leases {
    type Target = Map;

    fn deref(&self) -> &Map {
        &self.map
    }
}
