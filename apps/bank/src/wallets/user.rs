//! Whose wallet: ids of users.

use std::fmt;
use std::sync::Arc;

use tenure::{Error, Result};

use crate::ledger::is_text;
use crate::names;

/// The id of a user: any [text that the books keep](is_text).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserId(Arc<str>);

impl UserId {
    /// An id from its text.
    ///
    /// # Errors
    /// `InvalidInput`.
    pub fn new(text: impl Into<Arc<str>>) -> Result<Self> {
        let text = text.into();
        if !is_text(&text) {
            return Err(Error::invalid("userId", "an id has at most 1024 bytes and no U+0000"));
        }
        Ok(UserId(text))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the lock on the user's wallet.
    pub(super) fn lock(&self) -> String {
        names::wallet_lock(&self.0)
    }

    pub(super) fn text(&self) -> &Arc<str> {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_no_store_could_keep_is_refused() {
        assert!(UserId::new("a".repeat(1_024)).is_ok());
        assert!(UserId::new("a".repeat(1_025)).is_err());
        assert!(UserId::new("a\0").is_err());
    }
}
