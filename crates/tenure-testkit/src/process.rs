//! Processes of a test: the test binary itself, run again in a role.
//!
//! A binary that uses this has one test that calls [`play_role`] and nothing else. Run by hand it does nothing; run by
//! [`Child::start`] it plays the role that the environment names.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// What a child is told, in its environment.
const ROLE: &str = "TENURE_TEST_ROLE";
const ARGUMENT: &str = "TENURE_TEST_ARGUMENT";

/// What a child may be: the name of the role, and what plays it with its argument.
pub type Role = (&'static str, fn(&str));

/// Plays the role that the environment names, if any. The role's own arguments come as one text.
///
/// # Panics
/// When there is no such role.
pub fn play_role(roles: &[Role]) {
    let Ok(wanted) = std::env::var(ROLE) else {
        return;
    };
    let argument = std::env::var(ARGUMENT).unwrap_or_default();
    let (_, play) = roles.iter().find(|(name, _)| *name == wanted).expect("the role is known");
    play(&argument);
}

/// A child process. It is killed when the value is dropped.
#[derive(Debug)]
pub struct Child {
    child: std::process::Child,
    out: BufReader<ChildStdout>,
}

impl Child {
    /// Starts this binary again: it runs the test called `test` alone, which calls [`play_role`], in the role `role`.
    ///
    /// # Panics
    /// When no process can be started.
    pub fn start(test: &str, role: &str, argument: &str) -> Self {
        Child::play(Command::new(binary()), test, role, argument)
    }

    /// As [`start`](Self::start), in a network namespace of its own, where there is nothing.
    ///
    /// # Panics
    /// When this process may not make one.
    pub fn start_apart(test: &str, role: &str, argument: &str) -> Self {
        let mut command = Command::new("unshare");
        command.arg("--net").arg(binary());
        Child::play(command, test, role, argument)
    }

    fn play(mut command: Command, test: &str, role: &str, argument: &str) -> Self {
        let mut child = command
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(ARGUMENT, argument)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process can be started");
        let out = BufReader::new(child.stdout.take().expect("it was piped"));
        Child { child, out }
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the child says `word` at the beginning of a line; the rest of that line.
    ///
    /// # Panics
    /// When it ends without having said it.
    pub fn hears(&mut self, word: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.out.read_line(&mut line).expect("its output can be read");
            assert!(read > 0, "the child ended before it said {word}");
            // The harness writes the name of the test without a line's end before what the role says.
            if let Some((_, rest)) = line.split_once(word) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub fn kill(&mut self) {
        // An error says that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops it with SIGSTOP.
    pub fn stop(&self) {
        signal(&self.child, Signal::STOP);
    }

    /// Lets it go on with SIGCONT.
    pub fn go_on(&self) {
        signal(&self.child, Signal::CONT);
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it fails.
    pub fn ends(mut self) {
        let mut rest = String::new();
        while self.out.read_line(&mut rest).is_ok_and(|read| read > 0) {}
        let status = self.child.wait().expect("it can be waited for");
        assert!(status.success(), "the child failed: {status}\n{rest}");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

fn binary() -> PathBuf {
    std::env::current_exe().expect("the test knows its binary")
}

/// Sends `signal` to a child that was not waited for yet.
pub(crate) fn signal(child: &std::process::Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a child has a pid");
    kill_process(pid, signal).expect("the child was not waited for yet");
}

/// Says a word to the parent, on a line of its own.
pub fn say(word: &str, rest: impl std::fmt::Display) {
    println!("\n{word}{rest}");
}

/// Runs `role` on a runtime of two threads, as an application would.
///
/// # Panics
/// When it takes more than five minutes.
pub fn run(role: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime can be built");
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(300), role)
            .await
            .expect("the role ends within five minutes");
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
}
