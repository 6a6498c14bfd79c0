//! The library from outside.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod conformance;
mod differential;
mod fence;
mod file;
mod metrics;
mod monitor;
mod network;
mod patience;
mod postgres;
mod processes;
mod redis;
mod redis_user;
mod rows;
mod stands;
mod surface;
