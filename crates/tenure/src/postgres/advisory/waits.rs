//! The names that waiters of this process wait for in the server's queue, and those that are asked for again and again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::{Notify, oneshot};

use super::outbox::Done;
use crate::claim::{Claim, LeaseId};
use crate::error::Result;
use crate::lease::Claimed;
use crate::name::Name;

/// A wait that is to begin.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) name: Name,
    pub(super) shared: bool,
    /// Tells this wait from an earlier one for the same name.
    pub(super) number: u64,
    /// Told when the wait is not wanted any more.
    pub(super) unwanted: Arc<Notify>,
}

/// A wait in the server's queue, or on its way there.
#[derive(Debug)]
struct Wait {
    number: u64,
    shared: bool,
    is_queued: bool,
    is_given_up: bool,
    unwanted: Arc<Notify>,
    /// Ends that are done when this wait is over.
    ends: Vec<Arc<Done>>,
}

type Reply = oneshot::Sender<Result<Claimed>>;

/// A claim that waits and has not been told so, with what it would be told.
pub(super) type Untold = (Claim, Reply, Result<Claimed>);

/// What this process waits for.
#[derive(Debug, Default)]
pub(super) struct Waits {
    by_name: HashMap<Name, Wait, foldhash::fast::RandomState>,
    /// Names that are asked for by tries: of claims on many names and permits, and when all connections for waiting wait.
    pub(super) polled: HashSet<Name, foldhash::fast::RandomState>,
    /// Claims that are told that they wait as soon as it is so.
    untold: HashMap<Name, Vec<Untold>, foldhash::fast::RandomState>,
    starts: Vec<Start>,
    last: u64,
}

impl Waits {
    /// Sees to it that a name is waited for; a wait in another mode is given up first.
    pub(super) fn want(&mut self, name: &Name, shared: bool) {
        if let Some(wait) = self.by_name.get_mut(name) {
            if wait.shared != shared {
                wait.is_given_up = true;
                wait.unwanted.notify_one();
            }
            return;
        }
        self.last += 1;
        let unwanted = Arc::new(Notify::new());
        let wait = Wait {
            number: self.last,
            shared,
            is_queued: false,
            is_given_up: false,
            unwanted: Arc::clone(&unwanted),
            ends: Vec::new(),
        };
        self.by_name.insert(name.clone(), wait);
        self.starts.push(Start { name: name.clone(), shared, number: self.last, unwanted });
    }

    /// A name is not wanted in the server's queue any more; `done` is done when it has left.
    pub(super) fn give_up(&mut self, name: &Name, done: Option<&Arc<Done>>) {
        if let Some(wait) = self.by_name.get_mut(name) {
            wait.is_given_up = true;
            wait.unwanted.notify_one();
            wait.ends.extend(done.cloned());
        }
    }

    pub(super) fn is_waiting(&self, name: &Name) -> bool {
        self.by_name.contains_key(name)
    }

    /// Whether a wait that has begun is not wanted any more.
    pub(super) fn is_given_up(&self, start: &Start) -> bool {
        self.by_name.get(&start.name).is_none_or(|wait| wait.number != start.number || wait.is_given_up)
    }

    /// A wait stands in the server's queue; who is to be told.
    pub(super) fn queued(&mut self, start: &Start) -> Vec<Untold> {
        if let Some(wait) = self.by_name.get_mut(&start.name) {
            wait.is_queued = true;
        }
        self.untold.remove(&start.name).unwrap_or_default()
    }

    /// A wait has ended, one way or the other: the ends that were waiting for it, and who has not been told yet.
    pub(super) fn over(&mut self, start: &Start) -> (Vec<Arc<Done>>, Vec<Untold>) {
        let wait = self.by_name.remove(&start.name);
        (wait.map(|wait| wait.ends).unwrap_or_default(), self.untold.remove(&start.name).unwrap_or_default())
    }

    /// Answers a claim that waits: at once, unless the name that it waits for is on its way into the server's queue.
    pub(super) fn answer_when_queued(&mut self, claim: Claim, reply: Reply, answer: Result<Claimed>) {
        let under_way =
            claim.names.iter().find(|n| self.by_name.get(*n).is_some_and(|wait| !wait.is_queued)).cloned();
        match under_way {
            Some(name) => self.untold.entry(name).or_default().push((claim, reply, answer)),
            None => drop(reply.send(answer)),
        }
    }

    /// A claim has ended: nobody needs to be told that it waits.
    pub(super) fn forget(&mut self, id: &LeaseId) {
        for untold in self.untold.values_mut() {
            let mut index = 0;
            while let Some((claim, ..)) = untold.get(index) {
                if claim.lease == *id {
                    let (_, reply, answer) = untold.remove(index);
                    let _ = reply.send(answer);
                } else {
                    index += 1;
                }
            }
        }
    }

    pub(super) fn take_starts(&mut self) -> Vec<Start> {
        std::mem::take(&mut self.starts)
    }

    /// The names that stand in the server's queue.
    pub(super) fn names(&self) -> Vec<Name> {
        self.by_name.iter().filter(|(_, wait)| wait.is_queued).map(|(name, _)| name.clone()).collect()
    }
}
