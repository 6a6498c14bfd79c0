//! What can be set: by a file, by the environment before it, and with defaults behind both.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use tenure::{Error, Result};

/// The file of `--config`: TOML.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct File {
    /// Where to listen.
    pub listen: Option<SocketAddr>,
    /// The directory of what is embedded.
    pub data: Option<PathBuf>,
    /// Everything else.
    #[serde(flatten)]
    pub rides: Config,
}

/// The settings of rides.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Config {
    /// For how long the stores of locks wait for a holder that fell silent. Default 30,000 ms, from 100 ms to 24 h.
    pub lock_ttl_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config { lock_ttl_ms: 30_000 }
    }
}

impl Config {
    /// For how long the stores of locks wait for a holder that fell silent.
    pub fn lock_ttl(&self) -> Duration {
        Duration::from_millis(self.lock_ttl_ms)
    }
}

/// Where to listen when nobody else says so: loopback, at the port of `PORT`, or 3000.
///
/// # Errors
/// `InvalidInput` when `PORT` is no port.
pub fn listen_address(port: Option<&str>) -> Result<SocketAddr> {
    let port = match port.map(str::trim).filter(|port| !port.is_empty()) {
        Some(port) => port.parse().map_err(|_| Error::invalid("PORT", format!("is no port value={port}")))?,
        None => 3000,
    };
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_it_knows_and_nothing_else() {
        let file: File = toml::from_str("listen = '127.0.0.1:1'\nlock_ttl_ms = 500").unwrap();
        assert_eq!(file.rides.lock_ttl(), Duration::from_millis(500));
        assert!(toml::from_str::<File>("lisen = '127.0.0.1:1'").is_err());
    }

    #[test]
    fn the_port_is_that_of_the_environment_else_3000() {
        let port = |text| listen_address(text).map(|address| address.port());
        assert_eq!(
            (port(None).unwrap(), port(Some(" ")).unwrap(), port(Some("81")).unwrap()),
            (3000, 3000, 81)
        );
        assert!(port(Some("x")).is_err() && port(Some("65536")).is_err());
    }
}
