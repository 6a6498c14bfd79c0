//! The words between this process and the functions of the database: what is asked, what is answered, what is pushed. The
//! other side of each is in the SQL files (`steps.sql`, `claims.sql`, `tables.sql`).

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Row;
use uuid::Uuid;

use crate::claim::{Claim, LeaseId, Meta, Mode, Origin, Pick};
use crate::clock::Instant;
use crate::error::{Error, Result};
use crate::lease::{Claimed, Ended, Grant, HeldBy, Kept, Listed, Queued, Why};
use crate::limits;
use crate::name::{Name, Names};
use crate::provider::{Force, Forced, Keep};
use crate::token::{FencingToken, TokenBlock};

/// Who is told what the store has to say to this process: the end of the channel's name, and a lock of its own. Negative
/// where nothing can be pushed.
pub(super) type Listener = i64;

/// What is asked of `tenure.rows_end`.
#[derive(Debug, Default)]
pub(super) struct Ends {
    pub(super) ids: Vec<Uuid>,
    pub(super) again: Vec<bool>,
}

impl Ends {
    pub(super) fn push(&mut self, lease: &LeaseId, again: bool) {
        self.ids.push(uuid(lease));
        self.again.push(again);
    }
}

/// What is asked of `tenure.rows_keep`.
#[derive(Debug, Default)]
pub(super) struct Keeps {
    pub(super) ids: Vec<Uuid>,
    pub(super) ttls: Vec<i32>,
    pub(super) tokens: Vec<i32>,
}

impl Keeps {
    pub(super) fn push(&mut self, keep: &Keep) {
        self.ids.push(uuid(&keep.lease));
        self.ttls.push(millis(keep.ttl));
        self.tokens.push(count(keep.tokens));
    }
}

/// What is asked of `tenure.rows_claim`.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pub(super) ids: Vec<Uuid>,
    pub(super) firsts: Vec<i32>,
    pub(super) counts: Vec<i32>,
    pub(super) names: Vec<Vec<u8>>,
    pub(super) modes: Vec<i16>,
    pub(super) takes: Vec<i32>,
    pub(super) limits: Vec<i32>,
    pub(super) picks: Vec<i32>,
    pub(super) ttls: Vec<i32>,
    pub(super) lingers: Vec<i32>,
    pub(super) remotes: Vec<bool>,
    pub(super) wanted: Vec<i32>,
    pub(super) metas: Vec<Option<Vec<u8>>>,
    pub(super) waits: Vec<bool>,
    pub(super) again: Vec<bool>,
    pub(super) replaces: Vec<String>,
}

impl Claims {
    pub(super) fn push(&mut self, claim: &Claim, again: bool) {
        let (mode, take, of) = match claim.mode {
            Mode::Exclusive => (0, 0, 0),
            Mode::Shared => (1, 0, 0),
            Mode::Permits { take, of } => (2, count(take), count(of)),
        };
        self.ids.push(uuid(&claim.lease));
        self.firsts.push(i32::try_from(self.names.len() + 1).unwrap_or(i32::MAX));
        self.counts.push(i32::try_from(claim.names.len()).unwrap_or(i32::MAX));
        self.names.extend(claim.names.iter().map(|name| name.as_str().as_bytes().to_vec()));
        self.modes.push(mode);
        self.takes.push(take);
        self.limits.push(of);
        self.picks.push(match claim.pick {
            Pick::Any { count: some } if claim.names.len() > 1 => count(some),
            _ => 0,
        });
        self.ttls.push(millis(claim.ttl));
        self.lingers.push(millis(claim.linger));
        self.remotes.push(claim.origin == Origin::Remote);
        self.wanted.push(count(claim.tokens.get()));
        self.metas.push(claim.meta.as_deref().map(meta_bytes));
        self.waits.push(claim.wait);
        self.again.push(again);
        let replaces: Vec<String> = claim.replaces.iter().map(LeaseId::reveal).collect();
        self.replaces.push(replaces.join(","));
    }
}

/// An answer of the store: the columns of `tenure.answer`.
#[derive(Debug)]
pub(super) struct Answered {
    kind: u8,
    names: Option<Vec<Vec<u8>>>,
    token: Option<i64>,
    tokens: Option<i32>,
    left: Option<i64>,
    flags: Option<i32>,
    many: Option<i32>,
    holder: Option<Uuid>,
    meta: Option<Vec<u8>>,
    why: Option<i8>,
    how: Option<i16>,
}

