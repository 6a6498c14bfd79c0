//! The integration tests of the library, in one binary.

mod file;
mod surface;
