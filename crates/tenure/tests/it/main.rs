//! The library from outside: every store through one suite.

mod conformance;
mod differential;
mod stands;
