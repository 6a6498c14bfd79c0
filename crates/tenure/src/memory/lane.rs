//! The fast lane: exclusive locks that nobody waits for, in shards of small tables.
//!
//! A name is *thin* while it is held through the lane and uncontended. As soon as a claim of another kind touches it,
//! or somebody has to wait, it is made *fat*: its holder moves to the [`Table`](super::table::Table), and a marker stays
//! here until the table has forgotten the name. Whoever makes names fat or thin holds the table's mutex; a shard's mutex
//! is only ever taken after it, never before.

use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use super::tokens::TokenSource;
use crate::claim::Meta;
use crate::name::{Name, Names};
use crate::provider::Ticket;
use crate::token::{FencingToken, TokenBlock};

/// Enough shards that a few cores seldom meet, few enough that an idle store is small. A power of two.
const SHARDS: usize = 64;

/// Tokens that a shard reserves at a time, so that shards seldom meet at the counter.
const BLOCK: NonZeroU32 = NonZeroU32::new(1_024).expect("not zero");

/// How often a taker looks again at a thin name before it gives up: a section of a few instructions ends sooner.
const LOOKS: usize = 24;

/// The shards.
#[derive(Debug)]
pub(super) struct Lane {
    shards: Box<[Shard]>,
    hasher: RandomState,
    tokens: Arc<TokenSource>,
}

/// A shard, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(Mutex<Slots>);

#[derive(Debug, Default)]
struct Slots {
    slots: HashTable<Slot>,
    block: Option<TokenBlock>,
    /// How often something was taken here.
    taken: u64,
}

#[derive(Debug)]
struct Slot {
    hash: u64,
    name: Name,
    state: SlotState,
}

/// What is known of a name here.
#[derive(Debug)]
enum SlotState {
    Thin(Thin),
    Fat,
}

/// The holder of a thin name.
#[derive(Debug, Clone)]
pub(super) struct Thin {
    pub(super) token: FencingToken,
    pub(super) meta: Option<Arc<Meta>>,
}

/// What a guard finds when it gives a name back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// It is free now.
    Done,
    /// The table has it.
    Fat,
    /// It is not held by this token.
    NotHeld,
}

impl Lane {
    pub(super) fn new(tokens: Arc<TokenSource>) -> Self {
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        Lane { shards, hasher: RandomState::default(), tokens }
    }

    /// Takes all names, if none of them is held or fat.
    pub(super) fn take(&self, names: &Names, meta: Option<&Arc<Meta>>) -> Option<Ticket> {
        match names.single() {
            Some(name) => self.take_one(name, meta),
            None => self.take_all(names, meta),
        }
    }

    fn take_one(&self, name: &Name, meta: Option<&Arc<Meta>>) -> Option<Ticket> {
        let hash = self.hasher.hash_one(name);
        for look in 0..LOOKS {
            let mut slots = self.shard(hash).lock();
            let slots = &mut *slots;
            match slots.slots.entry(hash, |slot| slot.name == *name, |slot| slot.hash) {
                Entry::Vacant(vacant) => {
                    let token = next_token(&mut slots.block, &self.tokens);
                    vacant.insert(Slot::thin(hash, name, token, meta));
                    slots.taken += 1;
                    return Some(Ticket { token, hint: hash });
                }
                Entry::Occupied(slot) if matches!(slot.get().state, SlotState::Fat) => return None,
                Entry::Occupied(_) => {}
            }
            // Longer from look to look, so that the holder can get at the shard.
            (0..look * 8).for_each(|_| std::hint::spin_loop());
        }
        None
    }

    fn take_all(&self, names: &Names, meta: Option<&Arc<Meta>>) -> Option<Ticket> {
        let hashed: SmallVec<[(u64, &Name); 4]> =
            names.iter().map(|n| (self.hasher.hash_one(n), n)).collect();
        let mut locked = self.lock_all(hashed.iter().map(|(hash, _)| *hash));
        let free = hashed.iter().all(|(hash, name)| {
            let slots = locked.of(*hash);
            slots.slots.find(*hash, |slot| slot.name == **name).is_none()
        });
        if !free {
            return None;
        }
        // One token for all of them, above all that their shards gave before.
        let token = self.tokens.reserve(NonZeroU32::MIN).first();
        for (index, (hash, name)) in hashed.into_iter().enumerate() {
            let slots = locked.of(hash);
            slots.block = None;
            slots.taken += u64::from(index == 0);
            slots.slots.insert_unique(hash, Slot::thin(hash, name, token, meta), |slot| slot.hash);
        }
        Some(Ticket { token, hint: 0 })
    }

