//! What a `postgres:` URL says.

use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use crate::error::{Error, Result};

/// Where the server is, who asks, and how.
#[derive(Clone)]
pub(super) struct Target {
    /// What is tokio-postgres's: hosts, user, password, database. Never shown.
    pub(super) config: Config,
    pub(super) tls: Tls,
    /// The mode that the URL asks for. Without one the database's own is followed.
    pub(super) mode: Option<Mode>,
    /// The server itself, where the rest leads through a pool: what is pushed comes from there.
    pub(super) listen: Option<Box<Target>>,
    /// How long an answer may take before the connection is given up. Default 5 s.
    pub(super) timeout: Duration,
    /// How long it may take to connect. Default 5 s.
    pub(super) connect_timeout: Duration,
}

/// What a database keeps its leases as. All processes on one database use the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// Session advisory locks.
    Advisory,
    /// Rows of a table.
    Rows,
}

impl Mode {
    pub(super) fn word(self) -> &'static str {
        match self {
            Mode::Advisory => "advisory",
            Mode::Rows => "rows",
        }
    }

    pub(super) fn from_word(word: &str) -> Option<Self> {
        [Mode::Advisory, Mode::Rows].into_iter().find(|mode| mode.word() == word)
    }
}

/// Whether and how the connection is encrypted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Tls {
    pub(super) mode: TlsMode,
    /// A file of certificates that are trusted instead of the machine's.
    pub(super) authority: Option<PathBuf>,
}

/// The values of `sslmode`, as libpq has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TlsMode {
    Disable,
    /// Encrypted where the server can. Says nothing of who the server is.
    Prefer,
    /// Encrypted. Says nothing of who the server is.
    Require,
    /// Encrypted, by a server whose certificate is trusted and has the host's name.
    VerifyFull,
}

