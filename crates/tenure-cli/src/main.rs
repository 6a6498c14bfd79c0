//! The binary `tenure`: locks on the command line, and the lock server.

mod args;
mod exit;
mod holder;
mod lint;
mod list;
mod release;
mod row;
mod run;
mod serve;
mod show;
mod store;
mod watch;

use std::env;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use tokio::runtime;

use self::args::{Cli, Command};
use self::exit::Code;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => {
            // Help and version are answers too, and go to stdout.
            let code = if answer.use_stderr() { Code::USAGE } else { Code::OK };
            let _ = answer.print();
            return code.into();
        }
    };
    let code = dispatch(cli).unwrap_or_else(|failure| {
        let _ = writeln!(io::stderr(), "tenure: {}", show::clean(&format!("{failure:#}")));
        Code::of_failure(&failure)
    });
    code.into()
}

fn dispatch(cli: Cli) -> anyhow::Result<Code> {
    let url = cli.url();
    let url = url.as_deref();
    match cli.command {
        // These have no runtime: they fork, hold signals back, or become another program.
        Command::Run(args) => run::run(&args, env::args_os().skip(1)),
        Command::Keeper { again } => run::keep(again),
        Command::Shim(args) => Ok(run::become_command(&args)),
        Command::List(args) => wait_for(list::list(url, &args)),
        Command::Watch(args) => wait_for(watch::watch(url, &args)),
        Command::Release(args) => wait_for(release::release(url, &args)),
        Command::Serve(args) => wait_for(serve::serve(url, &args)),
        Command::Lint(args) => lint::lint(&args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "tenure", &mut io::stdout());
            Ok(Code::OK)
        }
    }
}

fn wait_for(work: impl Future<Output = anyhow::Result<Code>>) -> anyhow::Result<Code> {
    let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let code = runtime.block_on(work);
    // A store that hangs in a system call is not waited for.
    runtime.shutdown_background();
    code
}
