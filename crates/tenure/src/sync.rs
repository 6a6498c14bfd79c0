//! What the local tier and the fast lane synchronise by: parking_lot and atomics, or shuttle's where a test explores their
//! interleavings.

#[cfg(not(feature = "shuttle"))]
pub(crate) use std::sync::atomic::AtomicU64;

#[cfg(not(feature = "shuttle"))]
pub(crate) use parking_lot::{Mutex, MutexGuard};
#[cfg(feature = "shuttle")]
pub(crate) use shuttle::sync::MutexGuard;
#[cfg(feature = "shuttle")]
pub(crate) use shuttle::sync::atomic::AtomicU64;

#[cfg(feature = "shuttle")]
pub(crate) use self::explored::Mutex;

#[cfg(feature = "shuttle")]
mod explored {
    /// shuttle's mutex with the signature of parking_lot's.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Mutex(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> super::MutexGuard<'_, T> {
            self.0.lock().expect("no test panics while it holds the mutex")
        }
    }
}
