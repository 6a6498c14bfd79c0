//! What can go wrong with a directory of locks, and what the caller is told of it.

use std::io;

use thiserror::Error;

use crate::error::{Error, ErrorKind};

/// A fault of the file provider. It becomes an [`Error`] at the provider's surface.
#[derive(Debug, Error)]
pub(super) enum Fault {
    #[error("the store is not a directory")]
    NotADirectory,
    #[error("{what}")]
    Io { what: &'static str, source: io::Error },
    #[error("the disk is full")]
    Full(#[source] rusqlite::Error),
    #[error("the store's database may not be written")]
    ReadOnly(#[source] rusqlite::Error),
    #[error("the store's database is damaged: move the directory away and start anew, or restore it")]
    Damaged(#[source] Option<rusqlite::Error>),
    #[error("the store's database failed")]
    Database(#[source] rusqlite::Error),
    #[error("the directory has a database of another program")]
    Foreign,
    #[error("the store was made by a newer version of tenure found={found} known={known}")]
    Newer { found: i64, known: i64 },
    #[error("the store's files were removed or replaced while it was open: open it again")]
    Replaced,
    #[error("the provider is closed")]
    Closed,
    #[error("the store did not answer in time within_ms={within_ms}")]
    Late { within_ms: u128 },
    #[error(
        "the machine restarted, and leases of before may still be believed in remaining_ms={remaining_ms}"
    )]
    Restarted { remaining_ms: u128 },
    #[error("the step ended without an answer")]
    Abandoned,
}

impl Fault {
    /// An operating system's refusal of `what`, such as `the gate could not be locked`.
    pub(super) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Fault {
        move |source| Fault::Io { what, source }
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Fault::NotADirectory | Fault::Foreign | Fault::Newer { .. } => ErrorKind::InvalidInput,
            _ => ErrorKind::Unavailable,
        }
    }

    /// The error that the caller of `operation` gets.
    pub(super) fn to_error(&self, operation: &'static str) -> Error {
        let error = Error::new(self.kind(), operation, self.to_string());
        match std::error::Error::source(self) {
            Some(source) => error.with_source(source.to_string()),
            None => error,
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, DiskFull, NotADatabase, PermissionDenied, ReadOnly};
        match error.sqlite_error_code() {
            Some(DiskFull) => Fault::Full(error),
            Some(ReadOnly | PermissionDenied) => Fault::ReadOnly(error),
            Some(DatabaseCorrupt | NotADatabase) => Fault::Damaged(Some(error)),
            _ => Fault::Database(error),
        }
    }
}
