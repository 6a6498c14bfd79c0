//! Distributed locks that can be trusted: leases with fencing tokens, push waiting and early loss.

pub mod claim;
pub mod clock;
pub mod error;
pub mod file;
#[cfg(feature = "http")]
pub mod http;
pub mod lease;
pub mod limits;
pub mod memory;
pub mod name;
pub mod provider;
pub mod token;

pub use claim::{Claim, Digest, LeaseId, Meta, Mode};
pub use clock::Clock;
pub use error::{Error, ErrorKind, Result};
pub use memory::Memory;
pub use name::{Name, Names};
pub use provider::Provider;
pub use token::FencingToken;
