//! From the body of an acquire to claims: where the request is judged.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tenure::claim::{Origin, Pick, ProcessId};
use tenure::metrics::Extent;
use tenure::{Claim, Error, LeaseId, Meta, Mode, Name, Names, limits};
use tenure_wire::{AcquireRequest, LeaseText, ModeWord, Want};

use crate::desk::{Desk, Patience};
use crate::problem::Failure;
use crate::shape::millis;

/// What an acquire asks for.
pub(crate) struct Asked {
    pub(crate) claims: Vec<Claim>,
    pub(crate) patience: Patience,
    /// Whether each claim stands for itself.
    pub(crate) each: bool,
}

/// Judges the body of an acquire.
pub(crate) fn asked(ask: AcquireRequest, desk: &Desk) -> Result<Asked, Failure> {
    let each = ask.want == Want::Each;
    let texts = names(&ask)?;
    let most = desk.config.max_names.min(desk.provider.caps().max_names);
    if texts.len() > most {
        let detail = format!("a claim has at most {most} names names={}", texts.len());
        return Err(Failure::invalid(detail).with_field("names").with_limit("max_names"));
    }
    let wait = Duration::from_millis(ask.wait_ms.unwrap_or(0));
    if wait > desk.config.max_wait {
        let detail = format!("a call waits for at most {} ms", millis(desk.config.max_wait));
        return Err(Failure::invalid(detail).with_field("wait_ms").with_limit("max_wait"));
    }
    if each && (ask.lease.is_some() || ask.queue) {
        let field = if ask.queue { "queue" } else { "lease" };
        let detail = "want each makes a lease for every name, and none of them keeps a place in the queue";
        return Err(Failure::invalid(detail).with_field(field));
    }
    let listener = ask.listener.as_ref().map(lease_id).transpose();
    let listener = listener.map_err(|failure| failure.with_field("listener"))?;
    let extent = Extent::of(texts.len());
    let patience = Patience { wait, listener, stay: ask.queue, known: ask.lease.is_some(), extent };
    let field = if ask.name.is_some() { "name" } else { "names" };
    let template = template(&ask, one(&texts, field)?, desk)?;
    let claims = if each { apart(&template, &texts)? } else { vec![together(template, &texts)?] };
    for claim in &claims {
        claim.check(desk.provider.caps())?;
    }
    Ok(Asked { claims, patience, each })
}

/// The lease id in a request.
pub(crate) fn lease_id(text: &LeaseText) -> Result<LeaseId, Failure> {
    text.0.parse().map_err(|_| {
        Failure::invalid("a lease id is a hyphenated random UUID (version 4)").with_field("lease")
    })
}

/// The ttl in a request, within the limits of the library and of the server.
pub(crate) fn ttl(ttl_ms: Option<u64>, desk: &Desk) -> Result<Duration, Failure> {
    let ttl = ttl_ms.map_or(limits::DEFAULT_TTL.min(desk.config.max_ttl), Duration::from_millis);
    let most = desk.config.max_ttl.min(limits::MAX_TTL);
    if ttl > most {
        let detail = format!("a ttl is at most {} ms here", millis(most));
        return Err(Failure::invalid(detail).with_field("ttl_ms").with_limit("max_ttl"));
    }
    if ttl < limits::MIN_TTL {
        let detail = format!("a ttl is at least {} ms", millis(limits::MIN_TTL));
        return Err(Failure::invalid(detail).with_field("ttl_ms").with_limit("min_ttl"));
    }
    Ok(ttl)
}

fn names(ask: &AcquireRequest) -> Result<Vec<&str>, Failure> {
    match (&ask.name, &ask.names) {
        (Some(name), None) => Ok(vec![name.as_str()]),
        (None, Some(names)) if !names.is_empty() => Ok(names.iter().map(String::as_str).collect()),
        (None, Some(_)) => Err(Failure::invalid("a claim has at least 1 name").with_field("names")),
        (Some(_), Some(_)) => Err(Failure::invalid("either name or names, not both").with_field("names")),
        (None, None) => Err(Failure::invalid("name or names is needed").with_field("name")),
    }
}

fn one(texts: &[&str], field: &str) -> Result<Name, Failure> {
    let parse = |text: &&str| Name::new(text).map_err(|error| Failure::from(error).with_field(field));
    let mut names = texts.iter().map(parse).collect::<Result<Vec<Name>, Failure>>()?;
    names.pop().ok_or_else(|| Failure::invalid("a claim has at least 1 name").with_field("names"))
}

