//! From a URL to a store: the one file that knows every provider.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::file::File;
use crate::locks::{Locks, Settings};
use crate::memory::Memory;
use crate::provider::Provider;

impl Locks {
    /// Locks of the store that `url` names:
    /// - `memory:` inside this process;
    /// - `file:///var/lib/tenure` a directory that the processes of one host share;
    /// - `redis://127.0.0.1:6379` a Redis server from 7.0 on, with the feature `redis`; `rediss:` over TLS, `redis+unix:` a socket;
    /// - `postgres://user@127.0.0.1/database` a PostgreSQL database, with the feature `postgres`;
    /// - `http://127.0.0.1:7700` a `tenure serve`, with the feature `http`.
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
            "file" => Arc::new(File::open(directory_of(url)?, settings.clock).await?),
            #[cfg(feature = "http")]
            "http" => Arc::new(crate::http::Http::connect(url, settings.clock)?),
            #[cfg(feature = "redis")]
            "redis" | "rediss" | "redis+unix" => {
                Arc::new(crate::redis::Redis::connect(url, settings.clock).await?)
            }
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => crate::postgres::connect(url, settings.clock).await?,
            // The URL itself is not shown: it may carry a password.
            _ => {
                let what = format!(
                    "no provider for this url; known are memory: file: redis: postgres: http: scheme={scheme:?}"
                );
                return Err(Error::invalid("url", what));
            }
        };
        Ok(Locks::over(provider, settings))
    }

    /// Locks that end with a transaction of the caller's, in the database that keeps these locks.
    ///
    /// The transaction has to be of that database: in another it excludes nobody here.
    #[cfg(feature = "postgres")]
    pub fn within<'t, 'c>(
        &self,
        transaction: &'t tokio_postgres::Transaction<'c>,
    ) -> crate::postgres::Within<'t, 'c> {
        crate::postgres::Within::new(transaction, Arc::clone(self.provider()))
    }
}

/// The directory of a `file:` URL. Only `%` with two hexadecimal digits is decoded, as everywhere in a URL.
fn directory_of(url: &str) -> Result<PathBuf> {
    let bad = |why: &'static str| Error::invalid("url", why);
    let rest = url.strip_prefix("file:").unwrap_or(url);
    let path = match rest.strip_prefix("//") {
        Some(rest) => rest.strip_prefix("localhost").unwrap_or(rest),
        None => rest,
    };
    if !path.starts_with('/') {
        return Err(bad("a file url has an absolute path, as in file:///var/lib/tenure"));
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut parts = path.split('%');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).ok_or_else(|| bad("a % is followed by two digits"))?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| bad("a % is followed by two digits"))?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    Ok(PathBuf::from(OsString::from_vec(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_url_has_an_absolute_path_which_may_be_escaped() {
        for url in ["file:///var/my%20locks", "file:/var/my%20locks", "file://localhost/var/my locks"] {
            assert_eq!(directory_of(url).unwrap(), PathBuf::from("/var/my locks"), "{url}");
        }
        for url in ["file:", "file://", "file:locks", "file://host/locks", "file:///a%2", "file:///a%zz"] {
            assert!(directory_of(url).is_err(), "{url}");
        }
    }
}
