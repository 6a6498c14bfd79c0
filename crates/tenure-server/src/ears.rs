//! Who is told what happens to which lease: the listeners of `POST /v1/listen`.

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;
use tenure::LeaseId;
use tenure::provider::{Event, Listener};
use tokio::sync::mpsc;

/// Events that a listener may be behind; one that is further behind is cut off, and begins anew.
const BEHIND: usize = 1_024;

/// Leases of one listener. What is beyond is not told, and learnt by asking.
const MOST_LEASES: usize = 100_000;

/// The listeners, by the secret that each made for itself.
#[derive(Debug)]
pub(crate) struct Ears {
    registry: Mutex<Registry>,
    most: usize,
}

#[derive(Debug, Default)]
struct Registry {
    ears: HashMap<LeaseId, Ear>,
    by_lease: HashMap<LeaseId, LeaseId>,
    serial: u64,
}

#[derive(Debug)]
struct Ear {
    events: mpsc::Sender<Event>,
    leases: HashSet<LeaseId>,
    /// Tells an ear from a later one of the same listener.
    serial: u64,
}

/// The hearing end. `serial` is for [`Ears::leave`].
pub(crate) struct Hearing {
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) serial: u64,
}

impl Ears {
    pub(crate) fn new(most: usize) -> Self {
        Ears { registry: Mutex::default(), most }
    }

    /// A new ear for `listener`, in place of the one that it may have; `None` when there are too many.
    pub(crate) fn listen(&self, listener: LeaseId, leases: &[LeaseId]) -> Option<Hearing> {
        let mut registry = self.registry.lock();
        registry.cut(listener);
        if registry.ears.len() >= self.most {
            return None;
        }
        registry.serial += 1;
        let serial = registry.serial;
        let (sender, events) = mpsc::channel(BEHIND);
        registry.ears.insert(listener, Ear { events: sender, leases: HashSet::new(), serial });
        for lease in leases {
            registry.add(listener, *lease);
        }
        Some(Hearing { events, serial })
    }

    /// Tells `listener`, if it listens, of a lease from now on.
    pub(crate) fn add(&self, listener: LeaseId, lease: LeaseId) {
        self.registry.lock().add(listener, lease);
    }

    /// There is nothing to tell of a lease any more.
    pub(crate) fn forget(&self, lease: LeaseId) {
        self.registry.lock().forget(lease);
    }

    /// The ear is gone.
    pub(crate) fn leave(&self, listener: LeaseId, serial: u64) {
        let mut registry = self.registry.lock();
        if registry.ears.get(&listener).is_some_and(|ear| ear.serial == serial) {
            registry.cut(listener);
        }
    }
}

impl Registry {
    fn add(&mut self, listener: LeaseId, lease: LeaseId) {
        let Some(ear) = self.ears.get_mut(&listener).filter(|ear| ear.leases.len() < MOST_LEASES) else {
            return;
        };
        ear.leases.insert(lease);
        if let Some(before) = self.by_lease.insert(lease, listener).filter(|before| *before != listener)
            && let Some(ear) = self.ears.get_mut(&before)
        {
            ear.leases.remove(&lease);
        }
    }

    fn forget(&mut self, lease: LeaseId) {
        let listener = self.by_lease.remove(&lease);
        if let Some(ear) = listener.and_then(|listener| self.ears.get_mut(&listener)) {
            ear.leases.remove(&lease);
        }
    }

    fn cut(&mut self, listener: LeaseId) {
        let Some(ear) = self.ears.remove(&listener) else { return };
        for lease in ear.leases {
            self.by_lease.remove(&lease);
        }
    }

    /// Tells a listener. One that does not keep up is cut off: it comes again and asks for everything.
    fn tell(&mut self, listener: LeaseId, event: Event) {
        let told = self.ears.get(&listener).map(|ear| ear.events.try_send(event));
        if let Some(Err(_)) = told {
            self.cut(listener);
        }
    }
}

impl Listener for Ears {
    fn on(&self, event: Event) {
        let mut registry = self.registry.lock();
        let lease = match &event {
            Event::Granted(lease, _)
            | Event::Contended(lease)
            | Event::Revoked(lease)
            | Event::Lost(lease, _) => *lease,
            _ => {
                let all: Vec<LeaseId> = registry.ears.keys().copied().collect();
                all.into_iter().for_each(|listener| registry.tell(listener, event.clone()));
                return;
            }
        };
        if let Some(listener) = registry.by_lease.get(&lease).copied() {
            let lost = matches!(event, Event::Lost(..));
            registry.tell(listener, event);
            if lost {
                registry.forget(lease);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_that_does_not_keep_up_is_cut_off() {
        let ears = Ears::new(1);
        let (listener, lease) = (LeaseId::random(), LeaseId::random());
        let mut hearing = ears.listen(listener, &[lease]).unwrap();
        for _ in 0..=BEHIND {
            ears.on(Event::Contended(lease));
        }
        let mut heard = 0;
        while hearing.events.blocking_recv().is_some() {
            heard += 1;
        }
        assert_eq!(heard, BEHIND);
        assert!(ears.registry.lock().by_lease.is_empty());
    }

    #[test]
    fn a_new_ear_takes_the_place_of_the_old_one_which_does_not_take_it_along() {
        let ears = Ears::new(1);
        let (listener, lease) = (LeaseId::random(), LeaseId::random());
        let old = ears.listen(listener, &[lease]).unwrap();
        let mut new = ears.listen(listener, &[lease]).unwrap();
        assert!(ears.listen(LeaseId::random(), &[]).is_none(), "one is the most");
        ears.leave(listener, old.serial);
        ears.on(Event::Contended(lease));
        assert!(new.events.try_recv().is_ok());
    }
}
