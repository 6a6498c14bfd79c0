//! `tenure serve`: the settings of the server from options, environment and file, and its life.

use std::io::IsTerminal as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;
use tenure::{Error, Locks, Result, Settings};
use tenure_server::stores::{self, Stores};
use tenure_server::{Config, Signals, settings};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

use crate::args::ServeArgs;
use crate::exit::Code;
use crate::store;

/// Where it listens when nothing is said.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7700);

/// The file of `--config`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<SocketAddr>,
    data: Option<PathBuf>,
    url: Option<String>,
}

/// What is served, and where: options and the environment before the file, the file before the defaults.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    listen: SocketAddr,
    store: Store,
}

#[derive(Debug, PartialEq, Eq)]
enum Store {
    Url(String),
    Dir(PathBuf),
    Default,
}

/// Serves until SIGINT or SIGTERM.
pub(crate) async fn serve(url: Option<&str>, args: &ServeArgs) -> anyhow::Result<Code> {
    let file = args.config.as_deref().map(settings::read::<File>).transpose()?.unwrap_or_default();
    let plan = plan(url, args, file)?;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let stderr = std::io::stderr;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(stderr().is_terminal())
        .with_writer(stderr)
        .init();
    // Before anything is said to be served: a signal that comes early is not missed.
    let signals = Signals::listen()?;
    let listener = TcpListener::bind(plan.listen).await.map_err(|error| {
        let address = plan.listen;
        Error::unavailable("listen", format!("cannot listen address={address}")).with_source(error)
    })?;
    let locks = connect(&plan.store).await?;
    let config = Config::default();
    let app = tenure_server::router(&locks, config.clone());
    tracing::info!("listening on http://{}", listener.local_addr()?);
    let served = tenure_server::serve(listener, app, config, signals.told()).await;
    locks.close(store::CLOSE_WITHIN).await;
    served?;
    Ok(Code::OK)
}

async fn connect(store: &Store) -> Result<Locks> {
    let url = match store {
        Store::Url(url) => Some(store::for_server(url)),
        Store::Dir(dir) => Some(stores::file_url(dir)?),
        Store::Default => None,
    };
    let locks = store::connect(url.as_deref(), Settings::default()).await?;
    let caps = locks.provider().caps();
    if caps.provider == "postgres" && !caps.outlives_process {
        let what = "the locks of this database are advisory, which end with the process that serves them; use another \
            database with ?mode=rows, or stop all processes that lock here and change tenure.meta as docs/postgres.md says";
        return Err(Error::invalid("url", what));
    }
    stores::announce(&locks);
    Ok(locks)
}

fn plan(url: Option<&str>, args: &ServeArgs, file: File) -> Result<Plan> {
    let listen = args.listen.or(file.listen).unwrap_or(LISTEN);
    if !listen.ip().to_canonical().is_loopback() {
        let what = format!("without authentication only loopback is served address={listen}");
        return Err(Error::invalid("listen", what));
    }
    let store = match (&args.data, url) {
        (Some(_), Some(_)) => {
            return Err(Error::invalid("data", "both a directory and a URL name a store: give one of them"));
        }
        (Some(dir), None) => Store::Dir(dir.clone()),
        (None, Some(url)) => Store::Url(url.to_owned()),
        (None, None) => match (file.data, file.url) {
            (Some(_), Some(_)) => {
                return Err(Error::invalid(
                    "config",
                    "the file has both data and url: one of them names the store",
                ));
            }
            (Some(dir), None) => Store::Dir(dir),
            (None, Some(url)) => Store::Url(url),
            (None, None) => {
                Stores::of_environment().url().map_or(Store::Default, |url| Store::Url(url.to_owned()))
            }
        },
    };
    Ok(Plan { listen, store })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn args(listen: Option<&str>, data: Option<&str>) -> ServeArgs {
        let listen = listen.map(|text| text.parse().unwrap());
        ServeArgs { listen, data: data.map(PathBuf::from), config: None }
    }

    fn file(text: &str) -> File {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn options_win_over_the_file_and_the_file_over_the_defaults() {
        let text = "listen = '127.0.0.1:1'\ndata = '/from/file'";
        let of_file = plan(None, &args(None, None), file(text)).unwrap();
        assert_eq!(of_file.listen, "127.0.0.1:1".parse().unwrap());
        assert_eq!(of_file.store, Store::Dir("/from/file".into()));
        let of_options = plan(None, &args(Some("[::1]:2"), Some("/from/option")), file(text)).unwrap();
        assert_eq!(of_options.listen, "[::1]:2".parse().unwrap());
        assert_eq!(of_options.store, Store::Dir("/from/option".into()));
        let of_url = plan(Some("memory:"), &args(None, None), file(text)).unwrap();
        assert_eq!(of_url.store, Store::Url("memory:".into()));
        let default = plan(None, &args(None, None), File::default()).unwrap();
        assert_eq!(default, Plan { listen: LISTEN, store: Store::Default });
    }

    #[test]
    fn what_is_not_loopback_is_refused() {
        for bad in ["0.0.0.0:7700", "192.168.1.1:1", "[::]:7700"] {
            assert!(plan(None, &args(Some(bad), None), File::default()).is_err(), "{bad}");
        }
    }

    #[test]
    fn two_stores_and_unknown_keys_are_refused() {
        assert!(plan(Some("memory:"), &args(None, Some("/d")), File::default()).is_err());
        assert!(plan(None, &args(None, None), file("data = '/d'\nurl = 'memory:'")).is_err());
        assert!(toml::from_str::<File>("lisen = '127.0.0.1:1'").is_err());
    }

    #[test]
    fn an_error_in_the_file_names_the_line_and_does_not_quote_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tenure.toml");
        fs::write(&path, "listen = '127.0.0.1:1'\nurl = redis://:secret@host").unwrap();
        let said = settings::read::<File>(&path).unwrap_err().to_string();
        assert!(said.contains("line=2") && !said.contains("secret"), "{said}");
    }
}
