//! What a `redis:` URL says.

use std::path::PathBuf;
use std::time::Duration;

use url::{Host, Url};

use crate::error::{Error, Result};

/// Where the server is, who asks, and how.
pub(super) struct Target {
    pub(super) place: Place,
    /// User and password, as they are sent. Never shown.
    pub(super) login: Option<(String, String)>,
    pub(super) database: u32,
    /// What all keys of the store begin with.
    pub(super) prefix: String,
    /// How long an answer may take before the connection is given up. Default 1 s.
    pub(super) timeout: Duration,
    /// How long it may take to connect. Default 5 s.
    pub(super) connect_timeout: Duration,
    /// How often a step is tried when its connection fails. Default 3.
    pub(super) attempts: u32,
    /// The pause before the second try, doubled for each further one up to ten times as long, give or take a quarter.
    /// Default 100 ms.
    pub(super) delay: Duration,
    /// Claims of this process that may be on their way at a time; more wait for their turn. Default 10,000.
    pub(super) window: usize,
    /// Whether a server that may evict locks is borne.
    pub(super) may_evict: bool,
}

/// Where the server listens.
#[derive(Debug, PartialEq)]
pub(super) enum Place {
    Tcp { host: String, port: u16, tls: Option<Tls> },
    Unix(PathBuf),
}

/// How the server is known.
#[derive(Debug, PartialEq)]
pub(super) struct Tls {
    /// A file of certificates that are trusted instead of the machine's.
    pub(super) authority: Option<PathBuf>,
}

impl std::fmt::Debug for Target {
    /// Without user and password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Target");
        shown.field("place", &self.place).field("database", &self.database).field("prefix", &self.prefix);
        shown.finish_non_exhaustive()
    }
}

impl Target {
    /// Reads `redis://[user:password@]host[:port][/database]`, `rediss://…` for TLS, or `redis+unix:///path/to/socket`, each
    /// with options behind a `?`.
    ///
    /// # Errors
    /// `InvalidInput`, which never shows the URL: it may carry a password.
    pub(super) fn parse(url: &str) -> Result<Self> {
        let url = Url::parse(url).map_err(|error| bad(format!("it cannot be read: {error}")))?;
        let mut target = Target {
            place: place(&url)?,
            login: login(&url)?,
            database: 0,
            prefix: "tenure:".to_owned(),
            timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(5),
            attempts: 3,
            delay: Duration::from_millis(100),
            window: 10_000,
            may_evict: false,
        };
        let path = url.path().trim_start_matches('/');
        if matches!(target.place, Place::Tcp { .. }) && !path.is_empty() {
            target.database = number(path, "the path is the number of a database", 0..=1_000_000)? as u32;
        }
        for (key, value) in url.query_pairs() {
            target.set(&key, &value)?;
        }
        Ok(target)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "db" => self.database = number(value, "db is the number of a database", 0..=1_000_000)? as u32,
            "prefix" if is_prefix(value) => value.clone_into(&mut self.prefix),
            "prefix" => return Err(bad("prefix has from 1 to 64 letters, digits, or any of :._-{}")),
            "timeout_ms" => self.timeout = millis(value, "timeout_ms is from 10 to 60000", 10..=60_000)?,
            "connect_timeout_ms" => {
                self.connect_timeout = millis(value, "connect_timeout_ms is from 10 to 60000", 10..=60_000)?;
            }
            "attempts" => self.attempts = number(value, "attempts is from 1 to 100", 1..=100)? as u32,
            "delay_ms" => self.delay = millis(value, "delay_ms is from 1 to 60000", 1..=60_000)?,
            "window" => self.window = number(value, "window is from 1 to 1000000", 1..=1_000_000)? as usize,
            "evict" if value == "accept" => self.may_evict = true,
            "evict" => return Err(bad("evict can only be accept")),
            "ca" => match &mut self.place {
                Place::Tcp { tls: Some(tls), .. } => tls.authority = Some(PathBuf::from(value)),
                _ => return Err(bad("ca is for rediss: alone")),
            },
            _ => {
                return Err(bad(format!(
                    "no such option; known are attempts ca connect_timeout_ms db delay_ms evict prefix timeout_ms window option={key:?}"
                )));
            }
        }
        Ok(())
    }
}

