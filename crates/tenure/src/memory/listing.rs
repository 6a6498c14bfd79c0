//! What the table shows to people.

use super::table::{Lease, State, Table};
use crate::claim::{Digest, LeaseId};
use crate::clock::Instant;
use crate::lease::{Kind, Listed, Page, Query};

impl Table {
    /// Lists leases or waiters in the order of their digests. What has expired is left out.
    pub fn list(&self, now: Instant, query: &Query) -> Page {
        page(self.leases.iter().filter_map(|(id, lease)| self.listed(now, id, lease, query.kind)), query)
    }

    fn listed(&self, now: Instant, id: &LeaseId, lease: &Lease, kind: Kind) -> Option<Listed> {
        let mut listed = Listed::new(id.digest(), lease.names.clone(), lease.mode, lease.ttl, lease.origin);
        listed.age = lease.since.until(now);
        listed.meta = lease.meta.clone();
        match (&lease.state, kind) {
            (State::Held(held), Kind::Leases) if held.expires > now => {
                listed.names = held.names.clone();
                listed.token = Some(held.tokens.first());
                listed.remaining = (held.expires != Instant::NEVER).then(|| now.until(held.expires));
            }
            (State::Waiting(_), Kind::Waiters) => listed.ahead = self.place(now, *id).ahead,
            _ => return None,
        }
        Some(listed)
    }
}

/// Sorts, filters and cuts what was found to the page that was asked for.
pub(super) fn page(found: impl Iterator<Item = Listed>, query: &Query) -> Page {
    let wanted = |listed: &Listed| {
        let named = listed.names.iter().any(|name| name.as_str().starts_with(&query.prefix));
        named && query.after.is_none_or(|after: Digest| listed.lease > after)
    };
    let mut entries: Vec<Listed> = found.filter(wanted).collect();
    entries.sort_by_key(|listed| listed.lease);
    let more = entries.len() > query.limit;
    entries.truncate(query.limit);
    let next = more.then(|| entries.last().map(|listed| listed.lease)).flatten();
    Page { entries, next }
}
