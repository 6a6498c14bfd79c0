//! The step between the keeper and the command, in the command's own process.
//!
//! It does what has to be done between fork and exec, where safe Rust cannot stand: its process becomes the command.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{self, Signal};

use super::signals;
use crate::args::ShimArgs;
use crate::exit::Code;

/// Becomes the command. Returns only when it cannot.
pub(crate) fn become_command(args: &ShimArgs) -> Code {
    if let Err(error) = prepare(args.keeper) {
        eprintln!("tenure: cannot prepare the command: {error}");
        return Code::CANNOT_EXECUTE;
    }
    let Some((program, rest)) = args.command.split_first() else {
        return Code::USAGE;
    };
    let error = Command::new(program).args(rest).exec();
    eprintln!("tenure: cannot execute {}: {error}", crate::show::clean(&program.to_string_lossy()));
    match error.kind() {
        io::ErrorKind::NotFound => Code::NO_COMMAND,
        _ => Code::CANNOT_EXECUTE,
    }
}

fn prepare(keeper: i32) -> io::Result<()> {
    // Survives the exec, and is bound to the thread that forked: the keeper's main thread, which lives as long as it does.
    process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let parent = process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    if parent != keeper {
        return Err(io::Error::other("the keeper has ended"));
    }
    signals::let_go()
}
