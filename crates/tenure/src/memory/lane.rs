//! The fast lane: exclusive locks that nobody waits for, in shards of small tables.
//!
//! A name is *thin* while it is held through the lane and uncontended. As soon as a claim of another kind touches it,
//! or somebody has to wait, it is made *fat*: its holder moves to the [`Table`](super::table::Table), and a marker stays
//! here until the table has forgotten the name. Whoever makes names fat or thin holds the table's mutex; a shard's mutex
//! is only ever taken after it, never before.

use std::hash::{BuildHasher, Hasher};
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

/// How often a taker looks again at a name that is taken before it gives up, some microseconds in all: a section of a few
/// instructions ends sooner. It looks at a fat name too, which gets thin as soon as nobody waits for it.
const LOOKS: u32 = 9;

/// The shards.
#[derive(Debug)]
pub(super) struct Lane {
    shards: Box<[Shard; SHARDS]>,
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
    name: Name,
    state: SlotState,
    place: Place,
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

/// Where a name is found: half of its hash, so that a ticket has room for two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place(u32);

impl Place {
    /// For the table inside the shard, which uses the low and the topmost bits.
    fn hash(self) -> u64 {
        u64::from(self.0) << 32 | u64::from(self.0)
    }

    /// Which shard: bits from between those.
    fn shard(self) -> usize {
        (self.0 >> 18) as usize % SHARDS
    }
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
        let shards = std::array::from_fn(|_| Shard::default());
        Lane { shards: Box::new(shards), hasher: RandomState::default(), tokens }
    }

    /// Takes all names, if none of them is held or fat.
    pub(super) fn take(&self, names: &Names, meta: Option<&Arc<Meta>>) -> Option<Ticket> {
        match names.as_slice() {
            [name] => self.take_one(name, meta),
            [one, other] => self.take_two(one, other, meta),
            _ => self.take_all(names, meta),
        }
    }

    fn take_one(&self, name: &Name, meta: Option<&Arc<Meta>>) -> Option<Ticket> {
        let place = self.place(name);
        for look in 0..LOOKS {
            {
                let mut slots = self.shard(place).lock();
                let slots = &mut *slots;
                if let Entry::Vacant(vacant) =
                    slots.slots.entry(place.hash(), |slot| slot.name == *name, Slot::hash)
                {
                    let token = next_token(&mut slots.block, &self.tokens);
                    vacant.insert(Slot::thin(place, name, token, meta));
                    slots.taken += 1;
                    return Some(Ticket { token, hint: u64::from(place.0) });
                }
            }
            // Longer from look to look, and without the shard, which the holder needs.
            (0..1 << look.min(4)).for_each(|_| std::hint::spin_loop());
        }
        None
    }

    /// As `take_all`, without a list: most batches move something from one name to another.
    fn take_two(&self, one: &Name, other: &Name, meta: Option<&Arc<Meta>>) -> Option<Ticket> {
        let places = (self.place(one), self.place(other));
        let mut locked = self.lock_two(places);
        if locked.of(places.0).knows(places.0, one) || locked.of(places.1).knows(places.1, other) {
            return None;
        }
        // One token for both of them, above all that their shards gave before.
        let token = self.tokens.reserve(NonZeroU32::MIN).first();
        locked.of(places.0).taken += 1;
        locked.of(places.0).add_above_block(Slot::thin(places.0, one, token, meta));
        locked.of(places.1).add_above_block(Slot::thin(places.1, other, token, meta));
        Some(Ticket { token, hint: u64::from(places.0.0) << 32 | u64::from(places.1.0) })
    }

    fn take_all(&self, names: &Names, meta: Option<&Arc<Meta>>) -> Option<Ticket> {
        let placed: Vec<(Place, &Name)> = names.iter().map(|name| (self.place(name), name)).collect();
        let mut locked = self.lock_all(placed.iter().map(|(place, _)| *place));
        if placed.iter().any(|(place, name)| locked.of(*place).knows(*place, name)) {
            return None;
        }
        // One token for all of them, above all that their shards gave before.
        let token = self.tokens.reserve(NonZeroU32::MIN).first();
        for (index, (place, name)) in placed.into_iter().enumerate() {
            let slots = locked.of(place);
            slots.taken += u64::from(index == 0);
            slots.add_above_block(Slot::thin(place, name, token, meta));
        }
        Some(Ticket { token, hint: 0 })
    }

    /// Gives back one or two names, as long as they are thin; how many of the first of them it has given.
    pub(super) fn give_thin(&self, names: &Names, ticket: Ticket) -> usize {
        let Ticket { token, hint } = ticket;
        let places = (Place((hint >> 32) as u32), Place(hint as u32));
        // Place and token tell a slot from all others, and save the comparison of names.
        let give = |place: Place| self.shard(place).lock().remove(place, |slot| slot.has(place, token));
        match names.as_slice() {
            [_] => usize::from(give(places.1)),
            [_, _] if places.0 == places.1 || !give(places.0) => 0,
            [_, _] => 1 + usize::from(give(places.1)),
            _ => 0,
        }
    }

    /// Gives one name back.
    pub(super) fn give(&self, name: &Name, token: FencingToken) -> Given {
        let place = self.place(name);
        let mut slots = self.shard(place).lock();
        if slots.remove(place, |slot| slot.is_held_by(name, token)) {
            return Given::Done;
        }
        match slots.find(place, name).map(|slot| &slot.state) {
            Some(SlotState::Fat) => Given::Fat,
            Some(SlotState::Thin(_)) | None => Given::NotHeld,
        }
    }

