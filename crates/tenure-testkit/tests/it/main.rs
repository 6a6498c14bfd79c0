//! The testkit's own servers and faults, each seen from outside.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod postgres;
mod proxy;
mod redis;
