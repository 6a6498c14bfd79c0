//! What benches compare: ways to lock by name.

/// A way to lock by name. Values live as long as the program, so guards may borrow from them.
pub trait Contender: Sync + 'static {
    type Guard: Send + 'static;

    /// Locks one name.
    fn lock(&'static self, name: &str) -> impl Future<Output = Self::Guard> + Send;

    fn unlock(guard: Self::Guard) -> impl Future<Output = ()> + Send;
}

/// A contender that can lock several names.
pub trait Batches: Contender {
    /// Locks several names, which are sorted, and has them all in the end.
    fn lock_all(&'static self, names: &[String]) -> impl Future<Output = Vec<Self::Guard>> + Send;
}
