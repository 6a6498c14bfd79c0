//! A reference to a store, kept by each thread for its next guard.
//!
//! A guard owns a reference to its store. Were it cloned and dropped each time, tasks on several cores would meet at one
//! reference count, which costs more than the lock itself. A thread keeps one, also of a store that is otherwise gone, until
//! it takes locks of another one or ends.

use std::cell::Cell;
use std::sync::Arc;

use crate::provider::Immediate;

thread_local! {
    static SPARE: Cell<Option<Arc<dyn Immediate>>> = const { Cell::new(None) };
}

/// A reference to `store`.
pub(crate) fn borrow(store: &Arc<dyn Immediate>) -> Arc<dyn Immediate> {
    match SPARE.try_with(Cell::take) {
        Ok(Some(spare)) if std::ptr::addr_eq(Arc::as_ptr(&spare), Arc::as_ptr(store)) => spare,
        _ => Arc::clone(store),
    }
}

/// Keeps a reference for the thread's next guard, unless the thread is ending.
pub(crate) fn give_back(store: Arc<dyn Immediate>) {
    let _ = SPARE.try_with(|spare| spare.set(Some(store)));
}
