//! Starting the command: its environment, its descriptors, its process group.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{self, Stdio};

use rustix::process::{Pid, Signal, getpgid, getpid, kill_process};

use tenure::Guard;

use super::SELF;
use crate::args::RunArgs;

/// The command's own process: a child that only this process reaps, so its pid stays its own until then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Command(Pid);

impl Command {
    /// Starts the command of `args` under `guard`.
    ///
    /// It inherits the stdin and stdout in `stdio`, stderr, and `life`: whatever becomes of this process, the store does
    /// not believe it dead while the command lives. Nothing else of ours is inherited.
    pub(super) fn start(
        args: &RunArgs,
        front: Pid,
        guard: &Guard,
        stdio: Vec<OwnedFd>,
        life: Option<&OwnedFd>,
    ) -> io::Result<Command> {
        let mut stdio = stdio.into_iter();
        let (Some(stdin), Some(stdout)) = (stdio.next(), stdio.next()) else {
            return Err(io::Error::other("stdin and stdout did not arrive"));
        };
        // A copy without close-on-exec. It is open in this process for the time of the fork alone.
        let _inherited = life.map(rustix::io::dup).transpose()?;
        // In the front's process group, where the terminal looks for it.
        let group = getpgid(Some(front))?;
        let names: Vec<&str> = guard.names().iter().map(AsRef::as_ref).collect();
        let child = process::Command::new(SELF)
            .arg0("tenure")
            .args(["shim", "--keeper", &getpid().as_raw_nonzero().to_string(), "--"])
            .args(&args.command)
            .env("TENURE_TOKEN", guard.token().to_string())
            .env("TENURE_LEASE", guard.lease().to_string())
            .env("TENURE_NAMES", names.join("\n"))
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(stdout))
            .process_group(group.as_raw_nonzero().get())
            .spawn()?;
        Ok(Command(Pid::from_child(&child)))
    }

    /// Whether `pid` is its process.
    pub(super) fn is(self, pid: Pid) -> bool {
        self.0 == pid
    }

    /// Passes a signal on. Must not be called once it was reaped.
    pub(super) fn signal(self, number: i32) {
        if let Some(signal) = Signal::from_named_raw(number) {
            let _ = kill_process(self.0, signal);
        }
    }
}
