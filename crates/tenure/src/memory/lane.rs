//! The fast lane: exclusive locks that nobody waits for, in shards.
//!
//! A name is *thin* while it is held through the lane and uncontended. As soon as a claim of another kind touches it,
//! or somebody has to wait, it is made *fat*: its holder moves to the [`Table`](super::table::Table), and a marker stays
//! here until the table has forgotten the name. Whoever makes names fat or thin holds the table's mutex; a shard's mutex
//! is only ever taken after it, never before.

use std::hash::{BuildHasher, Hasher};
use std::num::NonZeroU32;
use std::sync::Arc;

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::shard::{Given, Known, Locked, Shard, Thin};
use super::tokens::TokenSource;
use crate::claim::Meta;
use crate::name::{Name, Names};
use crate::provider::Ticket;
use crate::token::FencingToken;

/// Enough shards that two busy names seldom share one, few enough that an idle store is small: 32 KiB. A power of two. In unit
/// tests only two, so that names share them.
const SHARDS: usize = if cfg!(test) { 2 } else { 256 };

/// The shards.
#[derive(Debug)]
pub(super) struct Lane {
    shards: Box<[Shard; SHARDS]>,
    hasher: RandomState,
    tokens: Arc<TokenSource>,
}

/// Where a name is found: half of its hash, so that a ticket has room for two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u32);

impl Place {
    /// For the table inside the shard, which uses the low and the topmost bits.
    pub(super) fn hash(self) -> u64 {
        u64::from(self.0) << 32 | u64::from(self.0)
    }

    /// Which shard: bits from between those.
    fn shard(self) -> usize {
        (self.0 >> 17) as usize % SHARDS
    }
}

impl Lane {
    pub(super) fn new(tokens: Arc<TokenSource>) -> Self {
        let shards = std::array::from_fn(|_| Shard::default());
        Lane { shards: Box::new(shards), hasher: RandomState::default(), tokens }
    }

    /// Takes all names, if none of them is held or fat.
    #[inline]
    pub(super) fn take(&self, names: &Names, meta: Option<&Arc<Meta>>) -> Option<Ticket> {
        match names.as_slice() {
            [name] => self.take_one(name, meta),
            [one, other] => self.take_two(names, one, other, meta),
            _ => self.take_all(names, meta),
        }
    }

    #[inline]
    fn take_one(&self, name: &Name, meta: Option<&Arc<Meta>>) -> Option<Ticket> {
        let place = self.place(name);
        let token = self.shard(place).lock().take(place, name, meta, &self.tokens)?;
        Some(Ticket { token, hint: u64::from(place.0) })
    }

    /// As `take_all`, without a list: most batches move something from one name to another.
    fn take_two(&self, names: &Names, one: &Name, other: &Name, meta: Option<&Arc<Meta>>) -> Option<Ticket> {
        let places = (self.place(one), self.place(other));
        if places.0.shard() == places.1.shard() {
            return self.take_all(names, meta);
        }
        let (mut first, mut second) = self.lock_two(places);
        if first.knows(places.0, one) || second.knows(places.1, other) {
            return None;
        }
        let token = first.token_of_two(&mut second, &self.tokens);
        first.count();
        first.put(places.0, one, token, meta);
        second.put(places.1, other, token, meta);
        Some(ticket_of_two(token, places))
    }

