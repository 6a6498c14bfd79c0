//! Which stores a service uses, as its environment says; and what every service does with that.

use std::env;
use std::fmt;
use std::fs::DirBuilder;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use tenure::{Error, Locks, Result, Settings};

/// What stands for itself in a path of a URL.
const PATH: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'<').add(b'>').add(b'?').add(b'`');

/// The stores that the environment of a service names. A variable that is empty or blank counts as not set.
///
/// The locks are in what `TENURE_URL` names, else in Redis, else in PostgreSQL, else embedded.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stores {
    /// Where the locks are, when they are to be somewhere of their own: `TENURE_URL`.
    pub locks: Option<String>,
    /// A Redis: `REDIS_URL`, else `REDIS_CONN` (a URL or `host:port`), else `REDIS_HOST` and `REDIS_PORT` (6379).
    pub redis: Option<String>,
    /// A PostgreSQL database: `DATABASE_URL` where it is one of PostgreSQL, else `DB_HOST`, `DB_PORT` (5432), `DB_NAME` (postgres),
    /// `DB_USER` (postgres) and `DB_PASSWORD`.
    pub database: Option<String>,
}

/// URLs have passwords in them: only what kind they are is shown.
impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = |url: &Option<String>| {
            url.as_deref().map(|url| url.split(':').next().unwrap_or_default().to_owned())
        };
        f.debug_struct("Stores")
            .field("locks", &scheme(&self.locks))
            .field("redis", &scheme(&self.redis))
            .field("database", &scheme(&self.database))
            .finish()
    }
}

impl Stores {
    /// What the environment of this process says.
    pub fn of_environment() -> Self {
        Stores::of(|name| env::var(name).ok())
    }

    /// What these variables say.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name| variable(name).filter(|value: &String| !value.trim().is_empty());
        let redis = || {
            let address = |address: String| match address.contains("://") {
                true => address,
                false => format!("redis://{address}"),
            };
            let host = || {
                let port = set("REDIS_PORT").unwrap_or_else(|| "6379".to_owned());
                set("REDIS_HOST").map(|host| format!("redis://{host}:{port}"))
            };
            set("REDIS_URL").or_else(|| set("REDIS_CONN")).map(address).or_else(host)
        };
        let database = || {
            let encoded = |value: String| utf8_percent_encode(&value, NON_ALPHANUMERIC).to_string();
            let part = |name, default: &str| set(name).unwrap_or_else(|| default.to_owned());
            let host = set("DB_HOST")?;
            let (user, port) = (encoded(part("DB_USER", "postgres")), part("DB_PORT", "5432"));
            let password =
                set("DB_PASSWORD").map(|password| format!(":{}", encoded(password))).unwrap_or_default();
            let name = encoded(part("DB_NAME", "postgres"));
            Some(format!("postgres://{user}{password}@{host}:{port}/{name}"))
        };
        let is_postgres = |url: &String| url.starts_with("postgres://") || url.starts_with("postgresql://");
        Stores {
            locks: set("TENURE_URL"),
            redis: redis(),
            database: set("DATABASE_URL").filter(is_postgres).or_else(database),
        }
    }

    /// The URL of the locks, where one is named.
    pub fn url(&self) -> Option<&str> {
        self.locks.as_deref().or(self.redis.as_deref()).or(self.database.as_deref())
    }

    /// Connects to the locks, or to those in the directory `embedded` where no store is named, and logs the choice.
    ///
    /// # Errors
    /// As [`Locks::connect_with`]; `Unavailable` when the directory cannot be made.
    pub async fn connect(&self, embedded: &Path, settings: Settings) -> Result<Locks> {
        let locks = match self.url() {
            Some(url) => Locks::connect_with(url, settings).await?,
            None => Locks::connect_with(&file_url(embedded)?, settings).await?,
        };
        announce(&locks);
        Ok(locks)
    }
}

