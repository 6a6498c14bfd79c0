//! What is asked of the lease endpoints, and what they answer.

use serde::{Deserialize, Serialize};

use crate::{Fields, Holder, LeaseText};

/// The body of `POST /v1/acquire`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"name": "order:process:42", "ttl_ms": 15000, "wait_ms": 2000})))]
pub struct AcquireRequest {
    /// The identity of this claim, a random UUID made by the caller. Asking again with the same one is the same
    /// claim. Left out, the server makes one and returns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseText>,
    /// The name to lock: 1 to 255 bytes without control characters. Either this or `names`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(min_length = 1, max_length = 255))]
    pub name: Option<String>,
    /// The names to lock, each once. Either this or `name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(min_items = 1, max_items = 256))]
    pub names: Option<Vec<String>>,
    /// How the names are shared.
    #[serde(default)]
    pub mode: ModeWord,
    /// With mode `permit`: how many permits a name has. Everybody must state the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 65536))]
    pub of: Option<u32>,
    /// With mode `permit`: how many permits to take. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 65536))]
    pub take: Option<u32>,
    /// How many of the names are wanted.
    #[serde(default)]
    pub want: Want,
    /// With want `any`: how many names. Default 1. The first free ones in the order that is given are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// How long the lease lasts unless it is renewed. Default 30000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(minimum = 100, maximum = 86400000, default = 30000))]
    pub ttl_ms: Option<u64>,
    /// How long to wait for it in this call. Default 0: one try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(maximum = 60000, default = 0))]
    pub wait_ms: Option<u64>,
    /// For how long from the grant on the names stay taken, although the lease was released before. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(maximum = 86400000, default = 0))]
    pub hold_at_least_ms: Option<u64>,
    /// Words for people about the holder; at most 1 KiB in all. Lists show them.
    #[serde(default, skip_serializing_if = "Fields::is_empty", deserialize_with = "crate::parse::fields")]
    pub holder: Fields,
    /// How many fencing tokens to reserve, for hand-offs inside the caller's process. Default 1; the store may
    /// give fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 65536, default = 1))]
    pub reserve: Option<u32>,
    /// Keep the place in the queue when `wait_ms` is over (202), for as long as the claim is asked for again with
    /// the same lease id at least every three seconds.
    #[serde(default)]
    pub queue: bool,
    /// Leases of the caller that end in the same step, before the claim is looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schema(max_items = 256))]
    pub replaces: Vec<LeaseText>,
    /// The listener of `POST /v1/listen` that is told what happens to the claim, when one listens here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<LeaseText>,
}

/// How a claim shares its names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum ModeWord {
    /// With nobody.
    #[default]
    Exclusive,
    /// With other shared claims.
    Shared,
    /// One or more of a number of permits.
    Permit,
}

/// How many of its names a claim wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Want {
    /// All or nothing, in one step.
    #[default]
    All,
    /// `count` of them, whichever are free.
    Any,
    /// Every name for itself, as a lease of its own.
    Each,
}

/// A lease that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"lease": "0b0e9bd5-7e7c-4d0b-9c2f-6a4d3f2f8a11",
    "names": ["order:process:42"], "token": "4503599627370497", "tokens": 1, "ttl_ms": 15000,
    "contended": false, "revoked": false})))]
pub struct Granted {
    /// The lease id: the secret with which to renew and release it.
    pub lease: LeaseText,
    /// The names that are held.
    pub names: Vec<String>,
    /// The fencing token, a decimal number below 2^63. Send it with every write; the resource refuses older ones.
    #[cfg_attr(feature = "schema", schema(pattern = "^[1-9][0-9]{0,18}$"))]
    pub token: String,
    /// How many tokens are reserved, `token` being the smallest.
    pub tokens: u32,
    /// How long the lease lasts unless it is renewed. Count from before the last request was sent.
    pub ttl_ms: u64,
    /// Whether others wait for one of the names.
    pub contended: bool,
    /// Whether somebody asked for the lease back: give it up soon.
    #[serde(default)]
    pub revoked: bool,
}

/// A place in the queue (202).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"lease": "0b0e9bd5-7e7c-4d0b-9c2f-6a4d3f2f8a11",
    "ahead": 2, "expires_in_ms": 4100, "touch_within_ms": 3000})))]
pub struct Place {
    /// The lease id of the waiting claim.
    pub lease: LeaseText,
    /// How many claims are served before.
    pub ahead: u32,
    /// When the lease in the way runs out unless it is renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_ms: Option<u64>,
    /// Ask again (acquire or renew, with the same lease id) within this time, or the place is lost.
    pub touch_within_ms: u64,
}

/// The answer to want `each`: one item a name, in the order that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Each {
    /// The items.
    pub leases: Vec<EachItem>,
}

/// What became of one name of want `each`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct EachItem {
    /// The name.
    pub name: String,
    /// Whether somebody else has it. Then only `held_by` and `remaining_ms` may follow.
    pub busy: bool,
    /// The lease id that the server made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseText>,
    /// The fencing token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// How many tokens are reserved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u32>,
    /// How long the lease lasts unless it is renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// Whether others wait for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contended: Option<bool>,
    /// Who has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<Holder>,
    /// How long the lease in the way lasts unless it is renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_ms: Option<u64>,
}

/// The body of `POST /v1/renew`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"lease": "0b0e9bd5-7e7c-4d0b-9c2f-6a4d3f2f8a11", "ttl_ms": 15000})))]
pub struct RenewRequest {
    /// The lease.
    pub lease: LeaseText,
    /// The ttl from now on. Default 30000. A lease never gets shorter by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(minimum = 100, maximum = 86400000, default = 30000))]
    pub ttl_ms: Option<u64>,
    /// How many further fencing tokens to reserve. Default 0: the tokens of the grant stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(maximum = 65536, default = 0))]
    pub reserve: Option<u32>,
}

/// The body of `POST /v1/release`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ReleaseRequest {
    /// The lease.
    pub lease: LeaseText,
}
