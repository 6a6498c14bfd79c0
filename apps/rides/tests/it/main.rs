//! The tests of rides, as their users see them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod bookings;
mod contract;
mod drivers;
mod map;
mod outages;
mod program;
mod stores;
// Minutes of four processes: in the optimised runs of `cargo xtask soak`.
#[cfg(not(debug_assertions))]
mod storm;
mod together;
