//! What a guard of the immediate way holds, and one of them that each thread keeps for its next guard.
//!
//! A guard owns a reference to its store. Were it cloned and dropped each time, tasks on several cores would meet at one
//! reference count, which costs more than the lock itself. A thread keeps one, with its allocation, also of a store that is
//! otherwise gone, until it takes locks of another one or ends.

use std::cell::Cell;
use std::sync::Arc;

use crate::name::Names;
use crate::provider::{Immediate, Ticket};

/// Names that were taken at once. Boxed, so that a guard is small and seldom moved.
pub(crate) struct Thin {
    pub(super) store: Arc<dyn Immediate>,
    pub(super) names: Names,
    pub(super) ticket: Ticket,
}

thread_local! {
    static SPARE: Cell<Option<Box<Thin>>> = const { Cell::new(None) };
}

impl Thin {
    /// What `store` gave a ticket for.
    pub(crate) fn new(store: &Arc<dyn Immediate>, names: Names, ticket: Ticket) -> Box<Self> {
        match SPARE.try_with(Cell::take) {
            Ok(Some(mut spare)) if std::ptr::addr_eq(Arc::as_ptr(&spare.store), Arc::as_ptr(store)) => {
                spare.names = names;
                spare.ticket = ticket;
                spare
            }
            _ => Box::new(Thin { store: Arc::clone(store), names, ticket }),
        }
    }

    /// Gives it back; whether it was still held.
    pub(super) fn give(self: Box<Self>) -> bool {
        let held = self.store.give(&self.names, self.ticket);
        // A thread that is ending keeps none.
        let _ = SPARE.try_with(|spare| spare.set(Some(self)));
        held
    }
}
