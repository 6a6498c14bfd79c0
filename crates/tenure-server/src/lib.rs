//! Tenure's lock server: a face on a store of leases that keeps nothing of its own.
//!
//! [`router`] is the HTTP API as an axum router, to be served by [`serve`] or mounted in any axum application, also
//! under a prefix. Any number of servers may stand in front of one store: a lease belongs to its lease id, and waiting
//! is the store's queue. What the API means is written in `docs/http-api.md`, what it looks like in `/openapi.json`.

mod acquire;
mod admin;
mod answer;
mod api;
mod asked;
mod assets;
mod batch;
mod bells;
mod config;
mod counts;
mod desk;
mod docs;
mod ears;
mod end;
mod extract;
pub mod health;
pub mod idempotency;
mod io;
mod listen;
mod lists;
mod live;
mod monitor;
#[cfg(feature = "postgres")]
pub mod postgres;
mod problem;
#[cfg(feature = "redis")]
pub mod redis;
mod renew;
mod serve;
pub mod settings;
mod shape;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub mod stores;
mod tally;
mod undo;

pub use api::{openapi, router};
pub use config::{Config, Shutdown};
pub use docs::page;
pub use end::Signals;
pub use serve::serve;
