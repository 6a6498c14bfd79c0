//! What can go wrong, in four kinds that each say what to do.
//!
//! Contention is not among them: a lock that is busy is `None`.

use std::borrow::Cow;
use std::fmt;

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The call is wrong and nothing was changed: fix the call.
    InvalidInput,
    /// The store could not be asked, and whether it acted is unknown: retry. What an acquire may have taken
    /// is given back as soon as the store can be reached, and ends with its ttl at the latest.
    Unavailable,
    /// The lease is gone: stop the work that it protected.
    Lost,
    /// A fault of this library.
    Internal,
}

/// An error of this library: its kind, the operation and what went wrong.
///
/// Displays as `operation: what went wrong`; the cause, if any, is the [`source`](std::error::Error::source)
/// and is not repeated. Never shows a lease id or a secret of a URL.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    operation: &'static str,
    what: Cow<'static, str>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A result of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` in `operation`. `what` is lower case and ends without a full stop; values come last,
    /// as `key=value`.
    pub fn new(kind: ErrorKind, operation: &'static str, what: impl Into<Cow<'static, str>>) -> Self {
        Error { kind, operation, what: what.into(), source: None }
    }

    /// The call is wrong; `operation` may also be the field that is wrong.
    pub fn invalid(operation: &'static str, what: impl Into<Cow<'static, str>>) -> Self {
        Error::new(ErrorKind::InvalidInput, operation, what)
    }

    /// The store could not be asked.
    pub fn unavailable(operation: &'static str, what: impl Into<Cow<'static, str>>) -> Self {
        Error::new(ErrorKind::Unavailable, operation, what)
    }

    /// The lease is gone.
    pub fn lost(operation: &'static str, what: impl Into<Cow<'static, str>>) -> Self {
        Error::new(ErrorKind::Lost, operation, what)
    }

    /// A fault of the library.
    pub fn internal(operation: &'static str, what: impl Into<Cow<'static, str>>) -> Self {
        Error::new(ErrorKind::Internal, operation, what)
    }

    /// With the error that caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Another of the same, without its cause: what failed as a whole failed for each of its parts.
    #[must_use]
    pub fn twin(&self) -> Self {
        Error::new(self.kind, self.operation, self.what.clone())
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The operation, or for `InvalidInput` the field, that failed.
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// What went wrong, without the operation.
    pub fn what(&self) -> &str {
        &self.what
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.what)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn display_has_operation_and_reason_and_leaves_the_cause_to_source() {
        let error =
            Error::unavailable("acquire", "the store did not answer").with_source("connection refused");
        assert_eq!(error.to_string(), "acquire: the store did not answer");
        assert_eq!(error.source().unwrap().to_string(), "connection refused");
    }
}
