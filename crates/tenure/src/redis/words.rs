//! The words between this process and the scripts: what is asked, what is answered, what is pushed. The other side of
//! each is in the scripts (`step.lua`, `table.lua`, `list.lua`).

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::resp::{Args, Reply};
use crate::claim::{Claim, LeaseId, Meta, Mode, Origin, Pick};
use crate::clock::Instant;
use crate::error::{Error, Result};
use crate::lease::{Claimed, Ended, Grant, HeldBy, Kept, Listed, Queued, Why};
use crate::limits;
use crate::name::{Name, Names};
use crate::provider::{Force, Forced};
use crate::token::{Epoch, FencingToken, TokenBlock};

/// Who is told what the store has to say to this process: the end of the channel's name.
pub(super) type Listener = [u8; 8];

/// Sets a lease's key to what it holds where its name is thin, as long as its token is not known to it.
pub(super) fn take(args: &mut Args, prefix: &str, claim: &Claim, listener: &Listener) {
    let ttl = u32::try_from(claim.ttl.as_millis()).unwrap_or(u32::MAX);
    args.push(b"SET");
    args.push_parts(&[prefix.as_bytes(), b"l:", claim.names.first().as_str().as_bytes()]);
    args.push_parts(&[
        b"T",
        &claim.lease.to_bytes(),
        listener,
        &ttl.to_be_bytes(),
        &[0; 16],
        &(1 | revocable(claim)).to_be_bytes(),
        meta_text(claim.meta.as_deref()).as_bytes(),
    ]);
    args.push(b"NX");
    args.push(b"PX");
    args.number(ttl.into());
}

/// Beside the number of names of a thin record.
fn revocable(claim: &Claim) -> u16 {
    if claim.revocable { 0x8000 } else { 0 }
}

/// Whether a claim can be taken by setting one key.
pub(super) fn is_plain(claim: &Claim) -> bool {
    claim.names.single().is_some()
        && claim.mode == Mode::Exclusive
        && claim.pick == Pick::All
        && claim.linger.is_zero()
        && claim.origin == Origin::Local
        && claim.replaces.is_empty()
}

/// Asks for a claim, whose tokens are known if it was granted before. `replaces` has the names of the leases that it
/// replaces.
pub(super) fn claim(
    args: &mut Args,
    claim: &Claim,
    listener: &Listener,
    known: Option<TokenBlock>,
    replaces: &[Option<Names>],
) {
    let (mode, take, of) = match claim.mode {
        Mode::Exclusive => (b"x", 0, 0),
        Mode::Shared => (b"s", 0, 0),
        Mode::Permits { take, of } => (b"p", take, of),
    };
    let pick = if let Pick::Any { count } = claim.pick { count } else { 0 };
    args.push(b"claim");
    args.push(&claim.lease.to_bytes());
    args.push(listener);
    args.push(mode);
    args.number(take.into());
    args.number(of.into());
    args.number(pick.into());
    args.number(millis(claim.ttl));
    args.number(millis(claim.linger));
    args.number(if claim.mode == Mode::Exclusive { claim.tokens.get().into() } else { 1 });
    args.push(if claim.origin == Origin::Local { b"l" } else { b"r" });
    args.push(meta_text(claim.meta.as_deref()).as_bytes());
    args.push(if claim.wait { b"w" } else { b"-" });
    args.number(revocable(claim).into());
    tokens(args, known);
    args.number(claim.replaces.len() as u64);
    for (lease, names) in claim.replaces.iter().zip(replaces) {
        args.push(&lease.to_bytes());
        list(args, names.as_ref());
    }
    list(args, Some(&claim.names));
}

/// Asks to keep a lease or a place in the queue; a ttl of zero only looks, and tells the store the tokens.
pub(super) fn keep(
    args: &mut Args,
    lease: &LeaseId,
    ttl: Duration,
    more: u32,
    known: Option<&(Names, Option<TokenBlock>)>,
) {
    args.push(b"keep");
    args.push(&lease.to_bytes());
    args.number(millis(ttl));
    args.number(more.into());
    tokens(args, known.and_then(|(_, tokens)| *tokens));
    list(args, known.map(|(names, _)| names));
}

