//! The scripts that run at the server.

/// The steps: the machine, then what drives it.
pub(super) const STEP: &str = concat!(include_str!("table.lua"), include_str!("step.lua"));

/// Gives the store an epoch.
pub(super) const REGISTER: &str = include_str!("register.lua");

/// Lists leases or waiters.
pub(super) const LIST: &str = include_str!("list.lua");

/// The form of the records. One that knows another form must not touch them.
pub(super) const LAYOUT: &str = "1";
