//! A shard of the fast lane: the names that are held thinly or are fat, and the next tokens.
//!
//! Nearly always one name of a shard is held at a time. That one has the *front* slot, on one cache line with the mutex
//! and the tokens, and its holder gives it back by one atomic step, without the mutex. All others are in a table.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashTable;

use super::lane::Place;
use super::tokens::TokenSource;
use crate::claim::Meta;
use crate::name::Name;
use crate::sync::{AtomicU64, Mutex, MutexGuard};
use crate::token::FencingToken;

/// Tokens that a shard reserves at a time, so that shards seldom meet at the counter.
const BLOCK: NonZeroU32 = NonZeroU32::new(256).expect("not zero");

/// A shard, on two cache lines of its own: processors fetch them in pairs. An uncontended lock writes to the first alone.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(super) struct Shard {
    /// The token that holds the front slot, 0 for none. Set with the mutex; its holder makes it 0 without.
    holder: AtomicU64,
    slots: Mutex<Slots>,
}

/// What is written often comes first.
#[derive(Debug)]
#[repr(C)]
struct Slots {
    /// The name of the front slot; it stays when it is given back, until the next one comes.
    front: Option<Name>,
    /// Above all tokens that were given here; itself the next one, as long as some are left.
    next: FencingToken,
    left: u32,
    /// How many leases were given here.
    taken: u64,
    front_meta: Option<Arc<Meta>>,
    others: HashTable<Slot>,
}

/// What is known of a name that is not in front.
#[derive(Debug)]
struct Slot {
    name: Name,
    state: SlotState,
    place: Place,
}

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

/// What is known of a name.
#[derive(Debug)]
pub(super) enum Known {
    Free,
    Thin(Thin),
    Fat,
}

/// A shard whose mutex is held.
#[derive(Debug)]
pub(super) struct Locked<'a> {
    shard: &'a Shard,
    slots: MutexGuard<'a, Slots>,
}

impl Shard {
    #[inline]
    pub(super) fn lock(&self) -> Locked<'_> {
        Locked { shard: self, slots: self.slots.lock() }
    }

    /// Gives back the name in front, if it is held by this token; whether it was.
    #[inline]
    pub(super) fn give_front(&self, token: FencingToken) -> bool {
        // Release, so that the next holder, who finds the 0, sees what was done under the lock.
        self.holder.compare_exchange(token.get(), 0, Ordering::Release, Ordering::Relaxed).is_ok()
    }
}

