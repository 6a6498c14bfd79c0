//! Servers of tests: a directory of their own, an account that may run them, and an end with the process of the test.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rand::Rng;
use rustix::process::{Pid, getuid, test_kill_process};

/// How long a server may take to start on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the directories of servers begin with.
const PREFIX: &str = "tenure-test-";

/// The user and the group that a server runs as.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    user: u32,
    group: u32,
}

impl Account {
    /// Some servers refuse to run as root: then it is the user that their package made, else nobody.
    pub(crate) fn of_servers() -> Self {
        if !getuid().is_root() {
            return Account { user: getuid().as_raw(), group: rustix::process::getgid().as_raw() };
        }
        let users = fs::read_to_string("/etc/passwd").expect("the users can be read");
        let find = |wanted: &str| {
            let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
            let line = fields.into_iter().find(|fields| fields[0] == wanted)?;
            Some(Account { user: line[2].parse().ok()?, group: line[3].parse().ok()? })
        };
        find("postgres").or_else(|| find("nobody")).expect("there is a user without rights")
    }

    /// Gives a file to this account.
    ///
    /// # Panics
    /// When the process may not.
    pub fn give(&self, path: &Path) {
        chown(path, Some(self.user), Some(self.group)).expect("a file can be given to the servers' account");
    }
}

/// The directory of a server. It goes with the value; what a process left behind that was killed goes with the next.
#[derive(Debug)]
pub(crate) struct Home {
    path: PathBuf,
    account: Account,
}

impl Home {
    pub(crate) fn new(kind: &str) -> Self {
        sweep();
        let account = Account::of_servers();
        let prefix = format!("{PREFIX}{}-{kind}-", std::process::id());
        let path =
            tempfile::Builder::new().prefix(&prefix).tempdir().expect("a directory can be made").keep();
        account.give(&path);
        Home { path, account }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Copies a file for the account alone.
    pub(crate) fn keep_secret(&self, from: &Path, to: &Path) {
        fs::copy(from, to).expect("a file can be copied");
        fs::set_permissions(to, fs::Permissions::from_mode(0o600)).expect("it is ours");
        self.account.give(to);
    }

    /// Runs a command to its end, as the account.
    pub(crate) fn run(&self, command: &mut Command) {
        command.uid(self.account.user).gid(self.account.group).current_dir(&self.path).stdin(Stdio::null());
        let output = command.output();
        let output = output.unwrap_or_else(|error| {
            panic!("{:?}: {error}: `cargo xtask test` installs it", command.get_program())
        });
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{:?} failed: {said}", command.get_program());
    }

    /// A command that runs a program as the account, and gives it a signal when this process ends.
    pub(crate) fn command(&self, program: &Path, signal: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", signal]).arg(program);
        command.uid(self.account.user).gid(self.account.group).current_dir(&self.path).stdin(Stdio::null());
        command
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // What cannot be removed now is swept up later.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes the directories of processes that are gone.
fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let pid = rest.split('-').next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
        if pid.is_some_and(|pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A port that nobody listens on, below those that Linux gives to the client's end of a connection: clients that try to
/// reach a killed server would be given its own port at times, and keep it from coming back.
pub(crate) fn free_port() -> u16 {
    let ports = std::iter::repeat_with(|| rand::rng().random_range(10_000..32_000));
    let mut free = ports.take(1_000).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().expect("a port is free")
}

/// Starts a server and waits until it says `ready`; what it said, when it ended instead.
pub(crate) fn launch(
    mut command: Command,
    ready: &'static str,
    package: &'static str,
) -> Result<Child, String> {
    let (log, writer) = std::io::pipe().expect("a pipe can be made");
    command.stdout(writer.try_clone().expect("a pipe can be shared")).stderr(writer);
    let (told, news) = mpsc::channel();
    // The kernel ends the server when the thread that started it ends. This one does when the log is closed, which the
    // server does when it ends, or with the process.
    std::thread::spawn(move || {
        let mut child = command.spawn().expect("setpriv, of util-linux, can be started");
        // Its ends of the pipe are open still.
        drop(command);
        let mut lines = BufReader::new(log).lines().map_while(Result::ok);
        let mut said = String::new();
        for line in lines.by_ref() {
            if line.contains(ready) {
                let _ = told.send(Ok(child));
                // It would stand still when the pipe is full.
                lines.for_each(drop);
                return;
            }
            said = said + &line + "\n";
        }
        let _ = child.wait();
        if said.contains("failed to execute") {
            said = format!("{package} is not installed: `cargo xtask test` installs it");
        }
        let _ = told.send(Err(said));
    });
    news.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{package} did not say that it is ready"))
}
