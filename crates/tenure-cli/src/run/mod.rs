//! `tenure run`: a command under a lock, in three processes.
//!
//! - The *front* is what was typed. It passes signals on, exits with the command's code and watches the keeper.
//! - The *keeper* ([`keeper`]) has a process group of its own, owns the lease and is the parent of the command.
//! - The *command* is in the front's process group, like that of `env` or `nice`, so that terminals, pipes and a
//!   shell's jobs work as they always do. The [`shim`] is its first moment.
//!
//! Front and keeper are both subreapers: whichever is killed, the other kills what is left of the command before the names
//! are free. The command's own process dies with the keeper in any case, by its parent-death signal.

mod command;
mod keeper;
mod line;
mod link;
mod plan;
mod shim;
mod signals;
mod supervise;
mod tree;
mod watch;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{self, Pid, Signal, WaitOptions};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tenure::{Clock, Names, clock, limits};

use self::link::{Link, ToFront, ToKeeper};
use self::plan::Plan;
use self::signals::Signals;
use self::watch::{Do, Watch};
use crate::args::RunArgs;
use crate::exit::Code;

pub(crate) use self::keeper::keep;
pub(crate) use self::shim::become_command;

/// This very program, also when its file was replaced or removed meanwhile.
const SELF: &str = "/proc/self/exe";

/// Runs the command of `args` under its lock. `again` are the arguments that `args` were read from.
pub(crate) fn run(args: &RunArgs, again: impl Iterator<Item = OsString>) -> anyhow::Result<Code> {
    check(args)?;
    let signals = Signals::take().context("cannot take over the signals")?;
    tree::adopt_orphans().context("cannot become a subreaper")?;
    // Of a shell that became us by `exec`: not ours to kill.
    let spared = tree::children();
    let terminal = Terminal::here();
    let (link, other) = Link::pair().context("cannot make a pair of sockets")?;
    let keeper = Command::new(SELF)
        .arg0("tenure")
        .args(["keeper", "--"])
        .args(again)
        .stdin(Stdio::from(other.into_fd()))
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
        .context("cannot start the keeper")?;
    let keeper = Pid::from_child(&keeper);
    link.send(&ToKeeper::Start, &[io::stdin().as_fd(), io::stdout().as_fd()])
        .context("cannot reach the keeper")?;
    let plan = Plan::new(args.ttl);
    let front = Front { link, signals, keeper, spared, ttl: args.ttl, plan, watch: None, life: Vec::new() };
    let (code, killed) = front.serve();
    if killed {
        terminal.restore();
    }
    Ok(code)
}

/// Finds out what is wrong before anything is started.
fn check(args: &RunArgs) -> tenure::Result<()> {
    Names::parse(&args.names)?;
    limits::check_ttl(args.ttl)?;
    if args.hold_at_least.is_some_and(|span| span > limits::MAX_TTL) {
        return Err(tenure::Error::invalid("hold_at_least", "a lease is held for at least 24 h at most"));
    }
    if args.permits.is_some_and(|of| !(1..=limits::MAX_PERMITS).contains(&of)) {
        return Err(tenure::Error::invalid("permits", "a name has from 1 to 65536 permits"));
    }
    Ok(())
}

/// The front: one thread that waits for signals, the keeper and the time.
#[derive(Debug)]
struct Front {
    link: Link,
    signals: Signals,
    keeper: Pid,
    spared: Vec<Pid>,
    ttl: Duration,
    plan: Plan,
    watch: Option<Watch>,
    /// The keeper's life in the eyes of the store: as long as we hold it, the names are not free.
    life: Vec<OwnedFd>,
}

impl Front {
    /// Serves until the keeper is done or dead: the exit code, and whether the command was killed.
    fn serve(mut self) -> (Code, bool) {
        give_up_stdio();
        loop {
            self.pass_signals_on();
            match self.hear() {
                Heard::Nothing => {}
                Heard::Done(code) => {
                    let _ = process::waitpid(Some(self.keeper), WaitOptions::empty());
                    return (code, code == Code::LOST);
                }
                Heard::Dead => return (self.bury(), true),
            }
            let now = Clock::system().now();
            let wait = match self.watch.as_mut().map(|watch| watch.look(now)) {
                None => None,
                Some(Do::Wait(span)) => Some(span),
                Some(Do::Ask) => {
                    let _ = self.link.send(&ToKeeper::Ask, &[]);
                    continue;
                }
                Some(Do::Kill) => {
                    self.watch = None;
                    say("the keeper sleeps and the lease runs out: killing it and the command");
                    let _ = process::kill_process(self.keeper, Signal::KILL);
                    None
                }
            };
            self.wait(wait);
        }
    }

