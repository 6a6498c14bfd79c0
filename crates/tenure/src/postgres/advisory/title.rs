//! What this process has at the server for a name: a [`Title`], which its leases on the name stand on.

use std::time::Duration;

use crate::claim::Mode;
use crate::lease::HeldBy;
use crate::name::Name;
use crate::postgres::schema;

/// Which line holds a name's locks, and in which way.
#[derive(Clone, Debug)]
pub(super) struct Title {
    pub(super) line: usize,
    pub(super) kind: Kind,
    pub(super) key: i64,
    /// The longest ttl that a lease was taken with under it.
    pub(super) ttl: Duration,
    /// Whether it came by waiting in the server's queue: then whoever waits there now goes before those who wait here.
    pub(super) is_turn: bool,
}

/// The locks of a title.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// The name's key, exclusively: nobody else has anything.
    Whole,
    /// The name's key, shared.
    Shared,
    /// The name's key, shared, and one key for each permit.
    Permits { of: u32, slots: Vec<i64> },
}

impl Title {
    /// How the others may hold the name meanwhile, as the table is told.
    pub(super) fn elsewhere(&self) -> Option<Mode> {
        match &self.kind {
            Kind::Whole => None,
            Kind::Shared => Some(Mode::Shared),
            Kind::Permits { of, slots } => {
                let take = of.saturating_sub(u32::try_from(slots.len()).unwrap_or(u32::MAX));
                (take > 0).then_some(Mode::Permits { take, of: *of })
            }
        }
    }

    /// Whether a lease in `mode` may stand on it, where this process uses `used` permits already.
    pub(super) fn covers(&self, mode: Mode, used: u32) -> bool {
        match (&self.kind, mode) {
            (Kind::Whole, _) | (Kind::Shared, Mode::Shared) => true,
            (Kind::Permits { of, slots }, Mode::Permits { take, of: wanted }) => {
                *of == wanted && used as usize + take as usize <= slots.len()
            }
            _ => false,
        }
    }

    /// The keys to let go: exclusive ones, and shared ones.
    pub(super) fn locks(&self) -> (Vec<i64>, Vec<i64>) {
        match &self.kind {
            Kind::Whole => (vec![self.key], Vec::new()),
            Kind::Shared => (Vec::new(), vec![self.key]),
            Kind::Permits { slots, .. } => (slots.clone(), vec![self.key]),
        }
    }
}

/// What the table is told of a name that this process has no title to, for use in `mode`.
pub(super) fn all_of(mode: Mode) -> Mode {
    match mode {
        Mode::Permits { of, .. } => Mode::Permits { take: of, of },
        _ => Mode::Exclusive,
    }
}

/// How a claim in `mode` asks for the key of a name: whether shared, and the permits `(of, take)` beside.
pub(super) fn asks(mode: Mode) -> (bool, u32, u32) {
    match mode {
        Mode::Exclusive => (false, 0, 0),
        // Who takes all permits needs no key for each.
        Mode::Permits { take, of } if take == of => (false, 0, 0),
        Mode::Permits { take, of } => (true, of, take),
        _ => (true, 0, 0),
    }
}

/// The kind of title that a claim in `mode` gets, with its permits.
pub(super) fn kind_of(mode: Mode, slots: Vec<i64>) -> Kind {
    match (asks(mode), mode) {
        ((false, ..), _) => Kind::Whole,
        (_, Mode::Permits { of, .. }) => Kind::Permits { of, slots },
        _ => Kind::Shared,
    }
}

pub(super) fn key_of(name: &Name) -> i64 {
    schema::key(name.as_str())
}

/// What is known of who is in the way elsewhere.
pub(super) fn taken_elsewhere(name: Option<Name>) -> HeldBy {
    HeldBy { name, ..HeldBy::default() }
}