    /// Who holds a name thinly; `Err` when it is fat. The answer is old as soon as it is given.
    pub(super) fn holder(&self, name: &Name) -> Result<Option<Thin>, ()> {
        let place = self.place(name);
        let slots = self.shard(place).lock();
        match slots.find(place, name).map(|slot| &slot.state) {
            None => Ok(None),
            Some(SlotState::Thin(thin)) => Ok(Some(thin.clone())),
            Some(SlotState::Fat) => Err(()),
        }
    }

    /// Makes a name fat; its thin holder, if it had one. The caller holds the table.
    pub(super) fn fatten(&self, name: &Name) -> Option<Thin> {
        let place = self.place(name);
        let mut slots = self.shard(place).lock();
        match slots.slots.entry(place.hash(), |slot| slot.name == *name, Slot::hash) {
            Entry::Vacant(vacant) => {
                vacant.insert(Slot { name: name.clone(), state: SlotState::Fat, place });
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
        let place = self.place(name);
        let mut slots = self.shard(place).lock();
        slots.block = None;
        slots.remove(place, |slot| slot.name == *name);
    }

    /// How often something was taken.
    pub(super) fn taken(&self) -> u64 {
        self.shards.iter().map(|shard| shard.0.lock().taken).sum()
    }

    /// All thin names and their holders, shard by shard.
    pub(super) fn thin(&self) -> Vec<(Name, Thin)> {
        let mut all = Vec::new();
        for shard in self.shards.iter() {
            let slots = shard.0.lock();
            all.extend(slots.slots.iter().filter_map(|slot| match &slot.state {
                SlotState::Thin(thin) => Some((slot.name.clone(), thin.clone())),
                SlotState::Fat => None,
            }));
        }
        all
    }

    fn place(&self, name: &Name) -> Place {
        let mut hasher = self.hasher.build_hasher();
        // The bytes alone: `Hash` would add one that tells lists of strings apart.
        hasher.write(name.as_str().as_bytes());
        Place((hasher.finish() >> 32) as u32)
    }

    fn shard(&self, place: Place) -> &Mutex<Slots> {
        self.shard_at(place.shard())
    }

    fn shard_at(&self, index: usize) -> &Mutex<Slots> {
        &self.shards.get(index).expect("a place is in one of them").0
    }

    /// Locks the shards of two places, in the order of the shards.
    fn lock_two(&self, places: (Place, Place)) -> Both<'_> {
        let (one, other) = (places.0.shard(), places.1.shard());
        let low = one.min(other);
        let low_slots = self.shard_at(low).lock();
        let high_slots = (one != other).then(|| self.shard_at(one.max(other)).lock());
        Both { low, low_slots, high_slots }
    }

    /// Locks the shards of these places, in the order of the shards.
    fn lock_all(&self, places: impl Iterator<Item = Place>) -> Locked<'_> {
        let mut indices: SmallVec<[usize; 4]> = places.map(Place::shard).collect();
        indices.sort_unstable();
        indices.dedup();
        Locked(indices.into_iter().map(|index| (index, self.shard_at(index).lock())).collect())
    }
}

/// The locked shards of two places, which may be one shard.
struct Both<'a> {
    low: usize,
    low_slots: MutexGuard<'a, Slots>,
    high_slots: Option<MutexGuard<'a, Slots>>,
}

impl Both<'_> {
    fn of(&mut self, place: Place) -> &mut Slots {
        match &mut self.high_slots {
            Some(high) if place.shard() != self.low => high,
            _ => &mut self.low_slots,
        }
    }
}

/// The locked shards of some places.
struct Locked<'a>(SmallVec<[(usize, MutexGuard<'a, Slots>); 4]>);

impl Locked<'_> {
    fn of(&mut self, place: Place) -> &mut Slots {
        let index = place.shard();
        let at = self.0.binary_search_by_key(&index, |(index, _)| *index).expect("its shard was locked");
        &mut self.0.get_mut(at).expect("found").1
    }
}

impl Slots {
    fn find(&self, place: Place, name: &Name) -> Option<&Slot> {
        self.slots.find(place.hash(), |slot| slot.name == *name)
    }

    fn knows(&self, place: Place, name: &Name) -> bool {
        self.find(place, name).is_some()
    }

    /// Adds the slot of a new name whose token is not from the block: what is left of that is below it.
    fn add_above_block(&mut self, slot: Slot) {
        self.block = None;
        self.slots.insert_unique(slot.place.hash(), slot, Slot::hash);
    }

    /// Removes the slot that `is` it; whether there was one.
    fn remove(&mut self, place: Place, is: impl FnMut(&Slot) -> bool) -> bool {
        match self.slots.find_entry(place.hash(), is) {
            Ok(slot) => {
                slot.remove();
                true
            }
            Err(_) => false,
        }
    }
}

impl SlotState {
    fn is_held_by(&self, token: FencingToken) -> bool {
        matches!(self, SlotState::Thin(thin) if thin.token == token)
    }
}

impl Slot {
    fn thin(place: Place, name: &Name, token: FencingToken, meta: Option<&Arc<Meta>>) -> Self {
        Slot { name: name.clone(), state: SlotState::Thin(Thin { token, meta: meta.cloned() }), place }
    }

    fn hash(&self) -> u64 {
        self.place.hash()
    }

    fn has(&self, place: Place, token: FencingToken) -> bool {
        self.place == place && self.state.is_held_by(token)
    }

    fn is_held_by(&self, name: &Name, token: FencingToken) -> bool {
        // The token first: it tells apart what has the same place in the table, and saves most comparisons of names.
        self.state.is_held_by(token) && self.name == *name
    }
}

fn next_token(block: &mut Option<TokenBlock>, tokens: &TokenSource) -> FencingToken {
    let (token, rest) = block.unwrap_or_else(|| tokens.reserve(BLOCK)).take();
    *block = rest;
    token
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