    fn take_all(&self, names: &Names, meta: Option<&Arc<Meta>>) -> Option<Ticket> {
        let placed = self.placed(names);
        let mut shards: SmallVec<[Locked<'_>; 2]> =
            by_shard(&placed).map(|(place, _)| self.shard(place).lock()).collect();
        let of_shards = || by_shard(&placed).map(|(_, group)| group);
        let mut busy = shards.iter().zip(of_shards());
        if busy.any(|(shard, group)| group.iter().any(|(place, name)| shard.knows(*place, name))) {
            return None;
        }
        // One token for all of them, above all that their shards gave before.
        let token = self.tokens.reserve(NonZeroU32::MIN).first();
        shards.first_mut()?.count();
        for (shard, group) in shards.iter_mut().zip(of_shards()) {
            shard.put_together(group, token, meta);
        }
        match names.as_slice() {
            [one, other] => Some(ticket_of_two(token, (self.place(one), self.place(other)))),
            _ => Some(Ticket { token, hint: 0 }),
        }
    }

    /// Gives back one or two names, as long as they are thin; how many of the first of them it has given.
    #[inline]
    pub(super) fn give_few(&self, names: &Names, ticket: Ticket) -> usize {
        let Ticket { token, hint } = ticket;
        let give = |place: Place, name: &Name| {
            let shard = self.shard(place);
            shard.give_front(token) || shard.lock().give_thin(place, name, token)
        };
        let (high, low) = (Place((hint >> 32) as u32), Place(hint as u32));
        match names.as_slice() {
            [name] => usize::from(give(low, name)),
            [one, other] if give(high, one) => 1 + usize::from(give(low, other)),
            _ => 0,
        }
    }

    /// Gives back what is thin of many names; those that are not.
    pub(super) fn give_many<'a>(&self, names: &'a Names, token: FencingToken) -> Vec<&'a Name> {
        let (placed, mut left) = (self.placed(names), Vec::new());
        for (place, group) in by_shard(&placed) {
            let mut shard = self.shard(place).lock();
            left.extend(group.iter().filter(|(place, name)| !shard.give_thin(*place, name, token)));
        }
        left.into_iter().map(|(_, name)| name).collect()
    }

    /// Gives one name back.
    pub(super) fn give(&self, name: &Name, token: FencingToken) -> Given {
        let place = self.place(name);
        self.shard(place).lock().give(place, name, token)
    }

    /// What is known of a name. The answer is old as soon as it is given.
    pub(super) fn find(&self, name: &Name) -> Known {
        let place = self.place(name);
        self.shard(place).lock().find(place, name)
    }

    /// Makes a name fat; its thin holder, if it had one. The caller holds the table.
    pub(super) fn fatten(&self, name: &Name) -> Option<Thin> {
        let place = self.place(name);
        self.shard(place).lock().fatten(place, name)
    }

    /// Makes a name thin again, with tokens above those that the table gave. The caller holds the table.
    pub(super) fn slim(&self, name: &Name) {
        let place = self.place(name);
        self.shard(place).lock().slim(place, name, &self.tokens);
    }

    /// How often something was taken.
    pub(super) fn taken(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lock().taken()).sum()
    }

    /// All thin names and their holders, shard by shard.
    pub(super) fn thin(&self) -> Vec<(Name, Thin)> {
        self.shards.iter().flat_map(|shard| shard.lock().thin()).collect()
    }

    #[inline]
    fn place(&self, name: &Name) -> Place {
        let mut hasher = self.hasher.build_hasher();
        // The bytes alone: `Hash` would add one that tells lists of strings apart.
        hasher.write(name.as_str().as_bytes());
        Place((hasher.finish() >> 32) as u32)
    }

    #[inline]
    fn shard(&self, place: Place) -> &Shard {
        self.shard_at(place.shard())
    }

    #[inline]
    fn shard_at(&self, index: usize) -> &Shard {
        self.shards.get(index).expect("a place is in one of them")
    }

    /// Locks the shards of two places that are not in the same one, in the order of the shards.
    fn lock_two(&self, (one, other): (Place, Place)) -> (Locked<'_>, Locked<'_>) {
        if one.shard() < other.shard() {
            let first = self.shard(one).lock();
            return (first, self.shard(other).lock());
        }
        let second = self.shard(other).lock();
        (self.shard(one).lock(), second)
    }

    /// Names and their places, in the order of the shards.
    fn placed<'a>(&self, names: &'a Names) -> SmallVec<[(Place, &'a Name); 2]> {
        let mut placed: SmallVec<_> = names.iter().map(|name| (self.place(name), name)).collect();
        placed.sort_unstable_by_key(|(place, _): &(Place, _)| place.shard());
        placed
    }
}

/// The names of each shard, with the place of the first of them.
fn by_shard<'a, 'b>(
    placed: &'b [(Place, &'a Name)],
) -> impl Iterator<Item = (Place, &'b [(Place, &'a Name)])> {
    let groups = placed.chunk_by(|one, next| one.0.shard() == next.0.shard());
    groups.filter_map(|group| Some((group.first()?.0, group)))
}

fn ticket_of_two(token: FencingToken, (one, other): (Place, Place)) -> Ticket {
    Ticket { token, hint: u64::from(one.0) << 32 | u64::from(other.0) }
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
