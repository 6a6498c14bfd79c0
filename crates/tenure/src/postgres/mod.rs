//! Leases in PostgreSQL: the provider where a database is already there.
//!
//! A database keeps its leases in one of two modes, which is recorded in it. *advisory*: session advisory locks on
//! connections of this process (`advisory/`); *rows*: rows of a table (`rows/`), which outlive a connection. What both share
//! is here: the URL, connections, the schema and the identity of the store. `docs/postgres.md` tells how to run it, and
//! `docs/adr/0004-postgres.md` why it is so.

mod advisory;
mod link;
mod rows;
mod schema;
mod tls;
mod url;
mod within;

use std::sync::Arc;

pub use self::within::Within;

use self::advisory::Advisory;
use self::link::Link;
use self::rows::Rows;
use self::url::{Mode, Target};
use crate::clock::Clock;
use crate::error::Result;
use crate::provider::Provider;

/// Connects to the database of a URL, in the mode that is recorded there; `docs/postgres.md` has the options.
///
/// # Errors
/// `InvalidInput` when the URL, the login, the mode or the server is of no use; `Unavailable` when the server cannot be
/// reached.
pub async fn connect(url: &str, clock: Clock) -> Result<Arc<dyn Provider>> {
    let target = Target::parse(url)?;
    let link = Link::open(&target, Box::new(|_, _| ())).await?;
    match schema::prepare(&link, target.mode).await? {
        Mode::Advisory => Ok(Arc::new(Advisory::connect(target, clock, link).await?)),
        Mode::Rows => Ok(Arc::new(Rows::connect(target, clock).await?)),
    }
}