    fn pass_signals_on(&self) {
        while let Some(came) = self.signals.next() {
            let signal = ToKeeper::Signal { number: came.number, from_terminal: came.from_terminal };
            let _ = self.link.send(&signal, &[]);
            if came.number == Signal::TSTP.as_raw() {
                // The shell waits for this. The keeper goes on, so the lease is kept.
                let _ = process::kill_process(process::getpid(), Signal::STOP);
            }
        }
    }

    fn hear(&mut self) -> Heard {
        loop {
            let (message, fds) = match self.link.receive::<ToFront>() {
                Ok(Some(letter)) => letter,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Heard::Nothing,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(None) | Err(_) => return Heard::Dead,
            };
            let now = Clock::system().now();
            match message {
                ToFront::Held(until) => {
                    self.life = fds;
                    let until = clock::Instant::from_nanos(until);
                    self.watch = Some(Watch::new(now, until, self.ttl, self.plan.margin()));
                }
                ToFront::Safe(until) => {
                    if let Some(watch) = &mut self.watch {
                        watch.answered(now, clock::Instant::from_nanos(until));
                    }
                }
                ToFront::Ended => {
                    self.watch = None;
                    self.life.clear();
                }
                ToFront::Say(text) => say(&text),
                ToFront::Done { code, say: text } => {
                    if !text.is_empty() {
                        say(&text);
                    }
                    return Heard::Done(Code(code));
                }
            }
        }
    }

    /// The keeper has died: kills what it leaves behind, all of which is ours now, before the names can be free.
    fn bury(mut self) -> Code {
        let mut pause = Duration::from_millis(1);
        while tree::reap_all() && tree::children().iter().any(|pid| !self.spared.contains(pid)) {
            tree::signal_all(Signal::KILL, &self.spared);
            // Not for the link too: at its end it is readable for ever.
            wait_for(&mut [PollFd::new(&self.signals, PollFlags::IN)], Some(pause));
            while self.signals.next().is_some() {}
            pause = (pause * 2).min(Duration::from_millis(100));
        }
        let held = !self.life.is_empty() || self.watch.is_some();
        self.life.clear();
        say("the keeper has died");
        if held { Code::LOST } else { Code::INTERNAL }
    }

    fn wait(&self, span: Option<Duration>) {
        let mut fds = [PollFd::new(&self.signals, PollFlags::IN), PollFd::new(&self.link, PollFlags::IN)];
        wait_for(&mut fds, span);
    }
}

/// Waits for one of `fds` or the time. An interruption is as good as an event: the loop looks at everything again.
fn wait_for(fds: &mut [PollFd<'_>], span: Option<Duration>) {
    let span = span.and_then(|span| Timespec::try_from(span).ok());
    let _ = poll(fds, span.as_ref());
}

/// What came from the keeper.
#[derive(Clone, Copy, Debug)]
enum Heard {
    Nothing,
    Done(Code),
    Dead,
}

/// Lets go of stdin and stdout: they are the command's now, and a pipe should end when the command ends it.
fn give_up_stdio() {
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

/// Says something on stderr. A stderr that is closed is no reason to stop.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "tenure: {}", crate::show::clean(text));
}

/// The state of the controlling terminal, which a killed command cannot put back.
#[derive(Debug)]
struct Terminal(Option<(File, Termios)>);

impl Terminal {
    fn here() -> Self {
        let terminal = File::options().read(true).write(true).open("/dev/tty").ok();
        Terminal(terminal.and_then(|terminal| tcgetattr(&terminal).ok().map(|state| (terminal, state))))
    }

    fn restore(self) {
        if let Some((terminal, state)) = self.0 {
            let _ = tcsetattr(&terminal, OptionalActions::Drain, &state);
        }
    }
}