impl Answered {
    /// Reads a row: the number of the step in its call, counted from 0, and its answer.
    pub(super) fn read(row: &Row) -> Option<(usize, Self)> {
        let number: i32 = row.try_get(0).ok()?;
        let kind: i8 = row.try_get(1).ok()?;
        let answer = Answered {
            kind: kind.cast_unsigned(),
            names: row.try_get(2).ok()?,
            token: row.try_get(3).ok()?,
            tokens: row.try_get(4).ok()?,
            left: row.try_get(5).ok()?,
            flags: row.try_get(6).ok()?,
            many: row.try_get(7).ok()?,
            holder: row.try_get(8).ok()?,
            meta: row.try_get(9).ok()?,
            why: row.try_get(10).ok()?,
            how: row.try_get(11).ok()?,
        };
        Some((usize::try_from(number).ok()?.checked_sub(1)?, answer))
    }

    /// The answer to a claim that was sent at `sent`.
    pub(super) fn claimed(&self, claim: &Claim, sent: Instant) -> Result<Claimed> {
        match self.kind {
            b'G' => {
                let names = match claim.pick {
                    Pick::Any { .. } if claim.names.len() > 1 => self.names(),
                    _ => Some(claim.names.clone()),
                };
                names.and_then(|names| self.grant(names, claim.ttl, sent)).map(Claimed::Granted)
            }
            b'Q' => self.queued().map(Claimed::Queued),
            b'B' => self.busy().map(Claimed::Busy),
            b'X' => return Err(self.refusal()),
            _ => None,
        }
        .ok_or_else(strange)
    }

    /// The answer to a `keep` that was sent at `sent`, of a lease whose names may be known here.
    pub(super) fn kept(&self, ttl: Duration, known: Option<Names>, sent: Instant) -> Result<Kept> {
        match self.kind {
            b'G' => {
                let names = known.or_else(|| self.names());
                names.and_then(|names| self.grant(names, ttl, sent)).map(Kept::Held)
            }
            b'Q' => self.queued().map(Kept::Queued),
            b'N' => Some(Kept::Gone(self.why.map_or(Why::Unknown, |why| reason(why.cast_unsigned())))),
            _ => None,
        }
        .ok_or_else(strange)
    }

    /// The answer to an `end`.
    pub(super) fn ended(&self) -> Result<Ended> {
        match self.how {
            Some(0) => Ok(Ended::NotHeld),
            Some(1) => Ok(Ended::Released),
            Some(2) => Ok(Ended::Lingering),
            Some(3) => Ok(Ended::Withdrawn),
            _ => Err(strange()),
        }
    }

    fn names(&self) -> Option<Names> {
        names_of(self.names.as_ref()?)
    }

    fn grant(&self, names: Names, ttl: Duration, sent: Instant) -> Option<Grant> {
        let flags = self.flags?;
        let left = Duration::from_millis(u64::try_from(self.left?).unwrap_or(0));
        let mut grant =
            Grant::new(names, block(self.token?, self.tokens?)?, sent + left - limits::drift(ttl));
        grant.contended = flags & 1 != 0;
        grant.revoked = flags & 2 != 0;
        grant.repeated = flags & 4 != 0;
        Some(grant)
    }

    fn queued(&self) -> Option<Queued> {
        Some(Queued::new(u32::try_from(self.many?).ok()?, span(self.left?)))
    }

    fn busy(&self) -> Option<HeldBy> {
        Some(HeldBy {
            name: self.first_name(),
            lease: self.holder.map(|id| lease(id).digest()),
            remaining: span(self.left?),
            meta: self.meta.as_deref().and_then(meta),
            waiting: u32::try_from(self.many?).ok()?,
        })
    }

    fn first_name(&self) -> Option<Name> {
        self.names.as_ref().and_then(|names| name_of(names.first()?))
    }

    fn refusal(&self) -> Error {
        let name = self.first_name().map_or_else(String::new, |name| name.to_string());
        if self.why.map(i8::cast_unsigned) == Some(b'w') {
            let most = limits::MAX_WAITERS;
            return Error::invalid("waiters", format!("a name has at most {most} waiters name={name}"));
        }
        Error::invalid("mode", format!("permits of one limit and locks do not mix on a name name={name}"))
    }
}

/// The answer to a force.
pub(super) fn forced(how: i16) -> Forced {
    match how {
        0 => Forced::NotFound,
        1 => Forced::Ended,
        _ => Forced::Asked,
    }
}

/// How a force is asked for.
pub(super) fn how(force: Force) -> i8 {
    let letter = if force == Force::Revoke { b'r' } else { b'f' };
    letter.cast_signed()
}

