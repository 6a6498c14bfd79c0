//! Which store: that of a URL, or the default one.

use std::time::Duration;

use tenure::{Locks, Result, Settings};
use tenure_server::stores;

/// How long a command waits for the store when it leaves.
pub(crate) const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Connects to the store of `url`, or to the default one.
///
/// # Errors
/// As [`Locks::connect_with`].
pub(crate) async fn connect(url: Option<&str>, settings: Settings) -> Result<Locks> {
    let url = match url {
        Some(url) => url.to_owned(),
        None => stores::file_url(&stores::state_dir()?)?,
    };
    Locks::connect_with(&url, settings).await
}

/// The URL by which a server uses a store: leases over HTTP outlive connections, so in PostgreSQL they are rows.
pub(crate) fn for_server(url: &str) -> String {
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    let (_, options) = url.split_once('?').unwrap_or_default();
    if !["postgres", "postgresql"].contains(&scheme)
        || options.split('&').any(|option| option.starts_with("mode="))
    {
        return url.to_owned();
    }
    let joint = if url.contains('?') { '&' } else { '?' };
    format!("{url}{joint}mode=rows")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_keeps_rows_in_postgres_unless_the_url_says_otherwise() {
        for (url, wanted) in [
            ("postgres://h/d", "postgres://h/d?mode=rows"),
            ("postgresql://h/d?timeout_ms=9", "postgresql://h/d?timeout_ms=9&mode=rows"),
            ("postgres://h/d?mode=advisory", "postgres://h/d?mode=advisory"),
            ("redis://h", "redis://h"),
        ] {
            assert_eq!(for_server(url), wanted);
        }
    }
}
