//! What can be set: by a file, by the environment before it, and with defaults behind both.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use tenure::{Error, Result};

use crate::amount::Cents;
use crate::ledger::is_text;
use crate::transfers::Fees;
use crate::{accounts, reads};

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
    pub bank: Config,
}

/// The settings of a bank.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Config {
    /// What keys in Redis begin with: `KEY_PREFIX`. Default `demo`.
    pub key_prefix: String,
    /// How often the optimistic withdrawal tries: `MAX_RETRIES`; what is no number counts as not set. Default 20, at least 1.
    pub max_retries: u32,
    /// How long a transfer, or a command on an account, waits for its locks. Default 5,000 ms.
    pub lock_wait_ms: u64,
    /// For how long the stores of locks wait for a holder that fell silent. Default 30,000 ms, from 100 ms to 24 h.
    pub lock_ttl_ms: u64,
    /// What a transfer costs. Default nothing.
    pub fees: Fees,
    /// The account that takes the fees in. Default `fees`.
    pub fee_account: String,
    /// How accounts are changed.
    pub accounts: accounts::Settings,
    /// How accounts are read.
    pub reads: reads::Settings,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            key_prefix: "demo".to_owned(),
            max_retries: 20,
            lock_wait_ms: 5_000,
            lock_ttl_ms: 30_000,
            fees: Fees::default(),
            fee_account: "fees".to_owned(),
            accounts: accounts::Settings::default(),
            reads: reads::Settings::default(),
        }
    }
}

impl Config {
    /// These settings, and before them what the environment says.
    ///
    /// # Errors
    /// `InvalidInput` when a fee is negative, or the account of the fees can have no such id.
    pub fn of_environment(self) -> Result<Self> {
        self.of(|name| std::env::var(name).ok())
    }

    fn of(mut self, variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let set = |name| variable(name).filter(|value: &String| !value.trim().is_empty());
        if let Some(prefix) = set("KEY_PREFIX") {
            self.key_prefix = prefix;
        }
        if let Some(retries) = set("MAX_RETRIES").and_then(|text| text.trim().parse().ok()) {
            self.max_retries = retries;
        }
        self.max_retries = self.max_retries.max(1);
        if !is_text(&self.fee_account) {
            return Err(Error::invalid("fee_account", "an id has at most 1024 bytes and no U+0000"));
        }
        if self.fees.percent < Cents::ZERO || self.fees.fixed < Cents::ZERO {
            return Err(Error::invalid("fees", "a fee is not negative"));
        }
        Ok(self)
    }

    /// How long locks are waited for.
    pub fn lock_wait(&self) -> Duration {
        Duration::from_millis(self.lock_wait_ms)
    }
}

/// A time in whole milliseconds.
pub(crate) fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

/// A time in whole seconds.
pub(crate) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_wins_over_the_file_and_what_is_no_number_counts_as_not_set() {
        let text = "listen = '127.0.0.1:1'\nkey_prefix = 'f'\nmax_retries = 3\nfees = { percent = '1.5', fixed = '0.50' }";
        let file: File = toml::from_str(text).unwrap();
        assert_eq!(file.bank.fees, Fees { percent: Cents(150), fixed: Cents(50) });
        let with = |value: &'static str| {
            let variable = |name: &str| (name == "MAX_RETRIES").then(|| value.to_owned());
            file.bank.clone().of(variable).unwrap().max_retries
        };
        assert_eq!((with("7"), with("x"), with(" "), with("0")), (7, 3, 3, 1));
        assert_eq!(Config::default().of(|_| None).unwrap().max_retries, 20);
    }

    #[test]
    fn what_is_not_known_and_fees_below_zero_are_refused() {
        assert!(toml::from_str::<File>("lisen = '127.0.0.1:1'").is_err());
        let file: File = toml::from_str("fees = { percent = '-1' }").unwrap();
        assert!(file.bank.of(|_| None).is_err());
    }
}
