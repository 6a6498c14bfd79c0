//! `tenure` as its users meet it: real processes, each test with a state directory of its own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod death;
mod lint;
mod lists;
mod loss;
mod order;
mod pass_through;
mod redis;
mod rows;
mod serve;
mod support;
mod terminal;
mod usage;