fn place(url: &Url) -> Result<Place> {
    let tls = match url.scheme() {
        "redis" => None,
        "rediss" => Some(Tls { authority: None }),
        "redis+unix" if url.host().is_some() => {
            return Err(bad("a socket has an absolute path, as in redis+unix:///run/redis.sock"));
        }
        "redis+unix" => {
            let path = decoded(url.path())?;
            return if path.len() > 1 {
                Ok(Place::Unix(PathBuf::from(path)))
            } else {
                Err(bad("it has no path"))
            };
        }
        _ => return Err(bad("the scheme is redis, rediss or redis+unix")),
    };
    let host = match url.host() {
        Some(Host::Domain(host)) if !host.is_empty() => host.to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        _ => return Err(bad("it has no host")),
    };
    Ok(Place::Tcp { host, port: url.port().unwrap_or(6379), tls })
}

fn login(url: &Url) -> Result<Option<(String, String)>> {
    let user = decoded(url.username())?;
    match url.password() {
        Some(password) => {
            let user = if user.is_empty() { "default".to_owned() } else { user };
            Ok(Some((user, decoded(password)?)))
        }
        None if user.is_empty() => Ok(None),
        None => Err(bad("it has a user and no password")),
    }
}

fn decoded(text: &str) -> Result<String> {
    let bytes = percent_encoding::percent_decode_str(text);
    bytes
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| bad("what is escaped in it is not UTF-8"))
}

fn is_prefix(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":._-{}".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

fn number(text: &str, what: &'static str, range: std::ops::RangeInclusive<u64>) -> Result<u64> {
    text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| bad(what))
}

fn millis(text: &str, what: &'static str, range: std::ops::RangeInclusive<u64>) -> Result<Duration> {
    number(text, what, range).map(Duration::from_millis)
}

fn bad(why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::invalid("url", why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_who_and_how() {
        let target = Target::parse("redis://h").unwrap();
        assert_eq!(target.place, Place::Tcp { host: "h".into(), port: 6379, tls: None });
        assert_eq!((target.login, target.database, target.prefix.as_str()), (None, 0, "tenure:"));
        let target =
            Target::parse("rediss://u:p%40ss@[::1]:7000/3?prefix=app:&attempts=5&ca=/c.pem").unwrap();
        let tls = Some(Tls { authority: Some("/c.pem".into()) });
        assert_eq!(target.place, Place::Tcp { host: "::1".into(), port: 7000, tls });
        assert_eq!(target.login, Some(("u".into(), "p@ss".into())));
        assert_eq!((target.database, target.prefix.as_str(), target.attempts), (3, "app:", 5));
        let target = Target::parse("redis+unix:///run/my%20redis.sock?db=2").unwrap();
        assert_eq!((target.place, target.database), (Place::Unix("/run/my redis.sock".into()), 2));
        assert_eq!(Target::parse("redis://:p@h").unwrap().login, Some(("default".into(), "p".into())));
    }

    #[test]
    fn a_wrong_url_is_refused_without_being_shown() {
        let wrong = [
            "redis:",
            "redis://",
            "redis://:hunter2@",
            "redis://u@h",
            "redis://h:99999",
            "redis://h/x",
            "redis://u:hunter2@h?attempts=0",
            "redis://u:hunter2@h?nonsense=1",
            "redis://h?evict=yes",
            "redis://h?prefix=",
            "redis://h?prefix=a%20b",
            "redis://h?ca=/x",
            "redis+unix://host/x",
            "redis+unix:///",
            "redis://h?window=0",
            "redis://h?timeout_ms=-1",
        ];
        for url in wrong {
            let error = Target::parse(url).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{url}: {error}");
        }
        let shown = format!("{:?}", Target::parse("redis://u:hunter2@h").unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