impl Locked<'_> {
    /// Takes a name with the next token, if it is free.
    #[inline]
    pub(super) fn take(
        &mut self,
        place: Place,
        name: &Name,
        meta: Option<&Arc<Meta>>,
        tokens: &TokenSource,
    ) -> Option<FencingToken> {
        if self.knows(place, name) {
            return None;
        }
        let token = self.slots.next_token(tokens);
        self.count();
        self.put(place, name, token, meta);
        Some(token)
    }

    /// Whether a name is held or fat.
    #[inline]
    pub(super) fn knows(&self, place: Place, name: &Name) -> bool {
        (self.holder() != 0 && self.slots.is_front(name)) || self.slots.find(place, name).is_some()
    }

    /// What is known of a name.
    pub(super) fn find(&self, place: Place, name: &Name) -> Known {
        match self.slots.find(place, name).map(|slot| &slot.state) {
            Some(SlotState::Fat) => Known::Fat,
            Some(SlotState::Thin(thin)) => Known::Thin(thin.clone()),
            None if self.slots.is_front(name) => self.front().map_or(Known::Free, Known::Thin),
            None => Known::Free,
        }
    }

    /// Adds a name that is not known, in front if there is room.
    #[inline]
    pub(super) fn put(&mut self, place: Place, name: &Name, token: FencingToken, meta: Option<&Arc<Meta>>) {
        // Acquire: what its last holder did under the lock comes before what the next one does.
        if self.holder() != 0 {
            return self.put_apart(place, name, token, meta);
        }
        let slots = &mut *self.slots;
        if !slots.is_front(name) {
            slots.front = Some(name.clone());
        }
        if slots.front_meta.as_ref().map(Arc::as_ptr) != meta.map(Arc::as_ptr) {
            slots.front_meta = meta.cloned();
        }
        // Relaxed: whoever looks has the mutex, or is the holder.
        self.shard.holder.store(token.get(), Ordering::Relaxed);
    }

    #[cold]
    fn put_apart(&mut self, place: Place, name: &Name, token: FencingToken, meta: Option<&Arc<Meta>>) {
        let thin = Thin { token, meta: meta.cloned() };
        self.slots.insert(Slot { name: name.clone(), state: SlotState::Thin(thin), place });
    }

    /// Adds names of one lease that are not known. The token comes from elsewhere and is above what is left of those here.
    pub(super) fn put_together(
        &mut self,
        names: &[(Place, &Name)],
        token: FencingToken,
        meta: Option<&Arc<Meta>>,
    ) {
        self.slots.next = token.plus(1);
        self.slots.left = 0;
        match names {
            [(place, name)] => self.put(*place, name, token, meta),
            // None of several in front: who gives a name back there knows it by the token alone.
            _ => names.iter().for_each(|(place, name)| self.put_apart(*place, name, token, meta)),
        }
    }

    /// The next token of two shards, above all that either gave before. Both have tokens above it then.
    pub(super) fn token_of_two(&mut self, other: &mut Self, tokens: &TokenSource) -> FencingToken {
        let (own, other) = (&mut *self.slots, &mut *other.slots);
        let (high, low) = if other.left > 0 && other.next > own.next { (other, own) } else { (own, other) };
        if high.next < low.next {
            high.left = 0;
        }
        let token = high.next_token(tokens);
        // The upper half of what is left: a shard without tokens would have to go to the counter for its next lease.
        low.left = high.left / 2;
        high.left -= low.left;
        low.next = high.next.plus(high.left);
        token
    }

    /// Counts a lease that was given here.
    #[inline]
    pub(super) fn count(&mut self) {
        self.slots.taken += 1;
    }

    /// How many leases were given here.
    pub(super) fn taken(&self) -> u64 {
        self.slots.taken
    }

    /// Gives a name back; false when this token does not hold it, or not thinly.
    pub(super) fn give_thin(&mut self, place: Place, name: &Name, token: FencingToken) -> bool {
        // The token first: it saves most comparisons of names.
        if self.slots.remove(place, |slot| slot.state.is_held_by(token) && slot.name == *name) {
            return true;
        }
        self.slots.is_front(name) && self.shard.give_front(token)
    }

    /// Gives a name back.
    pub(super) fn give(&mut self, place: Place, name: &Name, token: FencingToken) -> Given {
        if self.give_thin(place, name, token) {
            return Given::Done;
        }
        match self.find(place, name) {
            Known::Fat => Given::Fat,
            Known::Thin(_) | Known::Free => Given::NotHeld,
        }
    }

    /// Makes a name fat; its holder, if it was thin and held.
    pub(super) fn fatten(&mut self, place: Place, name: &Name) -> Option<Thin> {
        let thin = match self.find(place, name) {
            Known::Fat => return None,
            Known::Free => None,
            Known::Thin(thin) => self.remove(place, name).then_some(thin),
        };
        self.slots.insert(Slot { name: name.clone(), state: SlotState::Fat, place });
        thin
    }

    /// Takes a thin name from its holder; false when that one has given it back meanwhile.
    fn remove(&mut self, place: Place, name: &Name) -> bool {
        if self.slots.remove(place, |slot| slot.name == *name) {
            return true;
        }
        self.slots.is_front(name) && self.shard.holder.swap(0, Ordering::AcqRel) != 0
    }

    /// Makes a fat name thin again, with tokens above those that the table gave.
    pub(super) fn slim(&mut self, place: Place, name: &Name, tokens: &TokenSource) {
        self.slots.reserve(tokens);
        self.slots.remove(place, |slot| slot.name == *name);
    }

    /// All thin names and their holders.
    pub(super) fn thin(&self) -> Vec<(Name, Thin)> {
        let front = self.slots.front.clone().zip(self.front());
        let others = self.slots.others.iter().filter_map(|slot| match &slot.state {
            SlotState::Thin(thin) => Some((slot.name.clone(), thin.clone())),
            SlotState::Fat => None,
        });
        front.into_iter().chain(others).collect()
    }

    #[inline]
    fn holder(&self) -> u64 {
        self.shard.holder.load(Ordering::Acquire)
    }

    /// The holder of the name in front.
    fn front(&self) -> Option<Thin> {
        let token = FencingToken::new(self.holder()).ok()?;
        Some(Thin { token, meta: self.slots.front_meta.clone() })
    }
}

impl Default for Slots {
    fn default() -> Self {
        let (front, front_meta, others) = (None, None, HashTable::new());
        Slots { front, next: FencingToken::MIN, left: 0, taken: 0, front_meta, others }
    }
}

impl Slots {
    #[inline]
    fn is_front(&self, name: &Name) -> bool {
        self.front.as_ref() == Some(name)
    }

    #[inline]
    fn find(&self, place: Place, name: &Name) -> Option<&Slot> {
        if self.others.is_empty() {
            return None;
        }
        self.others.find(place.hash(), |slot| slot.name == *name)
    }

    fn insert(&mut self, slot: Slot) {
        self.others.insert_unique(slot.place.hash(), slot, |slot| slot.place.hash());
    }

    /// Removes the slot that `is` it; whether there was one.
    fn remove(&mut self, place: Place, is: impl FnMut(&Slot) -> bool) -> bool {
        self.others.find_entry(place.hash(), is).map(|slot| drop(slot.remove())).is_ok()
    }

    #[inline]
    fn next_token(&mut self, tokens: &TokenSource) -> FencingToken {
        if self.left == 0 {
            self.reserve(tokens);
        }
        let token = self.next;
        self.next = token.plus(1);
        self.left -= 1;
        token
    }

    #[cold]
    fn reserve(&mut self, tokens: &TokenSource) {
        self.next = tokens.reserve(BLOCK).first();
        self.left = BLOCK.get();
    }
}

impl SlotState {
    fn is_held_by(&self, token: FencingToken) -> bool {
        matches!(self, SlotState::Thin(thin) if thin.token == token)
    }
}
