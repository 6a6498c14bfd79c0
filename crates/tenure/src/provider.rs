//! The contract that a store of leases implements.
//!
//! One suite proves every provider equal; it reads [`Caps`] and never asks which provider it has. The engine
//! stands above this trait and knows nothing else of a store. The decision is recorded in
//! `docs/adr/0001-provider-contract.md`; the executable specification of the steps is `memory/table.rs`.

use std::fmt::Debug;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::claim::{Claim, Digest, LeaseId, Meta};
use crate::error::Result;
use crate::lease::{Claimed, Ended, Grant, Kept, Page, Query, Why};
use crate::name::Names;
use crate::token::FencingToken;

/// A boxed future of a provider.
pub type Fut<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A store of leases.
///
/// # Rules that every provider keeps
/// - Each element of a batch is one atomic step of the store. Elements are independent of each other and are
///   answered in their order.
/// - `claim`, `keep` and `end` are idempotent by lease id: the same `claim` again gives the same answer, with
///   the same tokens. `end` absorbs: a claim that reaches the store after the `end` of its id is never granted, also
///   one that was on its way. (Of a local lease that was granted and ended, with both answered, a store may forget the id.)
/// - Every grant has a token greater than every token granted before for each of its names (G2).
/// - A [`Grant::deadline`] counts from the instant before the request was sent, on the clock that the provider
///   was given.
/// - A waiter is woken by the release. Waiters of a name are served in the order in which they queued. A reader
///   does not pass a waiting writer; permits do not pass a waiting claim for more of them.
/// - `end`, an expiry that is noticed, and a withdrawal grant the next runnable claims in the same step.
/// - An error leaves the outcome unknown (`Unavailable`) or changed nothing (`InvalidInput`).
///
/// # Cancel safety
/// Any future may be dropped at any await; what the store did is then unknown, and `end` settles it.
pub trait Provider: Debug + Send + Sync + 'static {
    /// What the store can do.
    fn caps(&self) -> &Caps;

    /// Asks for leases.
    fn claim<'a>(&'a self, claims: &'a [Claim]) -> Fut<'a, Vec<Result<Claimed>>>;

    /// Renews leases, touches queued claims, fetches what they were granted, reserves tokens.
    fn keep<'a>(&'a self, keeps: &'a [Keep]) -> Fut<'a, Vec<Result<Kept>>>;

    /// Releases leases and withdraws claims.
    fn end<'a>(&'a self, leases: &'a [LeaseId]) -> Fut<'a, Vec<Result<Ended>>>;

    /// Lists leases or waiters.
    fn list<'a>(&'a self, query: &'a Query) -> Fut<'a, Result<Page>>;

    /// Takes a lease from its holder.
    fn force<'a>(&'a self, lease: Digest, how: Force) -> Fut<'a, Result<Forced>>;

    /// Asks the store whether it works, with a real trip to it (G12).
    fn ping(&self) -> Fut<'_, Result<()>>;

    /// Tells `listener` what happens to claims and leases of this provider value, until it is dropped.
    fn listen(&self, listener: Arc<dyn Listener>);

    /// How much of the way to the store is in use. Defaults to nothing, which is true of a store without connections that
    /// could run out.
    fn load(&self) -> Load {
        Load::default()
    }

    /// The same steps without an await, where the store is in this process.
    fn immediate(&self) -> Option<Arc<dyn Immediate>>;

    /// A descriptor whose last copy is this process's life in the eyes of the store: while a child that inherited it
    /// lives, the local leases of this process are not taken over before their ttl. `None` where there is no such thing.
    fn lifeline(&self) -> Option<Arc<OwnedFd>>;

    /// Ends the provider: its tasks stop, connections close, and local leases that are left end.
    fn close(&self) -> Fut<'_, ()>;
}

/// A request to keep a lease or a place in the queue.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Which.
    pub lease: LeaseId,
    /// The ttl from now on. A lease never gets shorter by it.
    pub ttl: Duration,
    /// How many further tokens to reserve; 0 keeps the block of the grant.
    pub tokens: u32,
}

/// How much of a bounded way to a store is in use: connections, or requests in flight. Told by [`Provider::load`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Load {
    /// Requests that have a place now.
    pub in_flight: u64,
    /// How many places there are; `None` where there is no bound.
    pub limit: Option<u64>,
    /// Requests so far that found a place at once. Zero, as `misses`, where there is no bound.
    pub hits: u64,
    /// Requests so far that had to wait for a place.
    pub misses: u64,
    /// Connections that are open now, or where only that is known, in use.
    pub active_connections: u64,
}

