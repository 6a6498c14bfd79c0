//! Waiting in tests of real servers: bounded, and never longer than it takes.

use std::time::Duration;

use tenure::Clock;

/// After so long a test fails instead of waiting, however loaded the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Lets `span` pass: the time that a fault lasts.
pub(crate) async fn pass(span: Duration) {
    let clock = Clock::system();
    clock.sleep_until(clock.now() + span).await;
}

/// Looks until it is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let clock = Clock::system();
    let end = clock.now() + PATIENCE;
    while !is_so().await {
        assert!(clock.now() < end, "waited in vain: {what}");
        pass(Duration::from_millis(5)).await;
    }
}

/// How many rounds a stress test makes: `TENURE_ROUNDS` times as many where it is set.
pub(crate) fn rounds(usual: usize) -> usize {
    usual * std::env::var("TENURE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// The answer of `ask`, which must come before the patience ends.
pub(crate) async fn in_time<T>(what: &str, ask: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, ask).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}