impl std::fmt::Debug for Target {
    /// Without user and password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Target");
        shown.field("hosts", &self.config.get_hosts()).field("database", &self.config.get_dbname());
        shown.field("tls", &self.tls).field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl Target {
    /// Reads `postgres://[user[:password]@]host[:port]/[database][?options]`, also as `postgresql:`. Options that are not of
    /// this library are those of tokio-postgres; one that neither knows is refused.
    ///
    /// # Errors
    /// `InvalidInput`, which never shows the URL: it may carry a password.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let (head, query) = text.split_once('?').unwrap_or((text, ""));
        let mut target = Target {
            config: Config::new(),
            tls: Tls { mode: TlsMode::Prefer, authority: None },
            mode: None,
            listen: None,
            timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
        };
        let mut others = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| bad("an option is key=value"))?;
            if !target.set(key, &decoded(value)?)? {
                others.push(pair);
            }
        }
        let rest = if others.is_empty() { String::new() } else { format!("?{}", others.join("&")) };
        // tokio-postgres reads the rest. Its words may repeat what is in the URL, so they are not passed on.
        target.config = format!("{head}{rest}").parse().map_err(|_| {
            bad("it cannot be read, or has an option that is not known; docs/postgres.md lists them")
        })?;
        target.complete()?;
        Ok(target)
    }

    /// Takes an option that is of this library; whether it is.
    fn set(&mut self, key: &str, value: &str) -> Result<bool> {
        match key {
            "mode" => {
                let mode = Mode::from_word(value).ok_or_else(|| bad("mode is advisory or rows"))?;
                self.mode = Some(mode);
            }
            "timeout_ms" => self.timeout = millis(value, "timeout_ms is from 10 to 60000")?,
            "connect_timeout_ms" => {
                self.connect_timeout = millis(value, "connect_timeout_ms is from 10 to 60000")?
            }
            "listen" => self.listen = Some(Box::new(Target::parse(value)?)),
            "sslrootcert" => self.tls.authority = Some(PathBuf::from(value)),
            "sslmode" => {
                self.tls.mode = match value {
                    "disable" => TlsMode::Disable,
                    "prefer" => TlsMode::Prefer,
                    "require" => TlsMode::Require,
                    "verify-full" => TlsMode::VerifyFull,
                    _ => return Err(bad("sslmode is disable, prefer, require or verify-full")),
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn complete(&mut self) -> Result<()> {
        if self.config.get_hosts().is_empty() {
            return Err(bad("it has no host"));
        }
        if self.tls.authority.is_some() && self.tls.mode != TlsMode::VerifyFull {
            return Err(bad("sslrootcert is for sslmode=verify-full alone"));
        }
        if self.config.get_user().is_none_or(str::is_empty) {
            // As libpq: the name of who runs the process, where it is known.
            let user = std::env::var("PGUSER").or_else(|_| std::env::var("USER"));
            self.config.user(user.map_err(|_| bad("it has no user"))?);
        }
        let config = &mut self.config;
        config.ssl_mode(match self.tls.mode {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyFull => SslMode::Require,
        });
        config.target_session_attrs(tokio_postgres::config::TargetSessionAttrs::ReadWrite);
        config.connect_timeout(self.connect_timeout);
        if config.get_application_name().is_none() {
            config.application_name("tenure");
        }
        // A peer that is gone without a word is noticed within seconds, also while nothing is sent.
        config.keepalives_idle(KEEPALIVE_IDLE).keepalives_interval(KEEPALIVE).keepalives_retries(3);
        config.tcp_user_timeout(self.timeout * 2 + KEEPALIVE);
        Ok(())
    }
}

/// How long nothing comes before the peer is asked whether it is there, and how often it is asked.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE: Duration = Duration::from_secs(1);

fn decoded(text: &str) -> Result<String> {
    let bytes = percent_encoding::percent_decode_str(text);
    bytes
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| bad("what is escaped in it is not UTF-8"))
}

fn millis(text: &str, what: &'static str) -> Result<Duration> {
    let number = text.parse().ok().filter(|number| (10..=60_000).contains(number));
    number.map(Duration::from_millis).ok_or_else(|| bad(what))
}

fn bad(why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::invalid("url", why)
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::Host;

    use super::*;

    #[test]
    fn a_url_says_where_who_and_how() {
        let target =
            Target::parse("postgres://u:p%40ss@h:5433/db?mode=rows&timeout_ms=700&options=-c%20a.b%3D1")
                .unwrap();
        assert_eq!(target.config.get_hosts(), [Host::Tcp("h".into())]);
        assert_eq!((target.config.get_user(), target.config.get_dbname()), (Some("u"), Some("db")));
        assert_eq!(target.config.get_password(), Some(b"p@ss".as_slice()));
        assert_eq!(target.config.get_options(), Some("-c a.b=1"));
        assert_eq!((target.mode, target.timeout), (Some(Mode::Rows), Duration::from_millis(700)));
        assert_eq!(target.tls.mode, TlsMode::Prefer);
        let target =
            Target::parse("postgresql://u@%2Frun%2Fpg/db?sslmode=disable&application_name=x").unwrap();
        assert!(target.mode.is_none());
        assert_eq!(target.config.get_hosts(), [Host::Unix("/run/pg".into())]);
        assert_eq!(target.config.get_application_name(), Some("x"));
        let target = Target::parse("postgres://u@h?sslmode=verify-full&sslrootcert=/c.pem").unwrap();
        assert_eq!(target.tls, Tls { mode: TlsMode::VerifyFull, authority: Some("/c.pem".into()) });
    }

    #[test]
    fn a_wrong_url_is_refused_without_being_shown() {
        let wrong = [
            "postgres:",
            "postgres://",
            "postgres://u:hunter2@h:99999/db",
            "postgres://u:hunter2@h/db?mode=tables",
            "postgres://u:hunter2@h/db?nonsense=1",
            "postgres://u:hunter2@h/db?timeout_ms=0",
            "postgres://u:hunter2@h/db?sslmode=allow",
            "postgres://u:hunter2@h/db?sslrootcert=/x",
            "postgres://u:hunter2@h/db?mode",
        ];
        for url in wrong {
            let error = Target::parse(url).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{url}: {error}");
        }
        let shown = format!("{:?}", Target::parse("postgres://u:hunter2@h").unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
