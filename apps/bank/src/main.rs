//! The program `bank`: serves the bank until it is told to end.

use std::io::IsTerminal as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use bank::load::{self, Load};
use bank::{Bank, Config};
use clap::{Parser, Subcommand};
use tenure_server::stores::{self, Stores};
use tenure_server::{Signals, settings};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// Where it listens when nothing is said.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5298);

/// A bank on Tenure: wallets, accounts and transfers, over HTTP.
///
/// DATABASE_URL (or DB_HOST, …) names a PostgreSQL database for the books, REDIS_URL (or REDIS_CONN, REDIS_HOST) a Redis for locks,
/// wallets and caches, TENURE_URL a store of its own for the locks. Without them everything is in files.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    Load(Load),
}

/// How the bank is served.
#[derive(Debug, clap::Args)]
struct Serve {
    /// Where to listen [default: 127.0.0.1:5298]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<SocketAddr>,
    /// The directory of what is embedded [default: `bank` in the user's state directory]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A TOML file with settings; options and the environment win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match args.command {
        None => serve(args.serve).await,
        Some(Command::Load(load)) => load::run(load).await,
    }
}

async fn serve(args: Serve) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let signals = Signals::listen()?;
    let file = args.config.as_deref().map(settings::read::<bank::File>).transpose()?.unwrap_or_default();
    let data = match args.data.or(file.data) {
        Some(data) => data,
        None => stores::state_dir()?.join("bank"),
    };
    let address = args.listen.or(file.listen).unwrap_or(LISTEN);
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen address={address}"))?;
    let config = Config::of_environment(file.bank)?;
    let bank = Arc::new(Bank::open(&Stores::of_environment(), &data, config).await?);
    let serving = tenure_server::Config::default();
    let app = bank::router(&bank, serving.clone());
    tracing::info!("listening on http://{}", listener.local_addr()?);
    let work = bank.start();
    let served = tenure_server::serve(listener, app, serving, signals.told()).await;
    work.stop().await;
    bank.close().await;
    served?;
    Ok(())
}
