//! What the lists show. Never a lease id: a lease is named by its digest.

use serde::{Deserialize, Serialize};

use crate::{Fields, ModeWord};

/// A lease in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"digest": "9f86d081884c7d65", "names": ["order:process:42"],
    "mode": "exclusive", "token": "4503599627370497", "ttl_ms": 15000, "remaining_ms": 12000, "age_ms": 3000,
    "origin": "remote", "holder": {"host": "node-1"}})))]
pub struct Lease {
    /// The digest that names it.
    #[cfg_attr(feature = "schema", schema(pattern = "^[0-9a-f]{16}$"))]
    pub digest: String,
    /// Its names.
    pub names: Vec<String>,
    /// How it shares them.
    pub mode: ModeWord,
    /// Mode `permit`: how many it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub take: Option<u32>,
    /// Mode `permit`: how many there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u32>,
    /// Its smallest fencing token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The ttl that was asked for.
    pub ttl_ms: u64,
    /// How long it lasts unless it is renewed. Missing for a lease that ends with its process alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_ms: Option<u64>,
    /// How long it has been held.
    pub age_ms: u64,
    /// `remote`: bound to its lease id alone. `local`: ends with the process that holds it.
    pub origin: String,
    /// What its holder says of itself.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub holder: Fields,
}

/// A page of leases, in the order of their digests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Leases {
    /// The leases.
    pub leases: Vec<Lease>,
    /// Where the next page begins: give it as `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A claim that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"digest": "2c26b46b68ffc68f", "names": ["order:process:42"],
    "mode": "exclusive", "ttl_ms": 30000, "age_ms": 800, "ahead": 0, "origin": "remote"})))]
pub struct Waiter {
    /// The digest that names it.
    #[cfg_attr(feature = "schema", schema(pattern = "^[0-9a-f]{16}$"))]
    pub digest: String,
    /// The names that it asks for.
    pub names: Vec<String>,
    /// How it would share them.
    pub mode: ModeWord,
    /// Mode `permit`: how many it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub take: Option<u32>,
    /// Mode `permit`: how many there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u32>,
    /// The ttl that it asks for.
    pub ttl_ms: u64,
    /// How long it has waited.
    pub age_ms: u64,
    /// How many claims are served before it.
    pub ahead: u32,
    /// `remote` or `local`.
    pub origin: String,
    /// What it says of itself.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub holder: Fields,
}

/// A page of waiters, in the order of their digests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Waiters {
    /// The waiters.
    pub waiters: Vec<Waiter>,
    /// Where the next page begins: give it as `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Why a name is not free: who holds it, and who waits in which order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct WhyHeld {
    /// The name.
    pub name: String,
    /// Whether nobody holds it or waits for it.
    pub free: bool,
    /// Its holders, the longest first.
    pub holders: Vec<Lease>,
    /// Its waiters in the order in which they will be served.
    pub waiters: Vec<Waiter>,
    /// Whether the store had more leases or waiters than one answer shows.
    pub more: bool,
}
