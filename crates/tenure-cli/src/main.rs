//! The binary `tenure`: locks on the command line, and the lock server.

mod args;
mod exit;
mod run;
mod show;
mod store;
mod stub;

use std::env;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

use self::args::{Cli, Command};
use self::exit::Code;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => {
            // Help and version are answers too, and go to stdout.
            let code = if answer.use_stderr() {
                Code::USAGE
            } else {
                Code::OK
            };
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
    match cli.command {
        Command::Run(args) => run::run(&args, env::args_os().skip(1)),
        Command::Keeper { again } => run::keep(again),
        Command::Shim(args) => Ok(run::become_command(&args)),
        _ => Ok(Code::OK),
    }
}
