//! The JSON shapes of Tenure's HTTP API, and the one home of serde.
//!
//! Plain data that server and client share: no rule of a lock lives here, and nothing is valid because it parsed.
//! [`parse`] reads a body strictly: unknown and repeated fields are errors, and an error never repeats what was
//! sent. With the feature `schema` every shape also describes itself for OpenAPI.

mod batch;
mod claim;
mod list;
mod metrics;
mod parse;
mod problem;
mod report;

pub use batch::{BatchItem, BatchReply, BatchRequest, ListenRequest, Told};
pub use claim::{
    AcquireRequest, Each, EachItem, Granted, ModeWord, Place, ReleaseRequest, RenewRequest, Want,
};
pub use list::{Lease, Leases, Waiter, Waiters, WhyHeld};
pub use metrics::{
    Alert, Alerts, CurrentMetrics, LockDetail, LockMetrics, MonitorConfig, MonitorReport, Operations,
    ServerStats, Spans,
};
pub use parse::{Malformed, parse};
pub use problem::{Holder, Problem};
pub use report::{Entry, Health, Rates, Snapshot, Stats, Status, Totals};

use std::fmt;

use serde::{Deserialize, Serialize};

/// A lease id on the wire, a hyphenated random UUID. Who knows it can renew and release the lease, so it is not
/// shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(value_type = String, format = "uuid", example = "0b0e9bd5-7e7c-4d0b-9c2f-6a4d3f2f8a11"))]
pub struct LeaseText(pub String);

impl fmt::Debug for LeaseText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(lease id)")
    }
}

/// Metadata of a holder or waiter: words for people.
pub type Fields = std::collections::BTreeMap<String, String>;

/// The media type of [`Problem`].
pub const PROBLEM_JSON: &str = "application/problem+json";

/// The response header of a release that says what was ended: `released`, `lingering`, `withdrawn` or `not-held`.
pub const ENDED_HEADER: &str = "tenure-ended";
