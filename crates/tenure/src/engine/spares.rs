//! References to a store, kept by each thread for its next guard.
//!
//! A guard owns a reference to its store. Were it cloned and dropped each time, tasks on several cores would meet at one
//! reference count, which costs more than the lock itself. A thread keeps at most [`MOST`] references, also of a store that
//! is otherwise gone, until it takes locks of another one or ends.

use std::cell::RefCell;
use std::sync::Arc;

use crate::provider::Immediate;

/// Guards that a thread holds and drops in turn, with room for a few at the same time.
const MOST: usize = 8;

thread_local! {
    static SPARES: RefCell<Vec<Arc<dyn Immediate>>> = const { RefCell::new(Vec::new()) };
}

/// A reference to `store`.
pub(crate) fn borrow(store: &Arc<dyn Immediate>) -> Arc<dyn Immediate> {
    let spare = SPARES.try_with(|spares| spares.try_borrow_mut().ok().and_then(|mut spares| spares.pop()));
    match spare {
        Ok(Some(spare)) if std::ptr::addr_eq(Arc::as_ptr(&spare), Arc::as_ptr(store)) => spare,
        _ => Arc::clone(store),
    }
}

/// Keeps a reference for the thread's next guard, unless there are enough, or the thread is ending.
pub(crate) fn give_back(store: Arc<dyn Immediate>) {
    let mut store = Some(store);
    let _ = SPARES.try_with(|spares| {
        if let Ok(mut spares) = spares.try_borrow_mut()
            && spares.len() < MOST
        {
            spares.extend(store.take());
        }
    });
}
