//! Errors, as RFC 9457 problem details.

use serde::{Deserialize, Serialize};

use crate::Fields;

/// An error of the API (`application/problem+json`). It never repeats what was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = json!({"type": "urn:tenure:problem:busy", "title": "Busy", "status": 409,
    "detail": "somebody else holds it", "held_by": {"name": "order:process:42", "lease": "9f86d081884c7d65",
    "holder": {"host": "node-1"}}, "remaining_ms": 12000, "position": 1})))]
pub struct Problem {
    /// What kind of problem: `urn:tenure:problem:` and a word.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong this time.
    pub detail: String,
    /// The field of the request that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The limit that was hit, by its name in the server's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// Busy: who is in the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<Holder>,
    /// Busy: how long the lease in the way lasts unless it is renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_ms: Option<u64>,
    /// Busy: the place in the queue that a claim would have now, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u32>,
    /// Gone: why: `expired`, `forced`, `store` or `unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Who is in the way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Holder {
    /// The first name that is not free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The digest of the lease in the way. Missing when earlier claims wait for the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    /// What its holder says of itself.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub holder: Fields,
}
