//! Ride bookings on Tenure: one driver, one ride, whatever dies.
//!
//! [`store`] is the truth, in SQLite or PostgreSQL: a booking and its driver change in one transaction. [`dispatch`] makes such changes
//! under locks, which keep requests from getting into each other's way; [`geo`] finds drivers.

pub mod booking;
pub mod city;
mod config;
pub mod decimal;
pub mod dispatch;
pub mod geo;
mod http;
pub mod load;
pub mod locking;
mod rides;
pub mod store;
pub mod time;

pub use config::{Config, File, listen_address};
pub use http::router;
pub use rides::{Rides, Work, open_store, seed};
