//! The local tier: tasks of one process that want one name queue here, and one of them speaks for all at the store.
//!
//! The first is the *driver*: it claims the lease with a block of tokens. On release the lease goes to the next task
//! without a trip, with the next token, until other processes wait and the hand-off budget is used up; then it goes
//! back, and the next task becomes the driver. A driver that gives up leaves its place in the store's queue to the next.
//! A *sticky* lease stays when nobody waits for it, neither here nor at the store, and the next task takes it without a trip.
//!
//! This file is the state machine alone: it knows neither the store nor the time beyond what it is told.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::held::HeldLease;
use super::pursuit::Adoptable;
pub(crate) use super::seat::Seat;
use crate::claim::LeaseId;
use crate::clock::Instant;
use crate::name::Name;
use crate::sync::Mutex;
use crate::token::{FencingToken, TokenBlock};

/// Hand-offs once other processes wait: only to tasks that queued before, at most this many …
const BUDGET: usize = 32;

/// … and for at most this long.
const BUDGET_TIME: Duration = Duration::from_millis(10);

/// For how long a lease is not kept after others have waited for it.
const COOLING: Duration = Duration::from_secs(1);

/// Shards of the table. A power of two.
const SHARDS: usize = 32;

type Shard = HashMap<Name, Cohort, RandomState>;

/// All names that tasks of this process want or hold at the store.
#[derive(Debug)]
pub(crate) struct Cohorts {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    /// Whether a lease was ever kept: most processes keep none, and need not look for one.
    keeps: AtomicBool,
    /// Names whose lease others asked for, and until when it is not kept again.
    cooling: Mutex<HashMap<Name, Instant, RandomState>>,
    /// Until when any of them is.
    cooling_ns: AtomicU64,
}

#[derive(Debug)]
struct Cohort {
    phase: Phase,
    queue: VecDeque<Arc<Seat>>,
}

#[derive(Debug)]
enum Phase {
    /// A driver is at the store.
    Driving,
    /// A task holds the lease.
    Held { lease: Arc<HeldLease>, tokens: Option<TokenBlock>, closing: Option<Closing> },
    /// Nobody holds the lease, and it has stayed.
    Kept { lease: Arc<HeldLease>, tokens: Option<TokenBlock> },
    /// The lease was given back, and the store may not know yet.
    Ending(LeaseId),
}

/// The gate is closing because other processes wait.
#[derive(Debug, Clone, Copy)]
struct Closing {
    left: usize,
    until: Instant,
}

/// What a task is told when it comes.
#[derive(Debug)]
pub(crate) enum Entered {
    /// Drive; `replaces` is the lease that this process gave back a moment ago.
    Drive { replaces: Option<LeaseId> },
    /// The lease was here, and a token of it; without a token its block is used up, and the task reserves another.
    Kept(Arc<HeldLease>, Option<FencingToken>),
    /// Somebody is before it. `None` where it does not wait.
    Wait(Option<Arc<Seat>>),
}

/// What a waiting task gets.
#[derive(Debug)]
pub(crate) enum Turn {
    /// The lease, and a token of it; without a token its block is used up, and the task reserves another.
    Handed(Arc<HeldLease>, Option<FencingToken>),
    /// The role of the driver, with the claim that the one before left, or the lease that is to be given up.
    Drive { adopted: Option<Box<Adoptable>>, replaces: Option<LeaseId> },
}

/// What is to be done at the store after a release.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Released {
    /// Nothing: the lease went to the next task.
    Handed,
    /// Nothing: the lease stays for the next task that comes.
    Kept,
    /// Nothing: the next driver's claim replaces the lease.
    Replaced,
    /// End the lease.
    End,
}

