//! Many requests in one trip, and being told of events without asking: what the library's own client speaks.

use serde::{Deserialize, Serialize};

use crate::{AcquireRequest, Granted, LeaseText, Place, Problem, ReleaseRequest, RenewRequest};

/// The body of `POST /v1/batch`: requests that are independent of each other. At most 1000 in all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"acquire": [{"name": "a"}, {"name": "b"}]})))]
pub struct BatchRequest {
    /// Claims, made in this order in one step each. They do not wait here: `wait_ms` is 0 and want is not `each`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acquire: Vec<AcquireRequest>,
    /// Leases to renew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub renew: Vec<RenewRequest>,
    /// Leases to release.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub release: Vec<ReleaseRequest>,
}

/// The answer to a batch: an item for each request, acquires first, then renewals, then releases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct BatchReply {
    /// The items.
    pub items: Vec<BatchItem>,
}

/// What one request of a batch would have been answered by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct BatchItem {
    /// Its status.
    pub status: u16,
    /// With 200 and 201: the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Granted>,
    /// With 202: the place in the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// With 204: what was ended: `released`, `lingering`, `withdrawn` or `not-held`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// With any other: what went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// The body of `POST /v1/listen`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"listener": "5d2c6c2e-93a4-4f2b-8d0e-0a5f0c1b7e22", "leases": []})))]
pub struct ListenRequest {
    /// The listener, a random UUID made by the caller. A secret, as lease ids are.
    pub listener: LeaseText,
    /// Claims and leases that it already has.
    #[serde(default)]
    pub leases: Vec<LeaseText>,
}

/// An event of `POST /v1/listen`. `granted` comes as a whole `Granted`; `resync` has nothing to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Told {
    /// The lease that it is about.
    pub lease: LeaseText,
    /// With `lost`: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}
