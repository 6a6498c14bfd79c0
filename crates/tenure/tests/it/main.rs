//! The library from outside.

mod conformance;
mod differential;
mod stands;
mod file;
mod surface;
