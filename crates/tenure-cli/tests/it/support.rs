//! Starting `tenure`, waiting for what it does, and ending it. Waits are for events, and bounded.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tempfile::TempDir;
use tenure::Clock;

/// After so long a test fails instead of waiting. Nothing here comes near it, however loaded the machine is.
const PATIENCE: Duration = Duration::from_secs(30);

/// A user's home: a state directory with a store of its own.
#[derive(Debug)]
pub(crate) struct Home {
    directory: TempDir,
    /// Another store, named by the environment.
    pub(crate) url: Option<String>,
}

/// What a finished `tenure` said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        Home { directory: tempfile::tempdir().unwrap(), url: None }
    }

    /// A file or directory in the home.
    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// `tenure` with `args` in this home.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tenure"));
        let directory = self.directory.path();
        command.args(args).current_dir(directory).env("XDG_STATE_HOME", directory);
        for name in ["TENURE_URL", "REDIS_URL", "DATABASE_URL", "RUST_LOG"] {
            command.env_remove(name);
        }
        command.envs(self.url.iter().map(|url| ("TENURE_URL", url)));
        command
    }

    /// Runs `tenure` to its end, with nothing on stdin.
    pub(crate) fn tenure(&self, args: &[&str]) -> Said {
        self.tenure_with(args, b"")
    }

    /// Runs `tenure` to its end, with `input` on stdin.
    pub(crate) fn tenure_with(&self, args: &[&str], input: &[u8]) -> Said {
        let mut command = self.command(args);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input));
            child.wait_with_output().unwrap()
        });
        Said {
            code: output.status.code().unwrap_or(-1),
            out: output.stdout,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts `tenure` in the background.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running::of(self.command(args))
    }

    /// Starts `tenure run` on `name` with a shell that says `held` and then does `script`.
    pub(crate) fn hold(&self, options: &[&str], name: &str, script: &str) -> Running {
        let script = format!("echo held; {script}");
        let mut running = self.start(&[&["run"], options, &[name, "--", "sh", "-c", &script]].concat());
        assert_eq!(running.line(), "held");
        running
    }

    /// What `tenure list --json` with `options` shows.
    pub(crate) fn list(&self, options: &[&str]) -> Vec<serde_json::Value> {
        let said = self.tenure(&[&["list", "--json"], options].concat());
        assert_eq!(said.code, 0, "{said:?}");
        serde_json::from_slice(&said.out).unwrap()
    }

    /// Waits until so many claims wait.
    pub(crate) fn until_waiting(&self, claims: usize) {
        until("claims wait", || self.list(&["--waiters"]).len() == claims);
    }

    /// Whether a `--try` gets `name`.
    pub(crate) fn is_free(&self, name: &str) -> bool {
        let said = self.tenure(&["run", "--try", name, "--", "true"]);
        assert!(matches!(said.code, 0 | 75), "{said:?}");
        said.code == 0
    }
}

/// A `tenure` in the background. Killed, with its keeper's help, when it is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
}

impl Running {
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        Running { child, stdin, stdout }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The next line of its stdout; empty at its end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        loop {
            readable(&self.stdout, "a line");
            if self.stdout.read(&mut byte).unwrap() == 0 || byte == *b"\n" {
                return String::from_utf8(line).unwrap();
            }
            line.extend(byte);
        }
    }

    /// The next line, which is a process id.
    pub(crate) fn process(&mut self) -> Process {
        let line = self.line();
        Process::of(Pid::from_raw(line.trim().parse().unwrap()).unwrap())
    }

    /// Writes to its stdin.
    pub(crate) fn write(&mut self, text: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(text).unwrap();
    }

    /// Closes its stdin.
    pub(crate) fn close(&mut self) {
        self.stdin = None;
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// The keeper behind it.
    pub(crate) fn keeper(&self) -> Process {
        let mut found = None;
        until("there is a keeper", || {
            found = children(self.pid()).first().copied();
            found.is_some()
        });
        Process::of(found.unwrap())
    }

    /// Waits for its end: its exit code, or minus the signal that killed it.
    pub(crate) fn wait(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt as _;
        readable(pidfd_open(self.pid(), PidfdFlags::empty()).unwrap(), "the end of tenure");
        let status = self.child.wait().unwrap();
        status.code().unwrap_or_else(|| -status.signal().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that is not our child, pinned down while it lived.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    handle: OwnedFd,
}

impl Process {
    pub(crate) fn of(pid: Pid) -> Self {
        Process { pid, handle: pidfd_open(pid, PidfdFlags::empty()).expect("the process lives") }
    }

    /// Waits for its end.
    pub(crate) fn until_ended(&self) {
        readable(&self.handle, "the end of a process");
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        poll(&mut [PollFd::new(&self.handle, PollFlags::IN)], Some(&Timespec::default())).unwrap() == 1
    }

    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::pidfd_send_signal(&self.handle, signal).unwrap();
    }
}

/// The children of a process.
pub(crate) fn children(parent: Pid) -> Vec<Pid> {
    let of = |pid: &str| -> Option<i32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
    };
    let names =
        std::fs::read_dir("/proc").unwrap().flatten().filter_map(|file| file.file_name().into_string().ok());
    let pids = names.filter(|pid| of(pid) == Some(parent.as_raw_nonzero().get()));
    pids.filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

/// Looks until it is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let clock = Clock::system();
    let end = clock.now() + PATIENCE;
    while !is_so() {
        assert!(clock.now() < end, "waited in vain: {what}");
        let pause = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
        poll(&mut [], Some(&pause)).unwrap();
    }
}

fn readable(fd: impl AsFd, what: &str) {
    let patience = Timespec::try_from(PATIENCE).unwrap();
    let ready = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&patience)).unwrap();
    assert_eq!(ready, 1, "waited in vain: {what}");
}
