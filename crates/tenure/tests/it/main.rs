//! The library from outside.

mod conformance;
mod differential;
mod file;
mod stands;
mod surface;