/// Asks to end a lease or a claim. By the `mark` a step is known that comes again since its answer was lost.
pub(super) fn end(args: &mut Args, lease: &LeaseId, mark: &[u8; 16], names: Option<&Names>) {
    args.push(b"end");
    args.push(&lease.to_bytes());
    args.push(mark);
    list(args, names);
}

/// Asks to end a lease on one name.
pub(super) fn end_one(args: &mut Args, lease: &LeaseId, mark: &[u8; 16], name: &Name) {
    args.push_parts(&[&lease.to_bytes(), mark, name.as_str().as_bytes()]);
}

pub(super) fn force(args: &mut Args, lease: &LeaseId, mark: &[u8; 16], how: Force, names: &Names) {
    args.push(b"force");
    args.push(&lease.to_bytes());
    args.push(mark);
    args.push(if how == Force::Revoke { b"revoke" } else { b"now" });
    list(args, Some(names));
}

fn tokens(args: &mut Args, known: Option<TokenBlock>) {
    let number = known.map_or(0, |tokens| tokens.first().get());
    args.number(number >> 32);
    args.number(number & u64::from(u32::MAX));
    args.number(known.map_or(0, |tokens| tokens.count().get().into()));
}

fn list(args: &mut Args, names: Option<&Names>) {
    args.number(names.map_or(0, Names::len) as u64);
    for name in names.into_iter().flatten() {
        args.push(name.as_str().as_bytes());
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn meta_text(meta: Option<&Meta>) -> String {
    let fields = meta.into_iter().flat_map(Meta::iter);
    fields.fold(String::new(), |text, (key, value)| text + key + "\n" + value + "\n")
}

fn meta(text: &[u8]) -> Option<Arc<Meta>> {
    let text = std::str::from_utf8(text).ok().filter(|text| !text.is_empty())?;
    let lines: Vec<&str> = text.split('\n').collect();
    let fields = lines.chunks_exact(2).filter_map(|pair| Some((*pair.first()?, *pair.last()?)));
    Meta::new(fields).ok().map(Arc::new)
}

/// The block of tokens that begins with a count of an epoch.
pub(super) fn block(epoch: i64, first: i64, count: i64) -> Option<TokenBlock> {
    let epoch = Epoch::new(u32::try_from(epoch).ok()?).ok()?;
    let first = FencingToken::of(epoch, u32::try_from(first).ok()?);
    Some(TokenBlock::new(first, NonZeroU32::new(u32::try_from(count).ok()?)?))
}

/// The answer to a claim that was sent at `sent`.
pub(super) fn claimed(reply: &Reply, claim: &Claim, sent: Instant) -> Result<Claimed> {
    match word(reply) {
        Some((b"G", rest)) => {
            grant(rest, &claim.names, claim.ttl, sent).map(Claimed::Granted).ok_or_else(|| strange(reply))
        }
        Some((b"Q", rest)) => queued(rest).map(Claimed::Queued).ok_or_else(|| strange(reply)),
        Some((b"B", rest)) => busy(rest).map(Claimed::Busy).ok_or_else(|| strange(reply)),
        Some((b"X", [what, name])) => Err(refusal(what, name)),
        _ => Err(strange(reply)),
    }
}

/// The answer to a `keep` that was sent at `sent`, of what is known here.
pub(super) fn kept(
    reply: &Reply,
    ttl: Duration,
    known: Option<&(Names, Option<TokenBlock>)>,
    sent: Instant,
) -> Result<Kept> {
    if let (Reply::Int(left), Some((names, Some(tokens)))) = (reply, known) {
        return Ok(Kept::Held(Grant::new(names.clone(), *tokens, deadline(sent, *left, ttl))));
    }
    match word(reply) {
        Some((b"G", rest)) => {
            let names = known.map(|(names, _)| names);
            let some = names.cloned().or_else(|| names_of(rest.first()?)).ok_or_else(|| strange(reply))?;
            grant(rest, &some, ttl, sent).map(Kept::Held).ok_or_else(|| strange(reply))
        }
        Some((b"Q", rest)) => queued(rest).map(Kept::Queued).ok_or_else(|| strange(reply)),
        Some((b"N", [why])) => Ok(Kept::Gone(why.text().map_or(Why::Unknown, reason))),
        _ => Err(strange(reply)),
    }
}

pub(super) fn ended(reply: &Reply) -> Result<Ended> {
    match reply {
        Reply::Int(0) => Ok(Ended::NotHeld),
        Reply::Int(1) => Ok(Ended::Released),
        Reply::Int(2) => Ok(Ended::Lingering),
        Reply::Int(3) => Ok(Ended::Withdrawn),
        _ => Err(strange(reply)),
    }
}

pub(super) fn forced(reply: &Reply) -> Result<Forced> {
    match reply {
        Reply::Int(0) => Ok(Forced::NotFound),
        Reply::Int(1) => Ok(Forced::Ended),
        Reply::Int(2) => Ok(Forced::Asked),
        _ => Err(strange(reply)),
    }
}

/// A lease or waiter of a list, with its id and how many names it has in all.
pub(super) fn listed(reply: &Reply, of_waiters: bool) -> Option<(LeaseId, Listed, usize)> {
    let [id, names, mode, take, of, ttl, age, number, origin, about, epoch, ctr, total] = reply.list()?
    else {
        return None;
    };
    let id = lease(id.text()?)?;
    let mode = match mode.text()? {
        b"x" => Mode::Exclusive,
        b"s" => Mode::Shared,
        _ => Mode::Permits { take: small(take)?, of: small(of)? },
    };
    let origin = if origin.text()? == b"l" { Origin::Local } else { Origin::Remote };
    let mut listed = Listed::new(id.digest(), names_of(names)?, mode, span(ttl)?, origin);
    listed.age = span(age).unwrap_or_default();
    listed.meta = meta(about.text()?);
    if of_waiters {
        listed.ahead = small(number)?;
    } else {
        listed.remaining = span(number);
        listed.token =
            block(epoch.int()?, ctr.int()?, 1).filter(|_| ctr.int() > Some(0)).map(|block| block.first());
    }
    Some((id, listed, usize::try_from(total.int()?).ok()?))
}

fn word(reply: &Reply) -> Option<(&[u8], &[Reply])> {
    let (first, rest) = reply.list()?.split_first()?;
    Some((first.text()?, rest))
}

fn grant(rest: &[Reply], all: &Names, ttl: Duration, sent: Instant) -> Option<Grant> {
    let [names, epoch, ctr, count, left, contended, revoked, repeated] = rest else { return None };
    // A look at a lease has no ttl of its own.
    let ttl = if ttl.is_zero() { span(left)? } else { ttl };
    let names = if names.list()?.is_empty() { all.clone() } else { names_of(names)? };
    let tokens = block(epoch.int()?, ctr.int()?, count.int()?)?;
    let mut grant = Grant::new(names, tokens, deadline(sent, left.int()?, ttl));
    grant.contended = contended.int()? == 1;
    grant.revoked = revoked.int()? == 1;
    grant.repeated = repeated.int()? == 1;
    Some(grant)
}

/// Until when a lease may be believed that was found to last `left` milliseconds by a request sent at `sent`.
fn deadline(sent: Instant, left: i64, ttl: Duration) -> Instant {
    sent + Duration::from_millis(u64::try_from(left).unwrap_or(0)) - limits::drift(ttl)
}

fn queued(rest: &[Reply]) -> Option<Queued> {
    let [ahead, expires] = rest else { return None };
    Some(Queued::new(small(ahead)?, span(expires)))
}

fn busy(rest: &[Reply]) -> Option<HeldBy> {
    let [name, holder, left, about, waiting] = rest else { return None };
    Some(HeldBy {
        name: name.text().and_then(name_of),
        lease: holder.text().and_then(lease).map(|id| id.digest()),
        remaining: span(left),
        meta: meta(about.text()?),
        waiting: small(waiting)?,
    })
}

fn refusal(what: &Reply, name: &Reply) -> Error {
    let name = String::from_utf8_lossy(name.text().unwrap_or_default()).into_owned();
    match what.text() {
        Some(b"waiters") => {
            let most = limits::MAX_WAITERS;
            Error::invalid("waiters", format!("a name has at most {most} waiters name={name}"))
        }
        _ => {
            Error::invalid("mode", format!("permits of one limit and locks do not mix on a name name={name}"))
        }
    }
}

fn strange(reply: &Reply) -> Error {
    match reply {
        Reply::Error(error) => Error::unavailable("redis", error.clone()),
        _ => Error::internal("redis", "the store gave an answer of another version"),
    }
}

fn small(reply: &Reply) -> Option<u32> {
    u32::try_from(reply.int()?).ok()
}

/// A number of milliseconds; `None` when it is below zero.
fn span(reply: &Reply) -> Option<Duration> {
    u64::try_from(reply.int()?).ok().map(Duration::from_millis)
}

fn lease(bytes: &[u8]) -> Option<LeaseId> {
    Some(LeaseId::from_bytes(bytes.try_into().ok()?))
}

fn name_of(text: &[u8]) -> Option<Name> {
    Name::new(std::str::from_utf8(text).ok()?).ok()
}

fn names_of(reply: &Reply) -> Option<Names> {
    let names: Option<Vec<Name>> = reply.list()?.iter().map(|name| name_of(name.text()?)).collect();
    Names::ranked(names?).ok()
}

fn reason(text: &[u8]) -> Why {
    match text {
        b"e" => Why::Expired,
        b"f" => Why::Forced,
        _ => Why::Unknown,
    }
}

/// What the store says without being asked.
#[derive(Debug)]
pub(super) enum Told {
    Granted(Offer),
    Contended,
    Revoked,
    Lost(Why),
}

/// A grant that was pushed.
#[derive(Debug)]
pub(super) struct Offer {
    names: Vec<Name>,
    tokens: TokenBlock,
    contended: bool,
    /// How long it lasts from the grant on.
    pub(super) span: Duration,
}

impl Offer {
    /// The grant of a claim on `asked`.
    pub(super) fn grant(self, asked: &Names) -> Grant {
        let names = if self.names.len() == asked.len() {
            asked.clone()
        } else {
            Names::new(self.names).unwrap_or_else(|_| asked.clone())
        };
        let mut grant = Grant::new(names, self.tokens, Instant::NEVER);
        grant.contended = self.contended;
        grant
    }
}

/// Reads a message of the store.
pub(super) fn told(message: &[u8]) -> Option<(LeaseId, Told)> {
    let (kind, rest) = message.split_first()?;
    let (id, rest) = rest.split_at_checked(16)?;
    let told = match kind {
        b'G' => Told::Granted(offer(rest)?),
        b'C' => Told::Contended,
        b'R' => Told::Revoked,
        b'L' => Told::Lost(reason(rest)),
        _ => return None,
    };
    Some((lease(id)?, told))
}

fn offer(bytes: &[u8]) -> Option<Offer> {
    let (head, mut rest) = bytes.split_at_checked(17)?;
    let field = |at: usize| Some(u32::from_be_bytes(head.get(at..at + 4)?.try_into().ok()?));
    let mut names = Vec::new();
    while let Some((length, tail)) = rest.split_first() {
        let (name, tail) = tail.split_at_checked(usize::from(*length))?;
        names.push(name_of(name)?);
        rest = tail;
    }
    Some(Offer {
        names,
        tokens: block(field(0)?.into(), field(4)?.into(), field(8)?.into())?,
        contended: head.last() == Some(&1),
        span: Duration::from_millis(field(12)?.into()),
    })
}
