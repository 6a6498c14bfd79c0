//! Wakes the calls that wait, when the store pushes an event for them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tenure::LeaseId;
use tenure::provider::{Event, Listener};
use tokio::sync::Notify;

/// The calls of this server that wait, by lease id.
#[derive(Debug, Default)]
pub(crate) struct Bells(Mutex<HashMap<LeaseId, (Arc<Notify>, usize)>>);

/// A place among the [`Bells`], given up when dropped.
#[derive(Debug)]
pub(crate) struct Bell {
    bells: Arc<Bells>,
    lease: LeaseId,
    notify: Arc<Notify>,
}

impl Bells {
    /// A bell for `lease`; several calls of one lease share it.
    pub(crate) fn hang(self: &Arc<Self>, lease: LeaseId) -> Bell {
        let mut bells = self.0.lock();
        let (notify, calls) = bells.entry(lease).or_default();
        *calls += 1;
        Bell { bells: Arc::clone(self), lease, notify: Arc::clone(notify) }
    }
}

impl Bell {
    /// Waits until the store has news for the lease. News that came since the last call are not missed.
    pub(crate) async fn rung(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        let mut bells = self.bells.0.lock();
        if let Some((_, calls)) = bells.get_mut(&self.lease) {
            *calls -= 1;
            if *calls == 0 {
                bells.remove(&self.lease);
            }
        }
    }
}

impl Listener for Bells {
    fn on(&self, event: Event) {
        let bells = self.0.lock();
        match event {
            Event::Granted(lease, _) | Event::Lost(lease, _) => {
                if let Some((notify, _)) = bells.get(&lease) {
                    notify.notify_one();
                }
            }
            Event::Resync => bells.values().for_each(|(notify, _)| notify.notify_one()),
            _ => {}
        }
    }
}
