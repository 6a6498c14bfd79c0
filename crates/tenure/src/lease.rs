//! The answers of a store: [`Claimed`], [`Kept`], [`Ended`], and what lists show.

use std::sync::Arc;
use std::time::Duration;

use crate::claim::{Digest, Meta, Mode, Origin};
use crate::clock::Instant;
use crate::name::{Name, Names};
use crate::token::{FencingToken, TokenBlock};

/// The answer to a claim.
#[derive(Clone, Debug)]
pub enum Claimed {
    /// The lease is held.
    Granted(Grant),
    /// The claim waits in the store's queue.
    Queued(Queued),
    /// Somebody else holds it, and the claim does not wait.
    Busy(HeldBy),
}

/// A lease as its holder knows it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Grant {
    /// The names that are held: all of the claim's, or those that were picked.
    pub names: Names,
    /// The tokens that the lease may use.
    pub tokens: TokenBlock,
    /// Until when the holder may believe it: the instant before its request was sent + ttl − drift.
    pub deadline: Instant,
    /// Whether other claims wait for one of the names.
    pub contended: bool,
    /// Whether somebody asked the holder to give the lease up.
    pub revoked: bool,
    /// In the answer to a claim: whether the same claim had been granted before.
    pub repeated: bool,
}

impl Grant {
    /// A grant that nobody waits behind.
    pub fn new(names: Names, tokens: TokenBlock, deadline: Instant) -> Self {
        Grant { names, tokens, deadline, contended: false, revoked: false, repeated: false }
    }
}

/// A place in the store's queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Queued {
    /// How many claims are served before this one, as far as the store can tell.
    pub ahead: u32,
    /// When the lease in the way runs out unless it is renewed: a good moment to ask again.
    pub expires_in: Option<Duration>,
}

impl Queued {
    /// A place behind `ahead` others.
    pub fn new(ahead: u32, expires_in: Option<Duration>) -> Self {
        Queued { ahead, expires_in }
    }
}

/// Who is in the way.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct HeldBy {
    /// The first name that is not free.
    pub name: Option<Name>,
    /// One of its holders. `None` when earlier claims wait for it, or the store cannot tell.
    pub lease: Option<Digest>,
    /// How long that holder's lease lasts unless it is renewed. `None` when it does not expire.
    pub remaining: Option<Duration>,
    /// What the holder says of itself.
    pub meta: Option<Arc<Meta>>,
    /// How many claims wait for the name.
    pub waiting: u32,
}

/// The answer to a `keep`.
#[derive(Clone, Debug)]
pub enum Kept {
    /// The lease is held, with a new deadline.
    Held(Grant),
    /// The claim still waits.
    Queued(Queued),
    /// There is no such lease or claim. Final: it never comes back to life.
    Gone(Why),
}

/// Why a lease is gone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Why {
    /// Its deadline passed without a renewal.
    Expired,
    /// An administrator ended it, or asked for it back.
    Forced,
    /// The store was closed or went back to an older state.
    Store,
    /// The store no longer knows.
    Unknown,
}

impl Why {
    /// A word for logs and lists.
    pub fn word(self) -> &'static str {
        match self {
            Why::Expired => "expired",
            Why::Forced => "forced",
            Why::Store => "store",
            Why::Unknown => "unknown",
        }
    }
}

/// The answer to an `end`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ended {
    /// The lease was held and is released.
    Released,
    /// The lease is given up, but its names stay taken until its `linger` is over.
    Lingering,
    /// The claim was waiting and is withdrawn.
    Withdrawn,
    /// There was nothing. The same id can never be granted from now on.
    NotHeld,
}

/// What to list.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Query {
    /// Leases or waiters.
    pub kind: Kind,
    /// Only those with a name that begins so. Empty: all.
    pub prefix: String,
    /// At most this many. Default 1,000.
    pub limit: usize,
    /// Only those after this digest, to turn the page.
    pub after: Option<Digest>,
}

impl Query {
    /// The first thousand of `kind` whose names begin with `prefix`.
    pub fn new(kind: Kind, prefix: impl Into<String>) -> Self {
        Query { kind, prefix: prefix.into(), limit: 1_000, after: None }
    }
}

/// What a list is of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// Leases that are held.
    Leases,
    /// Claims that wait.
    Waiters,
}

/// A page of a list, in the order of the digests.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// What was found.
    pub entries: Vec<Listed>,
    /// Where the next page begins, if there is more.
    pub next: Option<Digest>,
}

/// A lease or a waiter in a list.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Listed {
    /// Its digest.
    pub lease: Digest,
    /// Its names.
    pub names: Names,
    /// How it shares them.
    pub mode: Mode,
    /// Its smallest token; `None` for a waiter, and for a lease so new that the store has not been told yet.
    pub token: Option<FencingToken>,
    /// The ttl that was asked for.
    pub ttl: Duration,
    /// How long it lasts unless it is renewed. `None` for a waiter, and for a lease that ends with its process.
    pub remaining: Option<Duration>,
    /// How long it has been held or has waited.
    pub age: Duration,
    /// How many claims are served before it; 0 for a lease.
    pub ahead: u32,
    /// What it is bound to.
    pub origin: Origin,
    /// What it says of itself.
    pub meta: Option<Arc<Meta>>,
}

impl Listed {
    /// An entry that is not a waiter's and has no metadata.
    pub fn new(lease: Digest, names: Names, mode: Mode, ttl: Duration, origin: Origin) -> Self {
        Listed {
            lease,
            names,
            mode,
            token: None,
            ttl,
            remaining: None,
            age: Duration::ZERO,
            ahead: 0,
            origin,
            meta: None,
        }
    }
}
