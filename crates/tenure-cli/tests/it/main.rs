//! `tenure` as its users meet it: real processes, each test with a state directory of its own.

mod death;
mod lists;
mod loss;
mod order;
mod pass_through;
mod support;
mod terminal;
mod usage;
