//! Which store: the URL, or a directory in the user's state directory.

use std::env;
use std::fs::DirBuilder;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tenure::{Error, Locks, Result, Settings};

/// How long a command waits for the store when it leaves.
pub(crate) const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Connects to the store of `url`, or to the default one.
///
/// # Errors
/// As [`Locks::connect_with`].
pub(crate) async fn connect(url: Option<&str>, settings: Settings) -> Result<Locks> {
    let url = match url {
        Some(url) => url.to_owned(),
        None => file_url(&default_dir()?)?,
    };
    Locks::connect_with(&url, settings).await
}

/// The `file:` URL of `dir`, which is made, open to nobody else, if it is not there.
///
/// # Errors
/// `Unavailable` when it cannot be made.
pub(crate) fn file_url(dir: &Path) -> Result<String> {
    let cannot = |error| {
        let shown = dir.display();
        Error::unavailable("connect", format!("cannot make the directory of the locks dir={shown}"))
            .with_source(error)
    };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(cannot)?;
    let absolute = std::path::absolute(dir).map_err(cannot)?;
    Ok(format!("file://{}", percent_encoded(absolute.as_os_str().as_bytes())))
}

/// The directory of the default store: `$XDG_STATE_HOME/tenure`, or `~/.local/state/tenure`.
///
/// # Errors
/// `InvalidInput` when neither is known.
pub(crate) fn default_dir() -> Result<PathBuf> {
    // The XDG base directory specification says to ignore what is not absolute.
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    let state = state.ok_or_else(|| {
        Error::invalid("url", "there is no HOME or XDG_STATE_HOME to keep locks in: set TENURE_URL or --url")
    })?;
    Ok(state.join("tenure"))
}

/// A path in a URL: what is not plain becomes `%XX`.
fn percent_encoded(path: &[u8]) -> String {
    let mut text = String::new();
    for &byte in path {
        if byte.is_ascii_alphanumeric() || b"/-._~+@,=".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_anything_in_it_becomes_a_plain_url() {
        assert_eq!(percent_encoded(b"/home/a b/\xc3\xbc%?#"), "/home/a%20b/%C3%BC%25%3F%23");
    }
}
