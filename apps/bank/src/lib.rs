//! A bank on Tenure: withdrawals, transfers and event-sourced accounts that stay exact whatever dies.

mod amount;
pub mod ledger;

pub use amount::{Cents, NoAmount};
