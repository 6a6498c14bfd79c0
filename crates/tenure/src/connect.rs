//! From a URL to a store: the one file that knows every provider.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::locks::{Locks, Settings};
use crate::memory::Memory;
use crate::provider::Provider;

impl Locks {
    /// Locks of the store that `url` names:
    /// - `memory:` inside this process;
    /// - `file:///var/lib/tenure` a directory that the processes of one host share;
    /// - `http://127.0.0.1:7700` a `tenure serve`.
    ///
    /// # Errors
    /// `InvalidInput` for another URL, `Unavailable` when the store cannot be opened.
    pub async fn connect(url: &str) -> Result<Locks> {
        Locks::connect_with(url, Settings::default()).await
    }

    /// As [`connect`](Self::connect), with settings.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_with(url: &str, settings: Settings) -> Result<Locks> {
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        let provider: Arc<dyn Provider> = match scheme {
            "memory" => Arc::new(Memory::new(settings.clock)),
            // The URL itself is not shown: it may carry a password.
            _ => {
                let what =
                    format!("no provider for this url; known are memory: file: http: scheme={scheme:?}");
                return Err(Error::invalid("url", what));
            }
        };
        Ok(Locks::over(provider, settings))
    }
}
