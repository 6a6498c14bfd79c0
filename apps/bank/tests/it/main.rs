//! The bank's tests, as its users see it.

mod ledger;
mod stores;