/// Logs where the locks are, once, at the start of a service.
pub fn announce(locks: &Locks) {
    let caps = locks.provider().caps();
    match caps.provider {
        "http" => tracing::info!("Distributed locks: another tenure server"),
        "redis" => tracing::info!("Distributed locks: Redis provider (high-performance mode)"),
        "postgres" if caps.outlives_process => {
            tracing::info!("Distributed locks: PostgreSQL rows (using existing database)");
        }
        "postgres" => {
            tracing::info!("Distributed locks: PostgreSQL advisory locks (using existing database)")
        }
        provider => {
            tracing::info!("Distributed locks: embedded provider (this process)");
            if provider == "memory" {
                tracing::warn!("the locks are in memory: all of them end with this process");
            }
        }
    }
}

/// The `file:` URL of `dir`, which is made, open to nobody else, if it is not there.
///
/// # Errors
/// `Unavailable` when it cannot be made.
pub fn file_url(dir: &Path) -> Result<String> {
    make(dir)?;
    let absolute = std::path::absolute(dir).map_err(|error| cannot(dir, error))?;
    Ok(format!("file://{}", percent_encoding::percent_encode(absolute.as_os_str().as_bytes(), PATH)))
}

/// Makes a directory that is open to nobody else, if it is not there.
///
/// # Errors
/// `Unavailable` when it cannot be made.
pub fn make(dir: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| cannot(dir, error))
}

fn cannot(dir: &Path, error: std::io::Error) -> Error {
    let shown = dir.display();
    Error::unavailable("connect", format!("cannot make the directory of the locks dir={shown}"))
        .with_source(error)
}

/// The directory of what is embedded, by default: `$XDG_STATE_HOME/tenure`, or `~/.local/state/tenure`.
///
/// # Errors
/// `InvalidInput` when neither is known.
pub fn state_dir() -> Result<PathBuf> {
    // The XDG base directory specification says to ignore what is not absolute.
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    let state = state.ok_or_else(|| {
        Error::invalid("url", "there is no HOME or XDG_STATE_HOME to keep locks in: set TENURE_URL or --url")
    })?;
    Ok(state.join("tenure"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stores(variables: &[(&str, &str)]) -> Stores {
        Stores::of(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_path_with_anything_in_it_becomes_a_plain_url() {
        let dir = tempfile::tempdir().unwrap();
        let url = file_url(&dir.path().join("a b/\u{fc}%?#")).unwrap();
        assert!(url.ends_with("/a%20b/%C3%BC%25%3F%23"), "{url}");
    }

    #[test]
    fn locks_are_in_their_own_store_else_in_redis_else_in_the_database_else_embedded() {
        let all = [("TENURE_URL", "memory:"), ("REDIS_URL", "redis://r"), ("DATABASE_URL", "postgres://d/x")];
        assert_eq!(stores(&all).url(), Some("memory:"));
        assert_eq!(stores(&all[1..]).url(), Some("redis://r"));
        assert_eq!(stores(&all[2..]).url(), Some("postgres://d/x"));
        assert_eq!(stores(&[]).url(), None);
        let blank =
            [("TENURE_URL", " "), ("REDIS_URL", ""), ("DATABASE_URL", "mysql://d"), ("DB_HOST", "\t")];
        assert_eq!(stores(&blank), Stores::default());
    }

    #[test]
    fn the_parts_of_an_address_become_a_url() {
        assert_eq!(stores(&[("REDIS_CONN", "h:1")]).redis.as_deref(), Some("redis://h:1"));
        assert_eq!(stores(&[("REDIS_CONN", "rediss://h")]).redis.as_deref(), Some("rediss://h"));
        assert_eq!(stores(&[("REDIS_HOST", "h")]).redis.as_deref(), Some("redis://h:6379"));
        let database = [("DB_HOST", "h"), ("DB_USER", "u@v"), ("DB_PASSWORD", "p:/"), ("DB_NAME", "n")];
        assert_eq!(stores(&database).database.as_deref(), Some("postgres://u%40v:p%3A%2F@h:5432/n"));
        assert!(!format!("{:?}", stores(&database)).contains("p%3A"));
    }
}
