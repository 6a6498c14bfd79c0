//! Locks inside this process: the lease table behind a mutex, with a fast lane in front of it.
//!
//! Nothing here has a task or a timer, and nothing lasts longer than the process. Its local leases need no renewal:
//! the process that would have to die for one to be abandoned is the store itself.

mod adopted;
mod answers;
mod image;
mod lane;
mod leases;
mod listing;
#[cfg(feature = "postgres")]
mod others;
mod rules;
mod shard;
#[cfg(all(test, feature = "shuttle"))]
mod shard_shuttle;
pub mod table;
mod tokens;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;
use tokio::sync::Notify;

use self::adopted::Taken;
use self::lane::Lane;
use self::shard::{Given, Known, Thin};
use self::table::Table;
pub use self::tokens::TokenSource;
use crate::claim::{Claim, Digest, LeaseId, Meta, Mode, Origin};
use crate::clock::{self, Clock};
use crate::error::Result;
use crate::lease::{Claimed, Ended, Kept, Kind, Listed, Page, Query};
use crate::limits;
use crate::name::{Name, Names};
use crate::provider::{
    Caps, Event, Force, Forced, Fut, Immediate, Keep, Listener, Provider, Takeover, Ticket,
};
use crate::token::{Epoch, FencingToken};

/// How often a taker looks again at names that are taken before it gives up, some microseconds in all: a section of a few
/// instructions ends sooner.
const LOOKS: u32 = 9;

/// The memory provider. Clones are the same store.
///
/// An exclusive lock that nobody waits for costs one visit to a shard of the lane; everything else goes through the
/// table. Fair: first come, first served, except that a claim on a free name may win against one that is about to queue.
#[derive(Debug, Clone)]
pub struct Memory(Arc<Store>);

#[derive(Debug)]
struct Store {
    clock: Clock,
    caps: Caps,
    lane: Lane,
    table: Mutex<Table>,
    listeners: RwLock<Vec<Arc<dyn Listener>>>,
    forced: Notify,
}

impl std::fmt::Debug for dyn Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

impl Memory {
    /// An empty store whose tokens begin with an epoch from the wall clock.
    pub fn new(clock: Clock) -> Self {
        let epoch = Epoch::new(clock::wall_epoch()).expect("clamped to 31 bits");
        let tokens = Arc::new(TokenSource::new(epoch));
        let mut caps = Caps::new("memory");
        caps.max_names = limits::MAX_NAMES_MEMORY;
        caps.takeover = Takeover::AtOnce;
        caps.outlives_process = false;
        Memory(Arc::new(Store {
            clock,
            caps,
            lane: Lane::new(Arc::clone(&tokens)),
            table: Mutex::new(Table::new(tokens, false)),
            listeners: RwLock::new(Vec::new()),
            forced: Notify::new(),
        }))
    }
}

impl Store {
    /// Runs a step of the table on `names`, which are fat during it, and tells what it brought about.
    fn step<T>(&self, names: Option<&Names>, step: impl FnOnce(&mut Table, clock::Instant) -> T) -> T {
        let mut table = self.table.lock();
        let now = self.clock.now();
        for name in names.into_iter().flatten() {
            if let Some(thin) = self.lane.fatten(name) {
                adopt(&mut table, now, name, thin);
            } else if !table.knows(name) {
                table.idle.push(name.clone());
            }
        }
        let answer = step(&mut table, now);
        for name in std::mem::take(&mut table.idle) {
            if !table.knows(&name) {
                self.lane.slim(&name);
            }
        }
        let events = table.take_events();
        drop(table);
        self.tell(events);
        answer
    }

    /// Tries again for a while, longer from look to look, unless others wait: theirs is the turn.
    #[cold]
    fn look_again(&self, names: &Names, meta: Option<&Arc<Meta>>) -> Option<Ticket> {
        let table = self.table.lock();
        let waited_for = names.iter().any(|name| table.is_waited_for(name));
        drop(table);
        if waited_for {
            return None;
        }
        (1..LOOKS).find_map(|look| {
            (0..1 << (look - 1).min(4)).for_each(|_| std::hint::spin_loop());
            self.lane.take(names, meta)
        })
    }

    /// Gives names back one by one; whether all of them were held and none was asked for.
    #[cold]
    fn give_each<'a>(&self, names: impl Iterator<Item = &'a Name>, token: FencingToken) -> bool {
        let (mut held, mut fat) = (true, SmallVec::<[LeaseId; 2]>::new());
        for name in names {
            match self.lane.give(name, token) {
                Given::Done => {}
                Given::NotHeld => held = false,
                Given::Fat => fat.push(inward(name, token)),
            }
        }
        if fat.is_empty() {
            return held;
        }
        // In one step, so that what one name frees is not granted before the others are free.
        let ended = self.step(None, |table, now| {
            let held = fat.iter().all(|id| table.is_held(id));
            table.end_together(now, &fat) && held
        });
        held && ended
    }

    fn tell(&self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let listeners = self.listeners.read();
        for event in events {
            for listener in listeners.iter() {
                listener.on(event.clone());
            }
        }
    }

    /// Moves every thin name of a lease into the table, so that it can be listed or forced there.
    fn fatten_lease(&self, table: &mut Table, digest: Digest) {
        for (name, thin) in self.lane.thin() {
            if inward(&name, thin.token).digest() != digest {
                continue;
            }
            if let Some(thin) = self.lane.fatten(&name) {
                adopt(table, self.clock.now(), &name, thin);
            }
        }
    }
}

