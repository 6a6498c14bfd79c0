//! Distributed locks that can be trusted: leases with fencing tokens, push waiting and early loss.

pub mod claim;
pub mod clock;
mod connect;
mod each;
mod engine;
pub mod error;
pub mod fence;
pub mod file;
#[cfg(feature = "http")]
pub mod http;
mod job;
mod leader;
pub mod lease;
pub mod limits;
mod locks;
pub mod memory;
pub mod metrics;
pub mod monitor;
pub mod name;
mod naming;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod provider;
#[cfg(feature = "redis")]
pub mod redis;
mod request;
mod sync;
pub mod token;

pub use claim::{Claim, Digest, LeaseId, Meta, Mode};
pub use clock::Clock;
pub use each::EachRequest;
pub use engine::{Guard, Report};
pub use error::{Error, ErrorKind, Result};
pub use job::Once;
pub use leader::Leadership;
pub use lease::Why;
pub use locks::{Locks, Settings};
pub use memory::Memory;
pub use metrics::Stats;
pub use monitor::Monitor;
pub use name::{Name, Names};
pub use provider::Provider;
pub use request::Request;
pub use token::FencingToken;

/// The examples of the guide are compiled as they stand.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide.md")]
struct Guide;
