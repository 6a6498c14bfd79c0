//! How the suite has each store.

use std::sync::Arc;

use tenure::Clock;
use tenure::memory::Memory;
use tenure::provider::{Fut, Provider};
use tenure_testkit::{Stand, Time};

/// The memory store, in the paused time of tokio. Every process of a test is another handle of it.
pub(crate) struct MemoryStand(Memory);

impl Stand for MemoryStand {
    fn start(clock: Clock) -> Fut<'static, Self> {
        Box::pin(async move { MemoryStand(Memory::new(clock)) })
    }

    fn time() -> Time {
        Time::Paused
    }

    fn open(&self) -> Fut<'_, Arc<dyn Provider>> {
        Box::pin(async { Arc::new(self.0.clone()) as Arc<dyn Provider> })
    }

    fn records(&self) -> Fut<'_, Option<u64>> {
        Box::pin(async { None })
    }
}
