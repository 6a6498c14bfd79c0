//! What this process has at the store: the names and tokens of its claims, which the store finds records by, and what a
//! push is compared with.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::words;
use crate::claim::{Claim, LeaseId, Origin, Pick};
use crate::clock::Instant;
use crate::limits;
use crate::name::Names;
use crate::provider::{Event, Listener};

/// Shards, so that tasks that take and release locks seldom meet. A power of two.
const SHARDS: usize = 16;

/// The claims and leases of this process.
#[derive(Default)]
pub(super) struct Desk {
    shards: [Mutex<HashMap<LeaseId, Known, foldhash::fast::RandomState>>; SHARDS],
    listeners: RwLock<Vec<Arc<dyn Listener>>>,
}

/// A claim of this process.
#[derive(Debug, Clone)]
struct Known {
    names: Names,
    /// Whether it takes all of them or some.
    has_all: bool,
    /// Whether it was granted.
    was_held: bool,
    /// Of a waiting claim: when the last request was sent that found it so, for no grant that is pushed is older. Of a
    /// lease: its deadline.
    at: Instant,
    ttl: Duration,
    origin: Origin,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Asked,
    Waiting,
    Held,
    /// Its end is on the way: a claim that was not sent yet is not sent any more.
    Ended,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

impl Desk {
    fn shard(&self, id: &LeaseId) -> &Mutex<HashMap<LeaseId, Known, foldhash::fast::RandomState>> {
        let [first, ..] = id.to_bytes();
        self.shards.get(usize::from(first) % SHARDS).expect("the remainder is below the number of shards")
    }

    pub(super) fn listen(&self, listener: Arc<dyn Listener>) {
        self.listeners.write().push(listener);
    }

    pub(super) fn tell(&self, event: &Event) {
        for listener in self.listeners.read().iter() {
            listener.on(event.clone());
        }
    }

    /// A claim is about to be sent; whether it was before.
    pub(super) fn expect(&self, claim: &Claim) -> bool {
        let known = Known {
            names: claim.names.clone(),
            has_all: claim.pick == Pick::All,
            was_held: false,
            at: Instant::NEVER,
            ttl: claim.ttl,
            origin: claim.origin,
            state: State::Asked,
        };
        let mut shard = self.shard(&claim.lease).lock();
        let is_known = shard.contains_key(&claim.lease);
        shard.entry(claim.lease).or_insert(known);
        is_known
    }

    /// A request that was sent at `sent` found the claim waiting.
    pub(super) fn waits(&self, id: &LeaseId, sent: Instant) {
        self.with(id, |known| {
            if known.state != State::Ended {
                known.state = State::Waiting;
            }
            known.at = if known.at == Instant::NEVER { sent } else { known.at.max(sent) };
        });
    }

    /// The lease is held until `deadline`.
    pub(super) fn holds(&self, id: &LeaseId, deadline: Instant) {
        let mut shard = self.shard(id).lock();
        let Some(known) = shard.get_mut(id) else { return };
        if known.origin == Origin::Remote {
            // The store finds it by its id, and whoever keeps it need not be this process.
            shard.remove(id);
            return;
        }
        if known.state != State::Ended {
            known.state = State::Held;
        }
        known.was_held = true;
        known.at = deadline;
    }

    pub(super) fn forget(&self, id: &LeaseId) {
        self.shard(id).lock().remove(id);
    }

    /// Its end is about to be sent.
    pub(super) fn ends(&self, id: &LeaseId) {
        self.with(id, |known| known.state = State::Ended);
    }

    pub(super) fn is_ended(&self, id: &LeaseId) -> bool {
        self.shard(id).lock().get(id).is_some_and(|known| known.state == State::Ended)
    }

    /// The names of a lease of this process, where they are all that it asked for.
    pub(super) fn names(&self, id: &LeaseId) -> Option<Names> {
        self.shard(id).lock().get(id).filter(|known| known.has_all).map(|known| known.names.clone())
    }

    /// Whether the lease was held, and its deadline is still to come.
    pub(super) fn is_good(&self, id: &LeaseId, now: Instant) -> bool {
        self.shard(id).lock().get(id).is_some_and(|known| known.was_held && known.at > now)
    }

    pub(super) fn is_waiting(&self, id: &LeaseId) -> bool {
        self.shard(id).lock().get(id).is_some_and(|known| known.state == State::Waiting)
    }

    /// Every claim that waits.
    pub(super) fn waiting(&self) -> Vec<LeaseId> {
        self.all(|known| known.state == State::Waiting)
    }

    /// The claims and leases that end with the process.
    pub(super) fn locals(&self) -> Vec<LeaseId> {
        self.all(|known| known.origin == Origin::Local)
    }

    fn all(&self, wanted: impl Fn(&Known) -> bool) -> Vec<LeaseId> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            all.extend(shard.iter().filter(|(_, known)| wanted(known)).map(|(id, _)| *id));
        }
        all
    }

    /// Takes a message of the store to this process.
    pub(super) fn hear(&self, message: &str) {
        let Some((id, told)) = words::told(message) else {
            tracing::debug!("a message of another version was passed over");
            return;
        };
        match told {
            words::Told::Granted(offer) => {
                let known = self.shard(&id).lock().get(&id).cloned();
                let Some(known) = known.filter(|known| known.state == State::Waiting) else { return };
                // It is an offer: no request of ours precedes it but the last that found the claim waiting.
                let deadline = known.at + offer.span.min(limits::OFFER) - limits::drift(known.ttl);
                let Some(mut grant) = offer.grant(&known.names) else { return };
                grant.deadline = deadline;
                self.holds(&id, deadline);
                self.tell(&Event::Granted(id, Some(Box::new(grant))));
            }
            words::Told::Contended => self.tell(&Event::Contended(id)),
            words::Told::Revoked => self.tell(&Event::Revoked(id)),
            words::Told::Lost(why) => {
                self.forget(&id);
                self.tell(&Event::Lost(id, why));
            }
        }
    }

    fn with(&self, id: &LeaseId, change: impl FnOnce(&mut Known)) {
        if let Some(known) = self.shard(id).lock().get_mut(id) {
            change(known);
        }
    }
}
