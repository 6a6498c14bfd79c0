//! The suite on the engine over a provider, in the words of its users.

pub mod g01_exclusion;
pub mod g02_fencing;
pub mod g03_early_loss;
pub mod g04_no_ghosts;
pub mod g05_ownership;
pub mod g06_progress;
pub mod g07_order;
pub mod g08_batches;
pub mod g09_cheap_waiting;
pub mod g11_deadlines;
pub mod g12_truth;
