//! The HTTP API of a served router over the memory provider, spoken to over real connections.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests and their helpers")]

mod bad_input;
mod batch;
mod client;
mod documents;
mod events;
mod leases;
mod limits;
mod monitor;
mod page;
mod served;
mod shutdown;
mod waiting;
