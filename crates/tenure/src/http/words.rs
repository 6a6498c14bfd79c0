//! Between the library's values and the JSON shapes of the server. What the server says is checked like any input.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tenure_wire::{
    AcquireRequest, Fields, Granted, Lease, LeaseText, Leases, ModeWord, Place, Problem, ReleaseRequest,
    RenewRequest, Waiter, Waiters, Want,
};

use super::line::Reply;
use crate::claim::{Claim, Digest, LeaseId, Meta, Mode, Origin, Pick};
use crate::clock::Instant;
use crate::error::{Error, ErrorKind, Result};
use crate::lease::{Claimed, Ended, Grant, HeldBy, Kept, Listed, Queued, Why};
use crate::limits;
use crate::name::{Name, Names};
use crate::provider::Keep;
use crate::token::TokenBlock;

/// Whole milliseconds, rounded up: a time that is asked for is never shortened.
fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

pub(super) fn lease_text(lease: LeaseId) -> LeaseText {
    LeaseText(lease.reveal())
}

/// The body of an acquire, about which `listener` is told.
pub(super) fn acquire(claim: &Claim, listener: LeaseId) -> AcquireRequest {
    let (mode, take, of) = match claim.mode {
        Mode::Exclusive => (ModeWord::Exclusive, None, None),
        Mode::Shared => (ModeWord::Shared, None, None),
        Mode::Permits { take, of } => (ModeWord::Permit, Some(take), Some(of)),
    };
    let (want, count) = match claim.pick {
        Pick::All => (Want::All, None),
        Pick::Any { count } => (Want::Any, Some(count)),
    };
    let fields = claim.meta.iter().flat_map(|meta| meta.iter());
    AcquireRequest {
        lease: Some(lease_text(claim.lease)),
        name: None,
        names: Some(claim.names.iter().map(ToString::to_string).collect()),
        mode,
        of,
        take,
        want,
        count,
        ttl_ms: Some(millis(claim.ttl)),
        wait_ms: None,
        hold_at_least_ms: (!claim.linger.is_zero()).then(|| millis(claim.linger)),
        holder: fields.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        reserve: (claim.tokens > NonZeroU32::MIN).then(|| claim.tokens.get()),
        queue: claim.wait,
        replaces: claim.replaces.iter().copied().map(lease_text).collect(),
        listener: Some(lease_text(listener)),
    }
}

/// The body of a renewal.
pub(super) fn renew(keep: &Keep) -> RenewRequest {
    RenewRequest {
        lease: lease_text(keep.lease),
        ttl_ms: Some(millis(keep.ttl)),
        reserve: (keep.tokens > 0).then_some(keep.tokens),
    }
}

/// The body of a release.
pub(super) fn release(lease: LeaseId) -> ReleaseRequest {
    ReleaseRequest { lease: lease_text(lease) }
}

/// A grant whose request was sent at `sent`.
pub(super) fn grant(granted: &Granted, sent: Instant) -> Result<Grant> {
    let names = Names::parse(&granted.names).map_err(strange)?;
    let count = NonZeroU32::new(granted.tokens).unwrap_or(NonZeroU32::MIN);
    let tokens = TokenBlock::new(granted.token.parse().map_err(strange)?, count);
    let ttl = Duration::from_millis(granted.ttl_ms).min(limits::MAX_TTL);
    let mut grant = Grant::new(names, tokens, sent + ttl - limits::drift(ttl));
    grant.contended = granted.contended;
    grant.revoked = granted.revoked;
    Ok(grant)
}

/// The answer to an acquire that was sent at `sent`.
pub(super) fn claimed(reply: &Reply, sent: Instant) -> Result<Claimed> {
    Ok(match reply.status {
        200 | 201 => {
            let mut grant = grant(&reply.granted()?, sent)?;
            grant.repeated = reply.status == 200;
            Claimed::Granted(grant)
        }
        202 => Claimed::Queued(place(&reply.place()?)),
        409 => Claimed::Busy(reply.problem().map(held_by).unwrap_or_default()),
        // The id was ended before: it is never granted.
        410 => Claimed::Busy(HeldBy::default()),
        _ => return Err(refusal("acquire", reply)),
    })
}

/// The answer to a renewal that was sent at `sent`.
pub(super) fn kept(reply: &Reply, sent: Instant) -> Result<Kept> {
    Ok(match reply.status {
        200 => Kept::Held(grant(&reply.granted()?, sent)?),
        202 => Kept::Queued(place(&reply.place()?)),
        410 => Kept::Gone(why(reply.problem().and_then(|problem| problem.why.as_deref()))),
        _ => return Err(refusal("renew", reply)),
    })
}

/// The answer to a release.
pub(super) fn ended(reply: &Reply) -> Result<Ended> {
    match (reply.status, reply.ended.as_deref()) {
        (204, Some("not-held")) => Ok(Ended::NotHeld),
        (204, Some("lingering")) => Ok(Ended::Lingering),
        (204, Some("withdrawn")) => Ok(Ended::Withdrawn),
        (204, _) => Ok(Ended::Released),
        _ => Err(refusal("release", reply)),
    }
}

