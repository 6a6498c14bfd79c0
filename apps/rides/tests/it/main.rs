//! The tests of rides, as their users see them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod bookings;
mod contract;
mod drivers;
mod map;
mod outages;
mod stores;
mod together;