impl Cohorts {
    pub(crate) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::new(Shard::default())).collect();
        Cohorts {
            shards,
            hasher: RandomState::default(),
            keeps: AtomicBool::new(false),
            cooling: Mutex::new(HashMap::default()),
            cooling_ns: AtomicU64::new(0),
        }
    }

    fn shard(&self, name: &Name) -> &Mutex<Shard> {
        let index = usize::try_from(self.hasher.hash_one(name) >> 32).unwrap_or(0) & (SHARDS - 1);
        self.shards.get(index).expect("the mask keeps it below the number of shards")
    }

    /// A task comes. With `wait` it gets a seat when somebody is before it.
    pub(crate) fn enter(&self, name: &Name, wait: bool, now: Instant) -> Entered {
        let mut shard = self.shard(name).lock();
        let Some(cohort) = shard.get_mut(name) else {
            shard.insert(name.clone(), Cohort { phase: Phase::Driving, queue: VecDeque::new() });
            return Entered::Drive { replaces: None };
        };
        if let Some((lease, token)) = cohort.take_kept(now, true) {
            return Entered::Kept(lease, token);
        }
        if let Phase::Ending(lease) = cohort.phase {
            cohort.phase = Phase::Driving;
            return Entered::Drive { replaces: Some(lease) };
        }
        Entered::Wait(wait.then(|| {
            let seat = Arc::new(Seat::default());
            cohort.queue.push_back(Arc::clone(&seat));
            seat
        }))
    }

    /// The driver has the lease; it uses the first token, `tokens` are those after it.
    pub(crate) fn arrived(&self, name: &Name, lease: &Arc<HeldLease>, tokens: Option<TokenBlock>) {
        if let Some(cohort) = self.shard(name).lock().get_mut(name) {
            cohort.phase = Phase::Held { lease: Arc::clone(lease), tokens, closing: None };
        }
    }

    /// The holder reserved further tokens; the first is its own, `tokens` are those after it.
    pub(crate) fn restocked(&self, name: &Name, block: Option<TokenBlock>) {
        let mut shard = self.shard(name).lock();
        if let Some(Cohort { phase: Phase::Held { tokens, .. }, .. }) = shard.get_mut(name) {
            *tokens = block;
        }
    }

    /// The driver gives up, and the next task gets the role. When nobody takes it, it comes back.
    pub(crate) fn resign(&self, name: &Name, role: Turn) -> Option<Turn> {
        let mut shard = self.shard(name).lock();
        let Some(cohort) = shard.get_mut(name) else {
            return Some(role);
        };
        let unseated = give_turn(&mut cohort.queue, role);
        if unseated.is_some() {
            shard.remove(name);
        }
        unseated
    }

    /// Whether a lease was ever kept.
    #[inline]
    pub(crate) fn keeps(&self) -> bool {
        self.keeps.load(Ordering::Relaxed)
    }

    /// The lease of a name that has stayed, and a token of it, where there is one.
    #[inline]
    pub(crate) fn take_kept(&self, name: &Name, now: Instant) -> Option<(Arc<HeldLease>, FencingToken)> {
        let mut shard = self.shard(name).lock();
        let (lease, token) = shard.get_mut(name)?.take_kept(now, false)?;
        Some((lease, token?))
    }

    /// A lease that nobody holds is given back, if `wanted` says so; whether it is to be ended at the store.
    pub(crate) fn retire(&self, lease: &HeldLease, wanted: impl Fn(&HeldLease) -> bool) -> bool {
        let mut shard = self.shard(lease.names.first()).lock();
        let Some(cohort) = shard.get_mut(lease.names.first()) else { return false };
        let is_it =
            matches!(&cohort.phase, Phase::Kept { lease: kept, .. } if kept.id == lease.id && wanted(kept));
        if is_it {
            cohort.phase = Phase::Ending(lease.id);
        }
        is_it
    }

    /// The leases that have stayed on any of these names, for a claim at the store that replaces them.
    pub(crate) fn give_up<'a>(&self, names: impl IntoIterator<Item = &'a Name>) -> Vec<Arc<HeldLease>> {
        if !self.keeps() {
            return Vec::new();
        }
        let give_up = |name: &Name| {
            let mut shard = self.shard(name).lock();
            let cohort = shard.get_mut(name)?;
            let Phase::Kept { lease, .. } = &cohort.phase else { return None };
            let lease = Arc::clone(lease);
            cohort.phase = Phase::Ending(lease.id);
            Some(lease)
        };
        names.into_iter().filter_map(give_up).collect()
    }

    /// The lease is lost: who waits for it here need not wait until its holder has noticed.
    pub(crate) fn lost(&self, lease: &HeldLease) {
        let name = lease.names.first();
        let mut shard = self.shard(name).lock();
        let Some(cohort) = shard.get_mut(name) else { return };
        let is_it = matches!(&cohort.phase, Phase::Held { lease: held, .. } | Phase::Kept { lease: held, .. }
            if held.id == lease.id);
        if !is_it {
            return;
        }
        let turn = Turn::Drive { adopted: None, replaces: Some(lease.id) };
        match give_turn(&mut cohort.queue, turn) {
            None => cohort.phase = Phase::Driving,
            Some(_) => drop(shard.remove(name)),
        }
    }

    /// Others wait for a name at the store: its lease is not kept again for a while.
    pub(crate) fn cool(&self, name: &Name, now: Instant) {
        if !self.keeps() {
            return;
        }
        let mut cooling = self.cooling.lock();
        cooling.retain(|_, until| *until > now);
        cooling.insert(name.clone(), now + COOLING);
        self.cooling_ns.store((now + COOLING).as_nanos(), Ordering::Relaxed);
    }

    fn is_cooling(&self, name: &Name, now: Instant) -> bool {
        self.cooling_ns.load(Ordering::Relaxed) > now.as_nanos()
            && self.cooling.lock().get(name).is_some_and(|until| *until > now)
    }

    /// A task releases the lease. `usable` says that it has not been lost and lasts long enough for another holder.
    pub(crate) fn release(&self, lease: &Arc<HeldLease>, now: Instant, usable: bool) -> Released {
        let name = lease.names.first();
        let mut shard = self.shard(name).lock();
        let Some(cohort) = shard.get_mut(name) else {
            return Released::End;
        };
        let waiting = cohort.queue.len();
        let Phase::Held { lease: held, tokens, closing } = &mut cohort.phase else {
            return Released::End;
        };
        if !Arc::ptr_eq(held, lease) {
            return Released::End;
        }
        if lease.is_contended() && closing.is_none() {
            *closing = Some(Closing { left: waiting.min(BUDGET), until: now + BUDGET_TIME });
        }
        let open = closing.as_mut().is_none_or(|closing| closing.take_one(now));
        if usable && open {
            let (token, rest) = tokens.map_or((None, None), |block| {
                let (token, rest) = block.take();
                (Some(token), rest)
            });
            match give_turn(&mut cohort.queue, Turn::Handed(Arc::clone(lease), token)) {
                None => {
                    *tokens = rest;
                    return Released::Handed;
                }
                Some(_) if lease.is_sticky() && !lease.is_contended() && !self.is_cooling(name, now) => {
                    let tokens = *tokens;
                    lease.keep(now);
                    cohort.phase = Phase::Kept { lease: Arc::clone(lease), tokens };
                    self.keeps.store(true, Ordering::Relaxed);
                    return Released::Kept;
                }
                Some(_) => {
                    cohort.phase = Phase::Ending(lease.id);
                    return Released::End;
                }
            }
        }
        let turn = Turn::Drive { adopted: None, replaces: Some(lease.id) };
        let unseated = give_turn(&mut cohort.queue, turn).is_some();
        cohort.phase = if unseated { Phase::Ending(lease.id) } else { Phase::Driving };
        if unseated { Released::End } else { Released::Replaced }
    }

    /// Whether tasks wait for a name.
    pub(crate) fn is_wanted(&self, name: &Name) -> bool {
        self.shard(name).lock().get(name).is_some_and(|cohort| !cohort.queue.is_empty())
    }

    /// The store has ended a lease that was given back.
    pub(crate) fn ended(&self, name: &Name, lease: LeaseId) {
        let mut shard = self.shard(name).lock();
        if matches!(shard.get(name), Some(Cohort { phase: Phase::Ending(ending), .. }) if *ending == lease) {
            shard.remove(name);
        }
    }

    /// A task leaves its seat without having been served. What it was given meanwhile comes back.
    pub(crate) fn leave(&self, name: &Name, seat: &Arc<Seat>) -> Option<Turn> {
        let turn = seat.leave();
        if turn.is_none()
            && let Some(cohort) = self.shard(name).lock().get_mut(name)
        {
            cohort.queue.retain(|other| !Arc::ptr_eq(other, seat));
        }
        turn
    }

    #[cfg(all(test, feature = "shuttle"))]
    pub(crate) fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.lock().is_empty())
    }
}

