//! The lock server.
