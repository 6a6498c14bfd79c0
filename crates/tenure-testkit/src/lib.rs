//! What the tests of Tenure stand on: the conformance suite that every store passes, a wire with faults, futures
//! dropped at a chosen await, and processes that are killed and stopped.
//!
//! Not published, and free to panic: a test fails by it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

pub mod browser;
pub mod cancel;
pub mod certificates;
pub mod client;
pub mod conformance;
pub mod counter;
mod daemon;
pub mod differential;
pub mod ground;
pub mod pgbouncer;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod relay;
pub mod seed;
pub mod stand;

pub use self::pgbouncer::PgBouncer;
pub use self::postgres::{PostgresConfig, PostgresServer};
pub use self::redis::{RedisConfig, RedisServer};
pub use browser::Browser;
pub use cancel::cancel_at;
pub use client::{Asking, Client};
pub use daemon::Account;
pub use ground::{Ground, Instance, SETUPS, Setup};
pub use proxy::{Cut, TcpProxy, Way};
pub use relay::{Fault, Relay, Step, Wire};
pub use seed::seed;
pub use stand::{Stage, Stand, Time, play};
