//! The bank's tests, as its users see it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod ledger;
mod meddling;
mod outbox;
mod stores;
// Minutes of four processes: in the optimised runs of `cargo xtask soak`.
#[cfg(not(debug_assertions))]
mod storm;
mod transfers;
mod wallets;
mod withdrawals;
