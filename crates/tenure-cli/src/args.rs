//! The command line: every command, option and default. What they do is elsewhere.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use tenure::Digest;

use crate::exit::Code;

/// Locks between processes: leases with fencing tokens.
#[derive(Debug, Parser)]
#[command(name = "tenure", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Exit: 64 usage, 69 store unavailable, 70 internal, 75 busy, 76 lease lost.")]
pub(crate) struct Cli {
    /// The store: redis://host:port, file:///dir, http://host:port, memory: [default: file: in the user's state directory]
    #[arg(long, global = true, env = "TENURE_URL", hide_env_values = true)]
    pub(crate) url: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// The URL of the store. An empty one is none: that is how an environment variable is switched off.
    pub(crate) fn url(&self) -> Option<String> {
        self.url.clone().filter(|url| !url.is_empty())
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a command under a lock.
    Run(RunArgs),
    /// Serve locks over HTTP, with a dashboard.
    Serve(ServeArgs),
    /// List who holds what, or who waits.
    List(ListArgs),
    /// Print what is granted, released and waited for, as it happens.
    Watch(WatchArgs),
    /// Ask a holder for its lease, or end it.
    Release(ReleaseArgs),
    /// Say what the convention has against names.
    Lint(LintArgs),
    /// Print the completions of a shell.
    Completions {
        /// For which shell.
        shell: Shell,
    },
    /// The process that owns the lease of `run`.
    #[command(hide = true)]
    Keeper {
        /// The arguments of the `tenure run` that started it.
        #[arg(last = true)]
        again: Vec<OsString>,
    },
    /// The step between the keeper and the command of `run`.
    #[command(hide = true)]
    Shim(ShimArgs),
}

/// Run a command under a lock.
///
/// The command sees TENURE_TOKEN, TENURE_LEASE and TENURE_NAMES. It ends, with all its descendants, before its names
/// can pass on to somebody else.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// Give up at once when a name is held
    #[arg(long = "try", conflicts_with = "wait")]
    pub(crate) once: bool,
    /// Give up after this long [default: wait without limit]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub(crate) wait: Option<Duration>,
    /// How long the lease lasts when nobody renews it any more
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "30s")]
    pub(crate) ttl: Duration,
    /// Share the names with other shared holders
    #[arg(long, conflicts_with = "permits")]
    pub(crate) shared: bool,
    /// Take one of N permits of the name
    #[arg(long, value_name = "N")]
    pub(crate) permits: Option<u32>,
    /// Keep the names taken for at least this long from the grant on, also when the command ends before
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub(crate) hold_at_least: Option<Duration>,
    /// Exit with this code when a name is held
    #[arg(short = 'E', long, value_name = "CODE", default_value_t = Code::BUSY.0)]
    pub(crate) busy_code: u8,
    /// Say on stderr what happens
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// The names to lock, all or none of them
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

/// The step between the keeper and the command of `run`.
#[derive(Debug, Args)]
pub(crate) struct ShimArgs {
    /// The process that must still be the parent.
    #[arg(long)]
    pub(crate) keeper: i32,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

/// Serve locks over HTTP, with a dashboard.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where to listen [default: 127.0.0.1:7700]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// The directory of the file: store, when no URL is given [default: the user's state directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// A TOML file with `listen`, `data` and `url`; options and the environment win over it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// List who holds what, or who waits.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only names that begin so
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
    /// List the claims that wait instead of the leases that are held
    #[arg(long)]
    pub(crate) waiters: bool,
    /// One JSON array instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print what is granted, released and waited for, as it happens.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Only names that begin so
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
    /// How often to look
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "500ms")]
    pub(crate) every: Duration,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Ask a holder for its lease, or end it.
#[derive(Debug, Args)]
pub(crate) struct ReleaseArgs {
    /// The lease, by its digest as `list` shows it
    #[arg(required_unless_present = "name", conflicts_with = "name")]
    pub(crate) lease: Option<Digest>,
    /// All leases that have this name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// End it at once, while its holder may still believe in it; only fencing protects from what that still does
    #[arg(long)]
    pub(crate) force: bool,
}

/// Say what the convention has against names.
///
/// By convention a name is {entity}:{operation}:{id}, in lower case and under 100 characters. Stores take others too.
#[derive(Debug, Args)]
pub(crate) struct LintArgs {
    /// The names [default: the lines of stdin]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// A span of time as people write it: `500ms`, `2s`, `5m`, `1h`, `1h 30m`.
fn span(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it as 500ms, 2s, 5m or 1h"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn everything_behind_the_dashes_belongs_to_the_command() {
        let cli =
            Cli::try_parse_from(["tenure", "run", "a", "b", "--", "sh", "-c", "--try", "--", "x"]).unwrap();
        let Command::Run(run) = cli.command else { panic!("not run: {:?}", cli.command) };
        assert_eq!(run.names, ["a", "b"]);
        assert_eq!(run.command, ["sh", "-c", "--try", "--", "x"]);
        assert!(!run.once);
    }

    #[test]
    fn spans_need_a_unit_and_take_the_usual_ones() {
        assert_eq!(span("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(span("1h").unwrap(), Duration::from_secs(3_600));
        assert_eq!(span("0s").unwrap(), Duration::ZERO);
        for bad in ["", "5", "s", "-1s", "1.5.0s", "99999999999999999999s"] {
            assert!(span(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn contradicting_options_are_refused() {
        for bad in [
            &["run", "--try", "--wait", "1s", "a", "--", "true"][..],
            &["run", "--shared", "--permits", "2", "a", "--", "true"],
            &["run", "a"],
            &["run", "--", "true"],
            &["release"],
            &["release", "0011223344556677", "--name", "a"],
            &["release", "001122334455667"],
            &[],
        ] {
            assert!(Cli::try_parse_from([&["tenure"], bad].concat()).is_err(), "{bad:?}");
        }
    }
}
