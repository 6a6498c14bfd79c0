//! From the library's values to the JSON shapes.

use std::time::Duration;

use tenure::claim::Origin;
use tenure::clock::Instant;
use tenure::lease::{Grant, HeldBy, Listed, Queued};
use tenure::{LeaseId, Meta, Mode, limits};
use tenure_wire::{Fields, Granted, Holder, Lease, LeaseText, ModeWord, Place, Waiter};

/// Whole milliseconds.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn lease_text(lease: LeaseId) -> LeaseText {
    LeaseText(lease.reveal())
}

/// A grant, whose ttl counts from `since`: the instant before the request that it answers went to the store.
///
/// The store's own end is a drift allowance after the holder's deadline. The client takes its own allowance off,
/// from an instant before `since`, so it is told the store's.
pub(crate) fn granted(lease: LeaseId, grant: &Grant, since: Instant, ttl: Duration) -> Granted {
    let left = since.until(grant.deadline).saturating_add(limits::drift(ttl));
    Granted {
        lease: lease_text(lease),
        names: grant.names.iter().map(ToString::to_string).collect(),
        token: grant.tokens.first().to_string(),
        tokens: grant.tokens.count().get(),
        ttl_ms: millis(left.min(ttl)),
        contended: grant.contended,
        revoked: grant.revoked,
    }
}

pub(crate) fn place(lease: LeaseId, queued: Queued) -> Place {
    Place {
        lease: lease_text(lease),
        ahead: queued.ahead,
        expires_in_ms: queued.expires_in.map(millis),
        touch_within_ms: millis(limits::DEAD_WAITER),
    }
}

pub(crate) fn holder(held_by: &HeldBy) -> Holder {
    Holder {
        name: held_by.name.as_ref().map(ToString::to_string),
        lease: held_by.lease.map(|digest| digest.to_string()),
        holder: fields(held_by.meta.as_deref()),
    }
}

pub(crate) fn lease(listed: &Listed) -> Lease {
    let (mode, take, of) = mode(listed.mode);
    Lease {
        digest: listed.lease.to_string(),
        names: listed.names.iter().map(ToString::to_string).collect(),
        mode,
        take,
        of,
        token: listed.token.map(|token| token.to_string()),
        ttl_ms: millis(listed.ttl),
        remaining_ms: listed.remaining.map(millis),
        age_ms: millis(listed.age),
        origin: origin(listed.origin),
        holder: fields(listed.meta.as_deref()),
    }
}

pub(crate) fn waiter(listed: &Listed) -> Waiter {
    let (mode, take, of) = mode(listed.mode);
    Waiter {
        digest: listed.lease.to_string(),
        names: listed.names.iter().map(ToString::to_string).collect(),
        mode,
        take,
        of,
        ttl_ms: millis(listed.ttl),
        age_ms: millis(listed.age),
        ahead: listed.ahead,
        origin: origin(listed.origin),
        holder: fields(listed.meta.as_deref()),
    }
}

fn mode(mode: Mode) -> (ModeWord, Option<u32>, Option<u32>) {
    match mode {
        Mode::Shared => (ModeWord::Shared, None, None),
        Mode::Permits { take, of } => (ModeWord::Permit, Some(take), Some(of)),
        _ => (ModeWord::Exclusive, None, None),
    }
}

fn origin(origin: Origin) -> String {
    match origin {
        Origin::Local => "local".to_owned(),
        Origin::Remote => "remote".to_owned(),
    }
}

fn fields(meta: Option<&Meta>) -> Fields {
    let fields = meta.into_iter().flat_map(Meta::iter);
    fields.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
