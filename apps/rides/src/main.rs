//! The program `rides`: serves rides until it is told to end.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use rides::city::{self, City};
use rides::load::{self, Load, Storm};
use rides::{Rides, listen_address};
use tenure_server::stores::{self, Stores};
use tenure_server::{Signals, settings};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// Ride bookings on Tenure, over HTTP: one driver, one ride.
///
/// DATABASE_URL (or DB_HOST, …) names a PostgreSQL database, REDIS_URL (or REDIS_CONN, REDIS_HOST) a Redis for locks and the index of drivers,
/// TENURE_URL a store of its own for the locks. Without them everything is in files.
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
    Seed(Seed),
    Load(Load),
    Storm(Storm),
}

/// How rides are served.
#[derive(Debug, clap::Args)]
struct Serve {
    /// Where to listen [default: 127.0.0.1, at the port of PORT or 3000]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<SocketAddr>,
    /// The directory of what is embedded [default: `rides` in the user's state directory]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A TOML file with settings; options and the environment win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Writes down the demo city, and leaves whoever is there already alone.
#[derive(Debug, clap::Args)]
struct Seed {
    /// How many drivers are online
    #[arg(long, default_value_t = city::DRIVERS)]
    drivers: usize,
    /// The directory of what is embedded [default: `rides` in the user's state directory]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match args.command {
        None => serve(args.serve).await,
        Some(Command::Seed(seed)) => write_down(seed).await,
        Some(Command::Load(load)) => load::load(load).await,
        Some(Command::Storm(storm)) => load::storm(storm).await,
    }
}

async fn serve(args: Serve) -> anyhow::Result<()> {
    let signals = Signals::listen()?;
    let file = args.config.as_deref().map(settings::read::<rides::File>).transpose()?.unwrap_or_default();
    let data = data_dir(args.data.or(file.data))?;
    let port = std::env::var("PORT").ok();
    let address = match args.listen.or(file.listen.filter(|_| port.is_none())) {
        Some(address) => address,
        None => listen_address(port.as_deref())?,
    };
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen address={address}"))?;
    let rides = Arc::new(Rides::open(&Stores::of_environment(), &data, &file.rides).await?);
    let serving = tenure_server::Config::default();
    let app = rides::router(&rides, serving.clone());
    tracing::info!("listening on http://{}", listener.local_addr()?);
    let work = rides.start();
    let served = tenure_server::serve(listener, app, serving, signals.told()).await;
    work.stop().await;
    rides.close().await;
    served?;
    Ok(())
}

async fn write_down(args: Seed) -> anyhow::Result<()> {
    let store = rides::open_store(&Stores::of_environment(), &data_dir(args.data)?).await?;
    let added = rides::seed(&*store, &City::new(args.drivers)).await?;
    println!("{added} riders and drivers were added");
    Ok(())
}

fn data_dir(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    match named {
        Some(data) => Ok(data),
        None => Ok(stores::state_dir()?.join("rides")),
    }
}
