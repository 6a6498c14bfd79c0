//! `rides load` and `rides storm`: requests to rides that are served somewhere, and how they went.

mod client;
mod report;
mod storm;
mod stream;

pub use self::storm::{Storm, storm};
pub use self::stream::{Load, load};