    /// Gives one name back. `hash` is that of the name.
    pub(super) fn give(&self, name: &Name, hash: u64, token: FencingToken) -> Given {
        let mut slots = self.shard(hash).lock();
        // The token first: it tells apart what has the same place in the table, and saves the comparison of names.
        if let Ok(slot) =
            slots.slots.find_entry(hash, |slot| slot.state.is_held_by(token) && slot.name == *name)
        {
            slot.remove();
            return Given::Done;
        }
        match slots.slots.find(hash, |slot| slot.name == *name).map(|slot| &slot.state) {
            Some(SlotState::Fat) => Given::Fat,
            Some(SlotState::Thin(_)) | None => Given::NotHeld,
        }
    }

    /// Where a name is found.
    pub(super) fn hash(&self, name: &Name) -> u64 {
        self.hasher.hash_one(name)
    }

    /// Who holds a name thinly; `Err` when it is fat. The answer is old as soon as it is given.
    pub(super) fn holder(&self, name: &Name) -> Result<Option<Thin>, ()> {
        let hash = self.hasher.hash_one(name);
        let slots = self.shard(hash).lock();
        match slots.slots.find(hash, |slot| slot.name == *name).map(|slot| &slot.state) {
            None => Ok(None),
            Some(SlotState::Thin(thin)) => Ok(Some(thin.clone())),
            Some(SlotState::Fat) => Err(()),
        }
    }

    /// Makes a name fat; its thin holder, if it had one. The caller holds the table.
    pub(super) fn fatten(&self, name: &Name) -> Option<Thin> {
        let hash = self.hasher.hash_one(name);
        let mut slots = self.shard(hash).lock();
        match slots.slots.entry(hash, |slot| slot.name == *name, |slot| slot.hash) {
            Entry::Vacant(vacant) => {
                vacant.insert(Slot { hash, name: name.clone(), state: SlotState::Fat });
                None
            }
            Entry::Occupied(mut slot) => match std::mem::replace(&mut slot.get_mut().state, SlotState::Fat) {
                SlotState::Thin(thin) => Some(thin),
                SlotState::Fat => None,
            },
        }
    }

    /// Makes a name thin again, with tokens above those that the table gave. The caller holds the table.
    pub(super) fn slim(&self, name: &Name) {
        let hash = self.hasher.hash_one(name);
        let mut slots = self.shard(hash).lock();
        slots.block = None;
        if let Ok(slot) = slots.slots.find_entry(hash, |slot| slot.name == *name) {
            slot.remove();
        }
    }

    /// How often something was taken.
    pub(super) fn taken(&self) -> u64 {
        self.shards.iter().map(|shard| shard.0.lock().taken).sum()
    }

    /// All thin names and their holders, shard by shard.
    pub(super) fn thin(&self) -> Vec<(Name, Thin)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let slots = shard.0.lock();
            all.extend(slots.slots.iter().filter_map(|slot| match &slot.state {
                SlotState::Thin(thin) => Some((slot.name.clone(), thin.clone())),
                SlotState::Fat => None,
            }));
        }
        all
    }

    fn shard(&self, hash: u64) -> &Mutex<Slots> {
        &self.shards.get(shard_index(hash)).expect("the mask keeps it below the number of shards").0
    }

    /// Locks the shards of these hashes, in the order of the shards.
    fn lock_all(&self, hashes: impl Iterator<Item = u64>) -> Locked<'_> {
        let mut indices: SmallVec<[usize; 4]> = hashes.map(shard_index).collect();
        indices.sort_unstable();
        indices.dedup();
        let lock = |index: usize| Some((index, self.shards.get(index)?.0.lock()));
        Locked(indices.into_iter().filter_map(lock).collect())
    }
}

struct Locked<'a>(SmallVec<[(usize, MutexGuard<'a, Slots>); 4]>);

impl Locked<'_> {
    fn of(&mut self, hash: u64) -> &mut Slots {
        let index = shard_index(hash);
        let at = self.0.binary_search_by_key(&index, |(index, _)| *index).expect("its shard was locked");
        &mut self.0.get_mut(at).expect("found").1
    }
}

fn shard_index(hash: u64) -> usize {
    // The table inside uses the low and the topmost bits: take some from between.
    usize::try_from((hash >> 40) & (SHARDS as u64 - 1)).unwrap_or(0)
}

impl SlotState {
    fn is_held_by(&self, token: FencingToken) -> bool {
        matches!(self, SlotState::Thin(thin) if thin.token == token)
    }
}

impl Slot {
    fn thin(hash: u64, name: &Name, token: FencingToken, meta: Option<&Arc<Meta>>) -> Self {
        Slot { hash, name: name.clone(), state: SlotState::Thin(Thin { token, meta: meta.cloned() }) }
    }
}

fn next_token(block: &mut Option<TokenBlock>, tokens: &TokenSource) -> FencingToken {
    let (token, rest) = block.unwrap_or_else(|| tokens.reserve(BLOCK)).take();
    *block = rest;
    token
}
