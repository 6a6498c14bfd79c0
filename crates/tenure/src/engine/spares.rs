//! A reference to a store, kept by each thread for its next guard.
//!
//! A guard owns a reference to its store. Were it cloned and dropped each time, tasks on several cores would meet at one
//! reference count, which costs more than the lock itself. A thread keeps one, also of a store that is otherwise gone, until
//! it takes locks of another one or ends.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::Arc;

use crate::provider::Immediate;

thread_local! {
    static SPARE: Cell<Option<Arc<dyn Immediate>>> = const { Cell::new(None) };
}

/// A reference to a store that goes back to the thread's spare when it is dropped.
pub(crate) struct Lent(Option<Arc<dyn Immediate>>);

impl Lent {
    /// A reference to `store`.
    pub(crate) fn of(store: &Arc<dyn Immediate>) -> Self {
        match SPARE.try_with(Cell::take) {
            Ok(Some(spare)) if std::ptr::addr_eq(Arc::as_ptr(&spare), Arc::as_ptr(store)) => {
                Lent(Some(spare))
            }
            _ => Lent(Some(Arc::clone(store))),
        }
    }
}

impl Deref for Lent {
    type Target = dyn Immediate;

    fn deref(&self) -> &Self::Target {
        self.0.as_deref().expect("only its drop takes it")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // A thread that is ending keeps none.
        let _ = SPARE.try_with(|spare| spare.set(self.0.take()));
    }
}