fn template(ask: &AcquireRequest, name: Name, desk: &Desk) -> Result<Claim, Failure> {
    // Clients are strangers to each other: each claim is a process of its own.
    let mut claim = Claim::new(ProcessId::random(), name);
    if let Some(lease) = &ask.lease {
        claim.lease = lease_id(lease)?;
    }
    claim.origin = Origin::Remote;
    claim.mode = mode(ask)?;
    claim.pick = pick(ask)?;
    claim.ttl = ttl(ask.ttl_ms, desk)?;
    claim.wait = ask.queue || ask.wait_ms.unwrap_or(0) > 0;
    claim.tokens = tokens(ask.reserve)?;
    claim.linger = Duration::from_millis(ask.hold_at_least_ms.unwrap_or(0));
    if ask.replaces.len() > limits::MAX_NAMES {
        let detail = format!("a claim replaces at most {} leases", limits::MAX_NAMES);
        return Err(Failure::invalid(detail).with_field("replaces").with_limit("replaces"));
    }
    for replaced in &ask.replaces {
        claim.replaces.push(lease_id(replaced).map_err(|failure| failure.with_field("replaces"))?);
    }
    if !ask.holder.is_empty() {
        claim.meta = Some(Arc::new(Meta::new(ask.holder.clone())?));
    }
    Ok(claim)
}

fn mode(ask: &AcquireRequest) -> Result<Mode, Failure> {
    let permits = if ask.of.is_some() { Some("of") } else { ask.take.is_some().then_some("take") };
    let mode = match (ask.mode, permits) {
        (ModeWord::Exclusive, None) => Mode::Exclusive,
        (ModeWord::Shared, None) => Mode::Shared,
        (ModeWord::Permit, _) => {
            let missing = || Failure::invalid("mode permit needs the number of permits").with_field("of");
            Mode::Permits { take: ask.take.unwrap_or(1), of: ask.of.ok_or_else(missing)? }
        }
        (_, Some(field)) => {
            return Err(Failure::invalid("only mode permit has permits").with_field(field));
        }
    };
    Ok(mode)
}

fn pick(ask: &AcquireRequest) -> Result<Pick, Failure> {
    match (ask.want, ask.count) {
        (Want::Any, count) => Ok(Pick::Any { count: count.unwrap_or(1) }),
        (_, None) => Ok(Pick::All),
        (_, Some(_)) => Err(Failure::invalid("only want any has a count").with_field("count")),
    }
}

fn tokens(reserve: Option<u32>) -> Result<NonZeroU32, Failure> {
    let reserve = reserve.unwrap_or(1);
    NonZeroU32::new(reserve).filter(|_| reserve <= MOST_RESERVED).ok_or_else(|| {
        let detail = format!("from 1 to {MOST_RESERVED} tokens are reserved at a time");
        Failure::invalid(detail).with_field("reserve").with_limit("reserve")
    })
}

/// Tokens of one reservation: the largest block that the library asks for.
pub(crate) const MOST_RESERVED: u32 = 65_536;

fn together(mut template: Claim, texts: &[&str]) -> Result<Claim, Failure> {
    let parsed = texts.iter().map(Name::new).collect::<Result<Vec<Name>, Error>>();
    let names = match template.pick {
        Pick::Any { .. } => parsed.and_then(Names::ranked),
        _ => parsed.and_then(Names::new),
    };
    template.names = names.map_err(|error| Failure::from(error).with_field("names"))?;
    Ok(template)
}

/// A claim for every name, in the order that was asked.
fn apart(template: &Claim, texts: &[&str]) -> Result<Vec<Claim>, Failure> {
    let distinct: BTreeSet<&str> = texts.iter().copied().collect();
    if distinct.len() < texts.len() {
        return Err(Failure::invalid("a claim has each name once").with_field("names"));
    }
    let mut claims = Vec::with_capacity(texts.len());
    for text in texts {
        let mut claim = template.clone();
        claim.lease = LeaseId::random();
        claim.names = Name::new(text)?.into();
        // What is replaced ends with the first of them.
        if !claims.is_empty() {
            claim.replaces.clear();
        }
        claims.push(claim);
    }
    Ok(claims)
}
