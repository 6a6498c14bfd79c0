//! A bank on Tenure: withdrawals, transfers and an outbox over one ledger.
//!
//! [`ledger`] keeps the money, in memory, SQLite or PostgreSQL; [`transfers`] moves it between accounts, from [`wallets`] it is
//! withdrawn, and [`outbox`] tells of it. Locks keep people from getting into each other's way; that nothing is lost when one
//! fails all the same is the ledger's doing, by versions and fencing tokens.

mod amount;
mod bank;
mod config;
mod http;
pub mod ledger;
pub mod load;
pub mod names;
pub mod outbox;
pub mod transfers;
pub mod wallets;

pub use amount::{Cents, NoAmount};
pub use bank::{Bank, Work};
pub use config::{Config, File};
pub use http::router;
