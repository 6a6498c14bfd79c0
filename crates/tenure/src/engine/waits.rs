//! How events of the store find the claims that wait for them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::pursuit::Mailbox;
use crate::claim::LeaseId;
use crate::lease::Grant;

/// Events that are kept for claims whose answer is still to be read.
const MOST_EARLY: usize = 1_024;

/// Where events find the claims that wait for them: those that were found queued, since most never are.
#[derive(Debug, Default)]
pub(crate) struct Waits(Mutex<Mailboxes>);

#[derive(Debug, Default)]
struct Mailboxes {
    open: HashMap<LeaseId, Arc<Mailbox>, foldhash::fast::RandomState>,
    /// What came for claims whose answer, that they are queued, was still to be read. Lost when there is too much of it: then
    /// the next touch of the claim finds what it has.
    early: HashMap<LeaseId, Option<Box<Grant>>, foldhash::fast::RandomState>,
}

impl Waits {
    pub(super) fn open(&self, lease: LeaseId) -> Arc<Mailbox> {
        let mut boxes = self.0.lock();
        let early = boxes.early.remove(&lease);
        let mailbox = Arc::clone(boxes.open.entry(lease).or_default());
        if let Some(grant) = early {
            mailbox.ring(grant);
        }
        mailbox
    }

    pub(super) fn close(&self, lease: &LeaseId) {
        self.0.lock().open.remove(lease);
    }

    /// Tells the claim of its grant, with it if it came along.
    pub(super) fn ring(&self, lease: LeaseId, grant: Option<Box<Grant>>) {
        let mailbox = {
            let mut boxes = self.0.lock();
            let Some(mailbox) = boxes.open.get(&lease) else {
                if boxes.early.len() >= MOST_EARLY {
                    boxes.early.clear();
                }
                boxes.early.insert(lease, grant);
                return;
            };
            Arc::clone(mailbox)
        };
        mailbox.ring(grant);
    }

    /// Has the claim ask again.
    pub(super) fn nudge(&self, lease: &LeaseId) {
        let mailbox = self.0.lock().open.get(lease).cloned();
        if let Some(mailbox) = mailbox {
            mailbox.ring(None);
        }
    }

    pub(super) fn ring_all(&self) {
        let all: Vec<_> = self.0.lock().open.values().cloned().collect();
        all.into_iter().for_each(|mailbox| mailbox.ring(None));
    }
}