fn inward(name: &Name, token: FencingToken) -> LeaseId {
    use std::hash::BuildHasher;
    LeaseId::inward(token, foldhash::fast::FixedState::default().hash_one(name))
}

fn adopt(table: &mut Table, now: clock::Instant, name: &Name, thin: Thin) {
    let taken = Taken { meta: thin.meta, since: now };
    table.adopt(now, inward(name, thin.token), name.clone(), thin.token, taken);
}

impl Provider for Memory {
    fn caps(&self) -> &Caps {
        &self.0.caps
    }

    fn claim<'a>(&'a self, claims: &'a [Claim]) -> Fut<'a, Vec<Result<Claimed>>> {
        Box::pin(async move {
            let one = |claim: &Claim| self.0.step(Some(&claim.names), |table, now| table.claim(now, claim));
            claims.iter().map(one).collect()
        })
    }

    fn keep<'a>(&'a self, keeps: &'a [Keep]) -> Fut<'a, Vec<Result<Kept>>> {
        Box::pin(async move {
            keeps.iter().map(|keep| Ok(self.0.step(None, |table, now| table.keep(now, keep)))).collect()
        })
    }

    fn end<'a>(&'a self, leases: &'a [LeaseId]) -> Fut<'a, Vec<Result<Ended>>> {
        Box::pin(async move {
            leases.iter().map(|id| Ok(self.0.step(None, |table, now| table.end(now, id)))).collect()
        })
    }

    fn list<'a>(&'a self, query: &'a Query) -> Fut<'a, Result<Page>> {
        Box::pin(async move {
            let table = self.0.table.lock();
            let whole = Query { limit: usize::MAX, ..query.clone() };
            let mut found = table.list(self.0.clock.now(), &whole).entries;
            if query.kind == Kind::Leases {
                found = with_thin(found, self.0.lane.thin());
            }
            Ok(listing::page(found.into_iter(), query))
        })
    }

    fn force<'a>(&'a self, lease: Digest, how: Force) -> Fut<'a, Result<Forced>> {
        Box::pin(async move {
            let forced = self.0.step(None, |table, now| {
                self.0.fatten_lease(table, lease);
                table.force(now, lease, how)
            });
            self.0.forced.notify_waiters();
            Ok(forced)
        })
    }

    fn ping(&self) -> Fut<'_, Result<()>> {
        Box::pin(async {
            drop(self.0.table.lock());
            Ok(())
        })
    }

    fn listen(&self, listener: Arc<dyn Listener>) {
        self.0.listeners.write().push(listener);
    }

    fn immediate(&self) -> Option<Arc<dyn Immediate>> {
        Some(Arc::clone(&self.0) as Arc<dyn Immediate>)
    }

    fn lifeline(&self) -> Option<Arc<OwnedFd>> {
        None
    }

    fn close(&self) -> Fut<'_, ()> {
        Box::pin(async {})
    }
}

/// Adds the names that are held in the lane to what the table lists; the names of one token are one lease.
fn with_thin(found: Vec<Listed>, thin: Vec<(Name, Thin)>) -> Vec<Listed> {
    let mut leases: BTreeMap<Digest, Listed> = BTreeMap::new();
    let mut add = |listed: Listed| match leases.get_mut(&listed.lease) {
        None => drop(leases.insert(listed.lease, listed)),
        Some(same) => {
            let all = same.names.iter().chain(&listed.names).cloned();
            same.names = Names::new(all.collect::<std::collections::BTreeSet<_>>())
                .expect("a set of names has no duplicates");
        }
    };
    found.into_iter().for_each(&mut add);
    for (name, held) in thin {
        let digest = inward(&name, held.token).digest();
        let mut listed =
            Listed::new(digest, Names::one(name), Mode::Exclusive, limits::DEFAULT_TTL, Origin::Local);
        listed.token = Some(held.token);
        listed.meta = held.meta;
        add(listed);
    }
    leases.into_values().collect()
}

impl Immediate for Store {
    fn take(&self, names: &Names, meta: Option<&Arc<Meta>>) -> Option<Ticket> {
        self.lane.take(names, meta).or_else(|| self.look_again(names, meta))
    }

    #[inline]
    fn give(&self, names: &Names, ticket: Ticket) -> bool {
        if names.len() > 2 {
            return self.give_each(self.lane.give_many(names, ticket.token).into_iter(), ticket.token);
        }
        let given = self.lane.give_few(names, ticket);
        given == names.len() || self.give_each(names.iter().skip(given), ticket.token)
    }

    fn end(&self, lease: &LeaseId) -> Ended {
        self.step(None, |table, now| table.end(now, lease))
    }

    fn taken(&self) -> u64 {
        self.lane.taken()
    }

    fn holds(&self, names: &Names, Ticket { token, .. }: Ticket) -> bool {
        names.iter().all(|name| match self.lane.find(name) {
            Known::Free => false,
            Known::Thin(thin) => thin.token == token,
            Known::Fat => self.table.lock().is_held(&inward(name, token)),
        })
    }

    fn forced<'a>(&'a self, names: &'a Names, ticket: Ticket) -> Fut<'a, ()> {
        Box::pin(async move {
            loop {
                let forced = self.forced.notified();
                if !self.holds(names, ticket) {
                    return;
                }
                forced.await;
            }
        })
    }
}
