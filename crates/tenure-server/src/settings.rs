//! Files of settings, in TOML.

use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use tenure::{Error, Result};

/// Reads the file of settings that the option `--config` of a service names.
///
/// # Errors
/// `InvalidInput` when it cannot be read, or has what `T` does not know; with the line, which is not quoted: it may have a
/// password in a URL.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| {
        Error::invalid("config", format!("cannot read the file path={shown}")).with_source(error)
    })?;
    toml::from_str(&text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        Error::invalid("config", format!("{} path={shown} line={line}", error.message()))
    })
}