/// A lease or waiter of a list: the columns of `listing.sql`.
pub(super) fn listed(row: &Row) -> Option<Listed> {
    let id: Uuid = row.try_get("id").ok()?;
    let names: Vec<Vec<u8>> = row.try_get("names").ok()?;
    let (mode, take, of): (i16, i32, i32) =
        (row.try_get("mode").ok()?, row.try_get("take").ok()?, row.try_get("limits").ok()?);
    let mode = match mode {
        0 => Mode::Exclusive,
        1 => Mode::Shared,
        _ => Mode::Permits { take: u32::try_from(take).ok()?, of: u32::try_from(of).ok()? },
    };
    let origin = if row.try_get("remote").ok()? { Origin::Remote } else { Origin::Local };
    let ttl = Duration::from_millis(u64::try_from(row.try_get::<_, i32>("ttl").ok()?).ok()?);
    let mut listed = Listed::new(lease(id).digest(), names_of(&names)?, mode, ttl, origin);
    listed.age = span(row.try_get("age").ok()?).unwrap_or_default();
    listed.meta = row.try_get::<_, Option<Vec<u8>>>("meta").ok()?.as_deref().and_then(meta);
    listed.ahead = u32::try_from(row.try_get::<_, i32>("ahead").ok()?).ok()?;
    listed.remaining = row.try_get::<_, Option<i64>>("left_ms").ok()?.and_then(span);
    listed.token = row.try_get::<_, Option<i64>>("token").ok()?.and_then(token);
    Some(listed)
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
    /// Which of the names that were asked for, where it is not all.
    which: Option<Vec<usize>>,
    pub(super) tokens: TokenBlock,
    contended: bool,
    /// How long it lasts from the grant on.
    pub(super) span: Duration,
}

impl Offer {
    /// The grant of a claim on `asked`.
    pub(super) fn grant(self, asked: &Names) -> Option<Grant> {
        let names = match self.which {
            None => asked.clone(),
            Some(which) => {
                let name = |index: usize| asked.as_slice().get(index).cloned();
                let names: Option<Vec<Name>> = which.into_iter().map(name).collect();
                Names::new(names?).ok()?
            }
        };
        let mut grant = Grant::new(names, self.tokens, Instant::NEVER);
        grant.contended = self.contended;
        Some(grant)
    }
}

/// Reads what was pushed: words with spaces between.
pub(super) fn told(message: &str) -> Option<(LeaseId, Told)> {
    let mut words = message.split(' ');
    let kind = words.next()?;
    let id = lease(Uuid::try_parse(words.next()?).ok()?);
    let told = match kind {
        "G" => {
            let tokens = block(words.next()?.parse().ok()?, words.next()?.parse().ok()?)?;
            let span = Duration::from_millis(words.next()?.parse().ok()?);
            let contended = words.next()? == "1";
            let which = match words.next().filter(|which| !which.is_empty()) {
                Some(which) => Some(which.split(',').map(|index| index.parse().ok()).collect::<Option<_>>()?),
                None => None,
            };
            Told::Granted(Offer { which, tokens, contended, span })
        }
        "C" => Told::Contended,
        "R" => Told::Revoked,
        "L" => Told::Lost(reason(*words.next()?.as_bytes().first()?)),
        _ => return None,
    };
    Some((id, told))
}

fn reason(letter: u8) -> Why {
    match letter {
        b'e' => Why::Expired,
        b'f' => Why::Forced,
        _ => Why::Unknown,
    }
}

fn uuid(lease: &LeaseId) -> Uuid {
    Uuid::from_bytes(lease.to_bytes())
}

fn lease(id: Uuid) -> LeaseId {
    LeaseId::from_bytes(id.into_bytes())
}

fn token(number: i64) -> Option<FencingToken> {
    FencingToken::new(u64::try_from(number).ok()?).ok()
}

fn block(first: i64, count: i32) -> Option<TokenBlock> {
    Some(TokenBlock::new(token(first)?, NonZeroU32::new(u32::try_from(count).ok()?)?))
}

fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn millis(span: Duration) -> i32 {
    i32::try_from(span.as_millis()).unwrap_or(i32::MAX)
}

/// A number of milliseconds; `None` when it is below zero.
fn span(millis: i64) -> Option<Duration> {
    u64::try_from(millis).ok().map(Duration::from_millis)
}

fn name_of(bytes: &[u8]) -> Option<Name> {
    Name::new(std::str::from_utf8(bytes).ok()?).ok()
}

fn names_of(names: &[Vec<u8>]) -> Option<Names> {
    let names: Option<Vec<Name>> = names.iter().map(|name| name_of(name)).collect();
    Names::new(names?).ok()
}

fn meta_bytes(meta: &Meta) -> Vec<u8> {
    let text = meta.iter().fold(String::new(), |text, (key, value)| text + key + "\n" + value + "\n");
    text.into_bytes()
}

fn meta(bytes: &[u8]) -> Option<Arc<Meta>> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty())?;
    let lines: Vec<&str> = text.split('\n').collect();
    let fields = lines.chunks_exact(2).filter_map(|pair| Some((*pair.first()?, *pair.last()?)));
    Meta::new(fields).ok().map(Arc::new)
}

fn strange() -> Error {
    Error::internal("postgres", "the store gave an answer of another version")
}
