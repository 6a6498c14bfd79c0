//! The HTTP API of a served router over the memory provider, spoken to over real connections.

mod bad_input;
mod documents;
mod events;
mod leases;
mod limits;
mod served;
mod shutdown;
mod waiting;