/// What a store can do: the engine and the conformance suite ask here, never for the provider's name.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Caps {
    /// A word for logs and metrics: `memory`, `file`, `http`, …
    pub provider: &'static str,
    /// Names of one claim at the most.
    pub max_names: usize,
    /// How soon after a holder's process died its local leases are free, beyond the ttl that it might wait for.
    pub takeover: Takeover,
    /// Whether leases of [`Origin::Remote`](crate::claim::Origin) outlive the process that serves them.
    pub outlives_process: bool,
    /// Whether tokens keep rising after the store lost all its data.
    pub durable_tokens: bool,
    /// Within what time every call is answered, by an error if need be, so that its caller needs no timer for it; `None` where a
    /// store that hangs may keep its caller waiting.
    pub answers_within: Option<Duration>,
    /// Whether exclusion holds under every fault of the fault model, or but for declared ones.
    pub strict: bool,
    /// In which order claims of different processes are served.
    pub order: Order,
    /// Whether an answer tells of other processes too: who is in the way, that modes are mixed, the place in the queue.
    pub sees_others: bool,
    /// How late lists, force, and who would pass a waiter, know what other processes hold and wait for.
    pub lag: Duration,
}

impl Caps {
    /// The capabilities of a provider called `provider`: strict, durable, at most 256 names.
    pub fn new(provider: &'static str) -> Self {
        Caps {
            provider,
            max_names: crate::limits::MAX_NAMES,
            takeover: Takeover::Ttl,
            outlives_process: true,
            durable_tokens: true,
            answers_within: None,
            strict: true,
            order: Order::Total,
            sees_others: true,
            lag: Duration::ZERO,
        }
    }
}

/// In which order claims of different processes on a name are served. Those of one process are always served in the order in
/// which they came.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Order {
    /// In the order in which they came, whatever they ask for.
    Total,
    /// Claims on one name, but for permits: the processes take turns, in the order in which they came. Claims on several
    /// names, and on permits, are tried again and again, and may be passed by others.
    Turns,
}

/// When the leases of a dead process are free.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Takeover {
    /// At once.
    AtOnce,
    /// When their ttl is over.
    Ttl,
}

/// How to take a lease from its holder.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Force {
    /// Ask for it: the holder's guard is lost at its next renewal, and the lease ends when the holder gives it up or
    /// does not renew it. Safe.
    Revoke,
    /// End it at once, while the holder may still believe in it. Only fencing protects from what it still does.
    Now,
}

/// What became of a force.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Forced {
    /// The lease is ended.
    Ended,
    /// The holder is asked for it.
    Asked,
    /// There is no such lease or waiter.
    NotFound,
}

/// What a provider tells without being asked. Each is a hint that saves waiting, and may be lost.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A waiting claim was granted; without the grant, `keep` fetches it.
    Granted(LeaseId, Option<Box<Grant>>),
    /// Others began to wait for a lease's names.
    Contended(LeaseId),
    /// Somebody asked for the lease back.
    Revoked(LeaseId),
    /// The lease is gone. Not a mere hint: it is so.
    Lost(LeaseId, Why),
    /// Events may have been missed: all waiters ask again.
    Resync,
}

/// Who is told the events of a provider. Called from the provider's own steps: must be quick and never block.
pub trait Listener: Send + Sync {
    /// Takes an event.
    fn on(&self, event: Event);
}

/// The quick way into a store that lives in this process: no future, no lease id, no clock.
///
/// What is taken here excludes and is excluded by everything that is claimed through [`Provider`]. It does not
/// expire; it is held until `give`, or until it is forced from its holder.
pub trait Immediate: Debug + Send + Sync {
    /// Takes all names exclusively if they are free and nobody waits for them.
    fn take(&self, names: &Names, meta: Option<&Arc<Meta>>) -> Option<Ticket>;

    /// Gives back what `take` gave; false when it was not held any more, or asked for.
    fn give(&self, names: &Names, ticket: Ticket) -> bool;

    /// Ends a lease or withdraws a claim, as [`Provider::end`] does.
    fn end(&self, lease: &LeaseId) -> Ended;

    /// How often `take` has taken.
    fn taken(&self) -> u64;

    /// Whether what `take` gave is still held.
    fn holds(&self, names: &Names, ticket: Ticket) -> bool;

    /// Resolves when what `take` gave has been forced from its holder.
    fn forced<'a>(&'a self, names: &'a Names, ticket: Ticket) -> Fut<'a, ()>;
}

/// What [`Immediate::take`] gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket {
    /// The fencing token.
    pub token: FencingToken,
    /// What helps the store to find the names again. Of no meaning to others.
    pub hint: u64,
}
