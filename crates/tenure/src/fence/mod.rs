//! The resource's side: refuses whoever comes with an older token than it has seen (G2).
//!
//! A lock cannot stop a write that is on its way already; the resource can. It keeps the greatest token that it has seen,
//! its *fence*, and passes only who comes with that one or a greater. `docs/fencing.md` has the rules, and how they are kept in SQL.
//!
//! Here is what a resource needs that is a store of its own kind, with the library's word on how tokens are compared. It has
//! nothing to do with where the locks are kept: the token of any guard will do.

#[cfg(feature = "redis")]
pub mod redis;
pub mod sql;
