//! What a cache is made over: where its values come from, and what they have to be.

use std::fmt;
use std::hash::Hash;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tenure::Result;

use crate::ledger::Fut;

/// Where the values of a cache come from.
pub trait Source: Send + Sync + 'static {
    /// What a value is known by. As text it is its name in the shared level.
    type Key: Clone + Eq + Hash + fmt::Display + Send + Sync + 'static;
    /// What is cached.
    type Value: Cached;

    /// Reads values in the order of `wanted`, each with the version that is at hand of it.
    ///
    /// # Errors
    /// When they cannot be read.
    fn load<'a>(
        &'a self,
        wanted: &'a [(Self::Key, Option<u64>)],
    ) -> Fut<'a, Result<Vec<Loaded<Self::Value>>>>;
}

/// What can be cached.
pub trait Cached: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Rises with each change, from 1 on.
    fn version(&self) -> u64;

    /// About how many bytes it takes.
    fn bytes(&self) -> usize;
}

/// What a source says of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded<V> {
    /// The version at hand is the one that is.
    Unchanged,
    /// It is this.
    Changed(V),
    /// There is none.
    Nothing,
}