impl Cohort {
    /// Hands out the lease if nobody holds it; `also_bare` says that it may be without a token. One that is of no more use is
    /// left to be replaced.
    fn take_kept(&mut self, now: Instant, also_bare: bool) -> Option<(Arc<HeldLease>, Option<FencingToken>)> {
        let Phase::Kept { lease, tokens } = &self.phase else { return None };
        if !lease.is_usable(now) {
            self.phase = Phase::Ending(lease.id);
            return None;
        }
        if tokens.is_none() && !also_bare {
            return None;
        }
        let lease = Arc::clone(lease);
        let (token, tokens) = tokens.map_or((None, None), |block| {
            let (token, rest) = block.take();
            (Some(token), rest)
        });
        lease.unkeep();
        self.phase = Phase::Held { lease: Arc::clone(&lease), tokens, closing: None };
        Some((lease, token))
    }
}

/// Gives a turn to the first task that still waits; it comes back when there is none.
fn give_turn(queue: &mut VecDeque<Arc<Seat>>, turn: Turn) -> Option<Turn> {
    let mut turn = turn;
    while let Some(seat) = queue.pop_front() {
        turn = seat.give(turn)?;
    }
    Some(turn)
}

impl Closing {
    fn take_one(&mut self, now: Instant) -> bool {
        let open = self.left > 0 && now < self.until;
        self.left = self.left.saturating_sub(1);
        open
    }
}
