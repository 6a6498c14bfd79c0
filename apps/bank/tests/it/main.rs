//! The bank's tests, as its users see it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod accounts;
mod ledger;
mod meddling;
mod outbox;
mod reads;
mod reports;
mod stores;
mod storm;
mod summaries;
mod transfers;
mod wallets;
mod withdrawals;