fn place(place: &Place) -> Queued {
    Queued::new(place.ahead, place.expires_in_ms.map(Duration::from_millis))
}

/// Who is in the way. It is for people: what is not understood is left out.
fn held_by(problem: &Problem) -> HeldBy {
    let holder = problem.held_by.clone().unwrap_or_default();
    HeldBy {
        name: holder.name.and_then(|name| Name::new(name).ok()),
        lease: holder.lease.and_then(|digest| digest.parse().ok()),
        remaining: problem.remaining_ms.map(Duration::from_millis),
        meta: meta(&holder.holder),
        waiting: problem.position.unwrap_or(1).saturating_sub(1),
    }
}

/// Why a lease is gone, from its word.
pub(super) fn why(word: Option<&str>) -> Why {
    let known = [Why::Expired, Why::Forced, Why::Store];
    known.into_iter().find(|why| Some(why.word()) == word).unwrap_or(Why::Unknown)
}

/// What the server refused, as an error of this library.
pub(super) fn refusal(operation: &'static str, reply: &Reply) -> Error {
    let Some(problem) = reply.problem().filter(|problem| problem.kind.starts_with("urn:tenure:")) else {
        let what = format!("what answers is no tenure server status={}", reply.status);
        return Error::unavailable(operation, what);
    };
    match reply.status {
        429 if problem.limit.as_deref() == Some("max_waiters") => {
            Error::invalid("waiters", problem.detail.clone())
        }
        400 | 413 | 415 => Error::invalid(field(problem.field.as_deref(), operation), problem.detail.clone()),
        410 => Error::lost(operation, problem.detail.clone()),
        500 => Error::new(ErrorKind::Internal, operation, problem.detail.clone()),
        _ => Error::unavailable(operation, problem.detail.clone()),
    }
}

/// The library's word for a field of a request.
fn field(field: Option<&str>, operation: &'static str) -> &'static str {
    let words = [
        ("name", "name"),
        ("names", "names"),
        ("mode", "mode"),
        ("of", "of"),
        ("take", "take"),
        ("count", "count"),
        ("ttl_ms", "ttl"),
        ("wait_ms", "wait"),
        ("hold_at_least_ms", "hold_at_least"),
        ("holder", "holder"),
        ("reserve", "tokens"),
        ("replaces", "replaces"),
        ("lease", "lease"),
        ("digest", "digest"),
        ("prefix", "prefix"),
    ];
    words.into_iter().find(|(name, _)| Some(*name) == field).map_or(operation, |(_, word)| word)
}

type Entries = (Vec<Listed>, Option<Digest>);

pub(super) fn leases(page: &Leases) -> Result<Entries> {
    Ok((page.leases.iter().map(lease).collect::<Result<_>>()?, next(page.next.as_deref())?))
}

pub(super) fn waiters(page: &Waiters) -> Result<Entries> {
    Ok((page.waiters.iter().map(waiter).collect::<Result<_>>()?, next(page.next.as_deref())?))
}

fn next(next: Option<&str>) -> Result<Option<Digest>> {
    next.map(Digest::from_str).transpose().map_err(strange)
}

fn lease(lease: &Lease) -> Result<Listed> {
    let mut listed = Listed::new(
        lease.digest.parse().map_err(strange)?,
        Names::parse(&lease.names).map_err(strange)?,
        mode(lease.mode, lease.take, lease.of),
        Duration::from_millis(lease.ttl_ms),
        origin(&lease.origin),
    );
    listed.token = lease.token.as_deref().map(str::parse).transpose().map_err(strange)?;
    listed.remaining = lease.remaining_ms.map(Duration::from_millis);
    listed.age = Duration::from_millis(lease.age_ms);
    listed.meta = meta(&lease.holder);
    Ok(listed)
}

fn waiter(waiter: &Waiter) -> Result<Listed> {
    let mut listed = Listed::new(
        waiter.digest.parse().map_err(strange)?,
        Names::parse(&waiter.names).map_err(strange)?,
        mode(waiter.mode, waiter.take, waiter.of),
        Duration::from_millis(waiter.ttl_ms),
        origin(&waiter.origin),
    );
    listed.age = Duration::from_millis(waiter.age_ms);
    listed.ahead = waiter.ahead;
    listed.meta = meta(&waiter.holder);
    Ok(listed)
}

fn mode(word: ModeWord, take: Option<u32>, of: Option<u32>) -> Mode {
    match word {
        ModeWord::Exclusive => Mode::Exclusive,
        ModeWord::Shared => Mode::Shared,
        ModeWord::Permit => Mode::Permits { take: take.unwrap_or(1), of: of.unwrap_or(1) },
    }
}

fn origin(word: &str) -> Origin {
    if word == "local" { Origin::Local } else { Origin::Remote }
}

fn meta(fields: &Fields) -> Option<Arc<Meta>> {
    let fields = fields.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    Meta::new(fields).ok().filter(|meta| !meta.is_empty()).map(Arc::new)
}

/// A value that the server should not have sent. The outcome is unknown, so the caller settles it.
pub(super) fn strange(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::unavailable("http", "an answer that is not understood").with_source(error)
}
