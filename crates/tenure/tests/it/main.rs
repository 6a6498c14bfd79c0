//! The library from outside.

mod conformance;
mod differential;
mod file;
mod processes;
mod stands;
mod surface;
